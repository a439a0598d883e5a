//! A leader whose process has ended is not waited for as long as one that is only silent.
//!
//! A follower is told that its connection to the leader broke and that another one was refused. It is a hint, no proof:
//! the follower forgets who leads, so that it neither sends anything to a leader that is not there nor refuses others
//! their pre-vote on its account. If it hears nothing of the leader for a heartbeat, it asks for pre-votes.
//!
//! A leader that lives is not deposed by this. Its next heartbeat makes it known again; and the others, who hear it,
//! refuse the pre-vote, which changes nobody's term. Without pre-vote nothing of this is done.
//!
//! The members take turns, by their rank among the voters, so that they do not ask for votes at the same time and
//! divide them.

use raft::StateRole;

use super::RaftCore;

/// Turns of asking after which the ordinary election timeout is left alone with it, in elections' lengths.
const GIVE_UP_AFTER: u64 = 2;

/// A leader that is said to be gone.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    leader: u64,
    term: u64,
    since_tick: u64,
}

impl RaftCore {
    /// Takes note that `member` is probably not running: connections with it broke, and new ones are refused.
    ///
    /// It matters to a follower of that member. It may be wrong; a live leader loses nothing by it.
    pub fn on_gone(&mut self, member: u64) {
        let raft = &self.node.raft;
        let follows = raft.state == StateRole::Follower && raft.leader_id == member;
        if !self.config.pre_vote || !follows || member == raft::INVALID_ID {
            return;
        }
        self.gather();
        let raft = &mut self.node.raft;
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        self.gone = Some(Gone { leader: member, term, since_tick: self.ticks });
        self.settle();
    }

    /// At each tick: asks for pre-votes when it is this member's turn.
    pub(super) fn follow_up_gone(&mut self) {
        let Some(Gone { leader, term, since_tick }) = self.gone else { return };
        let raft = &self.node.raft;
        let waited = self.ticks - since_tick;
        let is_open = raft.term == term
            && raft.leader_id == raft::INVALID_ID
            && matches!(raft.state, StateRole::Follower | StateRole::PreCandidate);
        if !is_open || waited > GIVE_UP_AFTER * self.config.election_ticks as u64 {
            self.gone = None;
            return;
        }
        let voters = self.conf_state.voters.iter().filter(|id| **id != leader);
        let (rank, others) = voters.fold((0, 0), |(rank, others), id| match id.cmp(&self.config.id) {
            std::cmp::Ordering::Less => (rank + 1, others + 1),
            std::cmp::Ordering::Equal => (rank, others),
            std::cmp::Ordering::Greater => (rank, others + 1),
        });
        let turn = self.config.heartbeat_ticks as u64;
        // The tick at which the hint came is not a whole one.
        let Some(since_first) = waited.checked_sub(turn + 1 + rank * turn) else { return };
        if since_first % ((others + 1) * turn) == 0 && self.node.raft.promotable() && self.may_campaign() {
            self.gather();
            // The crate's only error here is about messages, and this is none.
            let _ = self.node.campaign();
        }
    }
}
