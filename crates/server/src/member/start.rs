//! Starts a member: opens its data directory, restores it, and runs its threads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etched_backend::{Backend, BackendError, RedbBackend, RedbOptions};
use etched_disk::{Disk, DiskLock, RealDisk};
use etched_replica::raft::{Config, Restored};
use etched_replica::{
    ApplierOptions, AutoCompaction, Limits, MeasureOptions, Member, MemberOptions, Presence, Start,
    StartError as ReplicaError,
};

use crate::api::Identity;
use crate::auth::Doorman;
use crate::flags::{self, Options, SERVER_VERSION};
use crate::log;
use crate::member::backend::{BackendParts, BackendThread};
use crate::member::checks::{Checks, Inconsistent};
use crate::member::core::{Core, CoreError, Observed, Peers, Stage, now_ns, start_of_time};
use crate::member::discovery::{self, DiscoveryError};
use crate::member::handle::MemberHandle;
use crate::member::inbox::Inbox;
use crate::member::join::{self, JoinError};
use crate::member::peers::{Questions, Sink};
use crate::member::spares::SpareThread;
use crate::member::storage::{self, Storage, StorageError, StorageOptions};
use crate::member::survey;
use crate::member::upkeep::Upkeep;
use crate::metrics::Metrics;
use crate::peer::{
    HttpTransport, PeerClient, PeerIdentity, PeerInfo, PeerService, PeerStart, PeerTransport as _, Secure,
    Stall,
};

/// Memory for the pages of the backend, in bytes.
const BACKEND_CACHE_BYTES: usize = 32 << 20;

/// Bytes of entries after which older log segments may go, however few entries they hold.
const SNAPSHOT_BYTES: u64 = 32 << 20;

/// Bytes that may wait for one watch stream; above, its watchers are put behind.
const STREAM_QUEUE_BYTES: usize = 1 << 20;

/// Bytes of events that one reading of history for watchers gives.
const HISTORY_BYTES: usize = 1 << 20;

/// A member whose threads run.
pub struct RunningMember {
    /// The port for fronts.
    pub handle: Arc<MemberHandle>,
    /// Answers other members; to be served on the listeners for them.
    pub peer_service: PeerService,
    thread: JoinHandle<Result<(), CoreError>>,
    published: Receiver<()>,
    upkeep: Upkeep,
    /// Held until the member has ended.
    _lock: Box<dyn DiskLock>,
}

/// Why the data of a member was not found to be that of the others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// It cannot be compared.
    #[error("cannot ask other members: {0}")]
    Io(#[from] std::io::Error),
}

