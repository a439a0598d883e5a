//! What becomes of requests when members fail.

use std::collections::BTreeSet;
use std::time::Duration;

use etched_client::{Balance, Client, Error, Fate, Put};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::etcd::{Etcd, Setup, options};
use crate::ports::Port;

/// An empty SETTINGS frame: all that a client waits for before it sends requests.
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// What a client of HTTP/2 sends before its first frame, in bytes.
const PREFACE_LEN: usize = 24;

#[tokio::test]
async fn the_next_endpoint_is_used_when_the_first_is_dead() {
    let etcd = Etcd::start().await;
    let port = Port::free();
    let dead = format!("127.0.0.1:{}", port.number());
    let client = Client::connect([dead, etcd.endpoint()], options()).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
}

#[tokio::test]
async fn requests_wait_for_a_member_that_comes_back() {
    let mut etcd = Etcd::start().await;
    let client = etcd.client().await;
    client.put(Put::new("a", "1")).await.unwrap();
    etcd.kill().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.put(Put::new("a", "2")).await }
    });
    etcd.restart();
    match waiting.await.unwrap() {
        Ok(_) => assert_eq!(client.get("a").await.unwrap().kvs[0].version, 2, "it is written once"),
        // The put may have been sent before the client learned of the end.
        Err(error) => assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn a_change_without_an_answer_has_an_unknown_outcome_and_is_not_repeated() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    client.put(Put::new("a", "1")).await.unwrap();
    etcd.halt().await;
    let hasty = client.with_timeout(Some(Duration::from_millis(200)));
    let error = hasty.put(Put::new("a", "2")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert!(error.is_timeout());
    assert!(matches!(hasty.get("a").await, Err(Error::Timeout)));
    etcd.go_on().await;
    let version = client.get("a").await.unwrap().kvs[0].version;
    assert!(version <= 2, "at most one of the two puts came late, but there are {version}");
}

#[tokio::test]
async fn a_cluster_out_of_reach_is_told_from_an_unknown_outcome() {
    let mut options = options();
    options.request_timeout = Some(Duration::from_millis(200));
    let port = Port::free();
    let dead = format!("127.0.0.1:{}", port.number());
    let client = Client::connect_lazy([dead], options).unwrap();
    let error = client.put(Put::new("a", "1")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { cause: Some(_), .. }), "{error:?}");
    assert_eq!(error.fate(), Fate::NotExecuted);
}

#[tokio::test]
async fn a_read_whose_time_ends_tells_the_last_failure_it_saw() {
    // The first connection breaks with the request in it; whatever comes after is taken and never answered.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        first.write_all(NO_SETTINGS).await.unwrap();
        let mut taken = vec![0; 1 << 16];
        let mut requests = 0;
        while requests < PREFACE_LEN {
            requests += first.read(&mut taken).await.unwrap();
        }
        drop(first);
        let mut held = Vec::new();
        while let Ok((mut later, _)) = listener.accept().await {
            later.write_all(NO_SETTINGS).await.unwrap();
            held.push(later);
        }
    });
    let mut options = options();
    options.request_timeout = Some(Duration::from_secs(1));
    let client = Client::connect([&endpoint], options).await.unwrap();
    let error = client.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. } | Error::Unreachable { cause: Some(_), .. }), "{error:?}");
}

/// The id of the member that answers.
async fn asked(client: &Client) -> u64 {
    client.get("a").await.unwrap().header.unwrap().member_id
}

#[tokio::test]
async fn members_are_asked_in_turn_or_by_preference() {
    let members = Etcd::start_cluster(3, Setup::default()).await;
    let all = || members.iter().map(Etcd::endpoint);
    let in_turn = Client::connect(all(), options()).await.unwrap();
    let mut seen = BTreeSet::new();
    // All three have a connection soon.
    while seen.len() < 3 {
        seen.insert(asked(&in_turn).await);
    }
    let round = [asked(&in_turn).await, asked(&in_turn).await, asked(&in_turn).await];
    assert_eq!(BTreeSet::from(round), seen);
    let mut options = options();
    options.balance = Balance::Preferred;
    let constant = Client::connect(all(), options).await.unwrap();
    assert_eq!(asked(&constant).await, asked(&constant).await);
}

#[tokio::test]
async fn a_dead_member_is_asked_again_when_it_is_back() {
    let mut members = Etcd::start_cluster(3, Setup::default()).await;
    let client = Client::connect(members.iter().map(Etcd::endpoint), options()).await.unwrap();
    let id = members[0].client().await.status().await.unwrap().header.unwrap().member_id;
    while asked(&client).await != id {}
    members[0].kill().await;
    for _ in 0..10 {
        assert_ne!(asked(&client).await, id);
    }
    members[0].restart();
    while asked(&client).await != id {}
}
