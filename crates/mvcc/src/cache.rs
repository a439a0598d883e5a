//! Records in memory: all that the backend may not have yet, and of the others what the budget allows.
//!
//! Every new record gets a slot, and the index entry of its key keeps the slot's number, so that a hot read needs no
//! second search.
//! A slot says which revision it holds; a number whose slot holds another one is simply out of date, and nobody has
//! to go and clear it.
//!
//! ```text
//! recent: every change in the order of revisions: what watchers catch up from
//!    │ leaves at the front, once committed
//!    ├──► gone: deletions, and records that a later put has replaced
//!    └──► aged: newest records of their keys, first in first out ──► stale, when replaced
//! ```
//!
//! Over budget, stale records go first, then those at the front of `recent` down to its share, then aged ones.
//! Each change pays for a few such steps, so no single call has to free much.

use bytes::Bytes;

use crate::codec::{Revision32, SUB_MAX};
use crate::entry::NONE;
use crate::queue::Queue;
use crate::slab::Slab;

/// What a record costs beside its bytes: slot, ticket, two allocations.
const OVERHEAD_BYTES: usize = 128;

/// Steps towards the budget that each new record pays for.
const STEPS_PER_CHANGE: usize = 4;

/// Steps when a commit unpins records; about half a millisecond.
const STEPS_PER_COMMIT: usize = 8192;

#[derive(Debug)]
pub(crate) struct RecordCache {
    slots: Slab<Slot>,
    recent: Queue<Ticket>,
    aged: Chain,
    stale: Chain,
    bytes: usize,
    recent_bytes: usize,
    budget_bytes: usize,
    /// Records up to this main revision are in the backend.
    committed: i64,
    /// `recent` has every change above this main revision.
    left: i64,
}

#[derive(Debug)]
struct Slot {
    record: Bytes,
    main: i64,
    sub: u32,
    before: u32,
    after: u32,
    place: Place,
    is_deletion: bool,
}

const _: () = assert!(size_of::<Slot>() <= 56);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Place {
    Vacant,
    /// In `recent`, and of a live key's newest put.
    Recent,
    /// In `recent`, and of no use when it leaves.
    Passing,
    Aged,
    Stale,
}

const VACANT: Slot = Slot {
    record: Bytes::new(),
    main: 0,
    sub: 0,
    before: NONE,
    after: NONE,
    place: Place::Vacant,
    is_deletion: false,
};

/// A change in `recent`.
#[derive(Copy, Clone, Debug)]
struct Ticket {
    main: i64,
    /// With `LIFE` if the change made a key or deleted it.
    sub_life: u32,
    slot: u32,
}

const _: () = assert!(size_of::<Ticket>() == 16);

const LIFE: u32 = 1 << 31;
const _: () = assert!(SUB_MAX & LIFE == 0);

impl Ticket {
    fn revision(self) -> Revision32 {
        Revision32 { main: self.main, sub: self.sub_life & !LIFE }
    }
}

/// A doubly linked list through slots.
#[derive(Copy, Clone, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    const EMPTY: Self = Self { first: NONE, last: NONE };
}

/// A change as `recent` has it.
pub(crate) struct RecentChange<'a> {
    pub(crate) revision: Revision32,
    /// Nothing if a compaction dropped the revision.
    pub(crate) record: Option<&'a Bytes>,
    pub(crate) is_deletion: bool,
}

impl RecordCache {
    /// A cache in front of a backend that has everything up to `committed`.
    pub(crate) fn new(budget_bytes: usize, committed: i64) -> Self {
        Self {
            slots: Slab::new(),
            recent: Queue::new(),
            aged: Chain::EMPTY,
            stale: Chain::EMPTY,
            bytes: 0,
            recent_bytes: 0,
            budget_bytes,
            committed,
            left: committed,
        }
    }

    /// How many records are in memory.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What they cost.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `recent` has every change above this main revision.
    pub(crate) fn recent_above(&self) -> i64 {
        self.left
    }

    /// Takes the record of a put that made the key, and returns its slot; the backend does not have it yet.
    pub(crate) fn push_creation(&mut self, at: Revision32, record: Bytes) -> u32 {
        self.push(at, record, Place::Recent, LIFE)
    }

    /// Takes the record of a put of a key that was there, and returns its slot.
    pub(crate) fn push_put(&mut self, at: Revision32, record: Bytes) -> u32 {
        self.push(at, record, Place::Recent, 0)
    }

    /// Takes the record of a deletion, for watchers.
    pub(crate) fn push_deletion(&mut self, at: Revision32, record: Bytes) {
        self.push(at, record, Place::Passing, LIFE);
    }

