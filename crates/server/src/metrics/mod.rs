//! Metrics: what the threads record, and how it is told to Prometheus, with etcd's names.
//!
//! There are two sources.
//! Counters of the member come as plain numbers in its [`StatusReport`]; this module only names them.
//! Durations and calls are recorded here, by whoever measures them, in atomics: recording never waits.
//!
//! ```
//! use std::time::Duration;
//! let metrics = etched::metrics::Metrics::new(false);
//! metrics.wal_fsync.record(Duration::from_millis(3));
//! assert_eq!(metrics.wal_fsync.count(), 1);
//! ```
//!
//! [`StatusReport`]: crate::api::StatusReport

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etched_replica::{ApiError, Measure};

mod exposition;
mod histogram;
mod operations;
mod peers;
mod process;
mod render;
mod rows;
pub mod rpc;
mod runtime;
#[cfg(test)]
mod tests;

pub(crate) use exposition::CONTENT_TYPE;
pub use histogram::Histogram;
pub use operations::TimesByOperation;
pub use peers::{PeerCounters, PeerNumbers, SnapshotNumbers, Trips};
pub use process::raise_open_file_limit;
pub(crate) use process::{connections_max, open_file_limit};
pub use render::Subject;
use rpc::RpcCounters;
pub(crate) use runtime::ProcessMemory;

use crate::trace::Traces;

/// A count that only grows, or a level that is set.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds some.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets the level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The count or level.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that is recorded in this process.
#[derive(Debug)]
pub struct Metrics {
    /// Syncs of the write-ahead log.
    pub wal_fsync: Histogram,
    /// Writes to the write-ahead log.
    pub wal_write: Histogram,
    /// Bytes written to the write-ahead log.
    pub wal_bytes: Number,
    /// Commits of the backend.
    pub backend_commit: Histogram,
    /// A phase that this backend does not have: counted with each commit, as taking no time.
    pub backend_rebalance: Histogram,
    /// The part of each in which the tables are changed in memory.
    pub backend_change: Histogram,
    /// The part of each in which what changed is written.
    pub backend_write: Histogram,
    /// Views of the backend that are read from.
    pub backend_views: Number,
    /// Defragmentations of the backend.
    pub backend_defragment: Histogram,
    /// 1 while the backend is defragmented.
    pub defragment_inflight: Number,
    /// Streamed snapshots of the backend.
    pub backend_snapshot: Histogram,
    /// Snapshot files written.
    pub snapshot_save: Histogram,
    /// Snapshot files encoded.
    pub snapshot_marshal: Histogram,
    /// Databases of other members' snapshots taken in.
    pub database_save: Histogram,
    /// Syncs of them.
    pub database_fsync: Histogram,
    /// 1 while the state is exchanged for that of a leader's snapshot.
    pub installing: Number,
    /// Syncs of snapshot files.
    pub snapshot_fsync: Histogram,
    /// `Hash` calls.
    pub hash: Histogram,
    /// `HashKV` calls.
    pub hash_kv: Histogram,
    /// Whole compactions, in milliseconds.
    pub compaction_total_ms: Histogram,
    /// Steps of compactions, in milliseconds.
    pub compaction_pause_ms: Histogram,
    /// The same steps: an index and its records are compacted together.
    pub compaction_index_ms: Histogram,
    /// When the last compaction finished, in seconds of the Unix epoch.
    pub compaction_last: Number,
    /// Times to live of granted leases, in seconds.
    pub lease_ttl: Histogram,
    /// Times that entries took to apply.
    pub applies: TimesByOperation,
    /// Times from taking requests in to their outcomes.
    pub requests: TimesByOperation,
    /// Times that refused ranges took to read, then those of others.
    pub ranges: [Histogram; 2],
    /// Times that watch streams took to be given a response to a request.
    pub watch_control: Histogram,
    /// Times that watch streams took to be given a notice of progress.
    pub watch_progress: Histogram,
    /// Times that watch streams took to be given events.
    pub watch_events: Histogram,
    /// The same by event.
    pub watch_event: Histogram,
    /// Streams that failed, by direction and service.
    pub stream_failures: StreamFailures,
    /// Learners promoted while this member led, and promotions refused.
    pub promotions: Number,
    /// Promotions of learners that were refused, by reason.
    pub promotion_failures: Mutex<BTreeMap<String, u64>>,
    /// Entries that took longer than `--warning-apply-duration`.
    pub slow_applies: Number,
    /// Heartbeats that were not sent in time.
    pub heartbeat_failures: Number,
    /// Bytes received from clients.
    pub received_bytes: Number,
    /// Bytes sent to clients.
    pub sent_bytes: Number,
    /// Healthy answers of `/health`.
    pub health_successes: Number,
    /// Unhealthy answers of `/health`.
    pub health_failures: Number,
    /// Scrapes that are being answered.
    pub scrapes_inflight: Number,
    /// Scrapes answered.
    pub scrapes: Number,
    /// gRPC calls.
    pub rpc: RpcCounters,
    /// What goes to other members and comes from them.
    pub peers: PeerCounters,
    /// Where sampled requests are sent, if they are.
    pub traces: Option<Traces>,
    checks: Mutex<BTreeMap<(&'static str, &'static str), Check>>,
    client_versions: Mutex<BTreeMap<(String, CallKind), Arc<Number>>>,
}

/// Streams of clients that ended with an error.
#[derive(Debug, Default)]
pub struct StreamFailures {
    /// Of watches, while a request was read.
    pub watch_receive: Number,
    /// Of watches, while a response was sent.
    pub watch_send: Number,
    /// Of renewals of leases, while a request was read.
    pub renewal_receive: Number,
    /// Of renewals of leases, while a response was sent.
    pub renewal_send: Number,
}

