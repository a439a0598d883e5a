//! What a member is told once, when its consensus is built.

use crate::log_store::RestoreError;

/// The fixed settings of one member's consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The member's id; never zero.
    pub id: u64,
    /// Ticks without a leader after which a member campaigns; the pinned timeout lies in `election_ticks..2 *
    /// election_ticks`.
    pub election_ticks: usize,
    /// Ticks between two heartbeats of a leader; fewer than `election_ticks`.
    pub heartbeat_ticks: usize,
    /// Whether a member asks if it could win before it begins a term of its own (`--pre-vote`).
    pub pre_vote: bool,
    /// Where the election timeouts come from: equal seeds give equal runs.
    pub seed: u64,
    /// A number that differs between any two starts of the same member; it makes read contexts unique.
    pub boot: u64,
    /// The last index that the state machine had applied; entries up to it are not handed out again.
    pub applied: u64,
    /// Bytes of entries in one append message; one entry may be larger.
    pub max_size_per_message: u64,
    /// Append messages to one follower that are under way at once.
    pub max_inflight: usize,
    /// Bytes of proposals that are not committed, above which a leader refuses more.
    pub max_uncommitted_size: u64,
    /// Bytes of entries in one [`crate::Effect::Apply`]; one entry may be larger.
    pub max_apply_size: u64,
}

impl Config {
    /// The settings of etcd for member `id`: ten ticks to an election, a heartbeat each tick.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            seed: 0,
            boot: 0,
            applied: 0,
            max_size_per_message: 1 << 20,
            max_inflight: 512,
            max_uncommitted_size: 256 << 20,
            max_apply_size: 16 << 20,
        }
    }

    /// The form that the `raft` crate wants, with everything on that keeps a cluster safe.
    pub(crate) fn to_raft(&self) -> raft::Config {
        raft::Config {
            id: self.id,
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied: self.applied,
            max_size_per_msg: self.max_size_per_message,
            max_inflight_msgs: self.max_inflight,
            check_quorum: true,
            pre_vote: self.pre_vote,
            min_election_tick: self.election_ticks,
            max_election_tick: 2 * self.election_ticks,
            read_only_option: raft::ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: true,
            priority: 0,
            max_uncommitted_size: self.max_uncommitted_size,
            max_committed_size_per_ready: self.max_apply_size,
        }
    }
}

/// Why consensus cannot be built from what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is out of range.
    #[error("invalid setting of consensus: {0}")]
    Invalid(String),
    /// What the log held does not fit together.
    #[error("the restored log does not fit together")]
    Restored(#[from] RestoreError),
}