    fn push(&mut self, at: Revision32, record: Bytes, place: Place, life: u32) -> u32 {
        assert!(at.main > self.committed, "a new revision is not in the backend");
        let cost = record.len() + OVERHEAD_BYTES;
        self.bytes += cost;
        self.recent_bytes += cost;
        let Revision32 { main, sub } = at;
        let is_deletion = place == Place::Passing;
        let slot = Slot { record, main, sub, before: NONE, after: NONE, place, is_deletion };
        let slot = self.slots.insert(slot);
        self.recent.push_back(Ticket { main, sub_life: sub | life, slot });
        self.shrink(STEPS_PER_CHANGE);
        slot
    }

    /// The record of that revision, if the slot still holds it.
    pub(crate) fn get(&self, slot: u32, at: Revision32) -> Option<&Bytes> {
        if slot == NONE {
            return None;
        }
        let slot = self.slots.get(slot);
        let is_held = slot.place != Place::Vacant && slot.main == at.main && slot.sub == at.sub;
        is_held.then_some(&slot.record)
    }

    /// The record is no longer the newest of its key.
    pub(crate) fn replaced(&mut self, slot: u32, at: Revision32) {
        if self.get(slot, at).is_none() {
            return;
        }
        match self.slots.get(slot).place {
            Place::Recent => self.slots.get_mut(slot).place = Place::Passing,
            Place::Aged => {
                self.unlink(slot);
                self.link(slot, Place::Stale);
            }
            Place::Vacant | Place::Passing | Place::Stale => {}
        }
    }

    /// The revision was compacted away.
    pub(crate) fn dropped(&mut self, slot: u32, at: Revision32) {
        if self.get(slot, at).is_some() {
            self.free(slot);
        }
    }

    /// All records of main revisions up to `main` are in the backend.
    pub(crate) fn on_committed(&mut self, main: i64) {
        self.committed = self.committed.max(main);
        self.shrink(STEPS_PER_COMMIT);
    }

    /// Moves up to `steps` committed changes below `main` out of `recent`; says whether that was all of them.
    pub(crate) fn retire_below(&mut self, main: i64, steps: usize) -> bool {
        for _ in 0..steps {
            if self.recent.front().is_none_or(|ticket| ticket.main >= main) || !self.retire_front() {
                return true;
            }
        }
        false
    }

