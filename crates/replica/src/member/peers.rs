//! What other members send, and what the transport says of them.

use std::collections::{BTreeMap, BTreeSet};

use etched_backend::ReadView;
use etched_raft_core::{Message, SnapshotDelivery, StepError};

use super::Member;
use crate::options::StartError;
use crate::output::Install;
use crate::request::MemberEntry;
use crate::versions::PeerVersion;

impl Member {
    /// Takes a message of another member.
    ///
    /// # Errors
    ///
    /// The message was not taken, and nothing has changed. It is worth a line in the log, no more.
    pub fn step(&mut self, message: Message, _now_ns: u64) -> Result<(), StepError> {
        self.consensus.step(message)
    }

    /// A message to `member` could not be delivered.
    pub fn on_unreachable(&mut self, member: u64) {
        self.consensus.on_unreachable(member);
    }

    /// How it went with a snapshot sent to `member`.
    pub fn on_snapshot_sent(&mut self, member: u64, delivery: SnapshotDelivery) {
        self.consensus.on_snapshot_sent(member, delivery);
    }

    /// Whether `member` can be spoken with, as the transport sees it; told at each change.
    pub fn on_active(&mut self, member: u64, active: bool, now_ns: u64) {
        let _ = (member, active, now_ns);
    }

    /// The backend was replaced by the leader's snapshot; `view` is of the new one.
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
        let _ = (view, install, now_ns);
        Ok(())
    }

    /// What the members say of their versions; `None` for one that is not reachable.
    /// Only the leader makes something of it: it should ask every four seconds.
    pub fn on_peer_versions(&mut self, versions: BTreeMap<u64, Option<PeerVersion>>) {
        let _ = versions;
    }

    /// Hands leadership to the voter that is furthest, if this member leads and there is one (for a graceful stop).
    /// `true` if a transfer is under way; then [`Self::leader`] tells when it is done.
    pub fn transfer_leadership(&mut self, now_ns: u64) -> bool {
        let _ = now_ns;
        false
    }

    /// The members as applied here, by id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberEntry> {
        self.applier.members()
    }

    /// The ids of members that were removed and may never return.
    #[must_use]
    pub fn removed(&self) -> BTreeSet<u64> {
        self.applier.machine().members().removed().collect()
    }
}
