//! The answers to requests of all kinds, against those of etcd 3.7.2.

use http::{Method, Request, StatusCode};
use http_body_util::Full;

use super::*;
use crate::peer::dial::{Dialer, Requester, Stall};

/// A node whose requests are sent one by one.
struct Asker {
    node: Node,
    runtime: tokio::runtime::Runtime,
    requester: Requester,
}

/// What a test looks at.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    content_type: String,
    cluster_id: String,
    body: String,
}

impl Asker {
    fn new(questions: Fixed) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut node = Node::start(1, CLUSTER, socket.local_addr().unwrap(), questions);
        node.listen_on(socket);
        node.transport
            .set_members(&[node.info(), PeerInfo { id: 2, urls: Vec::new() }], &BTreeSet::from([3]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dialer = Dialer { secure: None, within: PATIENCE, stall: Stall::default(), local: None };
        Self { node, runtime, requester: Requester::new(dialer) }
    }

    fn ask(&mut self, method: &Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let url = crate::flags::Url::parse(&self.node.url()).unwrap();
        let (head, body) =
            self.runtime.block_on(self.requester.ask(&url, request, PATIENCE)).expect("there is an answer");
        let header = |name: &str| {
            head.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        if head.status.is_client_error() && header("content-type").starts_with("text/plain") {
            assert_eq!(header("x-content-type-options"), "nosniff");
        }
        if head.status == StatusCode::METHOD_NOT_ALLOWED && !path.starts_with("/leases") {
            assert!(!header("allow").is_empty());
        }
        Told {
            status: head.status.as_u16(),
            content_type: header("content-type"),
            cluster_id: header("x-etcd-cluster-id"),
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    #[track_caller]
    fn check(&mut self, request: (&Method, &str, &[(&str, &str)], &[u8]), status: u16, body: &str) -> Told {
        let (method, path, headers, sent) = request;
        let told = self.ask(method, path, headers, sent);
        assert_eq!((told.status, told.body.as_str()), (status, body), "{method} {path} {sent:?}");
        told
    }
}

const GET: &Method = &Method::GET;
const POST: &Method = &Method::POST;
const NONE: &[(&str, &str)] = &[];
/// What a member of this cluster says about itself.
const MEMBER: &[(&str, &str)] =
    &[("x-etcd-cluster-id", "c1a5"), ("x-server-version", "3.7.2"), ("x-min-cluster-version", "3.0.0")];
const TO_1: &[(&str, &str)] = &[
    ("x-etcd-cluster-id", "c1a5"),
    ("x-server-version", "3.7.2"),
    ("x-min-cluster-version", "3.0.0"),
    ("x-raft-to", "1"),
];
const OTHER_CLUSTER: &[(&str, &str)] = &[("x-etcd-cluster-id", "12"), ("x-server-version", "3.7.2")];

#[test]
fn paths_and_methods_are_those_of_etcd() {
    let mut asker = Asker::new(Fixed::default());
    for path in ["/raft", "/raft/snapshot", "/members/promote/12", "/leases", "/leases/internal"] {
        asker.check((GET, path, NONE, b""), 405, "Method Not Allowed\n");
    }
    for path in [
        "/members",
        "/members/hashkv",
        "/downgrade/enabled",
        "/version",
        "/raft/stream/message/2",
        "/raft/stream/msgapp/2",
    ] {
        asker.check((POST, path, NONE, b""), 405, "Method Not Allowed\n");
    }
    for path in
        ["/", "/nope", "/raft/", "/raft/xx", "/members/", "/leases/x", "/health", "/metrics", "/v2/keys"]
    {
        asker.check((GET, path, NONE, b""), 404, "404 page not found\n");
    }
    let probing = asker.ask(GET, "/raft/probing", NONE, b"");
    assert_eq!((probing.status, probing.content_type.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(probing.body.starts_with("{\"OK\":true,\"Now\":\"20") && probing.body.ends_with("Z\"}\n"));
}

#[test]
fn a_stream_is_refused_for_the_reasons_of_etcd() {
    let mut asker = Asker::new(Fixed::default());
    let mut check = |path: &str, headers, status, text: &str| {
        let told = asker.check((GET, path, headers, b""), status, text);
        assert_eq!(told.cluster_id, "c1a5");
    };
    check("/raft/stream/message/2", NONE, 412, "incompatible version\n");
    check("/raft/stream/foo/2", NONE, 412, "incompatible version\n");
    check("/raft/stream/message/2", OTHER_CLUSTER, 412, "cluster ID mismatch\n");
    check("/raft/stream/foo/2", MEMBER, 404, "invalid path\n");
    check("/raft/stream/message/zz", MEMBER, 404, "invalid from\n");
    check("/raft/stream/message/", MEMBER, 404, "invalid from\n");
    check("/raft/stream/message/3", MEMBER, 410, "removed member\n");
    check("/raft/stream/message/1234", MEMBER, 404, "error sender not found\n");
    check("/raft/stream/message/2", MEMBER, 412, "to field mismatch\n");
}

#[test]
fn a_post_is_refused_for_the_reasons_of_etcd() {
    let mut asker = Asker::new(Fixed::default());
    for path in ["/raft", "/raft/snapshot"] {
        asker.check((POST, path, NONE, b""), 412, "incompatible version\n");
        asker.check((POST, path, OTHER_CLUSTER, b""), 412, "cluster ID mismatch\n");
    }
    asker.check((POST, "/raft", MEMBER, b"garbage\xff"), 400, "error unmarshalling raft message\n");
    asker.check((POST, "/raft", MEMBER, b"\x08\x08\x10\x05\x18\x02"), 500, "error processing raft message\n");
    let removed = asker.check(
        (POST, "/raft", MEMBER, b"\x08\x08\x10\x01\x18\x03"),
        403,
        "{\"message\":\"cannot process message from removed member\"}",
    );
    assert_eq!(removed.content_type, "application/json");
    let taken = asker.check((POST, "/raft", MEMBER, b"\x08\x08\x10\x01\x18\x02"), 204, "");
    assert_eq!(taken.cluster_id, "c1a5");
    assert_eq!(asker.node.recorder.take_messages(1).len(), 1);
}

#[test]
fn a_snapshot_is_refused_for_the_reasons_of_etcd() {
    let mut asker = Asker::new(Fixed::default());
    let mut check = |body: &[u8], status, text: &str| {
        asker.check((POST, "/raft/snapshot", MEMBER, body), status, text);
    };
    let frame = |message: &[u8]| [&(message.len() as u64).to_be_bytes(), message].concat();
    check(b"", 400, "failed to decode raft message (EOF)\n");
    check(b"\x00\x00\x00\x00\x00\x00\x00\x05abc", 400, "failed to decode raft message (unexpected EOF)\n");
    check(&[0xff; 8], 400, "failed to decode raft message (rafthttp: error limit exceeded)\n");
    check(&frame(b""), 400, "wrong raft message type\n");
    check(&frame(b"\x08\x08"), 400, "wrong raft message type\n");
    check(&frame(b"\x08\x07\x10\x05\x18\x02"), 500, "cannot process message to mismatch member\n");
    check(&frame(b"\x08\x07\x10\x01\x18\x03"), 403, "cannot process message from removed member\n");
    assert_eq!(files_in(asker.node.dir.path()), [""; 0]);
}

#[test]
fn members_and_versions_are_told_as_etcd_does() {
    let mut asker = Asker::new(Fixed::default());
    let listed = concat!(
        r#"[{"id":7,"peerURLs":["http://127.0.0.1:7"],"name":"m0","clientURLs":["http://127.0.0.1:2379"]},"#,
        r#"{"id":9,"peerURLs":["http://127.0.0.1:9"],"isLearner":true}]"#,
        "\n",
    );
    let told = asker.check((GET, "/members", NONE, b""), 200, listed);
    assert_eq!((told.content_type.as_str(), told.cluster_id.as_str()), ("application/json", "c1a5"));
    let versions = r#"{"etcdserver":"3.7.2","etcdcluster":"not_decided","storage":"3.7.0"}"#;
    assert_eq!(asker.check((GET, "/version", NONE, b""), 200, versions).content_type, "application/json");
    let told = asker.check((GET, "/downgrade/enabled", NONE, b""), 200, "false");
    assert_eq!((told.content_type.as_str(), told.cluster_id.as_str()), ("text/plain", "c1a5"));
    let token: &[(&str, &str)] = &[("authorization", "token")];
    asker.check((POST, "/members/promote/9", token, b""), 200, listed);
    asker.check((POST, "/members/promote/abc", NONE, b""), 404, "member abc not found in cluster\n");
    asker.check((POST, "/members/promote/+9", NONE, b""), 404, "member +9 not found in cluster\n");
}

#[test]
fn a_promotion_that_fails_has_the_status_of_etcd() {
    let failing = |text: &str| {
        Asker::new(Fixed { promoted: Err(ApiError::Storage(text.to_owned())), ..Fixed::default() })
    };
    let ready = "etcdserver: can only promote a learner member which is in sync with leader";
    for (error, status, body) in [
        ("etcdserver: member not found", 404, "membership: ID not found\n"),
        (
            "etcdserver: can only promote a learner member",
            412,
            "membership: can only promote a learner member\n",
        ),
        (ready, 412, "etcdserver: can only promote a learner member which is in sync with leader\n"),
        ("etcdserver: unhealthy cluster", 500, "{\"message\":\"Internal Server Error\"}"),
    ] {
        failing(error).check((POST, "/members/promote/9", NONE, b""), status, body);
    }
}

#[test]
fn leases_are_told_as_etcd_does() {
    let mut asker = Asker::new(Fixed::default());
    let told = asker.check((POST, "/leases", NONE, b"\x08\x11"), 200, "\x10\x11\x18\x3c");
    assert_eq!(told.content_type, "application/protobuf");
    asker.check((POST, "/leases", NONE, b"\x08\x05"), 404, "lease not found\n");
    asker.check((POST, "/leases", NONE, b"\xff"), 400, "error unmarshalling request\n");
    asker.check((POST, "/leases", NONE, &[b'x'; 70_000]), 413, "request body too large\n");
    let path = "/leases/internal";
    asker.check((POST, path, NONE, b"\x0a\x02\x08\x11"), 200, "\x0a\x08\x0a\x00\x10\x11\x18\x3b\x20\x3c");
    let with_keys = "\x0a\x0b\x0a\x00\x10\x11\x18\x3b\x20\x3c\x2a\x01k";
    asker.check((POST, path, NONE, b"\x0a\x04\x08\x11\x10\x01"), 200, with_keys);
    asker.check((POST, path, NONE, b"\x0a\x02\x08\x05"), 404, "lease not found\n");
    // etcd closes the connection without an answer.
    asker.check((POST, path, NONE, b""), 400, "error unmarshalling request\n");

    let mut asker = Asker::new(Fixed { lease: Err(ApiError::NotPrimary), ..Fixed::default() });
    asker.check((POST, "/leases", NONE, b"\x08\x11"), 400, "not a primary lessor\n");
    asker.check((POST, path, NONE, b"\x0a\x02\x08\x11"), 500, "not a primary lessor\n");
    let mut asker = Asker::new(Fixed { lease: Err(ApiError::Timeout), ..Fixed::default() });
    let text = "waiting for node to catch up its applied index has timed out\n";
    asker.check((POST, "/leases", NONE, b"\x08\x11"), 408, text);
    asker.check((POST, path, NONE, b"\x0a\x02\x08\x11"), 408, text);
}

#[test]
fn hashes_are_told_as_etcd_does() {
    let mut asker = Asker::new(Fixed::default());
    let path = "/members/hashkv";
    let answer = r#"{"header":{"revision":5},"hash":3682487297,"compact_revision":-1,"hash_revision":5}"#;
    let told = asker.check((GET, path, NONE, br#"{"revision":5}"#), 200, answer);
    assert_eq!((told.content_type.as_str(), told.cluster_id.as_str()), ("application/json", "c1a5"));
    asker.check((GET, path, NONE, b"{}"), 200, answer);
    asker.check((GET, path, TO_1, b"{}"), 200, answer);
    asker.check((GET, path, OTHER_CLUSTER, b"{}"), 412, "cluster ID mismatch\n");
    for bad in [&b""[..], b"garbage", b"[]", b"5", br#"{"revision":"x"}"#] {
        asker.check((GET, path, NONE, bad), 400, "error unmarshalling request\n");
    }
    let future = "mvcc: required revision is a future revision\n";
    asker.check((GET, path, NONE, br#"{"revision":6}"#), 400, future);
}

/// What the client makes of the answers.
#[test]
fn the_client_understands_the_answers() {
    let asker = Asker::new(Fixed::default());
    let identity = PeerIdentity { member_id: 2, cluster_id: CLUSTER, urls: Vec::new() };
    let client = PeerClient::new(&identity, None);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = ["nonsense".to_owned(), format!("http://{nobody}"), asker.node.url()];
    asker.runtime.block_on(async {
        assert_eq!(client.members(&urls).await, Ok((CLUSTER, members())));
        let versions = client.versions(&urls).await.unwrap();
        assert_eq!((versions.server.as_str(), versions.cluster.as_str()), ("3.7.2", ""));
        assert_eq!(client.downgrade_enabled(&urls).await, Ok(false));
        assert_eq!(client.lease_renew(&urls, 17).await, Ok(60));
        assert_eq!(client.lease_renew(&urls, 5).await, Err(PeerError::LeaseNotFound));
        let lease = LeaseTimeToLive { remaining: 59, granted: 60, keys: vec![Bytes::from("k")] };
        assert_eq!(client.lease_time_to_live(&urls, 17, true).await, Ok(lease));
        assert_eq!(client.lease_time_to_live(&urls, 5, true).await, Err(PeerError::LeaseNotFound));
        assert_eq!(client.promote(&urls, 9, Some("token")).await, Ok(members()));
        let hash = client.hash_kv(&urls, 5).await.unwrap();
        assert_eq!((hash.revision, hash.hash.hash, hash.hash.compact_revision), (5, 3_682_487_297, -1));
        assert_eq!(client.hash_kv(&urls, 6).await, Err(PeerError::FutureRevision));
        let other = PeerIdentity { cluster_id: 1, ..identity.clone() };
        assert_eq!(PeerClient::new(&other, None).hash_kv(&urls, 5).await, Err(PeerError::ClusterMismatch));
        assert!(matches!(client.versions(&urls[..2]).await, Err(PeerError::Unreachable(_))));
        assert!(matches!(client.versions(&[]).await, Err(PeerError::Unreachable(_))));
    });
}

#[test]
fn the_client_understands_failures() {
    for (text, expected) in [
        ("etcdserver: member not found", PeerError::MemberNotFound),
        ("etcdserver: can only promote a learner member", PeerError::NotLearner),
        (
            "etcdserver: can only promote a learner member which is in sync with leader",
            PeerError::LearnerNotReady,
        ),
    ] {
        let failing = Fixed { promoted: Err(ApiError::Storage(text.to_owned())), ..Fixed::default() };
        let asker = Asker::new(failing);
        let client = PeerClient::of_stranger(None);
        let promoted = asker.runtime.block_on(client.promote(&[asker.node.url()], 9, None));
        assert_eq!(promoted, Err(expected));
    }
}

#[test]
fn https_urls_are_spoken_with_by_tls_alone() {
    let asker = Asker::new(Fixed::default());
    let identity = PeerIdentity { member_id: 2, cluster_id: CLUSTER, urls: Vec::new() };
    let urls = [asker.node.url().replace("http://", "https://")];
    let without = PeerClient::new(&identity, None);
    assert!(matches!(asker.runtime.block_on(without.versions(&urls)), Err(PeerError::Unreachable(_))));
    // What stands for TLS here only notes the host.
    let host = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&host);
    let secure: Secure = Arc::new(move |host, stream| {
        *noted.lock().unwrap() = host;
        ready(Ok(Box::new(stream) as Box<dyn PeerIo>))
    });
    let with = PeerClient::new(&identity, Some(secure));
    assert!(asker.runtime.block_on(with.versions(&urls)).is_ok());
    assert_eq!(*host.lock().unwrap(), "127.0.0.1");
}

#[test]
fn the_client_follows_no_redirect() {
    // etcd issue 16986: it would carry a token to wherever an answer points.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://{}/members/promote/9", elsewhere.local_addr().unwrap());
    let redirecting = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", redirecting.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = redirecting.accept().unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        let answer = "HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\nconnection: close\r\n";
        stream.write_all(format!("{answer}location: {location}\r\n\r\n").as_bytes()).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = PeerClient::of_stranger(None);
    assert!(runtime.block_on(client.promote(&[url], 9, None)).is_err());
    answering.join().unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let error = elsewhere.accept().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "nobody has dialled");
}
