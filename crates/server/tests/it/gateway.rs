//! The JSON gateway, locks and elections of a real member, as scripts with `curl` use them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::process::Settings;

/// Sends a request; gives the reader of the answer's body, and the status.
fn open(endpoint: &str, path: &str, body: &str) -> (u16, BufReader<TcpStream>) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    (status, reader)
}

fn post(endpoint: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, mut reader) = open(endpoint, path, body);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

/// The next line of a stream, out of its chunk.
fn line(reader: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the stream is over");
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

fn grant(endpoint: &str, id: i64) {
    let (status, _) = post(endpoint, "/v3/lease/grant", &format!("{{\"ID\":\"{id}\",\"TTL\":\"600\"}}"));
    assert_eq!(status, 200);
}

#[test]
fn keys_are_put_ranged_watched_and_deleted_by_json() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let endpoint = server.endpoint.as_str();
    let (_, mut watch) =
        open(endpoint, "/v3/watch", "{\"create_request\":{\"key\":\"Zm9v\",\"start_revision\":\"1\"}}");
    assert_eq!(line(&mut watch)["result"]["created"], true);
    let (status, put) = post(endpoint, "/v3/kv/put", "{\"key\":\"Zm9v\",\"value\":\"YmFy\"}");
    assert_eq!((status, &put["header"]["revision"]), (200, &Value::from("2")));
    assert_eq!(line(&mut watch)["result"]["events"][0]["kv"]["value"], "YmFy");
    let (_, range) = post(endpoint, "/v3/kv/range", "{\"key\":\"Zm9v\"}");
    assert_eq!(range["kvs"][0]["mod_revision"], "2");
    assert_eq!(range["count"], "1");
    let txn = "{\"compare\":[{\"key\":\"Zm9v\",\"target\":\"VALUE\",\"value\":\"YmFy\"}],\
               \"success\":[{\"request_delete_range\":{\"key\":\"Zm9v\"}}]}";
    let (_, txn) = post(endpoint, "/v3/kv/txn", txn);
    assert_eq!(txn["responses"][0]["response_delete_range"]["deleted"], "1");
    assert_eq!(line(&mut watch)["result"]["events"][0]["type"], "DELETE");
    let (status, error) = post(endpoint, "/v3/kv/compaction", "{\"revision\":\"99\"}");
    assert_eq!((status, &error["code"]), (400, &Value::from(11)));
    let (_, status) = post(endpoint, "/v3/maintenance/status", "");
    assert_eq!(status["version"], "3.7.2");
    let (_, mut snapshot) = open(endpoint, "/v3/maintenance/snapshot", "{}");
    assert!(line(&mut snapshot)["result"]["blob"].is_string());
}

#[test]
fn a_lock_goes_to_who_waits_when_its_owner_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let endpoint = server.endpoint.as_str();
    (1..=3).for_each(|id| grant(endpoint, id));
    let ask = |lease: i64| format!("{{\"name\":\"bA==\",\"lease\":\"{lease}\"}}");
    let (status, first) = post(endpoint, "/v3/lock/lock", &ask(1));
    assert_eq!((status, &first["key"]), (200, &Value::from("bC8x")), "the key is l/1");
    assert_eq!(post(endpoint, "/v3/lock/lock", &ask(1)).1["key"], "bC8x", "who has it has it");

    // One that goes away while it waits leaves nothing behind.
    let queue = "{\"key\":\"bC8=\",\"range_end\":\"bDA=\"}";
    let wait_for = |count: &str| {
        while post(endpoint, "/v3/kv/range", queue).1["count"] != count {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let (address, body) = (endpoint.strip_prefix("http://").unwrap(), ask(2));
        let mut impatient = TcpStream::connect(address).unwrap();
        write!(
            impatient,
            "POST /v3/lock/lock HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        wait_for("2");
        drop(impatient);
        wait_for("1");
        let waiting = scope.spawn(|| post(endpoint, "/v3/lock/lock", &ask(3)));
        wait_for("2");
        assert_eq!(post(endpoint, "/v3/lock/unlock", "{\"key\":\"bC8x\"}").0, 200);
        let (status, second) = waiting.join().unwrap();
        assert_eq!((status, &second["key"]), (200, &Value::from("bC8z")));
    });
    // A lease that runs out takes the lock along.
    assert_eq!(post(endpoint, "/v3/lease/revoke", "{\"ID\":\"3\"}").0, 200);
    wait_for_none(endpoint, queue);
}

