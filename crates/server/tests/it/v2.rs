//! The HTTP v2 API over sockets: what is kept, what members share, and what happens when clients or members go.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Server, Settings};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

fn send(endpoint: &str, method: &str, target: &str, form: &str) -> TcpStream {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {target} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn receive(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn ask(server: &Server, method: &str, target: &str, form: &str) -> Answer {
    receive(send(&server.endpoint, method, target, form))
}

/// Asks until the answer is as expected.
fn ask_until(server: &Server, target: &str, expected: impl Fn(&Answer) -> bool) -> Answer {
    let start = Instant::now();
    loop {
        let answer = ask(server, "GET", target, "");
        if expected(&answer) {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{target}: {} {}", answer.status, answer.body);
        std::thread::yield_now();
    }
}

#[test]
fn the_tree_and_its_history_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(&dir.path().join("data"));
    let server = settings.start();
    let answer = ask(&server, "PUT", "/v2/keys/a/b", "value=one");
    assert_eq!((answer.status, answer.header("X-Etcd-Index")), (201, "4"), "{}", answer.body);
    assert_eq!(
        answer.body,
        "{\"action\":\"set\",\"node\":{\"key\":\"/a/b\",\"value\":\"one\",\"modifiedIndex\":4,\"createdIndex\":4}}\n"
    );
    assert_eq!(ask(&server, "PUT", "/v2/keys/a/b", "value=two&prevValue=one").status, 200);
    assert_eq!(ask(&server, "PUT", "/v2/keys/a/b", "value=x&prevValue=one").status, 412);
    assert_eq!(ask(&server, "PUT", "/v2/keys/short", "value=x&ttl=2").status, 201);
    server.kill();

    let server = settings.start();
    let answer = ask(&server, "GET", "/v2/keys/a/b?quorum=true", "");
    assert!(
        answer.body.contains("\"value\":\"two\",\"modifiedIndex\":5,\"createdIndex\":4"),
        "{}",
        answer.body
    );
    let answer = ask(&server, "GET", "/v2/keys/a?wait=true&recursive=true&waitIndex=5", "");
    assert!(answer.body.contains("\"action\":\"compareAndSwap\""), "{}", answer.body);
    let answer = ask(&server, "GET", "/v2/keys/short?wait=true&waitIndex=7", "");
    assert!(answer.body.starts_with("{\"action\":\"expire\""), "{}", answer.body);
    let stats = ask(&server, "GET", "/v2/stats/store", "");
    assert!(stats.body.contains("\"compareAndSwapSuccess\":1,\"compareAndSwapFail\":1"), "{}", stats.body);
    server.terminate();
}

#[test]
fn a_wait_ends_with_its_client_and_a_stream_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(&dir.path().join("data")).start();
    ask(&server, "PUT", "/v2/keys/a", "value=x");
    let watchers = |expected: u32| {
        let text = format!("\"watchers\":{expected}}}");
        ask_until(&server, "/v2/stats/store", |answer| answer.body.ends_with(&text));
    };
    let gone = send(&server.endpoint, "GET", "/v2/keys/a?wait=true", "");
    let waiting = send(&server.endpoint, "GET", "/v2/keys/a?wait=true", "");
    let stream = send(&server.endpoint, "GET", "/v2/keys/?wait=true&stream=true&recursive=true", "");
    watchers(3);
    drop(gone);
    watchers(2);
    for number in 0..3 {
        ask(&server, "PUT", "/v2/keys/a", &format!("value={number}"));
    }
    let answer = receive(waiting);
    assert!(answer.body.contains("\"value\":\"0\"") && answer.body.ends_with("}\n"), "{}", answer.body);
    assert_eq!(answer.header("X-Etcd-Index"), "4");
    let stopped = Instant::now();
    server.terminate();
    assert!(stopped.elapsed() < PATIENCE);
    let events = receive(stream).body;
    let values: Vec<bool> = (0..3)
        .map(|number| events.contains(&format!("\"node\":{{\"key\":\"/a\",\"value\":\"{number}\"")))
        .collect();
    assert_eq!((values, events.lines().count()), (vec![true; 3], 3), "{events}");
}

#[test]
fn a_member_that_does_not_serve_v2_says_that_there_is_no_such_page() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(&dir.path().join("data")).with("--enable-v2=false").start();
    for target in ["/v2/keys", "/v2/members", "/v2/stats/self"] {
        let answer = ask(&server, "GET", target, "");
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{target}");
    }
    server.terminate();
}

