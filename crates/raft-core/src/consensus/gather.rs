//! From the `raft` crate's state to effects, and what has to hold after every input.

use raft::eraftpb::{self, MessageType};
use raft::{Ready, StateRole};

use super::{RaftCore, role_of};
use crate::entry::payload;
use crate::outbox::Write;
use crate::{Effect, Entry, HardState, Message, MessageKind, SnapshotEffect, SnapshotMeta};

impl RaftCore {
    /// Turns all that the `raft` crate has ready into effects.
    ///
    /// It is also called before an input that may make the member lead: messages that were made before that moment
    /// must wait for the disk, and the crate tells them from a leader's messages only by the role at the time they
    /// are taken.
    pub(super) fn gather(&mut self) {
        loop {
            self.hand_over_reads();
            if self.node.has_ready() {
                let ready = self.node.ready();
                self.take_ready(ready);
            } else if self.may_lead_alone() {
                // The crate's only error here is about messages, and this is none.
                let _ = self.node.campaign();
                assert!(self.node.raft.state == StateRole::Leader, "a sole voter wins at once");
            } else {
                break;
            }
            self.settle();
        }
        for member in self.node.store().take_wanted() {
            if self.snapshots_wanted.insert(member) {
                self.effects.push_back(Effect::Snapshot(SnapshotEffect::Wanted { to: member }));
            }
        }
    }

    fn take_ready(&mut self, mut ready: Ready) {
        let ticket = ready.number();
        for state in ready.take_read_states() {
            if let Some(ticket) = self.reads.finish(&state.request_ctx) {
                self.effects.push_back(Effect::ReadReady { ticket, index: state.index });
            }
        }
        // A leader's messages need not wait for its own disk.
        let leader_messages = wrap(ready.take_messages());
        self.push_messages(leader_messages);
        self.take_writes(&mut ready);
        let held = wrap(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);

        let free = self.outbox.hold(held);
        self.push_messages(free);
        if self.outbox.is_settled() {
            self.node.on_persist_ready(ticket);
        }
        if let Some(last) = committed.last() {
            self.handed_out = last.index;
            self.effects.push_back(Effect::Apply(committed.into_iter().map(Entry::from_raft).collect()));
        }
    }

    /// Hands out what has to be written, and makes it readable to the `raft` crate.
    fn take_writes(&mut self, ready: &mut Ready) {
        let ticket = ready.number();
        let must_sync = ready.must_sync();
        let hard_state = ready.hs().map(HardState::from_raft);
        let entries = ready.take_entries();
        let mut range = entries.first().zip(entries.last()).map(|(first, last)| (first.index, last.index));
        if !ready.snapshot().is_empty() {
            let meta = SnapshotMeta::from_raft(ready.snapshot().get_metadata());
            range = Some((0, range.map_or(meta.index, |(_, last)| last)));
            self.install(ticket, meta, ready.snapshot().data.clone());
        }
        self.node.mut_store().append(&entries);
        if must_sync {
            let votes = hard_state.is_some_and(|new| (new.term, new.vote) != self.written_vote);
            self.outbox.push(Write { ticket, range, votes });
        }
        if let Some(hard_state) = hard_state {
            self.written_vote = (hard_state.term, hard_state.vote);
        }
        if must_sync || hard_state.is_some() {
            self.last_ticket = ticket;
            let entries = entries.into_iter().map(Entry::from_raft).collect();
            self.effects.push_back(Effect::Persist { ticket, entries, hard_state, must_sync });
        }
    }

    fn install(&mut self, ticket: u64, meta: SnapshotMeta, data: bytes::Bytes) {
        self.node.mut_store().install(&meta);
        self.conf_state = meta.conf_state.clone();
        self.handed_out = meta.index;
        self.installing = Some((ticket, meta.index));
        self.effects.push_back(Effect::Snapshot(SnapshotEffect::Install { ticket, meta, data }));
    }

    /// Hands the reads over that waited for an entry of the leader's own term.
    fn hand_over_reads(&mut self) {
        let raft = &self.node.raft;
        if !self.reads.has_waiting() || raft.state != StateRole::Leader || !raft.commit_to_current_term() {
            return;
        }
        for context in self.reads.start_waiting() {
            self.node.read_index(context);
        }
        while let Some(message) = self.reads.take_waiting_peer() {
            // A reader that does not take part is not answered.
            let _ = self.node.step(message);
        }
    }

    /// Puts messages out, large ones in parts, snapshots by themselves.
    pub(super) fn push_messages(&mut self, messages: Vec<Message>) {
        let mut sendable = Vec::with_capacity(messages.len());
        for message in messages {
            match message.kind() {
                MessageKind::Snapshot => {
                    self.effects.push_back(Effect::Snapshot(SnapshotEffect::Send(message)));
                }
                MessageKind::Append => split_append(message, self.config.max_size_per_message, &mut sendable),
                MessageKind::Propose
                | MessageKind::AppendResponse
                | MessageKind::Vote
                | MessageKind::VoteResponse
                | MessageKind::Heartbeat
                | MessageKind::HeartbeatResponse
                | MessageKind::TransferLeader
                | MessageKind::TimeoutNow
                | MessageKind::ReadIndex
                | MessageKind::ReadIndexResponse
                | MessageKind::PreVote
                | MessageKind::PreVoteResponse => sendable.push(message),
            }
        }
        if !sendable.is_empty() {
            self.effects.push_back(Effect::Send(sendable));
        }
    }

