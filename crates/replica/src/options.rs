//! What a member is given at its start, and the checks that its log and its backend fit together.

use etched_raft_core::{Config, ConfigError, Restored};
use etched_state_machine::RestoreError;

use crate::applier::ApplierOptions;
use crate::presence::Presence;
use crate::versions::VersionTooLow;

/// Settings of a member.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// This member's id.
    pub member_id: u64,
    /// Wall-clock milliseconds at the start; only makes request ids unique.
    pub start_ms: u64,
    /// Bounds on what waits and how large it may be.
    pub limits: Limits,
    /// What this member makes known of itself.
    pub presence: Presence,
    /// Settings of the applying half.
    pub applier: ApplierOptions,
    /// Whether changes of the membership that put the quorum at risk are refused (`--strict-reconfig-check`).
    pub strict_reconfig_check: bool,
    /// Whether a member that has just started, and is connected with enough others, waits for less than an election
    /// (`--initial-election-tick-advance`).
    pub advance_election: bool,
    /// Nanoseconds between two ticks (`--heartbeat-interval`).
    pub tick_ns: u64,
    /// Nanoseconds of an election (`--election-timeout`).
    pub election_ns: u64,
}

/// Bounds; each names what happens when it is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bounds on single commands.
    pub command: etched_state_machine::Limits,
    /// Bytes of an encoded entry (`--max-request-bytes`); above, the request is refused as too large.
    pub request_bytes_max: usize,
    /// Proposals that wait for their outcome; above, requests are refused as too many.
    pub proposals_max: usize,
    /// Entries committed but not applied; above, requests are refused as too many.
    pub apply_lag_max: u64,
    /// Nanoseconds after which a request that waits is answered with a timeout.
    pub request_timeout_ns: u64,
    /// Nanoseconds for which changes wait before they are committed to the backend.
    pub commit_interval_ns: u64,
    /// Entries whose changes are committed at once without waiting for the interval.
    pub commit_entries_max: u64,
    /// Bytes of changes that are committed at once without waiting for the interval.
    pub commit_bytes_max: usize,
    /// Bytes of changes that may wait for the backend; above, no further requests are taken in until it caught up.
    pub commit_backlog_bytes_max: usize,
    /// Entries between durable commits with a log snapshot (`--snapshot-count`).
    pub snapshot_entries: u64,
    /// Bytes of entries after which a log snapshot is made even if there are fewer entries than that.
    pub snapshot_bytes: u64,
    /// Entries kept in memory below a log snapshot, for members that lag; none in a cluster of one.
    pub catch_up_entries: u64,
}

/// What the log held, and the Raft settings of this life of the member.
#[derive(Debug)]
pub struct Start {
    /// Raft settings; `applied` is filled in from the backend.
    pub config: Config,
    /// Hard state, snapshot and entries of the log.
    pub restored: Restored,
    /// Whether this member goes on alone, whoever else was a member (`--force-new-cluster`).
    pub force_new_cluster: bool,
}

/// Why a member cannot start from what it found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The log ends before what the backend has applied: acknowledged entries are missing.
    #[error("the log ends at index {log_end}, but the backend has applied up to index {applied}")]
    LogTooShort {
        /// The last index in the log.
        log_end: u64,
        /// The last index applied.
        applied: u64,
    },
    /// The log begins after what the backend has applied.
    #[error(
        "failed to find database snapshot file (snap: snapshot file doesn't exist): the log begins after index \
         {log_start}, but the backend has applied only up to index {applied}"
    )]
    LogGap {
        /// The index of the log's snapshot.
        log_start: u64,
        /// The last index applied.
        applied: u64,
    },
    /// The leader's snapshot holds less than it says, or than this member had.
    #[error("the snapshot is of index {index}, but its state has applied only up to index {applied}")]
    SnapshotTooOld {
        /// The index of the snapshot.
        index: u64,
        /// The last index applied in it.
        applied: u64,
    },
    /// The cluster is at a version that this member does not speak.
    #[error(transparent)]
    Version(#[from] VersionTooLow),
    /// Raft does not accept the settings.
    #[error("raft settings")]
    Config(#[from] ConfigError),
    /// Stored state cannot be read.
    #[error("stored state")]
    Restore(#[from] RestoreError),
}
