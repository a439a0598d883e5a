//! What other members send, and what the transport says of them.

use std::collections::BTreeMap;

use etched_raft_core::{Message, StepError};

use super::Member;
use crate::applier::Failure;
use crate::versions::PeerVersion;

impl Member {
    /// Takes a message of another member.
    ///
    /// # Errors
    ///
    /// The message was not taken, and nothing has changed. It is worth a line in the log, no more.
    pub fn step(&mut self, message: Message, now_ns: u64) -> Result<(), StepError> {
        self.doubt_after_pause(now_ns);
        self.consensus.step(message)
    }

    /// `member` is probably not running: connections with it broke, and new ones are refused at once.
    ///
    /// If it was the leader, it is not waited for as long as one that is only silent.
    /// This may be told wrongly; see [`etched_raft_core::RaftCore::on_gone`].
    pub fn on_gone(&mut self, member: u64) {
        self.consensus.on_gone(member);
    }

    /// A message to `member` could not be delivered.
    pub fn on_unreachable(&mut self, member: u64) {
        self.consensus.on_unreachable(member);
    }

    /// What the members say of their versions; `None` for one that is not reachable.
    /// Only the leader makes something of it: it should ask when it becomes leader, and every four seconds.
    pub fn on_peer_versions(&mut self, versions: BTreeMap<u64, Option<PeerVersion>>) {
        if self.leads {
            self.versions.on_reported(versions);
        }
    }

    /// The cluster may have gone on to a version that this member does not speak.
    pub(super) fn check_versions(&mut self) {
        if self.failure().is_none()
            && let Err(error) = self.versions.check_own(self.applier.machine())
        {
            self.applier.fail(Failure::Version(error));
        }
    }
}
