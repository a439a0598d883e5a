//! Locks, elections, namespaces and mirrors.

use std::time::Duration;

use etched_client::{
    Client, Compare, Delete, Election, ElectionError, Error, ErrorKind, Get, Keys, LockError, Mirror, Mutex,
    Observer, Put, Session, Txn, WatchNotice,
};
use tokio::time::timeout;

use crate::etcd::Etcd;

const AT_ONCE: Duration = Duration::from_millis(300);

async fn session(client: &Client) -> Session {
    Session::new(client, 30).await.unwrap()
}

#[tokio::test]
async fn a_lock_passes_from_session_to_session_in_their_order() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let (one, two) = (session(&client).await, session(&client).await);
    let first = Mutex::new(&one, "l").lock().await.unwrap();
    assert_eq!(first.key(), format!("l/{:x}", one.lease()));
    assert!(Mutex::new(&two, "l").try_lock().await.unwrap().is_none());
    assert_eq!(client.get(Keys::prefix("l/")).await.unwrap().count, 1, "who only tries leaves no key");
    let waiting = tokio::spawn(async move { Mutex::new(&two, "l").lock().await });
    while client.get(Keys::prefix("l/")).await.unwrap().count < 2 {}
    assert!(!waiting.is_finished());
    let revision = first.revision();
    first.unlock().await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    assert!(second.revision() > revision);
    let guarded = Txn::new().when([second.is_held()]).then([Put::new("done", "1").into()]);
    assert!(client.txn(guarded).await.unwrap().succeeded);
}

#[tokio::test]
async fn whoever_gives_up_waiting_leaves_the_line() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let (one, two) = (session(&client).await, session(&client).await);
    let held = Mutex::new(&one, "l").lock().await.unwrap();
    let mutex = Mutex::new(&two, "l");
    assert!(timeout(AT_ONCE, mutex.lock()).await.is_err());
    while client.get(Keys::prefix("l/")).await.unwrap().count > 1 {}
    drop(held);
    while client.get(Keys::prefix("l/")).await.unwrap().count > 0 {}
}

#[tokio::test]
async fn a_session_that_ends_loses_its_place() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let (one, two) = (session(&client).await, session(&client).await);
    let held = Mutex::new(&one, "l").lock().await.unwrap();
    let lease = two.lease();
    let waiting = tokio::spawn(async move { Mutex::new(&two, "l").lock().await });
    while client.get(Keys::prefix("l/")).await.unwrap().count < 2 {}
    client.lease_revoke(lease).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(LockError::SessionExpired)));
    assert!(!one.is_over());
    one.clone().close().await.unwrap();
    one.over().await;
    assert_eq!(client.get(held.key().to_owned()).await.unwrap().count, 0);
}

#[tokio::test]
async fn an_office_is_held_observed_and_resigned() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let (one, two) = (session(&client).await, session(&client).await);
    let election = Election::new(&one, "e");
    assert!(matches!(election.leader().await, Err(ElectionError::NoLeader)));
    let mut observer = Observer::new(&client, "e");
    let watching = tokio::spawn(async move {
        let mut said = Vec::new();
        while said.last().is_none_or(|last| last != "three") {
            said.push(observer.next().await.unwrap().kv.value);
        }
        said
    });
    let mut first = election.campaign("one").await.unwrap();
    assert_eq!(election.leader().await.unwrap().kv.value, "one");
    let campaign = tokio::spawn(async move { Election::new(&two, "e").campaign("three").await });
    while client.get(Keys::prefix("e/")).await.unwrap().count < 2 {}
    first.proclaim("two").await.unwrap();
    first.resign().await.unwrap();
    let second = campaign.await.unwrap().unwrap();
    let said = watching.await.unwrap();
    assert_eq!(said.last().unwrap(), "three");
    client.delete(Delete::new(second.key().to_owned())).await.unwrap();
    let mut second = second;
    assert!(matches!(second.proclaim("four").await, Err(ElectionError::NotLeader)));
}

#[tokio::test]
async fn a_namespace_is_a_key_space_of_its_own() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let inner = client.namespaced("n/").namespaced("m/");
    client.put(Put::new("outside", "x")).await.unwrap();
    let mut watch = inner.watch(Keys::all()).await.unwrap();
    let lease = inner.lease_grant(60).await.unwrap().id;
    client.put(Put::new("o", "x").lease(lease)).await.unwrap();
    inner.put(Put::new("a", "1").lease(lease)).await.unwrap();
    assert_eq!(client.get("n/m/a").await.unwrap().kvs[0].value, "1");
    let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(events[0].kv.as_ref().unwrap().key, "a");
    assert_eq!(inner.lease_time_to_live_with_keys(lease).await.unwrap().keys, ["a"]);
    let txn = Txn::new()
        .when([Compare::value("a").equal_to("1")])
        .then([Get::new(Keys::all()).into(), Delete::new("a").prev_kv().into()]);
    let response = inner.txn(txn).await.unwrap();
    let shown = format!("{response:?}");
    assert!(response.succeeded && !shown.contains("n/m/"), "{shown}");
    assert_eq!(client.get(Keys::prefix("n/")).await.unwrap().count, 0);
    let nothing = inner.put(Put::new("", "x")).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::EmptyKey);
}

#[tokio::test]
async fn a_mirror_has_all_keys_and_then_every_change() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let all: Vec<_> = (0..1500).map(|n| Put::new(format!("m/{n:04}"), "v").into()).collect();
    for ops in all.chunks(100) {
        client.txn(Txn::new().then(ops.to_vec())).await.unwrap();
    }
    let mut mirror = Mirror::new(&client, "m/");
    let mut count = 0;
    while let Some(page) = mirror.next_page().await.unwrap() {
        count += page.kvs.len();
        client.put(Put::new("m/late", "v")).await.unwrap();
    }
    assert_eq!(count, 1500);
    let mut changes = mirror.changes().await.unwrap();
    let WatchNotice::Events { events, .. } = changes.next().await.unwrap().unwrap() else { panic!() };
    assert_eq!(events[0].kv.as_ref().unwrap().key, "m/late");
    let mut later = Mirror::changes_since(&client, "m/", 2);
    assert!(later.next_page().await.unwrap().is_none());
    let error: Result<_, Error> = client.compact(5).await;
    error.unwrap();
    let mut missed = later.changes().await.unwrap();
    assert!(matches!(missed.next().await, Some(Err(Error::Compacted { .. }))));
}
