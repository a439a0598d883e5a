//! The fronts over a scripted member, by real connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use etched_proto::etcdserverpb::kv_client::KvClient;
use etched_proto::etcdserverpb::watch_client::WatchClient;
use etched_proto::etcdserverpb::{RangeRequest, WatchRequest};
use etched_state_machine::RangeOutput;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::fake::{FakeApi, RAFT_TERM, serve};
use crate::api::{Answer, ApiError, Request};

fn range() -> RangeRequest {
    RangeRequest { key: "a".into(), ..Default::default() }
}

/// An answer with a revision that tells which request it belongs to: the limit that was asked for.
fn echo(request: &Request) -> Option<Result<Answer, ApiError>> {
    let Request::Range(range) = request else { return None };
    Some(Ok(Answer::Range(RangeOutput { count: range.query.limit, revision: 1, ..RangeOutput::default() })))
}

#[tokio::test]
async fn many_calls_of_one_connection_each_get_their_own_answer() {
    let served = serve(FakeApi::new(echo), "--front-threads=2");
    let client = KvClient::new(served.channel().await);
    let mut calls = tokio::task::JoinSet::new();
    for limit in 1..=500 {
        let mut client = client.clone();
        calls.spawn(async move {
            let response = client.range(RangeRequest { limit, ..range() }).await.unwrap().into_inner();
            assert_eq!(response.count, limit);
            assert_eq!(response.header.unwrap().raft_term, RAFT_TERM);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    served.stop().await;
}

#[tokio::test]
async fn many_connections_are_dealt_to_all_fronts() {
    let served = serve(FakeApi::new(|_| None), "--front-threads=3");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let mut client = KvClient::new(served.channel().await);
        calls.spawn(async move { client.range(range()).await });
    }
    let mut used = std::collections::BTreeSet::new();
    let mut completed = 0;
    while completed < 30 {
        for call in std::mem::take(&mut *served.api.unanswered.lock().unwrap()) {
            used.insert(call.0);
            served.api.complete(call, Ok(Answer::Range(RangeOutput::default())));
            completed += 1;
        }
        tokio::task::yield_now().await;
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert_eq!(used.len(), 3);
    served.stop().await;
}

#[tokio::test]
async fn a_call_that_the_client_drops_is_counted_as_canceled() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut client = KvClient::new(served.channel().await);
    let call = tokio::spawn(async move { client.range(range()).await });
    let waiting = loop {
        if let Some(waiting) = served.api.unanswered.lock().unwrap().pop() {
            break waiting;
        }
        tokio::task::yield_now().await;
    };
    call.abort();
    let crate::metrics::rpc::Found::Method(id) = crate::metrics::rpc::find("/etcdserverpb.KV/Range") else {
        panic!()
    };
    while served.metrics.rpc.handled(id, Code::Cancelled) == 0 {
        tokio::task::yield_now().await;
    }
    // Its completion comes all the same, and meets nobody.
    served.api.complete(waiting, Ok(Answer::Done));
    served.stop().await;
}

#[tokio::test]
async fn stopping_ends_streams_and_lets_calls_under_way_finish() {
    let served = serve(FakeApi::new(|_| None), "");
    let channel = served.channel().await;
    let requests = tokio_stream::pending::<WatchRequest>();
    let opened = WatchClient::new(channel.clone()).watch(requests).await.unwrap();
    let mut stream = opened.into_inner();
    let call = tokio::spawn(async move { KvClient::new(channel).range(range()).await });
    let waiting = loop {
        if let Some(waiting) = served.api.unanswered.lock().unwrap().pop() {
            break waiting;
        }
        tokio::task::yield_now().await;
    };
    let api = std::sync::Arc::clone(&served.api);
    let stopping = std::thread::spawn(move || served.stop_now());
    let ended = stream.next().await.unwrap().unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: server stopped"));
    api.complete(waiting, Ok(Answer::Range(RangeOutput { revision: 9, ..RangeOutput::default() })));
    assert_eq!(call.await.unwrap().unwrap().into_inner().header.unwrap().revision, 9);
    stopping.join().unwrap();
}

#[tokio::test]
async fn a_stream_that_needs_a_leader_ends_when_there_is_none_for_long() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut client = WatchClient::new(served.channel().await);
    let mut request = tonic::Request::new(tokio_stream::pending::<WatchRequest>());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let mut needing = client.watch(request).await.unwrap().into_inner();
    let mut patient = client.watch(tokio_stream::pending::<WatchRequest>()).await.unwrap().into_inner();
    served.api.has_leader.store(false, Ordering::Relaxed);
    let ended = needing.next().await.unwrap().unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut request = tonic::Request::new(range());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refused = KvClient::new(served.channel().await).range(request).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: no leader");
    let _stopped = std::thread::spawn(move || served.stop_now());
    let ended = patient.next().await.unwrap().unwrap_err();
    assert_eq!(ended.message(), "etcdserver: server stopped", "it went on until now");
}

#[test]
fn silent_connections_do_not_keep_others_waiting() {
    let served = serve(FakeApi::new(echo), "");
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(served.client).unwrap()).collect();
    let mut asking = TcpStream::connect(served.client).unwrap();
    asking.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(silent);
    served.stop_now();
}

#[test]
fn a_unix_socket_serves_too_and_is_taken_over_from_a_dead_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("etched.sock");
    // A process that is gone leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let urls = format!(
        "--listen-client-urls=unix://{0},http://127.0.0.1:0 --advertise-client-urls=unix://{0}",
        path.display()
    );
    let served = serve(FakeApi::new(echo), &urls);
    let mut asking = std::os::unix::net::UnixStream::connect(&path).unwrap();
    asking.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    served.stop_now();
}

#[test]
fn a_port_that_is_taken_is_told_in_gos_words() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut listeners = super::Listeners::default();
    let options = super::fake::options(&format!("--listen-peer-urls=http://{address}"));
    let error = listeners.bind_peers(&options).unwrap_err();
    assert_eq!(error.to_string(), format!("listen tcp {address}: bind: address already in use"));
}