#[test]
fn members_share_the_tree_and_one_that_lags_gets_it_with_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Vec<Settings> = Settings::cluster(dir.path(), 3)
        .into_iter()
        .map(|one| one.with("--snapshot-count=40").with("--snapshot-catchup-entries=5"))
        .collect();
    let mut servers = Settings::start_all(&settings);
    assert_eq!(ask(&servers[0], "PUT", "/v2/keys/first", "value=x").status, 201);
    for server in &servers {
        let answer = ask(server, "GET", "/v2/keys/first?quorum=true", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(ask(server, "PUT", "/v2/keys/any", "value=x").header("X-Etcd-Cluster-Id").len(), 16);
    }
    servers.remove(2).kill();
    for number in 0..200 {
        let answer = ask(&servers[number % 2], "POST", "/v2/keys/queue", &format!("value={number}"));
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let lagging = settings[2].start();
    let expected = ask(&servers[0], "GET", "/v2/keys/?recursive=true&quorum=true", "");
    ask_until(&lagging, "/v2/keys/?recursive=true", |answer| answer.body == expected.body);
    let events = "/v2/keys/queue?recursive=true&wait=true&waitIndex=100";
    assert_eq!(ask(&lagging, "GET", events, "").body, ask(&servers[0], "GET", events, "").body);
    assert_eq!(ask(&lagging, "PUT", "/v2/keys/last", "value=x&ttl=1").status, 201);
    ask_until(&servers[1], "/v2/keys/last", |answer| answer.status == 404);
}

/// A member of etcd's own, ended when it is dropped.
struct Etcd(Child);

impl Etcd {
    fn joining(dir: PathBuf, cluster: &str, peer: &str, client: &str) -> Self {
        let path = etcd_bin_vendored_linux_amd64::etcd_bin_path().unwrap();
        let child = Command::new(path)
            .args(["--name=etcd", "--initial-cluster-state=existing", "--log-level=fatal"])
            .arg(format!("--data-dir={}", dir.display()))
            .arg(format!("--initial-cluster={cluster},etcd={peer}"))
            .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_member_of_etcd_is_not_harmed_by_the_tree_and_stops_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(&dir.path().join("ours"));
    let server = settings.start();
    // These entries are in the log that the new member reads from its beginning.
    for number in 0..5 {
        assert_eq!(ask(&server, "PUT", "/v2/keys/a", &format!("value={number}&ttl=1")).status / 100, 2);
    }
    ask_until(&server, "/v2/keys/a", |answer| answer.status == 404);
    assert_eq!(ask(&server, "PUT", "/v2/keys/kept", "value=x").status, 201);

    let (peer, client) = (free_url(), free_url());
    let body = format!("{{\"peerURLs\":[\"{peer}\"]}}");
    let address = server.endpoint.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!(
        "POST /v2/members HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let added = receive(stream);
    assert_eq!(added.status, 201, "{}", added.body);
    let cluster = format!("default={}", settings.peer_url());
    let mut etcd = Etcd::joining(dir.path().join("etcd"), &cluster, &peer, &client);

    // It has applied everything when it answers a linearizable read.
    let start = Instant::now();
    let health = loop {
        let answered = TcpStream::connect(client.trim_start_matches("http://"))
            .is_ok()
            .then(|| receive(send(&client, "GET", "/health", "")));
        match answered {
            Some(answer) if answer.status == 200 => break answer,
            Some(_) | None => assert!(start.elapsed() < PATIENCE, "etcd does not serve"),
        }
        std::thread::yield_now();
    };
    assert!(health.body.contains("\"health\":\"true\""), "{}", health.body);
    assert!(etcd.0.try_wait().unwrap().is_none(), "etcd has ended");

    let refused = ask(&server, "PUT", "/v2/keys/a", "value=x");
    assert_eq!(refused.status, 500, "{}", refused.body);
    assert!(refused.body.contains("not all members of the cluster serve the v2 API"), "{}", refused.body);
    assert_eq!(ask(&server, "GET", "/v2/keys/kept", "").status, 200);
    assert!(etcd.0.try_wait().unwrap().is_none(), "etcd has ended");
}
