//! Read barriers: each is asked for until it is answered, and every time under a new name.

use std::collections::BTreeMap;

use etched_raft_core::{RaftCore, ReadTicket};

/// Names a read barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Barrier(pub(crate) u64);

/// The barriers under way.
#[derive(Debug)]
pub(super) struct Barriers {
    rounds: BTreeMap<Barrier, Round>,
    /// Every question counts as long as its barrier is under way.
    tickets: BTreeMap<ReadTicket, Barrier>,
    next: u64,
    ticks: u64,
    retry_ticks: u64,
}

#[derive(Debug)]
struct Round {
    /// Who was asked; 0 if nobody yet.
    leader: u64,
    retry_at: u64,
}

impl Barriers {
    pub(super) fn new(retry_ticks: u64) -> Self {
        Self { rounds: BTreeMap::new(), tickets: BTreeMap::new(), next: 0, ticks: 0, retry_ticks }
    }

    pub(super) fn start(&mut self, raft: &mut RaftCore) -> Barrier {
        let barrier = Barrier(self.next);
        self.next += 1;
        self.rounds.insert(barrier, Round { leader: 0, retry_at: 0 });
        self.ask(raft, barrier);
        barrier
    }

    fn ask(&mut self, raft: &mut RaftCore, barrier: Barrier) {
        let Some(round) = self.rounds.get_mut(&barrier) else { return };
        round.retry_at = self.ticks + self.retry_ticks;
        if let Ok(ticket) = raft.read_index() {
            round.leader = raft.leader();
            self.tickets.insert(ticket, barrier);
        }
    }

    pub(super) fn tick(&mut self, raft: &mut RaftCore) {
        self.ticks += 1;
        let late: Vec<Barrier> = self
            .rounds
            .iter()
            .filter(|(_, round)| round.retry_at <= self.ticks)
            .map(|(barrier, _)| *barrier)
            .collect();
        for barrier in late {
            self.ask(raft, barrier);
        }
    }

    /// Another leader, or none, is known: returns the barriers that were asked of another one.
    /// Those that nobody was asked for yet, and those of the same leader in a new term, are asked for now.
    pub(super) fn on_leader(&mut self, raft: &mut RaftCore, leader: u64) -> Vec<Barrier> {
        if leader == 0 {
            return Vec::new();
        }
        let (mut lost, mut again) = (Vec::new(), Vec::new());
        for (barrier, round) in &self.rounds {
            if round.leader != 0 && round.leader != leader {
                lost.push(*barrier)
            } else {
                again.push(*barrier)
            }
        }
        for barrier in &lost {
            self.forget(*barrier);
        }
        for barrier in again {
            self.ask(raft, barrier);
        }
        lost
    }

    /// The barrier that an answer confirms, if it is still under way.
    pub(super) fn on_ready(&mut self, ticket: ReadTicket) -> Option<Barrier> {
        let barrier = self.tickets.remove(&ticket)?;
        self.forget(barrier);
        Some(barrier)
    }

    /// There will be no answer to this question.
    pub(super) fn on_lost(&mut self, ticket: ReadTicket) {
        self.tickets.remove(&ticket);
    }

    pub(super) fn forget(&mut self, barrier: Barrier) {
        self.rounds.remove(&barrier);
        self.tickets.retain(|_, asked| *asked != barrier);
    }

    pub(super) fn len(&self) -> usize {
        self.rounds.len()
    }
}
