//! A leader whose disk stands still gives way to one whose disk works.
//!
//! Without this it would lead on: the others answer its heartbeats and write its entries, which are even committed,
//! but nothing is applied or answered here until the disk is back.

use raft::StateRole;

use super::RaftCore;

/// Elections' lengths after which a leader offers its place to the member that is furthest.
const OFFER_AFTER: u64 = 2;
/// Elections' lengths after which it gives its place up, taken or not.
const GIVE_UP_AFTER: u64 = 3;

/// The write that is waited for, and since when.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Stall {
    ticket: Option<u64>,
    since_tick: u64,
}

impl RaftCore {
    /// Looks, at each tick, for how long the oldest write is under way.
    pub(super) fn give_way_if_stalled(&mut self) {
        let oldest = self.outbox.oldest();
        if oldest.is_none() || oldest != self.stall.ticket {
            self.stall = Stall { ticket: oldest, since_tick: self.ticks };
            return;
        }
        if self.node.raft.state != StateRole::Leader {
            return;
        }
        let waited = self.ticks - self.stall.since_tick;
        let election = self.config.election_ticks as u64;
        let Some(successor) = self.successor() else { return };
        if waited >= GIVE_UP_AFTER * election {
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        } else if waited >= OFFER_AFTER * election && self.node.raft.lead_transferee.is_none() {
            self.node.transfer_leader(successor);
        }
    }

    /// The voter that would lead best, if this member should not: heard of lately, and furthest.
    #[must_use]
    pub fn successor(&self) -> Option<u64> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return None;
        }
        let voters = self.conf_state.voters.iter().filter(|id| **id != self.config.id);
        let ranked = voters.filter_map(|id| {
            let progress = raft.prs().get(*id)?;
            Some((progress.recent_active, progress.matched, std::cmp::Reverse(*id)))
        });
        ranked.max().map(|(_, _, std::cmp::Reverse(id))| id)
    }
}
