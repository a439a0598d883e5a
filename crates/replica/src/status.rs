//! What a member says of itself: for `Status`, health checks and metrics.

use std::string::String;
use std::vec::Vec;

use etched_state_machine::{AlarmMember, HashKv, v2store};

/// The state of a member at one moment; plain values, no behaviour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// The leader's id; 0 if none is known.
    pub leader: u64,
    /// Whether this member leads.
    pub is_leader: bool,
    /// Whether this member does not vote.
    pub is_learner: bool,
    /// The Raft term.
    pub raft_term: u64,
    /// The highest index known to be committed.
    pub raft_committed: u64,
    /// The highest index applied.
    pub raft_applied: u64,
    /// The store's current revision.
    pub revision: i64,
    /// The revision of the last compaction; -1 if there was none.
    pub compact_revision: i64,
    /// The hashes of the newest finished compactions, by rising revision.
    pub compaction_hashes: Vec<HashKv>,
    /// Active alarms of all members.
    pub alarms: Vec<AlarmMember>,
    /// Bytes that the backend holds allocated.
    pub database_bytes: u64,
    /// Bytes of it that are in use.
    pub database_bytes_in_use: u64,
    /// The quota on the backend in bytes, as configured (0: the default of 2 GiB, negative: none).
    pub quota_bytes: i64,
    /// The cluster's version (`3.7.0`); empty until it is decided.
    pub cluster_version: String,
    /// The version of the stored format; empty until it is set.
    pub storage_version: String,
    /// Whether authentication is on.
    pub auth_enabled: bool,
    /// The revision of users and roles.
    pub auth_revision: u64,
    /// The version that the cluster is being taken down to (`3.6.0`), if a downgrade is allowed.
    pub downgrade_target: Option<String>,
    /// When the next node of the v2 API expires, in nanoseconds of the Unix epoch.
    pub v2_next_expiry_ns: Option<i64>,
    /// What the v2 API has counted.
    pub v2: V2Counts,
    /// Counters and gauges since the start.
    pub counters: Counters,
}

/// What the v2 API has counted at this member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V2Counts {
    /// Changes of the tree, of all times.
    pub stats: v2store::Stats,
    /// Reads of single nodes and of what is below a node, since the start.
    pub reads: [u64; 2],
    /// Clients that wait for a change.
    pub watchers: u64,
    /// How often somebody asked for a change, since the start.
    pub watch_requests: u64,
}

/// Counts since the start of the process, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Leader changes seen.
    pub leader_changes: u64,
    /// Proposals handed to Raft and committed.
    pub proposals_committed: u64,
    /// Entries applied.
    pub proposals_applied: u64,
    /// Proposals that wait for their outcome.
    pub proposals_pending: u64,
    /// Proposals that failed.
    pub proposals_failed: u64,
    /// Reads that took part in a barrier and failed.
    pub read_indexes_failed: u64,
    /// Reads that were given up since the members did not agree in time.
    pub read_indexes_slow: u64,
    /// Put operations applied, those in transactions included.
    pub puts: u64,
    /// Bytes of the keys and values put.
    pub put_bytes: u64,
    /// Deletes of ranges applied, those in transactions included.
    pub deletes: u64,
    /// Ranges read, those in transactions included.
    pub ranges: u64,
    /// Transactions of more than one operation, applied or read.
    pub txns: u64,
    /// Live keys.
    pub keys: u64,
    /// Compactions finished.
    pub compactions: u64,
    /// Keys (revisions) dropped by compactions.
    pub compacted_keys: u64,
    /// Watch streams.
    pub watch_streams: u64,
    /// Watchers.
    pub watchers: u64,
    /// Watchers that are behind.
    pub slow_watchers: u64,
    /// Events sent to watchers.
    pub watch_events: u64,
    /// Events that wait in streams' queues.
    pub watch_events_pending: u64,
    /// Leases granted.
    pub leases_granted: u64,
    /// Leases revoked.
    pub leases_revoked: u64,
    /// Leases renewed.
    pub leases_renewed: u64,
    /// Leases that ran out.
    pub leases_expired: u64,
    /// Log snapshots made.
    pub snapshots: u64,
}
