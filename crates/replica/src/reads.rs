//! Reads that wait: for a barrier, then for the index that the barrier named.

use std::collections::BTreeMap;

use etched_state_machine::{Range, Txn};

use crate::consensus::Barrier;
use crate::request::Caller;

/// A read that has its caller.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) caller: Caller,
    pub(crate) kind: ReadKind,
}

/// What is read.
#[derive(Debug)]
pub(crate) enum ReadKind {
    Range(Range),
    Txn(Txn),
    Members,
    Nothing,
}

/// All linearizable reads on their way.
///
/// Reads that arrive in one turn share one barrier: requests that arrive after it was asked for take the next.
#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    collecting: Vec<Read>,
    confirming: BTreeMap<Barrier, Round>,
    applying: BTreeMap<u64, Vec<Read>>,
}

#[derive(Debug)]
struct Round {
    deadline_ns: u64,
    reads: Vec<Read>,
}

impl ReadQueue {
    pub(crate) fn push(&mut self, read: Read) {
        self.collecting.push(read);
    }

    pub(crate) fn is_collecting(&self) -> bool {
        !self.collecting.is_empty()
    }

    /// All that was collected now waits for `barrier`.
    pub(crate) fn start(&mut self, barrier: Barrier, deadline_ns: u64) {
        let reads = std::mem::take(&mut self.collecting);
        self.confirming
            .entry(barrier)
            .or_insert(Round { deadline_ns, reads: Vec::new() })
            .reads
            .extend(reads);
    }

    /// The barrier's reads may be served once `index` is applied.
    pub(crate) fn on_reached(&mut self, barrier: Barrier, index: u64) {
        if let Some(round) = self.confirming.remove(&barrier) {
            self.applying.entry(index).or_default().extend(round.reads);
        }
    }

    /// The barrier's reads, which will never be confirmed.
    pub(crate) fn on_lost(&mut self, barrier: Barrier) -> Vec<Read> {
        self.confirming.remove(&barrier).map(|round| round.reads).unwrap_or_default()
    }

    /// Takes the reads that `applied` makes servable.
    pub(crate) fn take_ready(&mut self, applied: u64) -> Vec<Read> {
        let mut ready = Vec::new();
        while let Some(entry) = self.applying.first_entry() {
            if *entry.key() > applied {
                break;
            }
            ready.extend(entry.remove());
        }
        ready
    }

    /// All reads, whatever they wait for.
    pub(crate) fn into_reads(self) -> impl Iterator<Item = Read> {
        let confirming = self.confirming.into_values().flat_map(|round| round.reads);
        self.collecting.into_iter().chain(confirming).chain(self.applying.into_values().flatten())
    }

    /// Takes the reads that have waited too long for their barrier.
    pub(crate) fn take_late(&mut self, now_ns: u64) -> Vec<Read> {
        let late: Vec<Barrier> = self
            .confirming
            .iter()
            .filter(|(_, round)| round.deadline_ns <= now_ns)
            .map(|(b, _)| *b)
            .collect();
        late.into_iter().flat_map(|barrier| self.on_lost(barrier)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: u64) -> Read {
        Read { caller: Caller { front: 0, token }, kind: ReadKind::Nothing }
    }

    fn tokens(reads: Vec<Read>) -> Vec<u64> {
        reads.into_iter().map(|read| read.caller.token).collect()
    }

    #[test]
    fn a_read_waits_for_its_barrier_and_then_for_its_index() {
        let mut queue = ReadQueue::default();
        queue.push(read(1));
        queue.push(read(2));
        queue.start(Barrier(0), 100);
        queue.push(read(3));
        queue.start(Barrier(1), 100);
        queue.on_reached(Barrier(0), 7);
        assert_eq!(tokens(queue.take_ready(6)), [0; 0]);
        assert_eq!(tokens(queue.take_ready(7)), [1, 2]);
        assert_eq!(tokens(queue.on_lost(Barrier(1))), [3]);
    }

    #[test]
    fn a_round_that_waits_too_long_is_late_as_a_whole() {
        let mut queue = ReadQueue::default();
        queue.push(read(1));
        queue.start(Barrier(0), 100);
        assert_eq!(tokens(queue.take_late(99)), [0; 0]);
        assert_eq!(tokens(queue.take_late(100)), [1]);
        assert_eq!(tokens(queue.take_late(101)), [0; 0]);
    }
}
