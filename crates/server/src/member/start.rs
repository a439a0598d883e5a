//! Starts a member: opens its data directory, restores it, and runs its threads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use etched_backend::{Backend, BackendError};
use etched_disk::{Disk, DiskLock, RealDisk};
use etched_replica::raft::Config;
use etched_replica::{
    ApplierOptions, AutoCompaction, Limits, Member, MemberOptions, Presence, Start,
    StartError as ReplicaError,
};
use etched_state_machine::bootstrap_changes;

use crate::api::Identity;
use crate::flags::{self, Options, SERVER_VERSION};
use crate::log;
use crate::member::backend::{BackendParts, BackendThread};
use crate::member::core::{Core, CoreError, Stage};
use crate::member::handle::{MemberHandle, Shown};
use crate::member::inbox::Inbox;
use crate::member::spares::SpareThread;
use crate::member::storage::{self, Bootstrap, Storage, StorageError, StorageOptions};
use crate::metrics::Metrics;

/// Memory for the pages of the backend, in bytes.
const BACKEND_CACHE_BYTES: usize = 64 << 20;

/// Bytes of entries after which older log segments may go, however few entries they hold.
const SNAPSHOT_BYTES: u64 = 64 << 20;

/// Bytes that may wait for one watch stream; above, its watchers are put behind.
const STREAM_QUEUE_BYTES: usize = 1 << 20;

/// Bytes of events that one reading of history for watchers gives.
const HISTORY_BYTES: usize = 1 << 20;

/// A member whose threads run.
pub struct RunningMember {
    /// The port for fronts.
    pub handle: Arc<MemberHandle>,
    thread: JoinHandle<Result<(), CoreError>>,
    published: Receiver<()>,
    /// Held until the member has ended.
    _lock: Box<dyn DiskLock>,
}

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What `--initial-cluster` says does not fit the member.
    #[error("discovery failed: {0}")]
    Discovery(String),
    /// More than one member, or an existing cluster to join.
    #[error(
        "clusters of several members are not supported yet: --initial-cluster must name this member alone"
    )]
    SeveralMembers,
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

/// Starts the member that the options describe.
///
/// # Errors
///
/// Before anything is served; the data directory is unchanged unless the start had got as far as opening it.
pub fn start(options: &Options, metrics: Arc<Metrics>) -> Result<RunningMember, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let bootstrap = bootstrap(options)?;
    let storage = storage::open(
        disk,
        StorageOptions {
            data_dir: options.member.data_dir.clone(),
            wal_dir: options.member.wal_dir.clone(),
            backend_cache_bytes: BACKEND_CACHE_BYTES,
            bootstrap,
        },
    )?;
    run(options, storage, metrics)
}

fn bootstrap(options: &Options) -> Result<Bootstrap, StartError> {
    let member = &options.member;
    let cluster: Vec<(String, Vec<String>)> =
        member.initial_cluster.iter().map(|(name, urls)| (name.clone(), flags::texts(urls))).collect();
    // What the flags say of the cluster counts only when a member starts for the first time.
    if !is_initialized(options) {
        options.check_initial_cluster().map_err(StartError::Discovery)?;
        if cluster.len() != 1 || member.initial_cluster_state == flags::ClusterState::Existing {
            return Err(StartError::SeveralMembers);
        }
    }
    let token = &member.initial_cluster_token;
    let own_urls = flags::texts(&member.initial_advertise_peer_urls);
    let member_id = etched_state_machine::member_id(&own_urls, token, None);
    let changes = bootstrap_changes(&cluster, token);
    let ids: Vec<u64> = changes.iter().map(|change| change.member_id).collect();
    Ok(Bootstrap { member_id, cluster_id: etched_state_machine::cluster_id(&ids), changes })
}

fn is_initialized(options: &Options) -> bool {
    storage::is_initialized(&RealDisk::new(), &options.member.data_dir).unwrap_or(false)
}

