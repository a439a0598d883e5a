//! Members and their maintenance.

use crate::etcd::Etcd;
use etched_client::Put;

#[tokio::test]
async fn a_member_tells_about_itself() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    client.put(Put::new("a", "1")).await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.version, "3.7.2");
    let members = client.member_list().await.unwrap().members;
    assert_eq!(members[0].id, status.leader);
    assert_eq!(client.member_list_serializable().await.unwrap().members, members);
    assert_ne!(client.hash_kv(0).await.unwrap().hash, 0);
    assert_ne!(client.hash().await.unwrap().hash, 0);
    client.defragment().await.unwrap();
    assert!(client.alarm_list().await.unwrap().alarms.is_empty());
    let mut snapshot = client.snapshot().await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = snapshot.next().await.unwrap() {
        bytes += piece.blob.len();
    }
    assert_eq!(bytes % 512, 32);
}
