//! Who waits for which proposal: request ids out, outcomes in.

use std::collections::VecDeque;
use std::vec::Vec;

use crate::request::Caller;

/// Draws request ids (the tickets that travel in entries) and remembers the callers that wait for them.
///
/// The form of an id is etcd's: the low 16 bits of the member's id on top, then 40 bits of the start time in
/// milliseconds, then a counter; so ids differ between members and between lives of one member.
#[derive(Debug)]
pub(crate) struct Waiters {
    first: u64,
    slots: VecDeque<Option<Waiter>>,
    waiting: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) caller: Caller,
    pub(crate) deadline_ns: u64,
    /// When the member took it in.
    pub(crate) started_ns: u64,
    /// The number of the command's field in an entry; 0 for a change of membership.
    pub(crate) field: u32,
}

impl Waiters {
    pub(crate) fn new(member_id: u64, start_ms: u64) -> Self {
        let prefix = (member_id & 0xffff) << 48;
        let time = (start_ms & 0xff_ffff_ffff) << 8;
        Self { first: (prefix | time) + 1, slots: VecDeque::new(), waiting: 0 }
    }

    /// The next id, with nobody waiting for it.
    pub(crate) fn next_unwatched(&mut self) -> u64 {
        self.push(None)
    }

    /// The next id, for whose outcome somebody waits until the deadline.
    pub(crate) fn next_for(&mut self, waiter: Waiter) -> u64 {
        self.waiting += 1;
        self.push(Some(waiter))
    }

    /// Takes whoever waits for `id`, if anybody does.
    pub(crate) fn take(&mut self, id: u64) -> Option<Waiter> {
        let position = usize::try_from(id.checked_sub(self.first)?).ok()?;
        let waiter = self.slots.get_mut(position)?.take()?;
        self.waiting -= 1;
        self.trim();
        Some(waiter)
    }

    /// Whether a caller waits for `id`.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        let position = id.checked_sub(self.first).and_then(|position| usize::try_from(position).ok());
        position.and_then(|position| self.slots.get(position)).is_some_and(Option::is_some)
    }

    /// The changes of membership that a caller waits for.
    pub(crate) fn changes_of(&self, caller: Caller) -> Vec<u64> {
        let is_one = |waiter: &Waiter| waiter.field == 0 && waiter.caller == caller;
        let slots = (self.first..).zip(&self.slots);
        slots.filter(|(_, slot)| slot.as_ref().is_some_and(is_one)).map(|(id, _)| id).collect()
    }

    /// Takes all callers.
    pub(crate) fn take_all(&mut self) -> Vec<Caller> {
        self.take_late(u64::MAX).into_iter().map(|(_, waiter)| waiter.caller).collect()
    }

    /// Takes all waiters whose deadline has passed, with the ids they waited for.
    pub(crate) fn take_late(&mut self, now_ns: u64) -> Vec<(u64, Waiter)> {
        let mut late = Vec::new();
        for (id, slot) in (self.first..).zip(&mut self.slots) {
            if slot.is_some_and(|waiter| waiter.deadline_ns <= now_ns) {
                late.extend(slot.take().map(|waiter| (id, waiter)));
            }
        }
        self.waiting -= late.len();
        self.trim();
        late
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    fn push(&mut self, slot: Option<Waiter>) -> u64 {
        self.trim();
        let id = self.first + self.slots.len() as u64;
        self.slots.push_back(slot);
        id
    }

    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(token: u64) -> Caller {
        Caller { front: 0, token }
    }

    fn waiter(token: u64, deadline_ns: u64) -> Waiter {
        Waiter { caller: caller(token), deadline_ns, started_ns: 0, field: 4 }
    }

    fn taken(waiter: Option<Waiter>) -> Option<Caller> {
        waiter.map(|waiter| waiter.caller)
    }

    #[test]
    fn ids_carry_the_member_and_the_time_and_count_up() {
        let mut waiters = Waiters::new(0x1234_5678, 0x01_0203_0405_0607);
        assert_eq!(waiters.next_unwatched(), 0x5678_0304_0506_0701);
        assert_eq!(waiters.next_unwatched(), 0x5678_0304_0506_0702);
    }

    #[test]
    fn an_outcome_finds_its_caller_once() {
        let mut waiters = Waiters::new(1, 1);
        let own = waiters.next_unwatched();
        let first = waiters.next_for(waiter(1, 10));
        let second = waiters.next_for(waiter(2, 20));
        assert_eq!(taken(waiters.take(own)), None);
        assert_eq!(taken(waiters.take(second)), Some(caller(2)));
        assert_eq!(taken(waiters.take(second)), None);
        assert_eq!(taken(waiters.take(first)), Some(caller(1)));
        assert_eq!(waiters.waiting(), 0);
        assert_eq!(taken(waiters.take(first - 100)), None);
        assert_eq!(taken(waiters.take(second + 100)), None);
    }

    #[test]
    fn the_changes_of_a_caller_are_found() {
        let mut waiters = Waiters::new(1, 1);
        let change = Waiter { field: 0, ..waiter(1, 10) };
        waiters.next_for(waiter(1, 10));
        let id = waiters.next_for(change);
        waiters.next_for(Waiter { caller: caller(2), ..change });
        assert_eq!(waiters.changes_of(caller(1)), [id]);
        waiters.take(id);
        assert_eq!(waiters.changes_of(caller(1)), [0; 0]);
    }

    #[test]
    fn a_deadline_takes_only_those_that_are_late() {
        let mut waiters = Waiters::new(1, 1);
        let first = waiters.next_for(waiter(1, 10));
        let second = waiters.next_for(waiter(2, 20));
        let late: Vec<(u64, Caller)> =
            waiters.take_late(10).into_iter().map(|(id, waiter)| (id, waiter.caller)).collect();
        assert_eq!(late, [(first, caller(1))]);
        assert_eq!((waiters.is_waiting(first), waiters.is_waiting(second)), (false, true));
        assert_eq!(taken(waiters.take(second)), Some(caller(2)));
    }
}
