//! The state machine of consensus: inputs, and the state they change.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, StateRole};

use crate::check::{StepError, check, read_context};
use crate::codec::DecodeError;
use crate::conf_change::{ConfChange, decode_v2};
use crate::config::{Config, ConfigError};
use crate::journal::{Journal, LogLine};
use crate::log_store::LogStore;
use crate::outbox::Outbox;
use crate::reads::Reads;
use crate::{
    ConfState, Effect, Entry, EntryKind, FollowerStatus, Message, MessageKind, ReadTicket, Restored, Role,
    SnapshotMeta, Status,
};

mod gather;
mod gone;
mod stall;

/// One member's part of consensus, without a clock, a network or a disk.
///
/// Its methods are of four kinds, and are meant to be used in this order:
///
/// 1. *Commands*: [`propose`](Self::propose), [`propose_conf_change`](Self::propose_conf_change),
///    [`read_index`](Self::read_index), [`campaign`](Self::campaign), [`transfer_leader`](Self::transfer_leader).
/// 2. *What happened*: [`tick`](Self::tick), [`step`](Self::step), and the `on_*` methods.
/// 3. *What to do*: [`poll`](Self::poll), after any number of the former, until it returns `None`.
/// 4. *Getters*: [`status`](Self::status), [`conf_state`](Self::conf_state).
///
/// Effects are done in the order in which they come. Writes may be under way while further inputs are given; they
/// are reported in order by [`on_persisted`](Self::on_persisted).
/// An entry of [`Effect::Apply`] that changes the configuration is given to
/// [`apply_conf_change`](Self::apply_conf_change), and when a batch has been applied
/// [`on_applied`](Self::on_applied) is called, before more entries are applied.
pub struct RaftCore {
    node: RawNode<LogStore>,
    config: Config,
    journal: Journal,
    conf_state: ConfState,
    effects: VecDeque<Effect>,
    outbox: Outbox,
    reads: Reads,
    /// What the last [`Effect::Role`] said.
    told: (Role, u64, Option<u64>),
    ticks: u64,
    /// The last index that was handed out to be applied.
    handed_out: u64,
    /// The ticket and the index of a snapshot that is being installed.
    installing: Option<(u64, u64)>,
    /// The last ticket that was handed out.
    last_ticket: u64,
    /// The term and the vote that were last handed out to be written.
    written_vote: (u64, u64),
    /// The election timeout, and the term that it was drawn for.
    pinned_timeout: usize,
    pinned_term: Option<u64>,
    /// Whose want of a snapshot was told and not answered.
    snapshots_wanted: BTreeSet<u64>,
    stall: stall::Stall,
    gone: Option<gone::Gone>,
}

/// Why a proposal was not taken. It has had no effect, and may be made again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// No leader is known.
    #[error("there is no leader")]
    NoLeader,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too much is proposed and not committed.
    #[error("too much is proposed and not committed yet")]
    TooMuchUncommitted,
    /// A change of the configuration is not applied yet.
    #[error("a change of the configuration is under way")]
    ConfChangePending,
    /// Nothing was proposed, or the member does not take part.
    #[error("the proposal was dropped")]
    Dropped,
}

/// There is no leader that could confirm a read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no leader")]
pub struct NoLeader;

/// Why a change of the configuration has no effect. It has none on any member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfChangeError {
    /// The bytes cannot be read.
    #[error("the change of configuration cannot be read")]
    Decode(#[from] DecodeError),
    /// The change leads nowhere, such as to a cluster without voters.
    #[error("the change of configuration is impossible: {0}")]
    Impossible(String),
}

/// How it went with a snapshot that was sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum SnapshotDelivery {
    /// The follower has it.
    Done,
    /// The follower does not have it.
    Failed,
}