/// How far a member is on its way to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The cluster knows it.
    Ready,
    /// No leader has made it known so far.
    NotYet,
    /// It has ended.
    Ended,
}

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What `--initial-cluster` says does not fit the member.
    #[error("{0}")]
    Discovery(String),
    /// Others do not say who the members are.
    #[error(transparent)]
    Resolve(#[from] DiscoveryError),
    /// The member cannot be part of the cluster that the flags name.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The log and the backend do not fit together.
    #[error("cannot restore the member: {0}")]
    Replica(#[source] Box<ReplicaError>),
    /// The backend cannot be read.
    #[error("cannot read the backend: {0}")]
    Backend(#[from] BackendError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts the member that the options describe; its threads run, and other members are spoken with.
/// They reach it when [`RunningMember::peer_service`] is served.
///
/// # Errors
///
/// Before anything is served; the data directory is unchanged unless the start had got as far as opening it.
pub fn start(
    options: &Options,
    metrics: Arc<Metrics>,
    secure: Option<Secure>,
    doorman: Arc<Doorman>,
) -> Result<RunningMember, StartError> {
    survey::look(&options.member.data_dir);
    let disk: Arc<dyn Disk> =
        Arc::new(if options.store.unsafe_no_fsync { RealDisk::without_syncs() } else { RealDisk::new() });
    if options.store.memory_mlock {
        lock_memory();
    }
    // What the flags say of the cluster counts only when a member starts for the first time.
    let discovered = if is_initialized(options) {
        if options.member.discovery.is_some() {
            log!(Warn, "discovery token ignored since a cluster has already been initialized");
        }
        None
    } else {
        discovery::resolve(&options.member)?
    };
    let resolved = discovered.map(|member| Options { member, ..options.clone() });
    let options = resolved.as_ref().unwrap_or(options);
    let bootstrap = if is_initialized(options) {
        join::founders(&options.member)
    } else {
        options.check_initial_cluster().map_err(StartError::Discovery)?;
        join::first_start(options, secure.clone())?
    };
    let known_before = bootstrap.peers.clone();
    let storage = storage::open(
        disk,
        StorageOptions {
            data_dir: options.member.data_dir.clone(),
            wal_dir: options.member.wal_dir.clone(),
            backend: RedbOptions { shrink_bytes_min: options.store.shrink_bytes_min, ..backend_options() },
            bootstrap,
        },
    )?;
    run(options, storage, known_before, metrics, secure, doorman)
}

fn is_initialized(options: &Options) -> bool {
    storage::is_initialized(&RealDisk::new(), &options.member.data_dir).unwrap_or(false)
}

fn backend_options() -> RedbOptions {
    RedbOptions { cache_bytes: BACKEND_CACHE_BYTES, ..RedbOptions::default() }
}

fn run(
    options: &Options,
    storage: Storage,
    known_before: Vec<PeerInfo>,
    metrics: Arc<Metrics>,
    secure: Option<Secure>,
    doorman: Arc<Doorman>,
) -> Result<RunningMember, StartError> {
    let Storage { member_id, cluster_id, disk, wal, snapshot_dir, backend, restored, lock } = storage;
    log!(
        Info, "starting local member",
        "local-member-id" => format!("{member_id:x}"), "cluster-id" => format!("{cluster_id:x}")
    );
    let view = backend.view()?;
    let member = restore(options, &view, &backend, member_id, restored, known_before.len())?;
    let inbox = Arc::new(Inbox::default());
    let (published_sender, published) = sync_channel(1);
    let identity = PeerIdentity { member_id, cluster_id, urls: join::own_urls(&options.member) };
    let handle = Arc::new(handle(options, &identity, &inbox, secure.clone()));
    let current = Arc::new(Mutex::new(Some(backend.clone())));
    let upkeep = Upkeep::start(Arc::clone(&handle), options, Arc::clone(&metrics))?;
    let sink = sink(&inbox, &disk, &current, &snapshot_dir);
    let questions = Questions { link: upkeep.link(), doorman };
    let (transport, peer_service) =
        start_transport(options, identity, &snapshot_dir, sink, questions, secure, &metrics)?;
    transport.set_members(&known_before, &BTreeSet::new());
    let parts = BackendParts {
        backend: backend.clone(),
        disk: Arc::clone(&disk),
        snapshot_dir: snapshot_dir.clone(),
        inbox: Arc::clone(&inbox),
        metrics: Arc::clone(&metrics),
    };
    let core = Core {
        member,
        wal,
        member_id,
        peers: Peers { transport, known_before, current, received: BTreeMap::new(), installing: None },
        disk,
        snapshot_dir,
        view: Arc::new(view),
        backend: BackendThread::start(parts)?,
        spares: SpareThread::start(Arc::clone(&inbox))?,
        reader: backend,
        inbox,
        shown: Arc::clone(&handle.shown),
        published: published_sender,
        metrics,
        clock: start_of_time(),
        tick: options.member.heartbeat_interval,
        hand_over_time_max: options.member.election_timeout,
        stage: Stage::Running,
        fronts: Vec::new(),
        entries: Vec::new(),
        has_appended: false,
        shows_auth: false,
        held: VecDeque::new(),
        hashing: Vec::new(),
        databases: BTreeMap::new(),
        databases_next: 0,
        is_removed: false,
        observed: Observed::new(
            options.limits.warning_apply_duration,
            options.limits.warning_unary_request_duration,
        ),
        traced: BTreeSet::new(),
    };
    let thread = std::thread::Builder::new().name("core".into()).spawn(move || core.run())?;
    Ok(RunningMember { handle, peer_service, thread, published, upkeep, _lock: lock })
}

/// Opens the way to the other members.
fn start_transport(
    options: &Options,
    identity: PeerIdentity,
    snapshot_dir: &Path,
    sink: Sink,
    questions: Questions,
    secure: Option<Secure>,
    metrics: &Arc<Metrics>,
) -> std::io::Result<(Arc<HttpTransport>, PeerService)> {
    HttpTransport::start(PeerStart {
        identity,
        snapshot_dir: snapshot_dir.to_owned(),
        sink: Arc::new(sink),
        questions: Arc::new(questions),
        secure,
        metrics: Arc::clone(metrics),
        election_timeout: options.member.election_timeout,
        local_address: local_address(options),
        stall: Stall { read: options.member.raft_read_timeout, write: options.member.raft_write_timeout },
    })
}

fn sink(
    inbox: &Arc<Inbox>,
    disk: &Arc<dyn Disk>,
    current: &Arc<Mutex<Option<RedbBackend>>>,
    snapshot_dir: &Path,
) -> Sink {
    Sink {
        inbox: Arc::clone(inbox),
        disk: Arc::clone(disk),
        current: Arc::clone(current),
        backend_options: backend_options(),
        snapshot_dir: snapshot_dir.to_owned(),
        building: Arc::default(),
    }
}

fn handle(
    options: &Options,
    identity: &PeerIdentity,
    inbox: &Arc<Inbox>,
    secure: Option<Secure>,
) -> MemberHandle {
    MemberHandle {
        identity: Identity {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            name: options.member.name.clone(),
            version: options.member.report_version.clone(),
        },
        inbox: Arc::clone(inbox),
        shown: Arc::default(),
        fronts: Mutex::default(),
        fronts_next: AtomicUsize::new(0),
        streams_next: AtomicU64::new(1),
        client: PeerClient::new(identity, secure),
        request_timeout: request_timeout(options),
    }
}

/// The member as its log and its backend have it.
fn restore(
    options: &Options,
    view: &<RedbBackend as Backend>::View,
    backend: &RedbBackend,
    member_id: u64,
    restored: Restored,
    founders: usize,
) -> Result<Member, StartError> {
    let sizes = backend.sizes()?;
    let wall_ms = wall_clock_ms();
    let start = Start {
        config: raft_config(options, member_id, wall_ms),
        restored,
        force_new_cluster: options.member.force_new_cluster,
    };
    let mut member = Member::new(view, start, member_options(options, member_id, wall_ms))
        .map_err(|error| StartError::Replica(Box::new(error)))?;
    member.set_database_size(sizes.total_bytes, sizes.in_use_bytes);
    log!(Info, "kvstore restored", "current-rev" => member.report().revision);
    let known = member.members().len();
    if options.member.force_new_cluster || known == 1 || (known == 0 && founders <= 1) {
        member.campaign();
    }
    Ok(member)
}

fn request_timeout(options: &Options) -> Duration {
    Duration::from_secs(5) + 2 * options.member.election_timeout
}

impl RunningMember {
    /// Waits until the cluster knows this member, so that clients can use it fully, or until the time is over.
    #[must_use]
    pub fn wait_until_ready(&self, time_max: Duration) -> Readiness {
        match self.published.recv_timeout(time_max) {
            Ok(()) => Readiness::Ready,
            Err(RecvTimeoutError::Timeout) => Readiness::NotYet,
            Err(RecvTimeoutError::Disconnected) => Readiness::Ended,
        }
    }

    /// Compares the member's data with that of the others, as `InitialCorruptCheck` asks for before clients come.
    ///
    /// # Errors
    ///
    /// The data differs, or the means to ask others cannot be made.
    pub fn check_data(&self, options: &Options) -> Result<(), CheckError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let checks = Checks {
            handle: Arc::clone(&self.handle),
            link: self.upkeep.link(),
            options: options.checks.clone(),
        };
        Ok(runtime.block_on(checks.initially())?)
    }

    /// Whether the core thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the core thread: after [`MemberHandle::stop`], or because something failed.
    ///
    /// # Errors
    ///
    /// What failed; the process must end with a code other than zero.
    pub fn join(self) -> Result<(), CoreError> {
        self.thread.join().unwrap_or_else(|_| Err(CoreError::Thread("the core thread panicked".into())))
    }
}

fn raft_config(options: &Options, member_id: u64, boot: u64) -> Config {
    let election = options.member.election_timeout.as_millis();
    let heartbeat = options.member.heartbeat_interval.as_millis().max(1);
    Config {
        election_ticks: usize::try_from(election / heartbeat).unwrap_or(usize::MAX),
        pre_vote: options.member.pre_vote,
        seed: boot,
        boot,
        ..Config::new(member_id)
    }
}

fn member_options(options: &Options, member_id: u64, start_ms: u64) -> MemberOptions {
    let election_ns = nanos(options.member.election_timeout);
    MemberOptions {
        member_id,
        start_ms,
        limits: Limits {
            command: etched_state_machine::Limits {
                txn_ops_max: options.limits.max_txn_ops,
                request_bytes_max: options.limits.max_request_bytes,
            },
            request_bytes_max: options.limits.max_request_bytes,
            proposals_max: 65_536,
            apply_lag_max: 5_000,
            request_timeout_ns: nanos(request_timeout(options)),
            commit_interval_ns: nanos(options.store.batch_interval),
            commit_entries_max: options.store.batch_entries_max,
            commit_bytes_max: 4 << 20,
            commit_backlog_bytes_max: 24 << 20,
            snapshot_entries: options.member.snapshot_count.max(1),
            snapshot_bytes: SNAPSHOT_BYTES,
            catch_up_entries: options.member.snapshot_catchup_entries,
        },
        presence: Presence {
            name: options.member.name.clone(),
            client_urls: flags::texts(&options.member.advertise_client_urls),
            cluster_version: cluster_version(),
        },
        applier: applier_options(options, member_id, election_ns),
        strict_reconfig_check: options.member.strict_reconfig_check,
        advance_election: options.member.initial_election_tick_advance,
        tick_ns: nanos(options.member.heartbeat_interval),
        election_ns,
    }
}

fn applier_options(options: &Options, member_id: u64, election_ns: u64) -> ApplierOptions {
    let store = &options.store;
    let heartbeat_ms = millis(options.member.heartbeat_interval);
    let election_ticks = millis(options.member.election_timeout) / heartbeat_ms.max(1);
    ApplierOptions {
        machine: etched_state_machine::Options {
            value_cache_bytes: store.value_cache_bytes,
            learners_max: options.member.max_learners,
            quota_bytes: store.quota_backend_bytes,
            lease_ttl_min: etched_replica::lease_ttl_min_seconds(election_ticks, heartbeat_ms),
            member_id,
        },
        hub: etched_watch::HubOptions {
            fragment_bytes: options.limits.max_request_bytes + (512 << 10),
            stream_queue_bytes: STREAM_QUEUE_BYTES,
            history_bytes: HISTORY_BYTES,
        },
        lease_extension_ns: election_ns,
        compaction_keys: store.compaction_batch_limit,
        compaction_pause_ns: nanos(store.compaction_sleep_interval),
        measures: MeasureOptions { stopwatch: now_ns, slow_ns: nanos(options.limits.warning_apply_duration) },
        auto_compaction: match store.auto_compaction {
            flags::AutoCompaction::Off => AutoCompaction::Off,
            flags::AutoCompaction::Periodic(retention) => {
                AutoCompaction::Periodic { retention_ns: nanos(retention) }
            }
            flags::AutoCompaction::Revisions(retention) => AutoCompaction::Revision { retention },
        },
        token_life_ns: nanos(options.auth.token_life),
    }
}

/// The cluster's version is that of the server without its patch number.
fn cluster_version() -> String {
    let mut parts = SERVER_VERSION.splitn(3, '.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    format!("{major}.{minor}.0")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The address that other members are dialled from, if `SetMemberLocalAddr` is on: the first that is advertised.
fn local_address(options: &Options) -> Option<IpAddr> {
    if !options.gates.is_on("SetMemberLocalAddr") {
        return None;
    }
    let hosts = options.member.initial_advertise_peer_urls.iter().filter_map(|url| url.host().parse().ok());
    let found = hosts.into_iter().find(|ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified());
    match found {
        Some(address) => log!(Info, "setting member local address", "LocalAddr" => address.to_string()),
        None => log!(Warn, "unable to set a member local address due to lack of suitable local addresses"),
    }
    found
}

/// Keeps all memory of the process from being swapped out, now and later.
fn lock_memory() {
    let flags = rustix::mm::MlockAllFlags::CURRENT | rustix::mm::MlockAllFlags::FUTURE;
    if let Err(error) = rustix::mm::mlockall(flags) {
        log!(Warn, "memory cannot be locked", "error" => std::io::Error::from(error).to_string());
    }
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
