//! The half of a member that agrees with the others on a sequence of entries.
//!
//! It knows Raft and nothing of keys: commands go in encoded, committed entries come out.
//! All of one turn's proposals travel in one message, and all reads of one turn share one barrier.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use etched_raft_core::{
    ConfChange, ConfChangeError, ConfState, Config, ConfigError, Effect, Entry, HardState, Message, RaftCore,
    ReadTicket, Restored, Role, SnapshotDelivery, Status, StepError,
};

/// What the shell must do for consensus, in this order.
#[derive(Debug)]
pub(crate) enum ConsensusOutput {
    /// Write to the log, sync if asked, then report with [`Consensus::on_persisted`].
    Persist {
        /// Names this write.
        ticket: u64,
        /// The entries to append.
        entries: Vec<Entry>,
        /// The new hard state, if it changed.
        hard_state: Option<HardState>,
        /// Whether others wait for the sync.
        must_sync: bool,
    },
    /// Send to peers.
    Send(Vec<Message>),
    /// Apply: committed, and on the own disk.
    Apply(Vec<Entry>),
    /// A barrier is confirmed: its reads are served once `index` is applied.
    BarrierReached(Barrier, u64),
    /// A barrier cannot be confirmed any more.
    BarrierLost(Barrier),
    /// The role, the term or the known leader changed.
    Role {
        /// Whether this member leads.
        leads: bool,
        /// The leader's id, 0 if unknown.
        leader: u64,
    },
}

/// Names a read barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Barrier(pub(crate) u64);

/// Consensus of one member, without I/O.
///
/// Order of calls: any of `tick`, `propose`, `barrier`, `on_persisted`, `on_applied`, `step`, then `poll` until `None`.
pub(crate) struct Consensus {
    raft: RaftCore,
    outputs: VecDeque<ConsensusOutput>,
    barriers: BTreeMap<ReadTicket, Barrier>,
    barrier_wanted: Option<Barrier>,
    barrier_next: u64,
    leader_changes: u64,
    leader: u64,
}

/// Why Raft does not take proposals at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped;

impl Consensus {
    pub(crate) fn new(config: Config, restored: Restored) -> Result<Self, ConfigError> {
        Ok(Self {
            raft: RaftCore::new(config, restored)?,
            outputs: VecDeque::new(),
            barriers: BTreeMap::new(),
            barrier_wanted: None,
            barrier_next: 0,
            leader_changes: 0,
            leader: 0,
        })
    }

    pub(crate) fn tick(&mut self) {
        self.raft.tick();
        self.request_barrier();
    }

    /// Stands for election without waiting for the timeout.
    pub(crate) fn campaign(&mut self) {
        self.raft.campaign();
    }

    /// Proposes all entries in one message.
    pub(crate) fn propose(&mut self, entries: Vec<Bytes>) -> Result<(), Dropped> {
        self.raft.propose(entries).map_err(|_| Dropped)
    }

    /// A barrier for every read that waits now.
    /// Without a leader it is requested as soon as one is known.
    pub(crate) fn barrier(&mut self) -> Barrier {
        if let Some(wanted) = self.barrier_wanted {
            return wanted;
        }
        let barrier = Barrier(self.barrier_next);
        self.barrier_next += 1;
        self.barrier_wanted = Some(barrier);
        self.request_barrier();
        barrier
    }

    fn request_barrier(&mut self) {
        let Some(barrier) = self.barrier_wanted else { return };
        if let Ok(ticket) = self.raft.read_index() {
            self.barriers.insert(ticket, barrier);
            self.barrier_wanted = None;
        }
    }

    /// Takes a message of another member.
    pub(crate) fn step(&mut self, message: Message) -> Result<(), StepError> {
        self.raft.step(message)
    }

    pub(crate) fn on_unreachable(&mut self, member: u64) {
        self.raft.on_unreachable(member);
    }

    pub(crate) fn on_snapshot_sent(&mut self, member: u64, delivery: SnapshotDelivery) {
        self.raft.on_snapshot_sent(member, delivery);
    }

    /// The write named by `ticket` is on disk.
    pub(crate) fn on_persisted(&mut self, ticket: u64) {
        self.raft.on_persisted(ticket);
    }

    /// Everything up to `index` is applied.
    pub(crate) fn on_applied(&mut self, index: u64) {
        self.raft.on_applied(index);
    }

    /// Takes over a change of membership that the state machine found valid; `None` for an invalid one.
    pub(crate) fn apply_conf_change(
        &mut self,
        change: Option<&ConfChange>,
    ) -> Result<ConfState, ConfChangeError> {
        self.raft.apply_conf_change(change)
    }

    /// Entries up to `index` need not be kept in memory.
    pub(crate) fn compact(&mut self, index: u64) {
        self.raft.compact(index);
    }

    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    pub(crate) fn leader_changes(&self) -> u64 {
        self.leader_changes
    }

    pub(crate) fn poll(&mut self) -> Option<ConsensusOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let effect = self.raft.poll()?;
            self.on_effect(effect);
        }
    }

    fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ticket, entries, hard_state, must_sync } => {
                self.outputs.push_back(ConsensusOutput::Persist { ticket, entries, hard_state, must_sync });
            }
            Effect::Send(messages) => self.outputs.push_back(ConsensusOutput::Send(messages)),
            Effect::Apply(entries) => self.outputs.push_back(ConsensusOutput::Apply(entries)),
            Effect::ReadReady { ticket, index } => {
                if let Some(barrier) = self.barriers.remove(&ticket) {
                    self.outputs.push_back(ConsensusOutput::BarrierReached(barrier, index));
                }
            }
            Effect::ReadLost(ticket) => {
                if let Some(barrier) = self.barriers.remove(&ticket) {
                    self.outputs.push_back(ConsensusOutput::BarrierLost(barrier));
                }
            }
            Effect::Role { role, leader, .. } => self.on_role(role, leader.unwrap_or(0)),
            Effect::Snapshot(_) => {}
        }
    }

    fn on_role(&mut self, role: Role, leader: u64) {
        if leader != 0 && leader != self.leader {
            self.leader_changes += 1;
        }
        self.leader = leader;
        self.outputs.push_back(ConsensusOutput::Role { leads: role == Role::Leader, leader });
        self.request_barrier();
    }
}
