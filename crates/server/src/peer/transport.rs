//! The transport: who the other members are, and the thread that serves them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use etched_replica::raft::{Message, MessageKind, SnapshotDelivery};
use http::StatusCode;
use tokio::sync::oneshot;

use super::dial::{Dialer, Stall};
use super::picker::parse_urls;
use super::remote::{Kinship, Peer, Shared};
use super::{
    PeerIdentity, PeerInfo, PeerQuestions, PeerService, PeerSink, PeerTransport, Secure, SnapshotBody, head,
    snapshot,
};
use crate::logging::Value;
use crate::metrics::{Metrics, PeerNumbers};

/// Senders that are not members are answered up to this many.
const STRANGERS_MAX: usize = 64;
/// How long opening a connection may take, beyond an election.
const DIAL_TIME: Duration = Duration::from_secs(1);

/// What a transport is started with.
pub struct PeerStart {
    /// Who this member is.
    pub identity: PeerIdentity,
    /// Where received databases go: `<index, 16 hexadecimal digits>.snap.db`.
    pub snapshot_dir: PathBuf,
    /// Who takes what arrives.
    pub sink: Arc<dyn PeerSink>,
    /// Who answers what other members ask.
    pub questions: Arc<dyn PeerQuestions>,
    /// How to speak TLS; without it, https URLs are not reachable.
    pub secure: Option<Secure>,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// `--election-timeout`, on which the time to open a connection depends.
    pub election_timeout: Duration,
    /// How long a connection may stall.
    pub stall: Stall,
    /// The address that connections are made from, if it matters.
    pub local_address: Option<IpAddr>,
}

/// etcd's peer protocol over HTTP.
///
/// [`PeerTransport::set_members`] says with whom to speak; before, nothing is sent, and nobody's stream is opened.
pub struct HttpTransport {
    pub(super) core: Arc<Core>,
    thread: Mutex<Option<Running>>,
}

/// The thread that dials and reads.
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What the transport and the service share.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) snapshot_dir: PathBuf,
    table: RwLock<Table>,
}

/// Who the others are.
#[derive(Default)]
struct Table {
    members: BTreeMap<u64, Arc<Peer>>,
    /// Who spoke to this member without being known to it, and is answered: this member may be behind.
    strangers: BTreeMap<u64, Arc<Peer>>,
    removed: BTreeSet<u64>,
    is_stopped: bool,
}

/// Why a message is not for this member's consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its sender was removed.
    Removed,
    /// It is for another member.
    Mismatch,
}

impl Refusal {
    /// A sender that was removed is to know it; one whose message is for a member that was at this URL before is not
    /// to take itself for removed.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Removed => StatusCode::FORBIDDEN,
            Self::Mismatch => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Removed => "cannot process message from removed member",
            Self::Mismatch => "cannot process message to mismatch member",
        }
    }
}

impl HttpTransport {
    /// Starts the transport's thread.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(start: PeerStart) -> io::Result<(Arc<Self>, PeerService)> {
        let PeerStart {
            identity,
            snapshot_dir,
            sink,
            questions,
            secure,
            metrics,
            election_timeout,
            stall,
            local_address,
        } = start;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            headers: head::of_requests(&identity),
            identity,
            sink,
            metrics,
            dialer: Dialer { secure, within: DIAL_TIME + election_timeout, stall, local: local_address },
            runtime: runtime.handle().clone(),
            was_removed: AtomicBool::new(false),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("peers-out".to_owned()).spawn(move || {
            // An error means that the transport is gone, which is a stop too.
            let _ = runtime.block_on(stopped);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        })?;
        let core = Arc::new(Core { shared, snapshot_dir, table: RwLock::default() });
        let service = PeerService::new(Arc::clone(&core), questions);
        let thread = Mutex::new(Some(Running { stop, thread }));
        Ok((Arc::new(Self { core, thread }), service))
    }

    /// Makes a member known that is not a member as applied here, so that it is answered.
    pub fn add_stranger(&self, id: u64, urls: &[String]) {
        self.core.add_stranger(id, urls);
    }
}

impl PeerTransport for HttpTransport {
    fn send(&self, messages: Vec<Message>) {
        let table = self.core.read();
        for message in messages {
            let to = message.to();
            if message.kind() == MessageKind::Snapshot {
                debug_assert!(false, "snapshots are sent with their database");
                self.core.shared.sink.on_snapshot_sent(to, SnapshotDelivery::Failed);
                continue;
            }
            match table.members.get(&to).or_else(|| table.strangers.get(&to)) {
                Some(peer) => peer.send(message),
                None => crate::log!(
                    Debug, "ignored message send request; unknown remote peer target",
                    "type" => format!("{:?}", message.kind()), "unknown-target-peer-id" => Value::hex(to),
                ),
            }
        }
        // One wake-up for all messages of the turn.
        table.members.values().for_each(|peer| peer.wake());
    }

    fn send_snapshot(&self, message: Message, body: SnapshotBody) {
        let to = message.to();
        let peer = self.core.read().members.get(&to).cloned();
        match peer {
            Some(peer) => {
                self.core.shared.runtime.spawn(snapshot::send(peer, message, body));
            }
            None => self.core.shared.sink.on_snapshot_sent(to, SnapshotDelivery::Failed),
        }
    }

