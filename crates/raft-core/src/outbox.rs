//! What was handed out to be persisted and is not on the disk yet, and the messages that wait for it.

use std::collections::VecDeque;

use crate::{Message, MessageKind};

/// One hand-over that has to be synced.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Write {
    pub(crate) ticket: u64,
    /// The first and last index that it writes; a snapshot writes from zero on.
    pub(crate) range: Option<(u64, u64)>,
    /// Whether it holds a new term or a vote.
    pub(crate) votes: bool,
}

#[derive(Default)]
pub(crate) struct Outbox {
    /// Not on the disk.
    outstanding: VecDeque<Write>,
    /// On the disk, and the `raft` crate has not been told.
    untold: VecDeque<Write>,
    /// Messages, with the ticket that has to be on the disk before they go.
    held: VecDeque<(u64, Vec<Message>)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, write: Write) {
        assert!(self.outstanding.back().is_none_or(|last| last.ticket < write.ticket), "tickets rise");
        self.outstanding.push_back(write);
    }

    /// Splits messages of a member that does not lead into those that may go at once and those that wait for
    /// everything that is outstanding.
    ///
    /// What says nothing about the own log waits only for terms and votes.
    pub(crate) fn hold(&mut self, messages: Vec<Message>) -> Vec<Message> {
        let Some(last) = self.outstanding.back().map(|write| write.ticket) else { return messages };
        if self.outstanding.iter().any(|write| write.votes) {
            self.held.push_back((last, messages));
            return Vec::new();
        }
        let (waiting, free) = messages.into_iter().partition(Message::speaks_of_log);
        self.held.push_back((last, waiting));
        free
    }

    /// Takes note that everything up to `ticket` is on the disk.
    ///
    /// Returns what the `raft` crate may be told, and the messages that waited for it.
    ///
    /// The crate compares index and term of a write with its log when it is told. A later write that is still
    /// outstanding may pass over the same places with other entries and a third one bring the first ones back: then
    /// the comparison holds, but what is on the disk will for a while be the second. So a write is not told while a
    /// later one that replaces part of it is outstanding.
    pub(crate) fn on_persisted(&mut self, ticket: u64) -> (Option<u64>, Vec<Message>) {
        while let Some(write) = self.outstanding.front().copied()
            && write.ticket <= ticket
        {
            self.outstanding.pop_front();
            self.untold.push_back(write);
        }
        let replaced_from =
            self.outstanding.iter().filter_map(|write| write.range).map(|(first, _)| first).min();
        let mut told = None;
        while let Some(write) = self.untold.front()
            && !write.is_replaced(replaced_from)
        {
            told = Some(write.ticket);
            self.untold.pop_front();
        }
        let mut messages = Vec::new();
        while let Some((after, _)) = self.held.front()
            && *after <= ticket
        {
            messages.extend(self.held.pop_front().into_iter().flat_map(|(_, messages)| messages));
        }
        (told, messages)
    }

    /// The oldest write that is not on the disk.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.outstanding.front().map(|write| write.ticket)
    }

    /// Whether everything handed out is on the disk, and the `raft` crate knows it.
    pub(crate) fn is_settled(&self) -> bool {
        self.outstanding.is_empty() && self.untold.is_empty()
    }
}

impl Write {
    fn is_replaced(&self, from: Option<u64>) -> bool {
        matches!((self.range, from), (Some((_, last)), Some(from)) if from <= last)
    }
}

impl Message {
    /// Whether the message claims something about the sender's log or votes.
    fn speaks_of_log(&self) -> bool {
        match self.kind() {
            MessageKind::HeartbeatResponse
            | MessageKind::Propose
            | MessageKind::ReadIndex
            | MessageKind::TransferLeader => false,
            MessageKind::Append
            | MessageKind::AppendResponse
            | MessageKind::Vote
            | MessageKind::VoteResponse
            | MessageKind::Snapshot
            | MessageKind::Heartbeat
            | MessageKind::TimeoutNow
            | MessageKind::ReadIndexResponse
            | MessageKind::PreVote
            | MessageKind::PreVoteResponse => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(ticket: u64, range: (u64, u64)) -> Write {
        Write { ticket, range: Some(range), votes: false }
    }

    #[test]
    fn a_write_that_a_later_one_replaces_is_not_told_before_that_one_is_down() {
        let mut outbox = Outbox::default();
        outbox.push(write(1, (1, 4)));
        outbox.push(write(2, (5, 6)));
        outbox.push(write(3, (5, 5)));
        outbox.push(write(4, (5, 7)));
        assert_eq!(outbox.on_persisted(2).0, Some(1));
        assert_eq!(outbox.on_persisted(3).0, None);
        assert_eq!(outbox.on_persisted(4).0, Some(4));
        assert!(outbox.is_settled());
    }

    #[test]
    fn an_answer_to_a_heartbeat_waits_for_votes_only() {
        let message = |number| {
            let bytes = [8, number, 0x10, 2, 0x18, 1, 0x20, 1].to_vec();
            Message::decode(&bytes.into()).unwrap()
        };
        let both = || vec![message(4), message(9)];
        let mut outbox = Outbox::default();
        assert_eq!(outbox.hold(both()).len(), 2);
        outbox.push(write(1, (1, 1)));
        assert_eq!(outbox.hold(both()), [message(9)]);
        outbox.push(Write { ticket: 2, range: None, votes: true });
        assert!(outbox.hold(both()).is_empty());
        assert_eq!(outbox.on_persisted(1).1, [message(4)]);
        assert_eq!(outbox.on_persisted(2).1, both());
    }
}