    /// Changes above `main`, in order; fewer if `recent_above()` is above it.
    pub(crate) fn changes_above(&self, main: i64) -> impl Iterator<Item = RecentChange<'_>> {
        self.tickets_above(main).map(|ticket| self.change(ticket))
    }

    /// Those of them that made a key or deleted it.
    pub(crate) fn lives_above(&self, main: i64) -> impl Iterator<Item = RecentChange<'_>> {
        let lives = self.tickets_above(main).filter(|ticket| ticket.sub_life & LIFE != 0);
        lives.map(|ticket| self.change(ticket))
    }

    fn tickets_above(&self, main: i64) -> impl Iterator<Item = Ticket> {
        self.recent.iter_from(self.recent.partition_point(|ticket| ticket.main <= main))
    }

    fn change(&self, ticket: Ticket) -> RecentChange<'_> {
        let revision = ticket.revision();
        let is_deletion = self.slots.get(ticket.slot).is_deletion;
        RecentChange { revision, record: self.get(ticket.slot, revision), is_deletion }
    }

    /// How many changes above `main` there are in `recent`.
    pub(crate) fn count_above(&self, main: i64) -> usize {
        self.recent.len() - self.recent.partition_point(|ticket| ticket.main <= main)
    }

    fn shrink(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.bytes <= self.budget_bytes {
                return;
            }
            let is_done = if self.stale.first != NONE {
                self.free(self.stale.first);
                true
            } else if self.recent_bytes > self.budget_bytes / 4 && self.retire_front() {
                true
            } else if self.aged.first != NONE {
                self.free(self.aged.first);
                true
            } else {
                self.retire_front()
            };
            if !is_done {
                return;
            }
        }
    }

    /// Lets the oldest change leave `recent`, unless the backend may not have it.
    fn retire_front(&mut self) -> bool {
        let Some(ticket) = self.recent.front().filter(|ticket| ticket.main <= self.committed) else {
            return false;
        };
        self.recent.pop_front();
        self.left = ticket.main;
        if self.get(ticket.slot, ticket.revision()).is_none() {
            return true;
        }
        let slot = self.slots.get(ticket.slot);
        match slot.place {
            Place::Recent => {
                self.recent_bytes -= slot.record.len() + OVERHEAD_BYTES;
                self.link(ticket.slot, Place::Aged);
            }
            Place::Passing => self.free(ticket.slot),
            Place::Vacant | Place::Aged | Place::Stale => {
                unreachable!("what has left is never in front again")
            }
        }
        true
    }

    fn free(&mut self, at: u32) {
        match self.slots.get(at).place {
            Place::Recent | Place::Passing => {
                self.recent_bytes -= self.slots.get(at).record.len() + OVERHEAD_BYTES;
            }
            Place::Aged | Place::Stale => self.unlink(at),
            Place::Vacant => unreachable!("only what is held is freed"),
        }
        let slot = self.slots.remove(at, VACANT);
        self.bytes -= slot.record.len() + OVERHEAD_BYTES;
    }

    fn chain(&mut self, place: Place) -> &mut Chain {
        match place {
            Place::Aged => &mut self.aged,
            Place::Stale => &mut self.stale,
            Place::Vacant | Place::Recent | Place::Passing => {
                unreachable!("only aged and stale slots are chained")
            }
        }
    }

    /// Puts the slot behind all others of its new place.
    fn link(&mut self, at: u32, place: Place) {
        let chain = self.chain(place);
        let last = chain.last;
        chain.last = at;
        if last == NONE {
            chain.first = at;
        } else {
            self.slots.get_mut(last).after = at;
        }
        let slot = self.slots.get_mut(at);
        (slot.before, slot.after, slot.place) = (last, NONE, place);
    }

    fn unlink(&mut self, at: u32) {
        let Slot { before, after, place, .. } = *self.slots.get(at);
        if before == NONE {
            self.chain(place).first = after;
        } else {
            self.slots.get_mut(before).after = after;
        }
        if after == NONE {
            self.chain(place).last = before;
        } else {
            self.slots.get_mut(after).before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn at(main: i64) -> Revision32 {
        Revision32 { main, sub: 0 }
    }

    fn record(len: usize) -> Bytes {
        alloc::vec![b'r'; len - OVERHEAD_BYTES].into()
    }

    fn held(cache: &RecordCache, slots: &[u32]) -> Vec<i64> {
        let revisions = (2..).zip(slots).filter(|(main, slot)| cache.get(**slot, at(*main)).is_some());
        revisions.map(|(main, _)| main).collect()
    }

    #[test]
    fn nothing_leaves_before_it_is_committed() {
        let mut cache = RecordCache::new(0, 1);
        let slots: Vec<u32> = (2..100).map(|main| cache.push_put(at(main), record(500))).collect();
        assert_eq!(held(&cache, &slots), (2..100).collect::<Vec<_>>());
        cache.on_committed(50);
        assert_eq!(held(&cache, &slots), (51..100).collect::<Vec<_>>());
        assert_eq!((cache.recent_above(), cache.count_above(60)), (50, 39));
        cache.on_committed(99);
        assert_eq!((cache.len(), cache.bytes(), cache.recent_bytes), (0, 0, 0));
    }

    #[test]
    fn replaced_records_leave_before_newest_ones() {
        let mut cache = RecordCache::new(10_000, 1);
        let mut slots: Vec<u32> = (2..12).map(|main| cache.push_put(at(main), record(1000))).collect();
        cache.on_committed(11);
        assert_eq!(held(&cache, &slots).len(), 10);
        slots.extend((12..14).map(|main| cache.push_put(at(main), record(1000))));
        cache.on_committed(13);
        // The two oldest made room.
        assert_eq!(held(&cache, &slots), (4..14).collect::<Vec<_>>());
        cache.replaced(slots[5], at(7));
        cache.replaced(slots[6], at(8));
        slots.extend((14..16).map(|main| cache.push_put(at(main), record(1000))));
        assert_eq!(held(&cache, &slots), [4, 5, 6, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn compaction_trims_what_watchers_cannot_ask_for() {
        let mut cache = RecordCache::new(1 << 20, 1);
        let slots: Vec<u32> = (2..1002).map(|main| cache.push_put(at(main), record(200))).collect();
        cache.on_committed(1001);
        for main in 2..900 {
            cache.replaced(slots[usize::try_from(main - 2).unwrap()], at(main));
            cache.dropped(slots[usize::try_from(main - 2).unwrap()], at(main));
        }
        assert!(!cache.retire_below(900, 10));
        assert!(cache.retire_below(900, 10_000));
        assert_eq!((cache.recent.len(), cache.len(), cache.recent_above()), (102, 102, 899));
        assert!(cache.changes_above(0).all(|change| change.record.is_some()));
        cache.dropped(slots[950], at(952));
        assert_eq!(cache.changes_above(951).filter(|change| change.record.is_none()).count(), 1);
    }
}
