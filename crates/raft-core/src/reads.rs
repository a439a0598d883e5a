//! Reads that wait for an index.
//!
//! The `raft` crate knows a read by a context, and two reads with the same context are one to it: an
//! acknowledgement that was given for the first confirms the second, whoever leads by then. So a context here is
//! (member, boot, counter), each is used once, and an answer counts only while its read is pending.
//! The crate also drops reads without a word: when it has no leader, and when the leader has not committed an entry
//! of its term. The first is an error at once, the second waits here; a read that was passed on to a leader and is
//! not answered is given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::eraftpb;

use crate::{Message, ReadTicket};

/// Reads of other members that wait until the leader has committed an entry of its term.
const PEER_READS_MAX: usize = 1024;
/// Contexts of other members that are remembered, so that a message that comes twice counts once.
const PEER_CONTEXTS_MAX: usize = 4096;

pub(crate) struct Reads {
    id: u64,
    boot: u64,
    counter: u64,
    /// Not handed to the `raft` crate yet.
    waiting: Vec<ReadTicket>,
    /// Handed over, and the tick after which each is given up.
    pending: BTreeMap<ReadTicket, u64>,
    peer_waiting: VecDeque<Message>,
    peer_contexts: BTreeSet<Vec<u8>>,
    peer_contexts_in_order: VecDeque<Vec<u8>>,
}

impl Reads {
    pub(crate) fn new(id: u64, boot: u64) -> Self {
        Self {
            id,
            boot,
            counter: 0,
            waiting: Vec::new(),
            pending: BTreeMap::new(),
            peer_waiting: VecDeque::new(),
            peer_contexts: BTreeSet::new(),
            peer_contexts_in_order: VecDeque::new(),
        }
    }

    /// A read that has to wait until the leader has committed an entry of its term.
    pub(crate) fn wait(&mut self) -> ReadTicket {
        let ticket = self.next_ticket();
        self.waiting.push(ticket);
        ticket
    }

    /// A read that is handed over now.
    pub(crate) fn start(&mut self, until_tick: u64) -> (ReadTicket, Vec<u8>) {
        let ticket = self.next_ticket();
        self.pending.insert(ticket, until_tick);
        (ticket, self.context(ticket))
    }

    /// The contexts of all reads that waited; they are handed over now.
    pub(crate) fn start_waiting(&mut self) -> Vec<Vec<u8>> {
        let tickets = std::mem::take(&mut self.waiting);
        self.pending.extend(tickets.iter().map(|ticket| (*ticket, u64::MAX)));
        tickets.into_iter().map(|ticket| self.context(ticket)).collect()
    }

    /// The read that is answered by an answer with this context, if it is still pending.
    pub(crate) fn finish(&mut self, context: &[u8]) -> Option<ReadTicket> {
        let counter = context.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)?;
        let ticket = ReadTicket(counter);
        (self.context(ticket) == context && self.pending.remove(&ticket).is_some()).then_some(ticket)
    }

    /// Gives up every read, since the leader or the term changed; what was asked before is not answered any more.
    pub(crate) fn lose_all(&mut self) -> Vec<ReadTicket> {
        self.peer_waiting.clear();
        self.peer_contexts.clear();
        self.peer_contexts_in_order.clear();
        let mut lost: Vec<ReadTicket> = std::mem::take(&mut self.pending).into_keys().collect();
        lost.append(&mut self.waiting);
        lost.sort_unstable();
        lost
    }

    /// Gives up the reads that wait for longer than they should.
    pub(crate) fn lose_old(&mut self, tick: u64) -> Vec<ReadTicket> {
        let mut lost = Vec::new();
        self.pending.retain(|ticket, until_tick| {
            let keep = tick <= *until_tick;
            if !keep {
                lost.push(*ticket);
            }
            keep
        });
        lost
    }

    /// Whether a read of another member, known by its context, came before; it counts once.
    pub(crate) fn is_repeated(&mut self, context: &[u8]) -> bool {
        if !self.peer_contexts.insert(context.to_vec()) {
            return true;
        }
        self.peer_contexts_in_order.push_back(context.to_vec());
        if self.peer_contexts_in_order.len() > PEER_CONTEXTS_MAX
            && let Some(oldest) = self.peer_contexts_in_order.pop_front()
        {
            self.peer_contexts.remove(&oldest);
        }
        false
    }

    /// Keeps a read of another member until the leader may answer; when there are too many it is dropped, and that
    /// member asks again.
    pub(crate) fn wait_for_peer(&mut self, message: Message) {
        if self.peer_waiting.len() < PEER_READS_MAX {
            self.peer_waiting.push_back(message);
        }
    }

    pub(crate) fn take_waiting_peer(&mut self) -> Option<eraftpb::Message> {
        self.peer_waiting.pop_front().map(|message| message.inner)
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.peer_waiting.is_empty()
    }

    fn next_ticket(&mut self) -> ReadTicket {
        self.counter += 1;
        ReadTicket(self.counter)
    }

    fn context(&self, ticket: ReadTicket) -> Vec<u8> {
        [self.id, self.boot, ticket.0].into_iter().flat_map(u64::to_be_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_and_only_for_this_boot() {
        let mut reads = Reads::new(1, 7);
        let (ticket, context) = reads.start(10);
        let mut other_boot = Reads::new(1, 8);
        let (_, foreign) = other_boot.start(10);
        assert_eq!(reads.finish(&foreign), None);
        assert_eq!(reads.finish(&context[..20]), None);
        assert_eq!(reads.finish(&context), Some(ticket));
        assert_eq!(reads.finish(&context), None);
    }

    #[test]
    fn a_repeated_context_of_another_member_is_noticed_until_it_is_very_old() {
        let mut reads = Reads::new(1, 0);
        assert!(!reads.is_repeated(b"first"));
        assert!(reads.is_repeated(b"first"));
        for number in 0..PEER_CONTEXTS_MAX {
            assert!(!reads.is_repeated(&number.to_be_bytes()));
        }
        assert!(!reads.is_repeated(b"first"));
        assert_eq!(reads.peer_contexts.len(), PEER_CONTEXTS_MAX);
    }
}
