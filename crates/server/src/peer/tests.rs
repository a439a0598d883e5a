//! Transports that speak with each other, and with the real etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use etched_replica::raft::{Message, SnapshotDelivery};
use etched_state_machine::HashKv;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::*;
use crate::metrics::Metrics;

mod etcd;
mod pair;
mod questions;

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const CLUSTER: u64 = 0xc1a5;

/// A heartbeat from one member to another.
pub(super) fn heartbeat(from: u8, to: u8) -> Message {
    Message::decode(&Bytes::from(vec![0x08, 8, 0x10, to, 0x18, from, 0x20, 1])).unwrap()
}

/// An append of one entry after `index`.
fn append(from: u8, to: u8, index: u8) -> Message {
    let entry = [0x3a, 7, 0x10, 1, 0x18, index + 1, 0x22, 1, index];
    let head = [0x08, 3, 0x10, to, 0x18, from, 0x20, 1, 0x28, 1, 0x30, index];
    Message::decode(&Bytes::from([&head[..], &entry[..]].concat())).unwrap()
}

/// What a transport told its member.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Message(Message),
    Snapshot(Message, PathBuf),
    Unreachable(u64),
    SnapshotSent(u64, SnapshotDelivery),
    Active(u64, bool),
    Gone(u64),
    Removed,
}

/// A snapshot that came in in pieces, or why it did not come as a whole.
type SnapshotIn = (Message, Roots, Result<Vec<u8>, String>);

/// A sink that remembers.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    /// What came in in pieces.
    bodies: Arc<Mutex<Vec<SnapshotIn>>>,
    changed: Condvar,
}

impl Recorder {
    fn record(&self, event: Event) {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(event);
        self.changed.notify_all();
    }

    /// Waits until the events so far have something, and returns it.
    fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Event]) -> Option<T>) -> T {
        let events = self.events.lock().unwrap();
        let mut found = None;
        let (events, result) = self
            .changed
            .wait_timeout_while(events, PATIENCE, |events| {
                found = find(events);
                found.is_none()
            })
            .unwrap();
        assert!(!result.timed_out(), "waited for {what} in vain; there was {events:?}");
        found.unwrap()
    }

    fn wait_for(&self, event: &Event) {
        self.wait(&format!("{event:?}"), |events| events.contains(event).then_some(()));
    }

    /// Waits until so many messages came, and takes them out.
    fn take_messages(&self, count: usize) -> Vec<Message> {
        self.wait(&format!("{count} messages"), |events| {
            let messages = events.iter().filter(|event| matches!(event, Event::Message(_)));
            (messages.count() >= count).then_some(())
        });
        let mut events = self.events.lock().unwrap();
        let (messages, rest) =
            std::mem::take(&mut *events).into_iter().partition(|event| matches!(event, Event::Message(_)));
        *events = rest;
        let message = |event| if let Event::Message(message) = event { Some(message) } else { None };
        Vec::into_iter(messages).filter_map(message).collect()
    }

    fn forget(&self) {
        self.events.lock().unwrap().clear();
    }
}

impl PeerSink for Recorder {
    fn on_messages(&self, messages: Vec<Message>) {
        assert!(!messages.is_empty(), "an empty batch wakes for nothing");
        messages.into_iter().for_each(|message| self.record(Event::Message(message)));
    }

    fn on_snapshot(&self, message: Message, database: PathBuf) -> Asked<Result<(), String>> {
        self.record(Event::Snapshot(message, database));
        Box::pin(async { Ok(()) })
    }

    fn on_snapshot_body(
        &self,
        message: Message,
        roots: Roots,
        pieces: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    ) -> Asked<Result<(), String>> {
        let (sender, receiver) = oneshot::channel();
        let bodies = Arc::clone(&self.bodies);
        std::thread::spawn(move || {
            let read: io::Result<Vec<Bytes>> = pieces.collect();
            let read = read.map(|pieces| pieces.concat()).map_err(|error| error.to_string());
            let outcome = read.clone().map(drop);
            bodies.lock().unwrap().push((message, roots, read));
            // The sender may be gone.
            let _ = sender.send(outcome);
        });
        Box::pin(async move { receiver.await.unwrap() })
    }

