//! Bodies and headers of all pages, as etcd 3.7.2 gives them.
#![expect(clippy::wildcard_enum_match_arm, reason = "a script answers what its test asks for")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;

use etched_state_machine::{AlarmKind, AlarmMember, RangeOutput};

use crate::api::{Answer, ApiError, MemberEntry, Request};
use crate::front::fake::{FakeApi, MEMBER_ID, Served, serve};

fn healthy(request: &Request) -> Option<Result<Answer, ApiError>> {
    match request {
        Request::Members { .. } => Some(Ok(Answer::Members(vec![MemberEntry {
            id: 9_265_619_892_315_062_708,
            name: "n1".into(),
            peer_urls: vec!["http://127.0.0.1:33800".into()],
            client_urls: vec!["http://127.0.0.1:33790".into()],
            is_learner: false,
        }]))),
        Request::Range(_) => Some(Ok(Answer::Range(RangeOutput::default()))),
        other => panic!("{other:?}"),
    }
}

/// A request by HTTP/1.1; status line, headers without the date, sorted, and body.
fn ask(address: SocketAddr, request: &str) -> (String, Vec<String>, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let (method, path) = request.split_once(' ').unwrap();
    let (path, more) = path.split_once(' ').unwrap_or((path, ""));
    let more = if more.is_empty() { String::new() } else { format!("{more}\r\n") };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut headers: Vec<_> = lines
        .filter(|line| !line.starts_with("Date:") && !line.starts_with("Connection:"))
        .filter(|line| !line.starts_with("Access-Control-"))
        .collect();
    headers.sort();
    (status, headers, body.to_owned())
}

fn text_error(length: usize) -> Vec<String> {
    vec![
        format!("Content-Length: {length}"),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "X-Content-Type-Options: nosniff".to_owned(),
    ]
}

fn body(served: &Served, path: &str) -> String {
    ask(served.client, &format!("GET {path}")).2
}