impl RaftCore {
    /// Builds a member from what its log held.
    ///
    /// A sole voter with everything applied leads as soon as the effects that follow are done.
    ///
    /// # Errors
    ///
    /// A setting is out of range, or the log does not fit together with itself or with what was applied.
    pub fn new(config: Config, restored: Restored) -> Result<Self, ConfigError> {
        let applied = config.applied;
        let conf_state = restored.snapshot.conf_state.clone();
        let store = LogStore::new(restored, applied)?;
        let raft_config = config.to_raft();
        raft_config.validate().map_err(|error| ConfigError::Invalid(error.to_string()))?;
        let journal = Journal::default();
        let node = RawNode::new(&raft_config, store, &journal.logger())
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        let told = (Role::Follower, node.raft.term, None);
        let written_vote = (node.raft.term, node.raft.vote);
        let reads = Reads::new(config.id, config.boot);
        let mut core = Self {
            node,
            config,
            journal,
            conf_state,
            effects: VecDeque::new(),
            outbox: Outbox::default(),
            reads,
            told,
            ticks: 0,
            handed_out: applied,
            installing: None,
            last_ticket: 0,
            written_vote,
            pinned_timeout: 0,
            pinned_term: None,
            snapshots_wanted: BTreeSet::new(),
            stall: stall::Stall::default(),
            gone: None,
        };
        core.settle();
        Ok(core)
    }

    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.gather();
        if self.may_campaign() {
            self.node.tick();
        }
        let lost = self.reads.lose_old(self.ticks);
        self.effects.extend(lost.into_iter().map(Effect::ReadLost));
        self.give_way_if_stalled();
        self.follow_up_gone();
        self.settle();
    }

    /// Takes some of the election timeout as passed, so that a member that has just started waits for less.
    ///
    /// It has no effect on a member that knows a leader, and never begins an election by itself.
    pub fn advance_election(&mut self, ticks: usize) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Follower && raft.leader_id == raft::INVALID_ID {
            let last = self.config.election_ticks.saturating_sub(1);
            raft.election_elapsed = (raft.election_elapsed + ticks).min(last).max(raft.election_elapsed);
        }
    }

    /// Starts an election, if the member votes and does not lead.
    pub fn campaign(&mut self) {
        self.gather();
        if self.node.raft.promotable() && self.may_campaign() {
            // The crate's only error here is about messages, and this is none.
            let _ = self.node.campaign();
        }
        self.settle();
    }

    /// Proposes entries, all in one message; a follower passes them on to its leader.
    ///
    /// # Errors
    ///
    /// The proposal was not taken. That it was taken does not mean that it will be committed.
    pub fn propose(&mut self, entries: Vec<Bytes>) -> Result<(), ProposeError> {
        let entries = entries.into_iter().map(|data| eraftpb::Entry { data, ..eraftpb::Entry::default() });
        self.propose_entries(entries.collect())
    }

    /// Proposes one change of the configuration.
    ///
    /// # Errors
    ///
    /// The proposal was not taken, for one because another change is under way.
    pub fn propose_conf_change(&mut self, change: &ConfChange) -> Result<(), ProposeError> {
        if self.node.raft.state == StateRole::Leader && self.node.raft.has_pending_conf() {
            return Err(ProposeError::ConfChangePending);
        }
        let entry = Entry { term: 0, index: 0, kind: EntryKind::ConfChange, data: change.encode() };
        self.propose_entries(vec![entry.into_raft()])
    }

    fn propose_entries(&mut self, entries: Vec<eraftpb::Entry>) -> Result<(), ProposeError> {
        if entries.is_empty() {
            return Err(ProposeError::Dropped);
        }
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        if raft.leader_id == raft::INVALID_ID {
            return Err(ProposeError::NoLeader);
        }
        if is_leader && raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        if is_leader && raft.prs().get(raft.id).is_none() {
            return Err(ProposeError::Dropped);
        }
        let mut message = self.local_message(MessageType::MsgPropose);
        message.from = self.config.id;
        message.set_entries(entries.into());
        let result = self.node.raft.step(message);
        self.settle();
        result.map_err(|_| if is_leader { ProposeError::TooMuchUncommitted } else { ProposeError::NoLeader })
    }

    /// Takes in a configuration change that was handed out to be applied, and returns the configuration after it.
    ///
    /// `None` stands for a change that the state machine does not accept: nothing changes.
    ///
    /// # Errors
    ///
    /// The change is impossible; nothing changes, here or on any other member.
    pub fn apply_conf_change(&mut self, change: Option<&ConfChange>) -> Result<ConfState, ConfChangeError> {
        let Some(change) = change.and_then(ConfChange::to_raft) else { return Ok(self.conf_state.clone()) };
        self.gather();
        let result = self.node.apply_conf_change(&change);
        self.after_conf_change(result)
    }

    /// Takes in a change of the second form, from an entry of kind `ConfChangeV2`.
    ///
    /// # Errors
    ///
    /// The change cannot be read or is impossible; nothing changes, here or on any other member.
    pub fn apply_conf_change_v2(&mut self, data: &Bytes) -> Result<ConfState, ConfChangeError> {
        let change = decode_v2(data)?;
        self.gather();
        let result = self.node.apply_conf_change(&change);
        self.after_conf_change(result)
    }

    fn after_conf_change(
        &mut self,
        result: raft::Result<eraftpb::ConfState>,
    ) -> Result<ConfState, ConfChangeError> {
        let result = result.map_err(|error| ConfChangeError::Impossible(error.to_string()));
        if let Ok(conf_state) = &result {
            self.conf_state = ConfState::from_raft(conf_state);
            let raft = &mut self.node.raft;
            if raft.state == StateRole::Leader && !raft.promotable() {
                // Left to itself, the crate leads on and fails when its next write is down.
                let term = raft.term;
                raft.become_follower(term, raft::INVALID_ID);
            }
        }
        self.settle();
        result.map(|_| self.conf_state.clone())
    }

    /// Asks for the index from which on a read sees everything that was committed before this call.
    ///
    /// The answer is [`Effect::ReadReady`] or [`Effect::ReadLost`] with the same ticket.
    /// Many reads may share one ticket, if all of them were asked before this call.
    ///
    /// # Errors
    ///
    /// No leader is known.
    pub fn read_index(&mut self) -> Result<ReadTicket, NoLeader> {
        let raft = &self.node.raft;
        if raft.leader_id == raft::INVALID_ID {
            return Err(NoLeader);
        }
        let is_leader = raft.state == StateRole::Leader;
        if is_leader && !raft.commit_to_current_term() {
            return Ok(self.reads.wait());
        }
        let until_tick = if is_leader { u64::MAX } else { self.ticks + self.config.election_ticks as u64 };
        let (ticket, context) = self.reads.start(until_tick);
        self.node.read_index(context);
        self.settle();
        Ok(ticket)
    }

    /// Hands leadership over to `to`; only a leader does so, and it gives up after an election's time.
    pub fn transfer_leader(&mut self, to: u64) {
        self.node.transfer_leader(to);
        self.settle();
    }

    /// Takes in a message of another member.
    ///
    /// # Errors
    ///
    /// The message was not taken; nothing has changed.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        check(&message, &self.node.raft, self.may_win())?;
        let kind = message.kind();
        if matches!(kind, MessageKind::VoteResponse | MessageKind::PreVoteResponse | MessageKind::TimeoutNow)
        {
            self.gather();
        }
        let Some(message) = self.prepare(message) else { return Ok(()) };
        let from = message.inner.from;
        let result = self.node.step(message.inner);
        self.settle();
        result.map_err(|error| {
            if error == raft::Error::StepPeerNotFound {
                StepError::UnknownSender { from }
            } else if error == raft::Error::ProposalDropped {
                StepError::ProposalDropped
            } else {
                StepError::Refused(error.to_string())
            }
        })
    }

    /// Changes a checked message where the `raft` crate would go wrong; `None` if it need not see it now.
    fn prepare(&mut self, mut message: Message) -> Option<Message> {
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        match message.kind() {
            MessageKind::ReadIndex if is_leader => {
                let may_answer = raft.commit_to_current_term();
                let context = read_context(&message).expect("checked: a read has one context").clone();
                if self.reads.is_repeated(&context) {
                    return None;
                }
                if !may_answer {
                    self.reads.wait_for_peer(message);
                    return None;
                }
            }
            MessageKind::TransferLeader => message.inner.term = 0,
            MessageKind::AppendResponse
                if is_leader && message.is_reject() && message.term() == raft.term =>
            {
                return self.prepare_rejection(message);
            }
            MessageKind::Propose
            | MessageKind::Append
            | MessageKind::AppendResponse
            | MessageKind::Vote
            | MessageKind::VoteResponse
            | MessageKind::Snapshot
            | MessageKind::Heartbeat
            | MessageKind::HeartbeatResponse
            | MessageKind::TimeoutNow
            | MessageKind::ReadIndex
            | MessageKind::ReadIndexResponse
            | MessageKind::PreVote
            | MessageKind::PreVoteResponse => {}
        }
        Some(message)
    }

    /// Keeps a late rejection from moving a follower's next index to or below what it has acknowledged.
    fn prepare_rejection(&self, mut message: Message) -> Option<Message> {
        let raft = &self.node.raft;
        let Some(progress) = raft.prs().get(message.from()) else { return Some(message) };
        if message.index() <= progress.matched {
            return None;
        }
        let hint = if message.inner.log_term > 0 {
            raft.raft_log.find_conflict_by_term(message.inner.reject_hint, message.inner.log_term).0
        } else {
            message.inner.reject_hint
        };
        message.inner.reject_hint = hint.max(progress.matched);
        message.inner.log_term = 0;
        Some(message)
    }

    /// Takes note that the write with `ticket`, and all before it, are on the disk.
    ///
    /// If a snapshot is among them, everything up to its index counts as applied.
    ///
    /// # Panics
    ///
    /// If no write with this ticket, or a later one, was handed out.
    pub fn on_persisted(&mut self, ticket: u64) {
        assert!(ticket <= self.last_ticket, "ticket {ticket} was never handed out");
        let (told, messages) = self.outbox.on_persisted(ticket);
        if let Some(told) = told {
            self.node.on_persist_ready(told);
            if let Some((ticket, index)) = self.installing
                && ticket <= told
            {
                self.installing = None;
                self.node.advance_apply_to(index);
            }
        }
        self.push_messages(messages);
        self.settle();
    }

    /// Takes note that everything up to `index` is applied.
    ///
    /// # Panics
    ///
    /// If `index` was not handed out to be applied.
    pub fn on_applied(&mut self, index: u64) {
        assert!(index <= self.handed_out, "entry {index} was not handed out, only up to {}", self.handed_out);
        if index > self.node.raft.raft_log.applied {
            self.node.advance_apply_to(index);
        }
        self.settle();
    }

    /// Takes note that a message did not reach `member`.
    pub fn on_unreachable(&mut self, member: u64) {
        self.node.report_unreachable(member);
        self.settle();
    }

    /// Takes note of how it went with the snapshot sent to `member`.
    pub fn on_snapshot_sent(&mut self, member: u64, delivery: SnapshotDelivery) {
        let status = match delivery {
            SnapshotDelivery::Done => raft::SnapshotStatus::Finish,
            SnapshotDelivery::Failed => raft::SnapshotStatus::Failure,
        };
        self.node.report_snapshot(member, status);
        self.settle();
    }

    /// Gives a snapshot for those that want one; it is sent with the next message to each of them.
    ///
    /// `data` is what the message carries; the state itself travels beside it.
    ///
    /// # Panics
    ///
    /// If the snapshot is of something that is not applied, or of nothing.
    pub fn supply_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) {
        assert!((1..=self.handed_out).contains(&meta.index), "a snapshot of what is not applied");
        self.snapshots_wanted.clear();
        self.node.mut_store().supply(meta, data);
        self.settle();
    }

    /// Forgets the entries in memory up to `index`, as far as they are applied. Followers that need them get a
    /// snapshot.
    pub fn compact(&mut self, index: u64) {
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().compact(index.min(applied));
    }

    /// Bytes of the payloads of the entries in memory.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.node.store().bytes()
    }

    /// What has to be done next; `None` when there is nothing until the next input.
    pub fn poll(&mut self) -> Option<Effect> {
        if self.effects.is_empty() {
            self.gather();
        }
        self.effects.pop_front()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// The entries in memory from `low` to before `high`, as far as they are there, for whoever examines the log.
    #[must_use]
    pub fn entries(&self, low: u64, high: u64) -> Vec<Entry> {
        let log = &self.node.raft.raft_log;
        let (low, high) = (low.max(log.first_index()), high.min(log.last_index() + 1));
        if low >= high {
            return Vec::new();
        }
        let entries = log.slice(low, high, None, raft::GetEntriesContext::empty(false));
        entries.map(|entries| entries.into_iter().map(Entry::from_raft).collect()).unwrap_or_default()
    }

    /// The newest term that the member knows.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The last index known to be committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// The leader of the term, zero if none is known.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.node.raft.leader_id
    }

    /// What consensus knows at the moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let id = |id: u64| (id != raft::INVALID_ID).then_some(id);
        let mut followers = Vec::new();
        if raft.state == StateRole::Leader {
            followers.extend(raft.prs().iter().filter(|(id, _)| **id != raft.id).map(|(id, progress)| {
                FollowerStatus {
                    id: *id,
                    matched: progress.matched,
                    next: progress.next_idx,
                    active: progress.recent_active,
                    awaits_snapshot: progress.state == raft::ProgressState::Snapshot,
                }
            }));
            followers.sort_unstable_by_key(|follower| follower.id);
        }
        Status {
            id: raft.id,
            role: role_of(raft.state),
            term: raft.term,
            vote: id(raft.vote),
            leader: id(raft.leader_id),
            transferee: raft.lead_transferee,
            commit: raft.raft_log.committed,
            applied: raft.raft_log.applied,
            persisted: raft.raft_log.persisted,
            first_index: raft.raft_log.first_index(),
            last_index: raft.raft_log.last_index(),
            voters: self.conf_state.voters.clone(),
            learners: self.conf_state.learners.clone(),
            followers,
            uncommitted_bytes: raft.uncommitted_size(),
        }
    }

    /// What the `raft` crate said since the last call, the newest lines if there were many.
    pub fn take_log(&mut self) -> Vec<LogLine> {
        self.journal.take()
    }
}

pub(crate) fn role_of(state: StateRole) -> Role {
    match state {
        StateRole::Follower => Role::Follower,
        StateRole::PreCandidate => Role::PreCandidate,
        StateRole::Candidate => Role::Candidate,
        StateRole::Leader => Role::Leader,
    }
}
