//! Many clients at once, and clients that misbehave: the others are served.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use etched_client::{Put, WatchNotice};

use crate::process::Settings;
use crate::session::connect;

/// What a client in a crowd may wait for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn four_thousand_connections_leave_the_others_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    etched::metrics::raise_open_file_limit();
    let address = server.endpoint.trim_start_matches("http://").to_owned();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut connections = Vec::new();
    for _ in 0..4_000 {
        let mut connection = TcpStream::connect(&address).unwrap();
        connection.write_all(preface).unwrap();
        connections.push(connection);
    }
    let started = Instant::now();
    let client = connect(&server).await;
    for number in 0..100 {
        client.put(Put::new(format!("key-{number}"), "value")).await.unwrap();
    }
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(connections.len(), 4_000);
}

#[tokio::test]
async fn a_watcher_that_never_reads_costs_bounded_memory_and_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Settings::new(dir.path()).start();
    let lazy = connect(&server).await;
    let mut lazy_watches = Vec::new();
    for _ in 0..50 {
        lazy_watches.push(lazy.watch("key").await.unwrap());
    }
    let client = connect(&server).await;
    let mut watch = client.watch("key").await.unwrap();
    let before = resident_bytes(server.process_id());
    let value = vec![b'x'; 100_000];
    let started = Instant::now();
    for _ in 0..300 {
        client.put(Put::new("key", value.clone())).await.unwrap();
    }
    let mut seen = 0;
    while seen < 300 {
        if let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() {
            seen += events.len();
        }
    }
    assert!(started.elapsed() < PATIENCE);
    let grown = resident_bytes(server.process_id()).saturating_sub(before);
    // What is put is 30 MB, and 50 watchers that never read would be owed 1.5 GB of it.
    assert!(grown < 500 << 20, "grown by {grown} bytes");
    assert_eq!(lazy_watches.len(), 50);
}

fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}