    fn set_members(&self, members: &[PeerInfo], removed: &BTreeSet<u64>) {
        self.core.set_members(members, removed);
    }

    fn stop(&self) {
        let peers = {
            let mut table = self.core.write();
            table.is_stopped = true;
            let members = std::mem::take(&mut table.members);
            let strangers = std::mem::take(&mut table.strangers);
            members.into_values().chain(strangers.into_values())
        };
        peers.for_each(|peer| peer.stop());
        let running = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread }) = running {
            // The thread may have ended already.
            let _ = stop.send(());
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                crate::log!(Error, "the thread of the peer transport panicked");
            }
        }
    }
}

impl Core {
    /// The member of this id, if it is one.
    pub(super) fn member(&self, id: u64) -> Option<Arc<Peer>> {
        self.read().members.get(&id).cloned()
    }

    pub(super) fn is_removed(&self, id: u64) -> bool {
        self.read().removed.contains(&id)
    }

    /// The numbers of a sender; those that are not known share some.
    pub(super) fn numbers_of(&self, id: u64) -> Arc<PeerNumbers> {
        let is_known = self.read().members.contains_key(&id);
        self.shared.metrics.peers.of(if is_known { id } else { 0 })
    }

    /// Whether a message may come to this member's consensus.
    pub(super) fn check_sender(&self, message: &Message) -> Result<(), Refusal> {
        let local = self.shared.identity.member_id;
        if self.is_removed(message.from()) {
            crate::log!(
                Warn, "rejected Raft message from removed member",
                "local-member-id" => Value::hex(local), "removed-member-id" => Value::hex(message.from()),
            );
            return Err(Refusal::Removed);
        }
        if message.to() != local {
            crate::log!(
                Warn, "rejected Raft message to mismatch member",
                "local-member-id" => Value::hex(local), "mismatch-member-id" => Value::hex(message.to()),
            );
            return Err(Refusal::Mismatch);
        }
        Ok(())
    }

    /// Remembers who spoke without being known here, so that it is answered.
    pub(super) fn add_stranger(&self, id: u64, urls: &[String]) {
        let is_wanted = |table: &Table| {
            !table.is_stopped
                && id != self.shared.identity.member_id
                && !table.members.contains_key(&id)
                && !table.strangers.contains_key(&id)
                && !table.removed.contains(&id)
                && table.strangers.len() < STRANGERS_MAX
        };
        if !is_wanted(&self.read()) {
            return;
        }
        let parsed = parse_urls(id, urls);
        if parsed.is_empty() {
            return;
        }
        let mut table = self.write();
        if is_wanted(&table) {
            table.strangers.insert(id, Peer::start(&self.shared, id, parsed, Kinship::Stranger));
            self.log("added new remote peer", "remote-peer-id", id, Some(urls));
        }
    }

    fn set_members(&self, members: &[PeerInfo], removed: &BTreeSet<u64>) {
        let local = self.shared.identity.member_id;
        let wanted: BTreeMap<u64, &PeerInfo> =
            members.iter().filter(|member| member.id != local).map(|member| (member.id, member)).collect();
        let mut table = self.write();
        if table.is_stopped {
            return;
        }
        table.removed.clone_from(removed);
        let gone: Vec<u64> = table.members.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            if let Some(peer) = table.members.remove(&id) {
                peer.stop();
                peer.numbers.set_known(false);
                self.log("removed remote peer", "removed-remote-peer-id", id, None);
            }
        }
        for id in removed {
            if let Some(stranger) = table.strangers.remove(id) {
                stranger.stop();
            }
        }
        for (id, member) in wanted {
            if let Some(stranger) = table.strangers.remove(&id) {
                stranger.stop();
            }
            let urls = parse_urls(id, &member.urls);
            match table.members.get(&id) {
                None => {
                    let peer = Peer::start(&self.shared, id, urls, Kinship::Member);
                    peer.numbers.set_known(true);
                    table.members.insert(id, peer);
                    self.log("added remote peer", "remote-peer-id", id, Some(&member.urls));
                }
                Some(peer) => {
                    if peer.update(urls) {
                        peer.start_readers();
                        self.log("updated remote peer", "updated-remote-peer-id", id, Some(&member.urls));
                    }
                }
            }
        }
    }

    fn log(&self, what: &str, id_name: &'static str, id: u64, urls: Option<&[String]>) {
        let local = Value::hex(self.shared.identity.member_id);
        let level = crate::logging::Level::Info;
        if !crate::logging::enabled(level) {
            return;
        }
        let mut fields = vec![("local-member-id", local), (id_name, Value::hex(id))];
        if let Some(urls) = urls {
            fields.push(("remote-peer-urls", Value::from(urls)));
        }
        let caller = crate::logging::Caller { file: file!(), line: line!() };
        crate::logging::emit(&crate::logging::Record {
            level,
            logger: None,
            caller,
            message: what,
            fields: &fields,
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
