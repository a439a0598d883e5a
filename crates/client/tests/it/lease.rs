//! Leases and keep-alives.

use etched_client::{ErrorKind, Gone, LeaseState, Put};

use crate::etcd::Etcd;

#[tokio::test]
async fn leases_are_granted_listed_and_revoked_with_their_keys() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let lease = client.lease_grant(60).await.unwrap();
    assert_eq!(lease.ttl, 60);
    client.put(Put::new("a", "1").lease(lease.id)).await.unwrap();
    let rest = client.lease_time_to_live_with_keys(lease.id).await.unwrap();
    assert_eq!((rest.granted_ttl, rest.keys), (60, vec!["a".into()]));
    assert_eq!(client.lease_keep_alive_once(lease.id).await.unwrap().ttl, 60);
    assert_eq!(client.lease_leases().await.unwrap().leases[0].id, lease.id);
    client.lease_revoke(lease.id).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().count, 0);
    assert_eq!(client.lease_time_to_live(lease.id).await.unwrap().ttl, -1);
    let taken = client.lease_grant_with_id(60, 5).await.unwrap();
    assert_eq!(taken.id, 5);
    assert_eq!(client.lease_grant_with_id(60, 5).await.unwrap_err().kind(), ErrorKind::LeaseExist);
}

#[tokio::test]
async fn a_keep_alive_survives_a_restart_and_says_when_the_lease_is_gone() {
    let mut etcd = Etcd::start().await;
    let client = etcd.client().await;
    let id = client.lease_grant(3).await.unwrap().id;
    client.put(Put::new("a", "1").lease(id)).await.unwrap();
    let mut keep_alive = client.keep_alive(id).await.unwrap();
    etcd.kill().await;
    etcd.restart();
    // Renewals come once a second: the first one may be from before, the others are not.
    for _ in 0..3 {
        let state = keep_alive.changed().await;
        assert!(matches!(state, LeaseState::Alive(_) | LeaseState::Doubtful), "{state:?}");
    }
    assert_eq!(client.get("a").await.unwrap().count, 1, "three renewals are longer than the lease");
    client.lease_revoke(id).await.unwrap();
    assert!(matches!(keep_alive.gone().await, Gone::Ended));
    assert!(matches!(keep_alive.changed().await, LeaseState::Gone(Gone::Ended)));
}

#[tokio::test]
async fn a_lease_revoked_by_somebody_else_is_noticed() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let id = client.lease_grant(2).await.unwrap().id;
    let mut keep_alive = client.keep_alive(id).await.unwrap();
    etcd.client().await.lease_revoke(id).await.unwrap();
    assert!(matches!(keep_alive.gone().await, Gone::Ended));
    assert_eq!(client.keep_alive(id).await.unwrap_err().kind(), ErrorKind::LeaseNotFound);
}

#[tokio::test]
async fn many_leases_share_a_stream_and_dropping_a_keep_alive_ends_it() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let mut kept = Vec::new();
    for _ in 0..50 {
        let id = client.lease_grant(60).await.unwrap().id;
        kept.push(client.keep_alive(id).await.unwrap());
    }
    let again = client.keep_alive(kept[0].id()).await.unwrap();
    assert!(matches!(again.state(), LeaseState::Alive(_)));
    drop(kept);
    drop(again);
    let id = client.lease_grant(60).await.unwrap().id;
    let last = client.keep_alive(id).await.unwrap();
    assert_eq!(last.id(), id);
}
