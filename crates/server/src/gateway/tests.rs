//! The gateway over real fronts and a scripted member.
#![expect(clippy::wildcard_enum_match_arm, reason = "a script answers what its test asks for")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use etched_state_machine::{Outcome, PutDone, RangeOutput, Refusal};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::api::{Answer, ApiError, Request, WatchCall};
use crate::front::fake::{FakeApi, RAFT_TERM, Served, serve};

/// A range is answered with the key that was asked for; a lease is unknown.
fn script(request: &Request) -> Option<Result<Answer, ApiError>> {
    use etched_state_machine::Command;
    Some(match request {
        Request::Range(_) => Ok(Answer::Range(RangeOutput { count: 3, revision: 9, ..Default::default() })),
        Request::Propose(Command::Put(put)) if put.lease == 0 => {
            Ok(Answer::Applied(Outcome::Put(PutDone { revision: 10, previous: None })))
        }
        Request::Propose(_) => Err(ApiError::Refused(Refusal::LeaseNotFound)),
        Request::LeaseRenew { id } => Ok(Answer::LeaseRenewed { ttl: *id * 2 }),
        other => panic!("{other:?}"),
    })
}

fn post(served: &Served, path: &str, more: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(served.client).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const HEADER: &str =
    "\"header\":{\"cluster_id\":\"14841639068965178418\",\"member_id\":\"10276657743932975437\"";

#[test]
fn a_call_is_answered_as_json() {
    let served = serve(FakeApi::new(script), "");
    let (head, body) = post(&served, "/v3/kv/range", "", "{\"key\":\"YQ==\"}");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in ["Content-Type: application/json", "Grpc-Metadata-Content-Type: application/grpc"] {
        assert!(head.contains(line), "{head}");
    }
    assert_eq!(
        body,
        format!("{{{HEADER},\"revision\":\"9\",\"raft_term\":\"{RAFT_TERM}\"}},\"count\":\"3\"}}")
    );
    assert_eq!(post(&served, "/v3beta/kv/range", "", "{}").1, body);
    served.stop_now();
}

#[test]
fn an_error_has_the_names_of_both_generations() {
    let served = serve(FakeApi::new(script), "");
    let (head, body) = post(&served, "/v3/kv/put", "", "{\"key\":\"YQ==\",\"lease\":\"7\"}");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    let text = "etcdserver: requested lease not found";
    assert_eq!(body, format!("{{\"error\":\"{text}\",\"code\":5,\"message\":\"{text}\"}}"));
    let (head, body) = post(&served, "/v3/nothing", "", "");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(body, "{\"error\":\"Not Found\",\"code\":5,\"message\":\"Not Found\"}");
    let (head, body) = post(&served, "/v3/kv/range", "Grpc-Timeout: 1x\r\n", "{}");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    assert!(body.contains("\"message\":\"invalid grpc-timeout: 1x\""), "{body}");
    served.stop_now();
}

#[test]
fn a_stream_is_lines_and_ends_with_its_requests() {
    let served = serve(FakeApi::new(script), "");
    let (head, body) = post(&served, "/v3/lease/keepalive", "", "{\"ID\":5}\n{\"ID\":\"6\"} []");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let lines: Vec<_> = body.lines().filter(|line| line.starts_with('{')).collect();
    let [first, second] = lines[..] else { panic!("{body}") };
    assert!(
        first.starts_with("{\"result\":{\"header\":{") && first.ends_with(",\"ID\":\"5\",\"TTL\":\"10\"}}"),
        "{first}"
    );
    assert!(second.ends_with(",\"ID\":\"6\",\"TTL\":\"12\"}}"), "{second}");
    served.api.has_leader.store(false, std::sync::atomic::Ordering::Relaxed);
    let (head, body) = post(&served, "/v3/watch", "Grpc-Metadata-hasleader: true\r\n", "");
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(body.contains("{\"error\":{\"code\":14,\"message\":\"etcdserver: no leader\","), "{body}");
    served.stop_now();
}

#[test]
fn the_gateway_can_be_left_out() {
    let served = serve(FakeApi::new(script), "--enable-grpc-gateway=false");
    for path in ["/v3/kv/range", "/openapi.json"] {
        assert_eq!(post(&served, path, "", "{}").1, "404 page not found\n");
    }
    served.stop_now();
}

#[test]
fn a_body_that_does_not_end_is_limited() {
    let served = serve(FakeApi::new(script), "--max-request-bytes=1000");
    let body = format!("{{\"key\":\"{}\"}}", "A".repeat(2 << 20));
    let (head, _) = post(&served, "/v3/kv/range", "", &body);
    assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
    served.stop_now();
}

#[test]
fn a_websocket_carries_requests_and_lines() {
    let served = serve(FakeApi::new(script), "");
    let address = served.client;
    let mut request = tungstenite::client::IntoClientRequest::into_client_request(format!(
        "ws://{address}/v3/lease/keepalive"
    ))
    .unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "Bearer, token".parse().unwrap());
    let stream = TcpStream::connect(address).unwrap();
    let (mut socket, response) = tungstenite::client(request, stream).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "Bearer");
    for id in [5, 6] {
        socket.send(Message::text(format!("{{\"ID\":\"{id}\"}}"))).unwrap();
        let answer = socket.read().unwrap().into_text().unwrap();
        assert!(answer.ends_with(&format!(",\"ID\":\"{id}\",\"TTL\":\"{}\"}}}}", id * 2)), "{answer}");
    }
    socket.close(None).unwrap();

    let stream = TcpStream::connect(address).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/v3/kv/range"), stream).unwrap();
    socket.send(Message::text("{\"key\":\"YQ==\"}")).unwrap();
    assert!(socket.read().unwrap().into_text().unwrap().contains("\"count\":\"3\""));
    assert!(socket.read().unwrap().is_close());
    served.stop_now();
}