    fn on_unreachable(&self, member: u64) {
        self.record(Event::Unreachable(member));
    }

    fn on_snapshot_sent(&self, member: u64, delivery: SnapshotDelivery) {
        self.record(Event::SnapshotSent(member, delivery));
    }

    fn on_active(&self, member: u64, active: bool) {
        self.record(Event::Active(member, active));
    }

    fn on_gone(&self, member: u64) {
        self.record(Event::Gone(member));
    }

    fn on_removed(&self) {
        self.record(Event::Removed);
    }
}

/// Answers that are the same each time.
struct Fixed {
    lease: Result<i64, ApiError>,
    promoted: Result<(), ApiError>,
    hash: Result<PeerHash, ApiError>,
}

impl Default for Fixed {
    fn default() -> Self {
        let hash = HashKv { hash: 3_682_487_297, compact_revision: -1, hash_revision: 5 };
        Self { lease: Ok(60), promoted: Ok(()), hash: Ok(PeerHash { hash, revision: 5, raft_term: 2 }) }
    }
}

fn members() -> Vec<MemberEntry> {
    let member = |id, name: &str, is_learner| MemberEntry {
        id,
        name: name.to_owned(),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        client_urls: if name.is_empty() { Vec::new() } else { vec!["http://127.0.0.1:2379".to_owned()] },
        is_learner,
    };
    vec![member(7, "m0", false), member(9, "", true)]
}

fn ready<T: Send + 'static>(answer: T) -> Asked<T> {
    Box::pin(std::future::ready(answer))
}

impl PeerQuestions for Fixed {
    fn lease_renew(&self, id: i64) -> Asked<Result<i64, ApiError>> {
        ready(if id == 5 { Ok(0) } else { self.lease.clone() })
    }

    fn lease_time_to_live(&self, id: i64, keys: bool) -> Asked<Result<Option<LeaseTimeToLive>, ApiError>> {
        let keys = if keys { vec![Bytes::from("k")] } else { Vec::new() };
        let lease = LeaseTimeToLive { remaining: 59, granted: 60, keys };
        ready(self.lease.clone().map(|_| (id != 5).then_some(lease)))
    }

    fn members(&self) -> Asked<Result<Vec<MemberEntry>, ApiError>> {
        ready(Ok(members()))
    }

    fn promote(&self, _id: u64, token: Option<String>) -> Asked<Result<Vec<MemberEntry>, ApiError>> {
        assert_eq!(token.as_deref().unwrap_or("token"), "token");
        ready(self.promoted.clone().map(|()| members()))
    }

    fn versions(&self) -> PeerVersions {
        PeerVersions { server: "3.7.2".to_owned(), cluster: String::new(), storage: "3.7.0".to_owned() }
    }

    fn downgrade_enabled(&self) -> Asked<Result<bool, ApiError>> {
        ready(Ok(false))
    }

    fn hash_kv(&self, revision: i64) -> Asked<Result<PeerHash, ApiError>> {
        ready(if revision > 5 { Err(ApiError::Storage(FUTURE.to_owned())) } else { self.hash.clone() })
    }
}

const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

/// A transport with a listener in front of its service.
struct Node {
    id: u64,
    transport: Arc<HttpTransport>,
    service: PeerService,
    recorder: Arc<Recorder>,
    metrics: Arc<Metrics>,
    dir: tempfile::TempDir,
    address: SocketAddr,
    listener: Option<Listening>,
}

struct Listening {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Node {
    fn new(id: u64) -> Self {
        Self::of_cluster(id, CLUSTER)
    }

    fn of_cluster(id: u64, cluster_id: u64) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut node = Self::start(id, cluster_id, address, Fixed::default());
        node.listen_on(socket);
        node
    }