    /// Restores after an input what holds between inputs: a pinned election timeout, and reads that belong to the
    /// leader of the moment.
    pub(super) fn settle(&mut self) {
        self.pin_election_timeout();
        let raft = &self.node.raft;
        let leader = (raft.leader_id != raft::INVALID_ID).then_some(raft.leader_id);
        let now = (role_of(raft.state), raft.term, leader);
        if now != self.told {
            self.told = now;
            self.snapshots_wanted.clear();
            let (role, term, leader) = now;
            self.effects.push_back(Effect::Role { role, term, leader });
            let lost = self.reads.lose_all();
            self.effects.extend(lost.into_iter().map(Effect::ReadLost));
        }
    }

    /// Whether time may pass and elections may begin: always for a leader, who begins none.
    pub(super) fn may_campaign(&self) -> bool {
        self.node.raft.state == StateRole::Leader || self.may_win()
    }

    /// Whether an election could be won at this very moment without harm.
    ///
    /// Not while a snapshot is being installed: what is between it and the applied index is gone. And a sole voter
    /// wins in the same call, when its whole log must be on the disk.
    pub(super) fn may_win(&self) -> bool {
        let log = &self.node.raft.raft_log;
        let is_down = self.outbox.is_settled() && log.persisted == log.last_index();
        self.installing.is_none() && (is_down || !self.is_sole_voter())
    }

    /// Whether the member is the only voter and has only to say so.
    fn may_lead_alone(&self) -> bool {
        let raft = &self.node.raft;
        let idle = raft.state != StateRole::Leader && raft.promotable() && self.is_sole_voter();
        idle && raft.raft_log.applied == raft.raft_log.committed && self.may_campaign()
    }

    pub(super) fn is_sole_voter(&self) -> bool {
        let voters = self.conf_state.voters.iter().chain(&self.conf_state.voters_outgoing);
        !self.conf_state.voters.is_empty() && voters.into_iter().all(|id| *id == self.config.id)
    }

    /// The crate draws this timeout from the thread's random numbers; here it follows from seed, member and term.
    fn pin_election_timeout(&mut self) {
        let term = self.node.raft.term;
        if self.pinned_term == Some(term)
            && self.node.raft.randomized_election_timeout() == self.pinned_timeout
        {
            return;
        }
        let draw = mix(mix(mix(self.config.seed) ^ self.config.id) ^ term);
        let span = self.config.election_ticks as u64;
        let extra = usize::try_from(draw % span).expect("smaller than a count of ticks");
        self.pinned_term = Some(term);
        self.pinned_timeout = self.config.election_ticks + extra;
        self.node.raft.set_randomized_election_timeout(self.pinned_timeout);
    }

    pub(super) fn local_message(&self, msg_type: MessageType) -> eraftpb::Message {
        eraftpb::Message { msg_type, ..eraftpb::Message::default() }
    }
}

fn wrap(messages: Vec<eraftpb::Message>) -> Vec<Message> {
    messages.into_iter().map(Message::from_raft).collect()
}

/// Cuts an append message into parts of at most `size_max` bytes of entries, or of one entry.
///
/// The `raft` crate joins all that goes to a follower in one turn into one message, however large it gets.
fn split_append(message: Message, size_max: u64, into: &mut Vec<Message>) {
    let size: u64 = message.inner.entries.iter().map(|entry| payload(entry).len() as u64).sum();
    if size <= size_max || message.inner.entries.len() < 2 {
        into.push(message);
        return;
    }
    let mut rest = message.inner;
    let entries: Vec<eraftpb::Entry> = rest.take_entries().into();
    let (mut part, mut part_size) = (Vec::new(), 0);
    for entry in entries {
        let entry_size = payload(&entry).len() as u64;
        if !part.is_empty() && part_size + entry_size > size_max {
            into.push(next_part(&mut rest, std::mem::take(&mut part)));
            part_size = 0;
        }
        part_size += entry_size;
        part.push(entry);
    }
    into.push(next_part(&mut rest, part));
}

/// A copy of `head` with these entries; `head` goes on behind them.
fn next_part(head: &mut eraftpb::Message, entries: Vec<eraftpb::Entry>) -> Message {
    let mut part = head.clone();
    if let Some(last) = entries.last() {
        (head.index, head.log_term) = (last.index, last.term);
    }
    part.set_entries(entries.into());
    Message::from_raft(part)
}

/// Spreads the bits of a number over all of it.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
