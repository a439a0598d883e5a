//! Reads that wait: for a barrier, then for the index that the barrier named.

use std::collections::BTreeMap;

use etched_auth::Credentials;
use etched_state_machine::v2store::Depth;
use etched_state_machine::{Range, Txn, Version};

use crate::consensus::Barrier;
use crate::request::{Caller, DowngradeAction};

/// A read that has its caller.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) caller: Caller,
    pub(crate) credentials: Credentials,
    pub(crate) kind: ReadKind,
    /// When it is answered with a timeout.
    pub(crate) deadline_ns: u64,
}

/// What is read.
#[derive(Debug)]
pub(crate) enum ReadKind {
    Range(Range),
    Txn(Txn),
    /// Of this user.
    PasswordHash(String),
    Members,
    Downgrade {
        action: DowngradeAction,
        /// The version to go down to; the zero version to call a downgrade off.
        target: Version,
    },
    Nothing,
    V2(V2Read),
    /// The member's own question whether it leads; it has no caller.
    Leadership,
}

/// A read of the v2 API's tree.
#[derive(Debug)]
pub(crate) struct V2Read {
    pub(crate) path: String,
    pub(crate) depth: Depth,
    /// The time by the clock of this member, in nanoseconds of the Unix epoch.
    pub(crate) unix_ns: i64,
}

/// All linearizable reads on their way.
///
/// Reads that arrive in one turn share one barrier: requests that arrive after it was asked for take the next.
#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    collecting: Vec<Read>,
    confirming: BTreeMap<Barrier, Vec<Read>>,
    applying: BTreeMap<u64, Vec<Read>>,
    waiting: usize,
}

impl ReadQueue {
    pub(crate) fn push(&mut self, read: Read) {
        self.waiting += 1;
        self.collecting.push(read);
    }

    /// How many reads there are.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_collecting(&self) -> bool {
        !self.collecting.is_empty()
    }

    /// All that was collected now waits for `barrier`.
    pub(crate) fn start(&mut self, barrier: Barrier) {
        let reads = std::mem::take(&mut self.collecting);
        self.confirming.entry(barrier).or_default().extend(reads);
    }

    /// The barrier's reads may be served once `index` is applied.
    pub(crate) fn on_reached(&mut self, barrier: Barrier, index: u64) {
        if let Some(reads) = self.confirming.remove(&barrier) {
            self.applying.entry(index).or_default().extend(reads);
        }
    }

    /// The barrier's reads, which will never be confirmed.
    pub(crate) fn on_lost(&mut self, barrier: Barrier) -> Vec<Read> {
        let reads = self.confirming.remove(&barrier).unwrap_or_default();
        self.waiting -= reads.len();
        reads
    }

    /// Takes the reads that `applied` makes servable.
    pub(crate) fn take_ready(&mut self, applied: u64) -> Vec<Read> {
        let mut ready = Vec::new();
        while let Some(entry) = self.applying.first_entry()
            && *entry.key() <= applied
        {
            ready.extend(entry.remove());
        }
        self.waiting -= ready.len();
        ready
    }

    /// Takes all reads, whatever they wait for.
    pub(crate) fn into_reads(self) -> impl Iterator<Item = Read> {
        let Self { collecting, confirming, applying, .. } = self;
        collecting
            .into_iter()
            .chain(confirming.into_values().flatten())
            .chain(applying.into_values().flatten())
    }

    /// Takes the reads whose deadline has passed, and names the barriers that nobody waits for any more.
    pub(crate) fn take_late(&mut self, now_ns: u64) -> (Vec<Read>, Vec<Barrier>) {
        let mut late = Vec::new();
        let mut take = |reads: &mut Vec<Read>| {
            if reads.iter().any(|read| read.deadline_ns <= now_ns) {
                late.extend(reads.extract_if(.., |read| read.deadline_ns <= now_ns));
            }
        };
        take(&mut self.collecting);
        self.confirming.values_mut().for_each(&mut take);
        self.applying.values_mut().for_each(&mut take);
        self.applying.retain(|_, reads| !reads.is_empty());
        let idle = self.confirming.extract_if(.., |_, reads| reads.is_empty()).map(|(barrier, _)| barrier);
        let idle = idle.collect();
        self.waiting -= late.len();
        (late, idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(token: u64, deadline_ns: u64) -> Read {
        let (caller, credentials) = (Caller { front: 0, token }, Credentials::Anonymous);
        Read { caller, credentials, kind: ReadKind::Nothing, deadline_ns }
    }

    fn tokens(reads: Vec<Read>) -> Vec<u64> {
        reads.into_iter().map(|read| read.caller.token).collect()
    }

    #[test]
    fn a_read_waits_for_its_barrier_and_then_for_its_index() {
        let mut queue = ReadQueue::default();
        queue.push(read(1, 100));
        queue.push(read(2, 100));
        queue.start(Barrier(0));
        queue.push(read(3, 100));
        queue.start(Barrier(1));
        queue.on_reached(Barrier(0), 7);
        assert_eq!(tokens(queue.take_ready(6)), [0; 0]);
        assert_eq!(tokens(queue.take_ready(7)), [1, 2]);
        assert_eq!(tokens(queue.on_lost(Barrier(1))), [3]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn each_read_has_its_own_deadline_wherever_it_waits() {
        let mut queue = ReadQueue::default();
        queue.push(read(1, 100));
        queue.push(read(2, 200));
        queue.start(Barrier(0));
        queue.push(read(3, 100));
        queue.start(Barrier(1));
        queue.push(read(4, 100));
        queue.on_reached(Barrier(0), 7);
        let (late, idle) = queue.take_late(99);
        assert_eq!((tokens(late), idle), (vec![], vec![]));
        let (late, idle) = queue.take_late(100);
        assert_eq!((tokens(late), idle), (vec![4, 3, 1], vec![Barrier(1)]));
        assert_eq!(queue.len(), 1);
        assert_eq!(tokens(queue.take_ready(7)), [2]);
    }
}
