//! A queue of times at which leases have to be looked at.
//!
//! Entries are never taken out from the middle. The owner remembers under which time each lease stands, and ignores an
//! entry with another time when it comes up.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Below this many entries the queue is never searched for stale ones.
const SHRINK_FROM: usize = 1_024;

#[derive(Clone, Debug)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(u64, i64)>>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    /// Takes over many entries at once, in linear time.
    pub(super) fn fill(&mut self, entries: Vec<Reverse<(u64, i64)>>) {
        self.heap = BinaryHeap::from(entries);
    }

    pub(super) fn push(&mut self, at: u64, id: i64) {
        self.heap.push(Reverse((at, id)));
    }

    /// The first entry whose time has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(u64, i64)> {
        if self.first()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Drops the entries that are not `live` once they must be the larger part, given how many leases there are.
    pub(super) fn shrink(&mut self, leases: usize, live: impl Fn(u64, i64) -> bool) {
        if self.heap.len() >= SHRINK_FROM && self.heap.len() / 2 > leases {
            self.heap.retain(|Reverse((at, id))| live(*at, *id));
        }
    }

    pub(super) fn clear(&mut self) {
        self.heap = BinaryHeap::new();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
