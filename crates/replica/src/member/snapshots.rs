//! Snapshots between members: one is sent to a follower that lags further than the log reaches, one is taken in the
//! place of the own log and state.
//!
//! Consensus makes the message when it finds that a follower needs one.
//! The message is held until a commit is done, and then says where that commit stands: so the backend's newest view is
//! the state that it announces, no more and no less.

use std::collections::BTreeSet;

use bytes::Bytes;
use etched_backend::ReadView;
use etched_raft_core::{Entry, Message, SnapshotDelivery, SnapshotMeta};

use super::{Member, conf_state_of};
use crate::options::StartError;
use crate::output::{Install, Output, SendSnapshot};
use crate::request::ApiError;

/// Snapshots on their way, out and in.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Messages that wait for a commit.
    held: Vec<Message>,
    /// Followers whose snapshot is not delivered yet.
    under_way: BTreeSet<u64>,
    is_installing: bool,
    /// Entries that follow a snapshot that is not installed yet.
    deferred: Vec<Entry>,
}

impl Snapshots {
    pub(super) fn is_any_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn is_any_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    pub(super) fn is_installing(&self) -> bool {
        self.is_installing
    }

    pub(super) fn defer(&mut self, entries: Vec<Entry>) {
        self.deferred.extend(entries);
    }

    pub(super) fn on_demoted(&mut self) {
        self.held.clear();
        self.under_way.clear();
    }
}

impl Member {
    /// Gives consensus the place of a snapshot, so that it can make the message; the state follows with a commit.
    pub(super) fn supply_snapshot(&mut self) {
        let machine = self.applier.machine();
        let (index, term) = machine.applied();
        if index > 0 {
            let meta = SnapshotMeta { index, term, conf_state: conf_state_of(&self.applier) };
            let data = machine.v2_store();
            self.consensus.supply_snapshot(&meta, data);
        }
    }

    pub(super) fn hold_snapshot(&mut self, message: Message) {
        self.snapshots.under_way.insert(message.to());
        self.snapshots.held.push(message);
        self.commit.want();
    }

    /// A commit is done that was begun while snapshots were held.
    pub(super) fn send_snapshots(&mut self, meta: &SnapshotMeta, data: &Bytes) {
        for message in std::mem::take(&mut self.snapshots.held) {
            let to = message.to();
            let least = message.snapshot().map_or(u64::MAX, |asked| asked.index);
            if !self.leads || message.term() != self.consensus.term() {
                self.on_snapshot_sent(to, SnapshotDelivery::Failed);
            } else if meta.index < least {
                self.snapshots.held.push(message);
                self.commit.want();
            } else {
                let message = message.with_snapshot(meta, data.clone());
                let (index, term) = (meta.index, meta.term);
                self.outputs.push_back(Output::SendSnapshot(SendSnapshot { to, message, index, term }));
            }
        }
    }

    /// How it went with a snapshot sent to `member`.
    pub fn on_snapshot_sent(&mut self, member: u64, delivery: SnapshotDelivery) {
        self.snapshots.under_way.remove(&member);
        self.consensus.on_snapshot_sent(member, delivery);
    }

    pub(super) fn begin_install(&mut self, ticket: u64, meta: SnapshotMeta, data: Bytes) {
        self.snapshots.is_installing = true;
        self.outputs.push_back(Output::Install(Install { ticket, meta, data }));
    }

    /// The backend was replaced by the leader's snapshot; `view` is of the new one.
    ///
    /// A commit of the old backend is done and reported before, or forgotten.
    ///
    /// # Errors
    ///
    /// The new state cannot be taken up: the process must end.
    pub fn on_installed(
        &mut self,
        view: &dyn ReadView,
        install: &Install,
        now_ns: u64,
    ) -> Result<(), StartError> {
        let index = install.meta.index;
        self.applier.reinstall(view, index)?;
        self.versions.check_own(self.applier.machine())?;
        self.snapshots.is_installing = false;
        self.commit.on_installed(index);
        for job in std::mem::take(&mut self.hashes_committing) {
            self.respond(job.caller(), Err(ApiError::Timeout));
        }
        self.drain_applier();
        self.note_members(now_ns);
        let deferred = std::mem::take(&mut self.snapshots.deferred);
        if deferred.is_empty() {
            self.serve_ready(view, now_ns);
        } else {
            self.apply(view, deferred, now_ns);
        }
        Ok(())
    }
}
