//! Snapshots between members: one is sent to a follower that lags further than the log reaches, one is taken in the
//! place of the own log and state.
//!
//! Consensus makes the message when it finds that a follower needs one.
//! The message is held until a commit is done, and then says where that commit stands: so the backend's newest view is
//! the state that it announces, no more and no less.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_backend::ReadView;
use etched_raft_core::{Entry, Message, SnapshotDelivery, SnapshotMeta};

use super::{Member, conf_state_of};
use crate::options::StartError;
use crate::output::{Install, Output, SendSnapshot};
use crate::request::ApiError;

/// Bytes of entries that are kept for followers with a snapshot; beyond, they are sent another one.
const KEPT_BYTES_MAX: u64 = 1 << 30;

/// Snapshots on their way, out and in.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Messages that wait for a commit.
    held: Vec<Message>,
    /// Followers that are sent a snapshot, or have one and not yet what comes after it, and where it stands.
    catching_up: BTreeMap<u64, CatchingUp>,
    /// Where the snapshots stand that are on their way.
    sent: BTreeMap<u64, u64>,
    is_installing: bool,
    /// Entries that follow a snapshot that is not installed yet.
    deferred: Vec<Entry>,
}

/// How far a follower is with its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CatchingUp {
    /// It waits for one, or one is on its way.
    Receives,
    /// It has the one of this index.
    Has(u64),
}

impl Snapshots {
    pub(super) fn is_any_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn is_installing(&self) -> bool {
        self.is_installing
    }

    pub(super) fn defer(&mut self, entries: Vec<Entry>) {
        self.deferred.extend(entries);
    }

    pub(super) fn on_demoted(&mut self) {
        self.held.clear();
        self.sent.clear();
        self.catching_up.clear();
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
        self.snapshots.catching_up.insert(message.to(), CatchingUp::Receives);
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
                self.snapshots.sent.insert(to, index);
                self.outputs.push_back(Output::SendSnapshot(SendSnapshot { to, message, index, term }));
            }
        }
    }

    /// How it went with a snapshot sent to `member`.
    pub fn on_snapshot_sent(&mut self, member: u64, delivery: SnapshotDelivery) {
        // Consensus knows by now which index the follower has then.
        let sent = self.snapshots.sent.remove(&member);
        match (delivery, sent) {
            (SnapshotDelivery::Done, Some(index)) => {
                self.snapshots.catching_up.insert(member, CatchingUp::Has(index));
            }
            (SnapshotDelivery::Done, None) | (SnapshotDelivery::Failed, _) => {
                self.snapshots.catching_up.remove(&member);
            }
        }
        self.consensus.on_snapshot_sent(member, delivery);
    }

    /// The last index that followers with a snapshot do not need any more, at most `wanted`.
    ///
    /// One that has its snapshot takes it up and asks for what comes after it; if that were gone it would be sent the
    /// next snapshot, and so on as long as much is written.
    /// One that cannot be spoken with is not waited for, and nobody is when too much has gathered.
    pub(super) fn dispensable(&mut self, wanted: u64) -> u64 {
        if self.snapshots.catching_up.is_empty() {
            return wanted;
        }
        if self.consensus.log_bytes() > KEPT_BYTES_MAX {
            self.snapshots.catching_up.clear();
            return wanted;
        }
        let followers = self.consensus.status().followers;
        let leadership = &self.leadership;
        self.snapshots.catching_up.retain(|member, state| match state {
            CatchingUp::Receives => true,
            CatchingUp::Has(_) => {
                let matched = followers.iter().find(|follower| follower.id == *member);
                leadership.is_active(*member) && matched.is_some_and(|follower| follower.matched < wanted)
            }
        });
        let mut dispensable = wanted;
        for state in self.snapshots.catching_up.values() {
            dispensable = match state {
                CatchingUp::Receives => 0,
                CatchingUp::Has(index) => dispensable.min(*index),
            };
        }
        dispensable
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