#[test]
fn pages_of_a_healthy_member_are_those_of_etcd() {
    let served = serve(FakeApi::new(healthy), "");
    let (status, headers, text) = ask(served.client, "GET /health");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(headers, ["Content-Length: 29", "Content-Type: text/plain; charset=utf-8"]);
    assert_eq!(text, r#"{"health":"true","reason":""}"#);
    let (_, headers, text) = ask(served.client, "GET /version");
    assert_eq!(headers, ["Content-Length: 62", "Content-Type: application/json"]);
    assert_eq!(text, r#"{"etcdserver":"3.7.2","etcdcluster":"3.7.0","storage":"3.7.0"}"#);
    assert_eq!(ask(served.client, "GET /livez"), ("HTTP/1.1 200 OK".into(), text_error(3), "ok\n".into()));
    for (path, text) in [
        ("/readyz", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        (
            "/readyz?verbose",
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
        ),
        (
            "/readyz?verbose&exclude=non_learner&exclude=zz&exclude=data_corruption",
            "[+]serializable_read ok\n[+]linearizable_read ok\nok\n",
        ),
        ("/livez?exclude=serializable_read&verbose", "ok\n"),
        ("/readyz/serializable_read?verbose", "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read", "ok\n"),
        ("/health?serializable=true&exclude=ZZ", r#"{"health":"true","reason":""}"#),
    ] {
        assert_eq!(body(&served, path), text, "{path}");
    }
    served.stop_now();
}

#[test]
fn wrong_paths_and_methods_are_answered_as_etcd_does() {
    let served = serve(FakeApi::new(healthy), "");
    let not_found = ("HTTP/1.1 404 Not Found".to_owned(), text_error(19), "404 page not found\n".to_owned());
    for path in ["/nothing", "/readyz/xx", "/health/", "/livezz"] {
        assert_eq!(ask(served.client, &format!("GET {path}")), not_found, "{path}");
    }
    assert_eq!(ask(served.metrics_address, "GET /version"), not_found);
    for path in ["/health", "/metrics"] {
        assert_eq!(ask(served.peer, &format!("GET {path}")), not_found, "{path}");
    }
    let mut headers = text_error(19);
    headers.insert(0, "Allow: GET".into());
    for path in ["/health", "/version", "/livez"] {
        let (status, got, text) = ask(served.client, &format!("POST {path}"));
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!((got, text.as_str()), (headers.clone(), "Method Not Allowed\n"), "{path}");
    }
    served.stop_now();
}

#[test]
fn other_members_are_told_version_and_members() {
    let served = serve(FakeApi::new(healthy), "");
    let (_, headers, text) = ask(served.peer, "GET /members");
    assert!(headers.contains(&"X-Etcd-Cluster-Id: cdf818194e3a8c32".to_owned()), "{headers:?}");
    assert_eq!(
        text,
        "[{\"id\":9265619892315062708,\"peerURLs\":[\"http://127.0.0.1:33800\"],\"name\":\"n1\",\
         \"clientURLs\":[\"http://127.0.0.1:33790\"]}]\n"
    );
    assert!(ask(served.peer, "GET /version").2.starts_with("{\"etcdserver\":\"3.7.2\""));
    served.stop_now();
}

#[test]
fn illness_is_told_with_its_reason() {
    let served = serve(FakeApi::new(healthy), "");
    let report = || served.api.report.lock().unwrap();
    report().alarms = vec![AlarmMember { kind: AlarmKind::NoSpace, member_id: MEMBER_ID }];
    let (status, headers, text) = ask(served.client, "GET /health");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(headers, text_error(text.len()));
    assert_eq!(text, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n");
    assert_eq!(body(&served, "/health?exclude=NOSPACE"), r#"{"health":"true","reason":""}"#);
    assert_eq!(body(&served, "/readyz"), "ok\n", "a full disk does not make a member unready");
    report().alarms = vec![AlarmMember { kind: AlarmKind::Corrupt, member_id: MEMBER_ID }];
    assert_eq!(
        body(&served, "/readyz"),
        "[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n\
         [+]linearizable_read ok\n[+]non_learner ok\n\n"
    );
    report().alarms.clear();
    served.api.has_leader.store(false, Ordering::Relaxed);
    assert_eq!(body(&served, "/health"), "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
    assert_eq!(body(&served, "/health?serializable=true"), r#"{"health":"true","reason":""}"#);
    served.stop_now();
}

#[test]
fn a_read_that_fails_fails_its_checks() {
    let served = serve(
        FakeApi::new(|request| match request {
            Request::Range(range) if range.serializable => Some(Ok(Answer::Range(RangeOutput::default()))),
            _ => Some(Err(ApiError::LeaderChanged)),
        }),
        "",
    );
    let text = body(&served, "/readyz");
    assert!(text.contains("[-]linearizable_read failed: etcdserver: leader changed\n"), "{text}");
    assert_eq!(body(&served, "/livez"), "ok\n");
    assert_eq!(
        body(&served, "/health"),
        "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: leader changed\"}\n"
    );
    let metrics = body(&served, "/metrics");
    for line in [
        "etcd_server_healthcheck{name=\"linearizable_read\",type=\"readyz\"} 0",
        "etcd_server_healthchecks_total{name=\"linearizable_read\",status=\"error\",type=\"readyz\"} 1",
        "etcd_server_healthchecks_total{name=\"serializable_read\",status=\"success\",type=\"livez\"} 1",
        "etcd_server_health_failures 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line}");
    }
    served.stop_now();
}

#[test]
fn pages_of_allowed_origins_may_call() {
    let headers_of = |served: &Served, request: &str| {
        let mut stream = TcpStream::connect(served.client).unwrap();
        write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let served = serve(FakeApi::new(healthy), "");
    let answer = headers_of(&served, "OPTIONS /health HTTP/1.1");
    for line in [
        "HTTP/1.1 200 OK\r\n",
        "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n",
        "Access-Control-Allow-Origin: *\r\n",
        "Access-Control-Allow-Headers: accept, content-type, authorization\r\n",
        "Content-Length: 0\r\n",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    served.stop_now();
    let served = serve(FakeApi::new(healthy), "--cors=http://good.example:80");
    let answer = headers_of(&served, "GET /version HTTP/1.1\r\nOrigin: http://good.example:80");
    assert!(answer.contains("Access-Control-Allow-Origin: http://good.example:80\r\n"), "{answer}");
    let answer = headers_of(&served, "GET /version HTTP/1.1\r\nOrigin: http://evil.example");
    assert!(!answer.contains("Access-Control"), "{answer}");
    served.stop_now();
}

#[test]
fn hosts_that_are_not_accepted_are_misdirected() {
    let served = serve(FakeApi::new(healthy), "--host-whitelist=x,localhost");
    assert_eq!(ask(served.client, "GET /livez").0, "HTTP/1.1 200 OK");
    let mut stream = TcpStream::connect(served.client).unwrap();
    write!(stream, "GET /livez HTTP/1.1\r\nHost: evil:80\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{answer}");
    assert!(answer.contains("host name \"evil\""), "{answer}");
    served.stop_now();
}

#[test]
fn http_and_grpc_can_be_kept_apart() {
    let arguments = "--listen-client-http-urls=http://127.0.0.2:0";
    let mut listeners = crate::front::Listeners::default();
    let options = crate::front::fake::options(arguments);
    listeners.bind_clients(&options).unwrap();
    assert_eq!(listeners.client_addresses().len(), 1);
    let served = serve(FakeApi::new(healthy), arguments);
    assert_eq!(ask(served.client, "GET /version").0, "HTTP/1.1 404 Not Found", "this listener is for gRPC");
    served.stop_now();
}

#[test]
fn metrics_are_compressed_for_those_who_take_it() {
    let served = serve(FakeApi::new(healthy), "");
    let mut stream = TcpStream::connect(served.client).unwrap();
    let request =
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: br, gzip;q=0.5\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer[end + 4..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("# TYPE etcd_server_has_leader gauge"), "{text}");
    let (_, headers, _) = ask(served.client, "GET /metrics Accept-Encoding: gzip;q=0");
    assert!(headers.iter().all(|header| !header.starts_with("Content-Encoding")), "{headers:?}");
}

#[test]
fn pages_for_debugging_are_there_where_they_are_switched_on() {
    let served = serve(FakeApi::new(healthy), "");
    assert_eq!(ask(served.client, "GET /debug/pprof/").0, "HTTP/1.1 404 Not Found");
    let (_, headers, text) = ask(served.client, "GET /debug/vars");
    assert!(headers.contains(&"Content-Type: application/json; charset=utf-8".to_owned()), "{headers:?}");
    let variables: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["cmdline", "file_descriptor_limit", "memstats", "raft.status"] {
        assert!(!variables[name].is_null(), "{name} in {text}");
    }
    assert_eq!(variables["raft.status"]["id"], format!("{MEMBER_ID:x}"));
    let served = serve(FakeApi::new(healthy), "--enable-pprof");
    assert!(body(&served, "/debug/pprof/goroutine").starts_with("threads: "));
    assert!(body(&served, "/debug/pprof/heap").contains("threads: "));
    let (status, _, text) = ask(served.client, "GET /debug/pprof/profile");
    assert_eq!(status, "HTTP/1.1 501 Not Implemented");
    assert!(text.contains("perf record"), "{text}");
    assert_eq!(ask(served.client, "GET /debug/pprof/nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(ask(served.metrics_address, "GET /debug/vars").0, "HTTP/1.1 404 Not Found");
}
