//! The real etcd as the other member.
//!
//! This side is a member without a store: consensus over memory behind the transport, driven by one thread.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use etched_replica::raft::{
    ConfChange, ConfState, Config, Effect, EntryKind, RaftCore, Restored, Role, SnapshotEffect, SnapshotMeta,
};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value as Json, json};

use super::*;
use crate::peer::dial::{Dialer, Requester, Stall};

const TICK: Duration = Duration::from_millis(100);

/// A running etcd.
struct Etcd {
    process: Child,
    peer_url: String,
    client_url: String,
    dir: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Etcd {
    /// Starts etcd as the member `real`, with the others of `others` in its cluster.
    fn start(others: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (peer_url, client_url) =
            (format!("http://{}", free_address()), format!("http://{}", free_address()));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(etcd_bin_vendored_linux_amd64::etcd_bin_path().unwrap())
            .args(["--name", "real", "--data-dir", dir.path().join("data").to_str().unwrap()])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--initial-cluster", &format!("real={peer_url}{others}")])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, peer_url, client_url, dir }
    }

    /// Its cluster and the members that it knows, as soon as it answers.
    fn members(&self) -> (u64, Vec<MemberEntry>) {
        let client = PeerClient::of_stranger(None);
        let begun = Instant::now();
        loop {
            match block_on(client.members(std::slice::from_ref(&self.peer_url))) {
                Ok(members) => return members,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "etcd does not answer: {error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Calls a method of its JSON gateway until it succeeds.
    fn call(&self, path: &str, body: &Json) -> Json {
        let begun = Instant::now();
        loop {
            let url = crate::flags::Url::parse(&self.client_url).unwrap();
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .body(Full::new(Bytes::from(body.to_string())))
                .unwrap();
            let mut requester = Requester::new(Dialer {
                secure: None,
                within: PATIENCE,
                stall: Stall::default(),
                local: None,
            });
            let answer = match block_on(requester.ask(&url, request, PATIENCE)) {
                Ok((head, body)) if head.status == StatusCode::OK => {
                    return serde_json::from_slice(&body).unwrap();
                }
                Ok((head, body)) => format!("{}: {}", head.status, String::from_utf8_lossy(&body)),
                Err(error) => error.to_string(),
            };
            assert!(begun.elapsed() < PATIENCE, "{path} does not succeed: {answer}");
            std::thread::yield_now();
        }
    }

    fn put(&self, key: &str, value: &str) {
        let body = json!({ "key": base64(key.as_bytes()), "value": base64(value.as_bytes()) });
        self.call("/v3/kv/put", &body);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[number >> (18 - 6 * digit) & 63]));
        }
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text
}

/// What the driving thread shows.
#[derive(Default)]
struct Shown {
    role: Option<Role>,
    leader: Option<u64>,
    /// Payloads of applied commands.
    applied: Vec<Bytes>,
    was_removed: bool,
    delivery: Option<SnapshotDelivery>,
}

/// This side: a node and the thread that drives its consensus.
struct Member {
    node: Arc<Node>,
    shown: Arc<Mutex<Shown>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn start(node: Node, voters: &[u64]) -> Self {
        let (node, shown) = (Arc::new(node), Arc::new(Mutex::new(Shown::default())));
        let snapshot =
            SnapshotMeta { index: 0, term: 0, conf_state: ConfState::of_voters(voters.iter().copied()) };
        let config = Config { seed: 7, boot: 1, ..Config::new(node.id) };
        let core = RaftCore::new(config, Restored { snapshot, ..Restored::default() }).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (node, shown, stop) = (Arc::clone(&node), Arc::clone(&shown), Arc::clone(&stop));
            std::thread::spawn(move || drive(core, &node, &shown, &stop))
        };
        Self { node, shown, stop, thread: Some(thread) }
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut(&Shown) -> bool) {
        wait_until(what, || is_so(&self.shown.lock().unwrap()));
    }

    /// Waits until a command was applied that has these bytes in it.
    fn wait_applied(&self, part: &str) {
        let has = |data: &Bytes| data.windows(part.len()).any(|window| window == part.as_bytes());
        self.wait(part, |shown| shown.applied.iter().any(has));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Steps what arrives, ticks, and carries out the effects: the log is memory.
fn drive(mut core: RaftCore, node: &Node, shown: &Mutex<Shown>, stop: &AtomicBool) {
    let mut tick_at = Instant::now() + TICK;
    while !stop.load(Ordering::Relaxed) {
        let events = {
            let events = node.recorder.events.lock().unwrap();
            let until = tick_at.saturating_duration_since(Instant::now());
            let (mut events, _) =
                node.recorder.changed.wait_timeout_while(events, until, |events| events.is_empty()).unwrap();
            std::mem::take(&mut *events)
        };
        for event in events {
            match event {
                // What consensus refuses is of no interest here.
                Event::Message(message) => drop(core.step(message)),
                Event::Unreachable(member) => core.on_unreachable(member),
                Event::Removed => shown.lock().unwrap().was_removed = true,
                Event::SnapshotSent(_, delivery) => shown.lock().unwrap().delivery = Some(delivery),
                Event::Gone(member) => core.on_gone(member),
                Event::Snapshot(..) | Event::Active(..) => {}
            }
        }
        if Instant::now() >= tick_at {
            core.tick();
            tick_at += TICK;
        }
        while let Some(effect) = core.poll() {
            carry_out(effect, &mut core, node, shown);
        }
    }
}

fn carry_out(effect: Effect, core: &mut RaftCore, node: &Node, shown: &Mutex<Shown>) {
    match effect {
        Effect::Persist { ticket, must_sync: true, .. } => core.on_persisted(ticket),
        Effect::Send(messages) => node.transport.send(messages),
        Effect::Apply(entries) => {
            for entry in &entries {
                if entry.kind == EntryKind::Normal {
                    shown.lock().unwrap().applied.push(entry.data.clone());
                } else {
                    let change = ConfChange::decode(&entry.data).unwrap();
                    core.apply_conf_change(Some(&change)).unwrap();
                }
            }
            core.on_applied(entries.last().map_or(0, |entry| entry.index));
        }
        Effect::Role { role, leader, .. } => {
            let mut shown = shown.lock().unwrap();
            shown.role = Some(role);
            shown.leader = leader;
        }
        Effect::Snapshot(
            SnapshotEffect::Install { .. } | SnapshotEffect::Send(_) | SnapshotEffect::Wanted { .. },
        )
        | Effect::Persist { .. }
        | Effect::ReadReady { .. }
        | Effect::ReadLost(_) => {}
    }
}

/// Both elect a leader, and what either proposes is replicated, whoever leads: the append stream, the message stream
/// and the posts are understood in both directions.
#[test]
fn etcd_and_this_transport_are_members_of_one_cluster() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let etcd = Etcd::start(&format!(",ours=http://{address}"), &[]);
    let (cluster_id, members) = etcd.members();
    let of = |url: &str| members.iter().find(|member| member.peer_urls == [url]).unwrap().id;
    let (real, ours) = (of(&etcd.peer_url), of(&format!("http://{address}")));
    let mut node = Node::start(ours, cluster_id, address, Fixed::default());
    node.listen_on(socket);
    let infos = [PeerInfo { id: real, urls: vec![etcd.peer_url.clone()] }, node.info()];
    node.transport.set_members(&infos, &BTreeSet::new());
    let member = Member::start(node, &[real, ours]);
    member.wait("there is a leader", |shown| shown.leader.is_some());
    etcd.put("first", "either leads");
    member.wait_applied("either leads");

    let hand_over = |to: u64| etcd.call("/v3/maintenance/transfer-leadership", &json!({ "targetID": to }));
    let leads = |shown: &Shown| shown.role == Some(Role::Leader);
    if member.shown.lock().unwrap().leader == Some(real) {
        hand_over(ours);
    }
    member.wait("this side leads", leads);
    for number in 0..50 {
        // Each is forwarded to this side, appended here, and applied by etcd before it answers.
        etcd.put(&format!("key{number}"), "this side leads");
    }
    member.wait_applied("key49");
    let range = etcd.call("/v3/kv/range", &json!({ "key": base64(b"key"), "range_end": base64(b"kez") }));
    assert_eq!(range["count"], json!("50"));
    assert!(member.node.has_streams(real));
    let scrape = member.node.scrape();
    let active = format!("etcd_network_active_peers{{Local=\"{ours:x}\",Remote=\"{real:x}\"}}");
    assert_eq!(scrape.get(&active).map(String::as_str), Some("1"));

    // What this side posts is taken by etcd.
    let other = Node::start(ours, cluster_id, free_address(), Fixed::default());
    other.transport.add_stranger(real, std::slice::from_ref(&etcd.peer_url));
    other.transport.send(vec![message(9, ours, real, &[])]);
    other.recorder.wait_for(&Event::Active(real, true));

    let client = PeerClient::new(&PeerIdentity { member_id: ours, cluster_id, urls: Vec::new() }, None);
    let urls = std::slice::from_ref(&etcd.peer_url);
    assert_eq!(block_on(client.versions(urls)).unwrap().server, "3.7.2");
    assert!(block_on(client.lease_renew(urls, 17)).is_err(), "etcd does not lead");
    let hash = block_on(client.hash_kv(urls, 0)).unwrap();
    assert_eq!((hash.hash.compact_revision, hash.revision), (-1, 52));
    assert_eq!(block_on(client.hash_kv(urls, 1000)), Err(PeerError::FutureRevision));

    // What etcd itself passes on to the leader is answered here.
    assert_eq!(block_on(client.promote(urls, 5, None)), Ok(super::members()));
    let renewed = etcd.call("/v3/lease/keepalive", &json!({ "ID": 17 }));
    assert_eq!(renewed["result"]["TTL"], json!("60"));
    let lease = etcd.call("/v3/lease/timetolive", &json!({ "ID": 17, "keys": true }));
    assert_eq!((&lease["TTL"], &lease["keys"]), (&json!("59"), &json!(["aw=="])));
}

/// A message of this length-delimited kind, from one member to another.
fn message(kind: u8, from: u64, to: u64, rest: &[u8]) -> Message {
    let mut bytes = vec![0x08, kind];
    for (tag, id) in [(0x10, to), (0x18, from)] {
        bytes.push(tag);
        prost::encoding::encode_varint(id, &mut bytes);
    }
    bytes.extend_from_slice(rest);
    Message::decode(&Bytes::from(bytes)).unwrap()
}

/// A member that joins late is sent etcd's database; etcd takes a database in turn; and who is removed is told so.
#[test]
fn snapshots_go_both_ways_and_a_removed_member_learns_of_it() {
    let etcd = Etcd::start("", &["--snapshot-count", "10", "--snapshot-catchup-entries", "1"]);
    let (cluster_id, members) = etcd.members();
    for number in 0..60 {
        etcd.put(&format!("key{number}"), "value");
    }
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let url = format!("http://{address}");
    let added = etcd.call("/v3/cluster/member/add", &json!({ "peerURLs": [url], "isLearner": true }));
    let ours: u64 = added["member"]["ID"].as_str().unwrap().parse().unwrap();
    let mut node = Node::start(ours, cluster_id, address, Fixed::default());
    node.listen_on(socket);
    let real = members[0].id;
    let infos = [PeerInfo { id: real, urls: vec![etcd.peer_url.clone()] }, node.info()];
    node.transport.set_members(&infos, &BTreeSet::new());
    let member = Member::start(node, &[real]);
    let dir = member.node.dir.path().to_owned();
    let received = || files_in(&dir).into_iter().find(|name| name.ends_with(".snap.db"));
    wait_until("the database lies there", || received().is_some());
    let database = Bytes::from(std::fs::read(dir.join(received().unwrap())).unwrap());
    // The magic number of etcd's store, in its first page.
    assert_eq!(database[16..20], [0xed, 0xda, 0x0c, 0xed]);
    assert_eq!(database.len() % 4096, 0);

    // A snapshot of an old term: etcd stores it, and its consensus does not care.
    let old =
        message(7, ours, real, &[0x20, 1, 0x4a, 12, 0x12, 10, 0x0a, 4, 0x08, 1, 0x08, 2, 0x10, 5, 0x18, 1]);
    let chunks: Vec<_> = database.chunks(10_000).map(|chunk| Ok(database.slice_ref(chunk))).collect();
    let body =
        SnapshotBody { bytes: database.len() as u64, roots: None, chunks: Box::new(chunks.into_iter()) };
    member.node.transport.send_snapshot(old, body);
    member.wait("the snapshot is sent", |shown| shown.delivery.is_some());
    assert_eq!(member.shown.lock().unwrap().delivery, Some(SnapshotDelivery::Done));
    let stored = etcd.dir.path().join("data/member/snap/0000000000000005.snap.db");
    assert_eq!(std::fs::read(stored).unwrap(), database);

    etcd.call("/v3/cluster/member/remove", &json!({ "ID": ours.to_string() }));
    member.wait("it is told that it is removed", |shown| shown.was_removed);
}
