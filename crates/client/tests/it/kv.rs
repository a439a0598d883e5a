//! Keys: reading, writing, transactions, compaction.

use etched_client::proto::etcdserverpb::response_op::Response;
use etched_client::proto::{SortOrder, SortTarget};
use etched_client::{Compare, Delete, ErrorKind, Get, Keys, Put, Txn};

use crate::etcd::Etcd;

#[tokio::test]
async fn keys_are_written_read_and_deleted() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1")] {
        client.put(Put::new(key, value)).await.unwrap();
    }
    let one = client.get("b").await.unwrap();
    assert_eq!((one.count, one.kvs[0].value.as_ref()), (1, &b"2"[..]));
    let first = one.kvs[0].create_revision;

    let by_value = Get::new(Keys::from_key("a")).sort(SortTarget::Value, SortOrder::Ascend).limit(2);
    let answer = client.get(by_value).await.unwrap();
    assert_eq!(answer.kvs.iter().map(|kv| kv.key.as_ref()).collect::<Vec<_>>(), [b"c", b"b"]);
    assert!(answer.more);

    let recent = Get::new(Keys::all()).mod_revision_min(first + 1).keys_only();
    assert_eq!(client.get(recent).await.unwrap().kvs.len(), 1);
    let counted = client.get(Get::new(Keys::between("a", "c")).count_only().serializable()).await.unwrap();
    assert_eq!((counted.count, counted.kvs.len()), (2, 0));

    let replaced = client.put(Put::new("a", "4").prev_kv()).await.unwrap();
    assert_eq!(replaced.prev_kv.unwrap().value, "3");
    let old = client.get(Get::new("a").revision(first)).await.unwrap();
    assert_eq!(old.kvs[0].value, "3");

    let deleted = client.delete(Delete::new(Keys::prefix("")).prev_kv()).await.unwrap();
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (3, 3));
}

#[tokio::test]
async fn transactions_choose_a_branch_and_nest() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let take = Txn::new()
        .when([Compare::create_revision("lock").equal_to(0)])
        .then([Put::new("lock", "me").into(), Txn::new().then([Get::new("lock").into()]).into()])
        .or_else([Get::new("lock").into()]);
    let first = client.txn(take.clone()).await.unwrap();
    assert!(first.succeeded);
    let Some(Response::ResponseTxn(inner)) = &first.responses[1].response else { panic!("{first:?}") };
    assert_eq!(inner.responses.len(), 1);

    let second = client.txn(take).await.unwrap();
    assert!(!second.succeeded);
    let Some(Response::ResponseRange(range)) = &second.responses[0].response else { panic!("{second:?}") };
    assert_eq!(range.kvs[0].value, "me");
}

#[tokio::test]
async fn refusals_are_recognised() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let kind = |error: etched_client::Error| error.kind();
    assert_eq!(client.get("").await.map_err(kind), Err(ErrorKind::EmptyKey));
    assert_eq!(client.get(Get::new("a").revision(99)).await.map_err(kind), Err(ErrorKind::FutureRevision));
    assert_eq!(client.put(Put::new("a", "").ignore_value()).await.map_err(kind), Err(ErrorKind::KeyNotFound));
    assert_eq!(client.lease_revoke(12).await.map_err(kind), Err(ErrorKind::LeaseNotFound));
    let twice = Txn::new().then([Put::new("a", "1").into(), Put::new("a", "2").into()]);
    assert_eq!(client.txn(twice).await.map_err(kind), Err(ErrorKind::DuplicateKey));

    let revision = client.put(Put::new("a", "1")).await.unwrap().header.unwrap().revision;
    client.compact_physical(revision).await.unwrap();
    assert_eq!(client.compact(revision).await.map_err(kind), Err(ErrorKind::Compacted));
    assert_eq!(client.get(Get::new("a").revision(1)).await.map_err(kind), Err(ErrorKind::Compacted));
}

#[tokio::test]
async fn a_large_range_comes_in_chunks_of_one_revision() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    for batch in 0..10 {
        let puts = (0..100).map(|n| Put::new(format!("k{batch}{n:02}"), "v").into());
        client.txn(Txn::new().then(puts)).await.unwrap();
    }
    let mut chunks = client.range_stream(Keys::prefix("k")).await.unwrap();
    let (mut keys, mut pieces, mut count) = (Vec::new(), 0, 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        pieces += 1;
        count = chunk.count;
        keys.extend(chunk.kvs.into_iter().map(|kv| kv.key));
    }
    assert_eq!((keys.len(), count), (1000, 1000));
    assert!(pieces > 1 && keys.is_sorted());
    let refused = client.range_stream(Get::new("a").revision(999_999)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::FutureRevision);
}
