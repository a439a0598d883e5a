//! A member's place: its disk, which outlives the process, and the process while there is one.

use std::collections::{BTreeMap, VecDeque};

use etched_disk::{Faults, SimDisk};
use etched_replica::auth::Credentials;
use etched_replica::raft::{Config, Message, SnapshotDelivery};
use etched_replica::{
    ApplierOptions, AutoCompaction, Limits, MeasureOptions, MemberEntry, MemberOptions, PeerVersion,
    Presence, Request, WatchCall,
};
use etched_state_machine::BootstrapChange;
use etched_watch::HubOptions;

use crate::clock::{MILLISECOND, SECOND};
use crate::node::Node;
use crate::profile::Profile;
use crate::random::Random;

/// The time between two ticks of a member's clock.
pub(crate) const TICK: u64 = 100 * MILLISECOND;
/// The least time to live of a lease, in seconds.
pub(crate) const TTL_MIN: i64 = 2;

/// What arrives at a process.
#[derive(Debug)]
pub(crate) enum Input {
    Message(Message),
    Snapshot(Message, bytes::Bytes),
    SnapshotSent(u64, SnapshotDelivery),
    Active(u64, bool),
    Gone(u64),
    Versions(BTreeMap<u64, Option<PeerVersion>>),
    Submit { token: u64, credentials: Credentials, request: Request },
    Watch(WatchCall),
}

/// Inputs that wait for a process; above, the oldest messages are lost.
const INBOX_MAX: usize = 20_000;

/// A member's place.
pub(crate) struct Site {
    pub(crate) number: u64,
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) disk: SimDisk,
    pub(crate) bootstrap: Vec<BootstrapChange>,
    pub(crate) node: Option<Node>,
    /// Which life it is.
    pub(crate) boot: u64,
    /// Until when it stands still.
    pub(crate) paused_until: u64,
    /// Until when it waits for its disk or its processor.
    pub(crate) busy_until: u64,
    /// When it is to go on by itself; 0 if that is not planned.
    pub(crate) work_at: u64,
    /// What one round of work costs, while it is slow, and until when.
    pub(crate) slow: (u64, u64),
    /// By how much disk operations take longer, and until when.
    pub(crate) slow_disk: (u64, u64),
    pub(crate) inbox: VecDeque<Input>,
    /// Disk errors and crashes to come at the next start.
    pub(crate) faults_at_start: Option<Faults>,
    /// Whether the end of this life was planned.
    pub(crate) ends_as_planned: bool,
    /// Whether its disk is full on purpose.
    pub(crate) is_disk_full: bool,
    /// The last compaction that this life has finished.
    pub(crate) compacted: i64,
    pub(crate) is_removed: bool,
    pub(crate) commits: u64,
    pub(crate) random: Random,
    pub(crate) clock_random: Random,
    /// Who the members are, as this one knows.
    pub(crate) members: Vec<MemberEntry>,
    /// Whom it can speak with.
    pub(crate) active: BTreeMap<u64, bool>,
    pub(crate) versions_due: u64,
}

impl Site {
    pub(crate) fn is_running(&self) -> bool {
        self.node.is_some()
    }

    /// Whether it takes in anything now.
    pub(crate) fn is_awake(&self, now: u64) -> bool {
        self.node.is_some() && now >= self.paused_until
    }

    pub(crate) fn push(&mut self, input: Input) {
        if self.node.is_some() {
            if self.inbox.len() >= INBOX_MAX {
                self.inbox.pop_front();
            }
            self.inbox.push_back(input);
        }
    }

    /// The settings of the next life.
    pub(crate) fn options(&self, profile: &Profile) -> MemberOptions {
        let bytes_max = 1_572_864;
        MemberOptions {
            member_id: self.id,
            start_ms: self.boot * 1_000_000,
            strict_reconfig_check: true,
            advance_election: true,
            tick_ns: TICK,
            election_ns: SECOND,
            limits: Limits {
                command: etched_state_machine::Limits { txn_ops_max: 128, request_bytes_max: bytes_max },
                request_bytes_max: bytes_max,
                proposals_max: profile.proposals_max,
                apply_lag_max: 5_000,
                request_timeout_ns: 7 * SECOND,
                commit_interval_ns: profile.commit_interval,
                commit_entries_max: u64::MAX,
                commit_bytes_max: 1 << 20,
                commit_backlog_bytes_max: 16 << 20,
                snapshot_entries: profile.snapshot_entries,
                snapshot_bytes: 1 << 20,
                catch_up_entries: profile.catch_up_entries,
            },
            presence: Presence {
                name: self.name.clone(),
                client_urls: vec![format!("http://{}:2379", self.name)],
                cluster_version: "3.7.0".into(),
            },
            applier: ApplierOptions {
                machine: etched_state_machine::Options {
                    quota_bytes: profile.quota_bytes,
                    member_id: self.id,
                    value_cache_bytes: profile.value_cache_bytes,
                    lease_ttl_min: TTL_MIN,
                    ..etched_state_machine::Options::default()
                },
                hub: HubOptions {
                    fragment_bytes: profile.fragment_bytes,
                    stream_queue_bytes: profile.stream_queue_bytes,
                    history_bytes: profile.history_bytes,
                },
                lease_extension_ns: SECOND,
                compaction_keys: profile.compaction_keys,
                compaction_pause_ns: if profile.compaction_keys > 1 {
                    10 * MILLISECOND
                } else {
                    MILLISECOND / 10
                },
                auto_compaction: AutoCompaction::Off,
                measures: MeasureOptions::default(),
                token_life_ns: 300 * SECOND,
            },
        }
    }

    /// The settings of consensus in the next life.
    pub(crate) fn config(&self, profile: &Profile, seed: u64) -> Config {
        Config {
            boot: self.boot,
            seed,
            pre_vote: profile.pre_vote,
            max_size_per_message: profile.max_size_per_message,
            ..Config::new(self.id)
        }
    }
}
