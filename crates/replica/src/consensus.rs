//! The half of a member that agrees with the others on a sequence of entries.
//!
//! It knows Raft and nothing of keys: commands go in encoded, committed entries come out.
//! All of one turn's proposals travel in one message, and all reads of one turn share one barrier.

mod barriers;

use std::collections::VecDeque;

use bytes::Bytes;
use etched_raft_core::{
    ConfChange, ConfChangeError, ConfState, Config, ConfigError, Effect, Entry, HardState, Message,
    ProposeError, RaftCore, Restored, Role, SnapshotDelivery, SnapshotEffect, SnapshotMeta, Status,
    StepError,
};

pub(crate) use barriers::Barrier;

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
    /// A follower needs a snapshot: one is to be supplied.
    SnapshotWanted,
    /// The message that announces a snapshot; it goes out with the state of its moment.
    SendSnapshot(Message),
    /// A leader's snapshot takes the place of log and state.
    Install {
        /// The ticket of the write that follows.
        ticket: u64,
        /// Where it stands.
        meta: SnapshotMeta,
        /// What the leader put beside it.
        data: Bytes,
    },
    /// Apply: committed, and on the own disk.
    Apply(Vec<Entry>),
    /// A barrier is confirmed: its reads are served once `index` is applied.
    BarrierReached(Barrier, u64),
    /// The leader changed before a barrier was confirmed.
    BarrierLost(Barrier),
    /// The role, the term or the known leader changed.
    Role {
        /// Whether this member leads.
        leads: bool,
        /// The term of which this is told; a turn may have gone on to a later one.
        term: u64,
        /// The leader's id, 0 if unknown.
        leader: u64,
    },
}

/// Consensus of one member, without I/O.
///
/// Order of calls: any of `tick`, `propose`, `barrier`, `on_persisted`, `on_applied`, `step`, then `poll` until `None`.
pub(crate) struct Consensus {
    raft: RaftCore,
    outputs: VecDeque<ConsensusOutput>,
    barriers: barriers::Barriers,
    leader_changes: u64,
    leader: u64,
}

impl Consensus {
    /// `retry_ticks` is the time after which a barrier that has no answer is asked for again.
    pub(crate) fn new(config: Config, restored: Restored, retry_ticks: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            raft: RaftCore::new(config, restored)?,
            outputs: VecDeque::new(),
            barriers: barriers::Barriers::new(retry_ticks),
            leader_changes: 0,
            leader: 0,
        })
    }

    pub(crate) fn tick(&mut self) {
        self.raft.tick();
        self.barriers.tick(&mut self.raft);
    }

    /// A member is probably not running.
    pub(crate) fn on_gone(&mut self, member: u64) {
        self.raft.on_gone(member);
    }

    /// Takes so many ticks of the election timeout as passed.
    pub(crate) fn advance_election(&mut self, ticks: usize) {
        self.raft.advance_election(ticks);
    }

    /// Stands for election without waiting for the timeout, if no other member votes.
    pub(crate) fn campaign_alone(&mut self) {
        let status = self.raft.status();
        if status.voters.iter().all(|id| *id == status.id) {
            self.raft.campaign();
        }
    }

    /// Proposes all entries in one message. Only while a leader is known; nothing else keeps them.
    pub(crate) fn propose(&mut self, entries: Vec<Bytes>) -> Result<(), ProposeError> {
        self.raft.propose(entries)
    }

    pub(crate) fn propose_conf_change(&mut self, change: &ConfChange) -> Result<(), ProposeError> {
        self.raft.propose_conf_change(change)
    }

    /// A barrier for every read that waits now.
    /// Without a leader it is requested as soon as one is known.
    pub(crate) fn barrier(&mut self) -> Barrier {
        self.barriers.start(&mut self.raft)
    }

    /// Barriers that are neither reached nor lost.
    pub(crate) fn barriers_under_way(&self) -> usize {
        self.barriers.len()
    }

    /// Nobody waits for the barrier any more.
    pub(crate) fn forget_barrier(&mut self, barrier: Barrier) {
        self.barriers.forget(barrier);
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

    pub(crate) fn supply_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) {
        self.raft.supply_snapshot(meta, data);
    }

    pub(crate) fn transfer_leader(&mut self, to: u64) {
        self.raft.transfer_leader(to);
    }

    /// The voter to which leadership is best handed over, if this member leads.
    pub(crate) fn successor(&self) -> Option<u64> {
        self.raft.successor()
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

    /// Takes over the wish to leave a joint configuration.
    pub(crate) fn leave_joint(&mut self, data: &Bytes) -> Result<ConfState, ConfChangeError> {
        self.raft.apply_conf_change_v2(data)
    }

    pub(crate) fn conf_state(&self) -> &ConfState {
        self.raft.conf_state()
    }

    /// Bytes of the entries in memory.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.raft.log_bytes()
    }

    /// Entries up to `index` need not be kept in memory.
    pub(crate) fn compact(&mut self, index: u64) {
        self.raft.compact(index);
    }

    /// All that consensus knows; costly, so not for every turn.
    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    pub(crate) fn term(&self) -> u64 {
        self.raft.term()
    }

    pub(crate) fn committed(&self) -> u64 {
        self.raft.committed()
    }

    /// The leader of the term, zero if none is known.
    pub(crate) fn leader(&self) -> u64 {
        self.raft.leader()
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
                if let Some(barrier) = self.barriers.on_ready(ticket) {
                    self.outputs.push_back(ConsensusOutput::BarrierReached(barrier, index));
                }
            }
            Effect::ReadLost(ticket) => self.barriers.on_lost(ticket),
            Effect::Role { role, term, leader } => self.on_role(role, term, leader.unwrap_or(0)),
            Effect::Snapshot(SnapshotEffect::Wanted { .. }) => {
                self.outputs.push_back(ConsensusOutput::SnapshotWanted);
            }
            Effect::Snapshot(SnapshotEffect::Send(message)) => {
                self.outputs.push_back(ConsensusOutput::SendSnapshot(message));
            }
            Effect::Snapshot(SnapshotEffect::Install { ticket, meta, data }) => {
                self.outputs.push_back(ConsensusOutput::Install { ticket, meta, data });
            }
        }
    }

    fn on_role(&mut self, role: Role, term: u64, leader: u64) {
        if leader != 0 && leader != self.leader {
            self.leader_changes += 1;
        }
        self.leader = leader;
        self.outputs.push_back(ConsensusOutput::Role { leads: role == Role::Leader, term, leader });
        let lost = self.barriers.on_leader(&mut self.raft, leader);
        self.outputs.extend(lost.into_iter().map(ConsensusOutput::BarrierLost));
    }
}