fn wait_for_none(endpoint: &str, range: &str) {
    while post(endpoint, "/v3/kv/range", range).1["count"] != Value::Null {
        std::thread::yield_now();
    }
}

#[test]
fn an_election_is_observed_from_leader_to_leader() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let endpoint = server.endpoint.as_str();
    (1..=2).for_each(|id| grant(endpoint, id));
    let (status, none) = post(endpoint, "/v3/election/leader", "{\"name\":\"ZQ==\"}");
    assert_eq!((status, &none["message"]), (500, &Value::from("election: no leader")));
    let campaign = |lease: i64, value: &str| {
        format!("{{\"name\":\"ZQ==\",\"lease\":\"{lease}\",\"value\":\"{value}\"}}")
    };
    let (_, first) = post(endpoint, "/v3/election/campaign", &campaign(1, "YQ=="));
    let leader = first["leader"].to_string();
    let (_, mut observed) = open(endpoint, "/v3/election/observe", "{\"name\":\"ZQ==\"}");
    assert_eq!(line(&mut observed)["result"]["kv"]["value"], "YQ==");
    let proclaim = format!("{{\"leader\":{leader},\"value\":\"Yg==\"}}");
    assert_eq!(post(endpoint, "/v3/election/proclaim", &proclaim).0, 200);
    assert_eq!(line(&mut observed)["result"]["kv"]["value"], "Yg==");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| post(endpoint, "/v3/election/campaign", &campaign(2, "Yw==")));
        while post(endpoint, "/v3/kv/range", "{\"key\":\"ZS8=\",\"range_end\":\"ZTA=\"}").1["count"] != "2" {
            std::thread::yield_now();
        }
        assert_eq!(post(endpoint, "/v3/election/resign", &format!("{{\"leader\":{leader}}}")).0, 200);
        assert_eq!(waiting.join().unwrap().1["leader"]["lease"], "2");
    });
    assert_eq!(line(&mut observed)["result"]["kv"]["value"], "Yw==");
    let (status, late) = post(endpoint, "/v3/election/proclaim", &proclaim);
    assert_eq!((status, &late["message"]), (500, &Value::from("election: not leader")));
}

/// The status of an answer to a client that takes trailers, whether its head names one, and whether it ends with one.
fn trailers_of(endpoint: &str, path: &str, body: &str) -> (String, bool, bool) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close, TE");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer = answer.to_ascii_lowercase();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let trailer = "0\r\ngrpc-trailer-content-type: application/grpc\r\n\r\n";
    let names_it = head.contains("\r\ntrailer: grpc-trailer-content-type");
    (head.lines().next().unwrap().to_owned(), names_it, body.ends_with(trailer))
}

#[test]
fn a_refused_call_ends_with_a_trailer_for_whoever_takes_it_as_in_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(&dir.path().join("ours")).start();
    let reference = Settings::new(&dir.path().join("theirs")).of_etcd().start();
    for (path, body, has_trailer) in [
        ("/v3/kv/range", "{}", true),
        ("/v3/lease/revoke", "{\"ID\":\"9\"}", true),
        ("/v3/lock/lock", "{\"name\":\"bA==\",\"lease\":\"9\"}", true),
        ("/v3/kv/range", "{\"key\":\"YQ==\"}", false),
        ("/v3/kv/range", "no JSON", false),
        ("/v3/nothing", "{}", false),
    ] {
        let ours = trailers_of(&server.endpoint, path, body);
        assert_eq!(ours, trailers_of(&reference.endpoint, path, body), "{path} {body}");
        assert_eq!((ours.1, ours.2), (has_trailer, has_trailer), "{path} {body}");
    }
}