    fn start(id: u64, cluster_id: u64, address: SocketAddr, questions: Fixed) -> Self {
        let recorder = Arc::new(Recorder::default());
        let metrics = Arc::new(Metrics::new(false));
        let dir = tempfile::tempdir().unwrap();
        let (transport, service) = HttpTransport::start(PeerStart {
            identity: PeerIdentity { member_id: id, cluster_id, urls: vec![format!("http://{address}")] },
            snapshot_dir: dir.path().to_owned(),
            sink: Arc::clone(&recorder) as Arc<dyn PeerSink>,
            questions: Arc::new(questions),
            secure: None,
            metrics: Arc::clone(&metrics),
            election_timeout: Duration::from_secs(1),
            stall: Stall::default(),
            local_address: None,
        })
        .unwrap();
        Self { id, transport, service, recorder, metrics, dir, address, listener: None }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn info(&self) -> PeerInfo {
        PeerInfo { id: self.id, urls: vec![self.url()] }
    }

    /// Whether the other has opened both its streams to this one.
    fn has_streams(&self, id: u64) -> bool {
        let peer = self.transport.core.member(id);
        peer.is_some_and(|peer| codec::StreamKind::BOTH.iter().all(|kind| peer.outbox(*kind).has_stream()))
    }

    /// Serves at the same address as before.
    fn listen(&mut self) {
        let socket = TcpListener::bind(self.address).unwrap();
        self.listen_on(socket);
    }

    fn listen_on(&mut self, socket: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let service = self.service.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(socket, service) => {}
                    _ = stopped => {}
                }
            });
        });
        self.listener = Some(Listening { stop, thread });
    }

    /// Closes the listener and all its connections.
    fn stop_listening(&mut self) {
        let Listening { stop, thread } = self.listener.take().unwrap();
        let _ = stop.send(());
        thread.join().unwrap();
    }

    /// The metrics of other members.
    fn scrape(&self) -> BTreeMap<String, String> {
        let identity = crate::api::Identity {
            cluster_id: CLUSTER,
            member_id: self.id,
            name: String::new(),
            version: String::new(),
        };
        let report = crate::api::StatusReport::default();
        let gates = crate::flags::Gates::default();
        let subject = crate::metrics::Subject { identity: &identity, report: &report, gates: &gates };
        let text = self.metrics.render(&subject);
        let sample =
            |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.transport.stop();
        if self.listener.is_some() {
            self.stop_listening();
        }
    }
}

async fn serve(socket: TcpListener, service: PeerService) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::TcpListener::from_std(socket).unwrap();
    loop {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.handle(request).await) }
            });
            let io = TokioIo::new(Timed::new(Slow(stream)));
            let mut server = hyper::server::conn::http1::Builder::new();
            // How a connection ends is seen by its other side.
            let _ = server.title_case_headers(true).serve_connection(io, answer).await;
        });
    }
}

/// A connection that is read in small pieces, with a turn of the others after each.
struct Slow(TcpStream);

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; 4096];
        let length = piece.len().min(buffer.remaining());
        let mut small = ReadBuf::new(&mut piece[..length]);
        std::task::ready!(Pin::new(&mut self.0).poll_read(context, &mut small))?;
        buffer.put_slice(small.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Two nodes that know each other, with their streams open.
fn pair() -> (Node, Node) {
    let (a, b) = (Node::new(1), Node::new(2));
    introduce(&a, &b);
    (a, b)
}

fn introduce(a: &Node, b: &Node) {
    let members = [a.info(), b.info()];
    a.transport.set_members(&members, &BTreeSet::new());
    b.transport.set_members(&members, &BTreeSet::new());
    a.recorder.wait_for(&Event::Active(b.id, true));
    b.recorder.wait_for(&Event::Active(a.id, true));
    wait_until("all streams are open", || a.has_streams(b.id) && b.has_streams(a.id));
}

/// Waits for something that nobody tells.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn files_in(dir: &Path) -> Vec<String> {
    let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    std::fs::read_dir(dir).unwrap().map(name).collect()
}
