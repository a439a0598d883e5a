//! What an operator sees of a running member: its lines and its metrics.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use etched_client::{Client, Compare, Delete, Get, Op, Put, Txn};
use serde_json::Value;

use crate::process::{Server, Settings};
use crate::session::connect;

/// The lines of a log file, each of which must be an object with etcd's keys.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")) };
    let lines: Vec<Value> = text.lines().map(parse).collect();
    for line in &lines {
        for key in ["level", "ts", "caller", "msg"] {
            assert!(line[key].as_str().is_some_and(|value| !value.is_empty()), "{key} of {line}");
        }
    }
    lines
}

fn with_log(settings: Settings, path: &Path) -> Settings {
    settings.with(&format!("--log-outputs={},stderr", path.display()))
}

fn scrape(server: &Server) -> String {
    page(server, "/metrics")
}

/// A page with its status and headers.
fn page(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.endpoint.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Scrapes until a line is there: numbers of the member are shown at each of its ticks.
fn wait_for_metric(server: &Server, line: &str) -> String {
    let mut text = String::new();
    for _ in 0..10_000 {
        text = scrape(server);
        if text.lines().any(|got| got == line) {
            return text;
        }
    }
    panic!("{line} is not in\n{text}");
}

#[test]
fn a_start_that_may_shrink_the_store_says_why_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let plain = Settings::new(&dir.path().join("data"));
    let settings = with_log(plain, &log).with("--bootstrap-defrag-threshold-megabytes=1000");
    for starts in 1..=2 {
        settings.start().terminate();
        let skips: Vec<Value> =
            lines(&log).into_iter().filter(|line| line["msg"] == "Skipping defragmentation").collect();
        assert_eq!(skips.len(), starts);
        let begins = lines(&log).into_iter().find(|line| line["msg"] == "starting an etcd server").unwrap();
        assert_eq!(begins["v2-deprecation"], "write-only");
        for line in skips {
            assert_eq!(line["bootstrap-defrag-threshold-bytes"], 1_048_576_000);
            assert!(line["current-db-size-bytes"].as_u64() >= line["current-db-size-in-use-bytes"].as_u64());
        }
    }
}

#[tokio::test]
async fn a_scrape_counts_what_was_answered_before() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let client = connect(&server).await;
    for number in 1..=20 {
        client.put(Put::new("foo", "bar")).await.unwrap();
        let text = scrape(&server);
        assert!(text.contains(&format!("\netcd_mvcc_put_total {number}\n")), "put {number}: {text}");
    }
    server.kill();
}

#[tokio::test]
async fn whoever_was_refused_for_want_of_space_finds_the_member_unhealthy() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path()).with("--quota-backend-bytes=40000");
    let server = settings.start();
    let client = connect(&server).await;
    assert!(page(&server, "/health").starts_with("HTTP/1.1 200"));
    let value = "x".repeat(4096);
    while client.put(Put::new("foo", value.clone())).await.is_ok() {}
    let sick = page(&server, "/health");
    assert!(sick.starts_with("HTTP/1.1 503") && sick.contains("ALARM NOSPACE"), "{sick}");
    server.kill();
}

async fn put_and_get(client: &Client) {
    client.put(Put::new("foo", "bar")).await.unwrap();
    assert_eq!(client.get(Get::new("foo")).await.unwrap().kvs.len(), 1);
}

