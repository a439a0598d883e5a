//! Batches on their way to the backend, the log snapshots that some of them make, and hashes over what they hold.

use std::sync::Arc;

use bytes::Bytes;
use etched_raft_core::{Entry, SnapshotMeta};
use etched_state_machine::HashPlan;

use super::{Member, conf_state_of};
use crate::output::{Commit, HashJob, LogSnapshot, Output};
use crate::request::{Answer, Caller};

/// A hash request that waits until the backend holds everything up to now.
#[derive(Debug)]
pub(super) struct HashWanted {
    pub(super) caller: Caller,
    /// `None` for the hash over all tables.
    pub(super) revision: Option<i64>,
}

/// What is on its way to the backend, and what is to be.
#[derive(Debug, Default)]
pub(super) struct CommitState {
    in_flight: Option<InFlight>,
    since_ns: Option<u64>,
    /// The applied index of the newest batch that was taken.
    taken_index: u64,
    is_wanted: bool,
    snapshot_wanted: bool,
    snapshot_index: u64,
    /// Bytes of entries since the last log snapshot was begun.
    snapshot_bytes: u64,
    snapshots: u64,
}

/// One batch on its way.
#[derive(Debug)]
struct InFlight {
    meta: SnapshotMeta,
    /// What a snapshot of this state carries beside it, if one was wanted when the batch was taken.
    data: Option<Bytes>,
    /// Whether a log snapshot is made.
    is_snapshot: bool,
}

impl CommitState {
    pub(super) fn new(snapshot_index: u64) -> Self {
        Self { snapshot_index, taken_index: snapshot_index, ..Self::default() }
    }

    /// The next commit is made without waiting for its time.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    pub(super) fn on_entries(&mut self, entries: &[Entry]) {
        self.snapshot_bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }

    /// A snapshot of the leader took the place of everything.
    pub(super) fn on_installed(&mut self, index: u64) {
        let snapshots = self.snapshots;
        *self = Self { snapshot_index: index, snapshots, is_wanted: self.is_wanted, ..Self::default() };
    }

    pub(super) fn snapshots(&self) -> u64 {
        self.snapshots
    }
}

impl Member {
    /// The commit under way is done; the views given from now on hold it.
    pub fn on_committed(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.applier.on_committed(total_bytes, in_use_bytes);
        self.outputs.extend(std::mem::take(&mut self.hashes_committing).into_iter().map(Output::Hash));
        let Some(InFlight { meta, data, is_snapshot }) = self.commit.in_flight.take() else { return };
        if let Some(data) = &data {
            self.send_snapshots(&meta, data);
        }
        if is_snapshot {
            self.commit.snapshot_index = meta.index;
            self.commit.snapshots += 1;
            self.applier.lower_storage_version();
            self.compact_log(meta.index);
            let SnapshotMeta { index, term, conf_state } = meta;
            let data = data.unwrap_or_default();
            self.outputs.push_back(Output::SnapshotTaken(LogSnapshot { index, term, conf_state, data }));
        }
    }

    /// Forgets entries in memory that nobody should need any more.
    fn compact_log(&mut self, index: u64) {
        let conf_state = self.consensus.conf_state();
        let is_alone = conf_state.voters.len() + conf_state.learners.len() <= 1;
        let kept = if is_alone { 0 } else { self.limits.catch_up_entries };
        let dispensable = self.dispensable(index.saturating_sub(kept));
        self.consensus.compact(dispensable);
    }

    /// Plans the hashes that were asked for, at the moment at which a batch is taken: the view that they will read is
    /// that of the batch, and a compaction that goes on must not have moved the plan beyond it by then.
    fn plan_hashes(&mut self) {
        for HashWanted { caller, revision } in std::mem::take(&mut self.hashes_wanted) {
            let Some(revision) = revision else {
                self.hashes_committing.push(HashJob::Whole(caller));
                continue;
            };
            match self.applier.machine().store().hash_plan(revision) {
                Ok(HashPlan::Cached(hash)) => self.respond(caller, Ok(Answer::HashKv(hash))),
                Ok(plan) => self.hashes_committing.push(HashJob::Keys(caller, plan)),
                Err(error) => {
                    let error = self.applier.read_error(error.into());
                    self.respond(caller, Err(error));
                }
            }
        }
    }

    /// How large the backend is, before the first commit tells.
    pub fn set_database_size(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.applier.set_database_size(total_bytes, in_use_bytes);
    }

    /// Makes the next commit a durable one, with a log snapshot (for a graceful stop).
    pub fn want_snapshot(&mut self) {
        self.commit.is_wanted = true;
        self.commit.snapshot_wanted = true;
    }

    /// Whether what [`Self::want_snapshot`] asked for is done. What was applied since is in the log.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.commit.in_flight.is_none() && !self.commit.is_wanted
    }

    /// Sends what is pending to the backend when it is time, one batch at a time.
    pub(super) fn start_commit(&mut self, now_ns: u64) {
        if self.commit.in_flight.is_some() || self.snapshots.is_installing() {
            return;
        }
        let pending = self.applier.machine().pending_bytes();
        if pending > 0 && self.commit.since_ns.is_none() {
            self.commit.since_ns = Some(now_ns);
        }
        let (index, term) = self.applier.machine().applied();
        let entries = index.saturating_sub(self.commit.snapshot_index);
        let is_snapshot = entries > 0
            && (self.commit.snapshot_wanted
                || entries >= self.limits.snapshot_entries
                || self.commit.snapshot_bytes >= self.limits.snapshot_bytes
                || self.applier.machine().is_storage_too_new());
        let old = self.commit.since_ns.is_some_and(|since| now_ns - since >= self.limits.commit_interval_ns);
        let due = self.commit.is_wanted
            || self.applier.wants_commit()
            || is_snapshot
            || old
            || index.saturating_sub(self.commit.taken_index) >= self.limits.commit_entries_max
            || pending >= self.limits.commit_bytes_max;
        if due {
            let meta = SnapshotMeta { index, term, conf_state: conf_state_of(&self.applier) };
            let wants_data = is_snapshot || self.snapshots.is_any_held();
            let data = wants_data.then(|| self.applier.machine().v2_store());
            let batch = Arc::new(self.applier.take_batch());
            self.plan_hashes();
            let snapshot = is_snapshot.then(|| LogSnapshot {
                index,
                term,
                conf_state: meta.conf_state.clone(),
                data: data.clone().unwrap_or_default(),
            });
            self.commit.in_flight = Some(InFlight { meta, data, is_snapshot });
            self.commit.since_ns = None;
            self.commit.taken_index = index;
            self.commit.is_wanted = false;
            self.commit.snapshot_wanted = false;
            if is_snapshot {
                self.commit.snapshot_bytes = 0;
            }
            self.outputs.push_back(Output::Commit(Commit { batch, snapshot }));
        }
    }
}