/// Outcomes of one health check.
#[derive(Clone, Copy, Debug, Default)]
struct Check {
    healthy: bool,
    successes: u64,
    errors: u64,
}

/// Whether a call is a stream, for `etcd_server_client_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// Messages on at least one side.
    Stream,
    /// One message each way.
    Unary,
}

/// Versions that clients claim to have are told apart up to this many; others count as unknown.
const CLIENT_VERSIONS_MAX: usize = 64;

impl Metrics {
    /// Nothing recorded yet; `extensive` adds the durations of gRPC calls.
    pub fn new(extensive: bool) -> Self {
        let disk = || Histogram::exponential(0.001, 2.0, 14);
        Self {
            wal_fsync: disk(),
            wal_write: disk(),
            wal_bytes: Number::default(),
            backend_commit: disk(),
            backend_rebalance: disk(),
            backend_change: disk(),
            backend_write: disk(),
            backend_views: Number::default(),
            backend_defragment: Histogram::exponential(0.1, 2.0, 13),
            defragment_inflight: Number::default(),
            backend_snapshot: Histogram::exponential(0.01, 2.0, 17),
            snapshot_save: disk(),
            snapshot_marshal: disk(),
            database_save: Histogram::exponential(0.1, 2.0, 10),
            database_fsync: disk(),
            installing: Number::default(),
            snapshot_fsync: disk(),
            hash: Histogram::exponential(0.01, 2.0, 15),
            hash_kv: Histogram::exponential(0.01, 2.0, 15),
            compaction_total_ms: Histogram::exponential(100.0, 2.0, 14),
            compaction_pause_ms: Histogram::exponential(1.0, 2.0, 13),
            compaction_index_ms: Histogram::exponential(0.5, 2.0, 14),
            compaction_last: Number::default(),
            lease_ttl: Histogram::exponential(1.0, 2.0, 24),
            applies: TimesByOperation::new(0.0001, 20),
            requests: TimesByOperation::new(0.001, 14),
            ranges: std::array::from_fn(|_| Histogram::exponential(0.0001, 2.0, 20)),
            watch_control: disk(),
            watch_progress: disk(),
            watch_events: disk(),
            watch_event: disk(),
            stream_failures: StreamFailures::default(),
            promotions: Number::default(),
            promotion_failures: Mutex::default(),
            slow_applies: Number::default(),
            heartbeat_failures: Number::default(),
            received_bytes: Number::default(),
            sent_bytes: Number::default(),
            health_successes: Number::default(),
            health_failures: Number::default(),
            scrapes_inflight: Number::default(),
            scrapes: Number::default(),
            rpc: RpcCounters::new(extensive),
            peers: PeerCounters::default(),
            traces: None,
            checks: Mutex::default(),
            client_versions: Mutex::default(),
        }
    }

    /// Records what a member measured of itself.
    pub fn record(&self, measure: &Measure) {
        let time = Duration::from_nanos;
        match *measure {
            Measure::Applied { field, is_ok, took_ns } => self.applies.record(field, is_ok, time(took_ns)),
            Measure::Proposed { field, is_ok, took_ns } => self.requests.record(field, is_ok, time(took_ns)),
            Measure::Ranged { count, is_ok, took_ns } => {
                let each = time(took_ns / count.max(1)).as_secs_f64();
                self.ranges[usize::from(is_ok)].observe_many(each, count);
            }
            Measure::Read { is_txn, is_ok, took_ns } => {
                let field = if is_txn { operations::READ_ONLY_TXN } else { operations::RANGE };
                self.requests.record(field, is_ok, time(took_ns));
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "a bucket of a histogram does not need the last bits"
            )]
            Measure::Granted { ttl } => self.lease_ttl.observe(ttl as f64),
            Measure::CompactionSlice { took_ns } => {
                let took_ms = time(took_ns).as_secs_f64() * 1e3;
                self.compaction_pause_ms.observe(took_ms);
                self.compaction_index_ms.observe(took_ms);
            }
            Measure::Compaction { took_ns } => {
                self.compaction_total_ms.observe(time(took_ns).as_secs_f64() * 1e3);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.compaction_last.set(now.as_secs());
            }
        }
    }

    /// Records what became of the promotion of a learner; a member that does not lead has nothing to do with it.
    pub(crate) fn record_promotion(&self, error: Option<&ApiError>) {
        match error {
            None => self.promotions.increment(),
            Some(ApiError::NotLeader) => {}
            Some(error) => {
                let reason = crate::grpc::status::message_of(error);
                let mut failures = self.promotion_failures.lock().unwrap_or_else(PoisonError::into_inner);
                *failures.entry(reason).or_default() += 1;
            }
        }
    }

    /// Records one run of a health check of `/livez` or `/readyz`.
    pub fn record_check(&self, probe: &'static str, name: &'static str, healthy: bool) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let check = checks.entry((probe, name)).or_default();
        check.healthy = healthy;
        if healthy {
            check.successes += 1;
        } else {
            check.errors += 1;
        }
    }

    /// The count of calls from clients that claim to have this version of the API.
    pub fn client_requests(&self, version: &str, kind: CallKind) -> Arc<Number> {
        let mut versions = self.client_versions.lock().unwrap_or_else(PoisonError::into_inner);
        let full = versions.len() >= CLIENT_VERSIONS_MAX;
        let known = versions.contains_key(&(version.to_owned(), kind));
        let version = if full && !known { "unknown" } else { version };
        Arc::clone(versions.entry((version.to_owned(), kind)).or_default())
    }
}