#[tokio::test]
async fn a_normal_life_of_one_member_and_of_three_has_no_error_lines() {
    for count in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let log = |number: usize| dir.path().join(format!("log{number}"));
        let all = if count == 1 {
            vec![Settings::new(&dir.path().join("data"))]
        } else {
            Settings::cluster(dir.path(), count)
        };
        let all: Vec<Settings> = all
            .into_iter()
            .enumerate()
            .map(|(number, one)| with_log(one.with("--log-level=debug"), &log(number)))
            .collect();
        let servers = Settings::start_all(&all);
        put_and_get(&connect(&servers[0]).await).await;
        for server in servers {
            server.terminate();
        }
        for number in 0..count {
            for line in lines(&log(number)) {
                let level = line["level"].as_str().unwrap();
                assert!(matches!(level, "debug" | "info" | "warn"), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn slow_and_failed_requests_are_told_with_etcds_fields_and_their_slow_phase() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let settings = with_log(Settings::new(&dir.path().join("data")), &path)
        .with("--warning-apply-duration=1ns")
        .with("--warning-unary-request-duration=1ns");
    let server = settings.start();
    let client = connect(&server).await;
    put_and_get(&client).await;
    client.put(Put::new("foo", "bar").lease(77)).await.unwrap_err();
    let text = wait_for_metric(&server, "etcd_mvcc_put_total 1");
    let slow = text.lines().find_map(|line| line.strip_prefix("etcd_server_slow_apply_total "));
    assert!(slow.unwrap().parse::<u64>().unwrap() >= 2, "{slow:?}");
    server.terminate();
    let lines = lines(&path);
    let find = |message: &str, part: &str| {
        let found = lines.iter().find(|line| line["msg"] == message && line.to_string().contains(part));
        found.unwrap_or_else(|| panic!("no line {message:?} with {part:?}"))
    };
    let put = find("apply request took too long", r#"put:<key:\"foo\" value_size:3 >"#);
    assert_eq!(put["expected-duration"], "1ns", "{put}");
    assert_eq!(put["prefix"], "", "{put}");
    assert_eq!(put["slow-phase"], "apply");
    let range = find("apply request took too long", "read-only range ");
    assert_eq!(range["request"], "key:\"foo\"", "{range}");
    assert!(range["response"].as_str().unwrap().starts_with("range_response_count:1 size:"), "{range}");
    let failed = find("failed to apply request", "lease:77");
    assert_eq!(failed["error"], "etcdserver: requested lease not found", "{failed}");
    let stats = find("request stats", "/etcdserverpb.KV/Put");
    for key in ["start time", "time spent", "remote", "request content", "slow-phase", "log", "apply"] {
        assert!(stats[key].is_string(), "{key} of {stats}");
    }
    assert_eq!(stats["request count"], 1, "{stats}");
    assert_eq!(stats["response count"], 0, "{stats}");
}

#[tokio::test]
async fn metrics_count_operations_as_etcd_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let client = connect(&server).await;
    for key in ["a", "b", "c"] {
        client.put(Put::new(key, "12345")).await.unwrap();
    }
    let txn = Txn::new()
        .when([Compare::value("a").equal_to("12345")])
        .then([Op::from(Put::new("d", "1")), Op::from(Get::new("a"))]);
    assert!(client.txn(txn).await.unwrap().succeeded);
    client.delete(Delete::new("b")).await.unwrap();
    let lease = client.lease_grant(60).await.unwrap().id;
    client.lease_revoke(lease).await.unwrap();
    let text = wait_for_metric(&server, "etcd_debugging_lease_revoked_total 1");
    for line in [
        "etcd_mvcc_put_total 4",
        "etcd_mvcc_delete_total 1",
        // The compare of the transaction, and the range in it.
        "etcd_mvcc_range_total 2",
        "etcd_mvcc_txn_total 1",
        "etcd_debugging_mvcc_total_put_size_in_bytes 20",
        "etcd_debugging_mvcc_keys_total 3",
        "etcd_debugging_lease_granted_total 1",
        "etcd_debugging_lease_ttl_total_count 1",
        "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\",version=\"v3\"} 3",
        "etcd_server_apply_duration_seconds_count{op=\"Txn\",success=\"true\",version=\"v3\"} 1",
        "etcd_server_apply_duration_seconds_count{op=\"ClusterMemberAttrSet\",success=\"true\",version=\"v3\"} 1",
        "etcd_server_request_duration_seconds_count{success=\"true\",type=\"Put\"} 3",
        "etcd_server_request_duration_seconds_count{success=\"true\",type=\"ClusterVersionSet\"} 1",
    ] {
        assert!(text.lines().any(|got| got == line), "{line} is not in\n{text}");
    }
    server.terminate();
}
