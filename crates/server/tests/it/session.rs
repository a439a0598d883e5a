//! A session with a client, across a restart.

use etched_client::{Client, Compare, Get, Keys, Op, Options, Put, Txn, WatchNotice, WatchOptions};

use crate::process::{Server, Settings};

pub(crate) async fn connect(server: &Server) -> Client {
    Client::connect([&server.endpoint], Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_client_puts_transacts_watches_and_leases_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path());
    let server = settings.start();
    let client = connect(&server).await;

    client.put(Put::new("a", "1")).await.unwrap();
    let lease = client.lease_grant(60).await.unwrap().id;
    client.put(Put::new("b", "2").lease(lease)).await.unwrap();
    let txn = Txn::new()
        .when([Compare::value("a").equal_to("1")])
        .then([Op::from(Put::new("c", "3")), Op::from(Get::new("a"))]);
    assert!(client.txn(txn).await.unwrap().succeeded);
    let before = client.get(Get::new(Keys::all())).await.unwrap();
    assert_eq!(server.terminate().status.code(), None, "the process ends by the signal it was sent");

    let server = settings.start();
    let client = connect(&server).await;
    let after = client.get(Get::new(Keys::all())).await.unwrap();
    assert_eq!(after.kvs, before.kvs);
    assert_eq!(client.lease_time_to_live(lease).await.unwrap().granted_ttl, 60);

    let mut watch = client.watch(WatchOptions::new(Keys::all()).start_revision(2)).await.unwrap();
    let mut revisions = Vec::new();
    while revisions.len() < 3 {
        if let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() {
            revisions.extend(events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
        }
    }
    assert_eq!(revisions, [2, 3, 4]);
}

#[tokio::test]
async fn a_kill_loses_no_answered_write() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path()).with("--snapshot-count=50");
    let mut revision = 1;
    for round in 0..3 {
        let server = settings.start();
        let client = connect(&server).await;
        let found = client.get(Get::new(Keys::all()).limit(1_000)).await.unwrap();
        assert_eq!(found.count, round * 80);
        assert_eq!(found.header.unwrap().revision, revision);
        for number in 0..80 {
            let put = client.put(Put::new(format!("{round}-{number}"), "value")).await.unwrap();
            revision += 1;
            assert_eq!(put.header.unwrap().revision, revision);
        }
        server.kill();
    }
}