fn run(options: &Options, storage: Storage, metrics: Arc<Metrics>) -> Result<RunningMember, StartError> {
    let Storage { member_id, cluster_id, disk, wal, snapshot_dir, backend, restored, lock } = storage;
    log!(
        Info, "starting local member",
        "local-member-id" => format!("{member_id:x}"), "cluster-id" => format!("{cluster_id:x}")
    );
    let view = backend.view()?;
    let sizes = backend.sizes()?;
    let wall_ms = wall_clock_ms();
    let config = raft_config(options, member_id, wall_ms);
    let mut member =
        Member::new(&view, Start { config, restored }, member_options(options, member_id, wall_ms))
            .map_err(|error| StartError::Replica(Box::new(error)))?;
    member.set_database_size(sizes.total_bytes, sizes.in_use_bytes);
    log!(Info, "kvstore restored", "current-rev" => member.report().revision);
    member.campaign();

    let inbox = Arc::new(Inbox::default());
    let (published_sender, published) = sync_channel(1);
    let shown = Arc::new(Shown::default());
    let parts = BackendParts { backend: backend.clone(), disk, snapshot_dir, inbox: Arc::clone(&inbox) };
    let core = Core {
        member,
        wal,
        view,
        backend: BackendThread::start(parts)?,
        spares: SpareThread::start(Arc::clone(&inbox))?,
        reader: backend,
        inbox: Arc::clone(&inbox),
        shown: Arc::clone(&shown),
        published: published_sender,
        metrics,
        clock: start_of_time(),
        tick: options.member.heartbeat_interval,
        stage: Stage::Running,
        fronts: Vec::new(),
        entries: Vec::new(),
        has_appended: false,
        held: VecDeque::new(),
        hashing: Vec::new(),
    };
    let handle = Arc::new(MemberHandle {
        identity: Identity { cluster_id, member_id, name: options.member.name.clone() },
        inbox,
        shown,
        fronts: Mutex::new(Vec::new()),
        fronts_next: AtomicUsize::new(0),
        streams_next: AtomicU64::new(1),
    });
    let thread = std::thread::Builder::new().name("core".into()).spawn(move || core.run())?;
    Ok(RunningMember { handle, thread, published, _lock: lock })
}

impl RunningMember {
    /// Waits until the cluster knows this member, so that clients can use it; `false` if it ended before.
    #[must_use]
    pub fn wait_until_ready(&self) -> bool {
        self.published.recv().is_ok()
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
            request_timeout_ns: 5_000_000_000 + 2 * election_ns,
            commit_interval_ns: 100_000_000,
            commit_bytes_max: 4 << 20,
            commit_backlog_bytes_max: 64 << 20,
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
    }
}

fn applier_options(options: &Options, member_id: u64, election_ns: u64) -> ApplierOptions {
    let store = &options.store;
    let heartbeat_ms = millis(options.member.heartbeat_interval);
    let election_ticks = millis(options.member.election_timeout) / heartbeat_ms.max(1);
    ApplierOptions {
        machine: etched_state_machine::Options {
            value_cache_bytes: store.value_cache_bytes,
            quota_bytes: store.quota_backend_bytes,
            lease_ttl_min: etched_replica::lease_ttl_min_seconds(election_ticks, heartbeat_ms),
            member_id,
            ..etched_state_machine::Options::default()
        },
        hub: etched_watch::HubOptions {
            fragment_bytes: options.limits.max_request_bytes + (512 << 10),
            stream_queue_bytes: STREAM_QUEUE_BYTES,
            history_bytes: HISTORY_BYTES,
        },
        lease_extension_ns: election_ns,
        compaction_keys: store.compaction_batch_limit,
        compaction_pause_ns: nanos(store.compaction_sleep_interval),
        auto_compaction: match store.auto_compaction {
            flags::AutoCompaction::Off => AutoCompaction::Off,
            flags::AutoCompaction::Periodic(retention) => {
                AutoCompaction::Periodic { retention_ns: nanos(retention) }
            }
            flags::AutoCompaction::Revisions(retention) => AutoCompaction::Revision { retention },
        },
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

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn start_of_time() -> Instant {
    Instant::now()
}