#[test]
fn a_watch_ends_with_its_websocket() {
    let served = serve(FakeApi::new(script), "");
    let address = served.client;
    let stream = TcpStream::connect(address).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/v3/watch"), stream).unwrap();
    socket.send(Message::text("{\"create_request\":{\"key\":\"YQ==\"}}")).unwrap();
    let wait_for = |wanted: fn(&WatchCall) -> bool| {
        while !served.api.calls.lock().unwrap().iter().any(|(_, call)| wanted(call)) {
            std::thread::yield_now();
        }
    };
    wait_for(|call| matches!(call, WatchCall::Create { .. }));
    drop(socket);
    wait_for(|call| matches!(call, WatchCall::Close { .. }));
    served.stop_now();
}

#[test]
fn a_browser_calls_by_grpc_web() {
    let served = serve(FakeApi::new(script), "");
    let (head, body) = post(
        &served,
        "/etcdserverpb.KV/Put",
        "Content-Type: application/grpc-web-text\r\nAccept: application/grpc-web-text\r\n",
        "AAAAAAMKAWE=",
    );
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("access-control-expose-headers: grpc-status, grpc-message"),
        "{head}"
    );
    assert!(head.to_ascii_lowercase().contains("content-type: application/grpc-web"), "{head}");
    assert!(!body.is_empty());
    served.stop_now();
}

#[test]
fn the_description_names_every_path_and_only_known_schemas() {
    let schema = super::Schema::new().unwrap();
    let text = super::openapi::description(&schema);
    let described: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (path, ..) in super::routes::ROUTES {
        assert!(described["paths"][path]["post"]["requestBody"].is_object(), "{path}");
    }
    let mut operations: Vec<_> = super::routes::ROUTES
        .iter()
        .map(|(path, ..)| described["paths"][path]["post"]["operationId"].to_string())
        .collect();
    operations.sort();
    let count = operations.len();
    operations.dedup();
    assert_eq!(operations.len(), count, "operations have names of their own");
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(described["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[test]
fn a_websocket_carries_large_messages() {
    // etcd issue 12402: messages of more than 64 KB.
    let served = serve(FakeApi::new(script), "");
    let stream = TcpStream::connect(served.client).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{}/v3/kv/put", served.client), stream).unwrap();
    let value = "YWJj".repeat(50_000);
    socket.send(Message::text(format!("{{\"key\":\"YQ==\",\"value\":\"{value}\"}}"))).unwrap();
    let answer = socket.read().unwrap().into_text().unwrap();
    assert!(answer.contains("\"revision\":\"10\""), "{answer}");
    let Some(Request::Propose(etched_state_machine::Command::Put(put))) =
        served.api.requests.lock().unwrap().pop()
    else {
        panic!("a put was sent")
    };
    assert_eq!(put.value.len(), 150_000);
    served.stop_now();
}

#[test]
fn no_path_stands_for_two_methods() {
    // etcd issue 16490: two of them did.
    let mut paths: Vec<_> = super::routes::ROUTES.iter().map(|(path, _, _)| path).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), super::routes::ROUTES.len());
}
