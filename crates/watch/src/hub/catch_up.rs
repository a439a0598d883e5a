//! The way back to the head for watchers that are behind.
//!
//! ```text
//!            no room                        its stream's turn
//!   Head ───────────────► Waiting ───────────────────────────► Reading
//!    ▲                    ▲  │                                  │ │
//!    │                    │  │ compaction      more to come     │ │ compaction
//!    │                    └──┼──────────────────────────────────┘ │
//!    │   has everything      ▼                                    ▼
//!    └────────────────── (Reading)                              Ended
//! ```
//!
//! Streams take turns, and within a stream its watchers do; who was given something goes to the end.
//! Whoever else has room and needs about the same revisions reads along.

use super::Hub;
use super::matching::Audience;
use super::parts::{Group, State, Stream, Watcher};
use super::slab::Slot;
use crate::response::plain_len;
use crate::{Event, History, HistoryRequest, Interest, Response};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;
use etched_key_range::{KeyRange, RangeMap};

/// History requests that may be under way at once.
const READINGS_MAX: usize = 4;

/// How far the revisions may be apart that the watchers of one request need next.
const SIMILAR_REVISIONS: i64 = 1_000;

/// How many watchers are looked at to find those that read along.
const READ_ALONG_MAX: usize = 2_000;

/// A history request under way.
#[derive(Debug)]
pub(super) struct Reading {
    from: i64,
    to: i64,
    /// Who asked, the longest waiting first. A watcher that is not in [`State::Reading`] with this request any more
    /// has left it.
    watchers: Vec<Slot<Watcher>>,
}

impl Hub {
    /// The next question to history, if some watcher can be sent what it missed; the answer goes to
    /// [`Hub::on_history`].
    pub fn poll_history(&mut self) -> Option<HistoryRequest> {
        while self.readings.len() < READINGS_MAX {
            let slot = self.hungry.pop_front()?;
            // The slot may belong to another stream meanwhile, which then is asked a little early.
            if self.streams.get(slot).is_none() {
                continue;
            }
            self.streams[slot].hungry = false;
            if self.may_ask(slot)
                && let Some(&(_, watcher)) = self.streams[slot].waiting.first()
            {
                return Some(self.ask(watcher));
            }
        }
        None
    }

    /// The answer to a [`HistoryRequest`].
    ///
    /// # Panics
    ///
    /// If the answer is not one to the request: it must reach beyond the request's start, and not beyond its end.
    pub fn on_history(&mut self, id: u64, history: History) {
        let reading = self.readings.remove(&id).expect("each history request is answered once");
        match history {
            History::Events { events, next } => {
                assert!(reading.from < next && next <= reading.to + 1, "history answers what was asked");
                assert!(events.is_sorted_by_key(|event| event.revision), "history is in order");
                assert!(events.last().is_none_or(|last| last.revision < next), "history ends where it says");
                self.deliver_history(id, &reading, &events, next);
            }
            History::Compacted { revision } => {
                assert!(reading.from < revision, "history is gone only below the compaction");
                self.on_compacted(revision);
                for slot in reading.watchers {
                    if self.is_reading(slot, id) {
                        self.leave_state(slot);
                        self.wait_again(slot);
                    }
                }
            }
        }
    }

    /// History below `revision` is gone: the watchers that need it end, and are told.
    pub fn on_compacted(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
        self.end_compacted();
    }

    /// Ends the watchers that need history which is gone. Their ids stay taken until they are cancelled.
    pub(super) fn end_compacted(&mut self) {
        while let Some(&(next, slot)) = self.behind.first() {
            if next >= self.compacted {
                break;
            }
            self.leave_state(slot);
            let watcher = &mut self.watchers[slot];
            watcher.state = State::Ended;
            let Watcher { watch_id, stream, group, .. } = *watcher;
            self.leave_group(group);
            self.ended += 1;
            self.streams[stream].alive -= 1;
            let compact_revision = self.compacted;
            let ended = Response { watch_id, canceled: true, compact_revision, ..Response::default() };
            self.outbox.push(&mut self.streams, stream, ended);
        }
    }

    /// A watcher that is nowhere else misses events from `next` on.
    pub(super) fn wait(&mut self, slot: Slot<Watcher>) {
        self.turn += 1;
        self.watchers[slot].turn = self.turn;
        self.wait_again(slot);
    }

    /// As [`Hub::wait`], for a watcher that keeps its turn.
    fn wait_again(&mut self, slot: Slot<Watcher>) {
        let watcher = &mut self.watchers[slot];
        watcher.state = State::Waiting;
        let Watcher { next, turn, stream, .. } = *watcher;
        assert!(next <= self.revision, "who waits misses something");
        self.behind.insert((next, slot));
        self.streams[stream].waiting.insert((turn, slot));
        self.offer_history(stream);
    }

    /// Puts a stream into the queue of those that may ask history, if there is a reason to.
    pub(super) fn offer_history(&mut self, slot: Slot<Stream>) {
        if self.may_ask(slot) && !self.streams[slot].hungry {
            self.streams[slot].hungry = true;
            self.hungry.push_back(slot);
        }
    }

    /// One reading at a time: what two would bring might not both fit.
    fn may_ask(&self, slot: Slot<Stream>) -> bool {
        let stream = &self.streams[slot];
        !stream.waiting.is_empty() && stream.reading == 0 && self.outbox.budget().is_drained(stream)
    }

    fn is_reading(&self, slot: Slot<Watcher>, id: u64) -> bool {
        self.watchers.get(slot).is_some_and(|watcher| watcher.state == State::Reading(id))
    }

    /// Makes a request for a watcher and for all others that can read along.
    fn ask(&mut self, first: Slot<Watcher>) -> HistoryRequest {
        self.reading_id += 1;
        let id = self.reading_id;
        let watchers = self.read_along(first);
        let mut rooms: BTreeMap<Slot<Stream>, usize> = BTreeMap::new();
        let mut groups: BTreeSet<Slot<Group>> = BTreeSet::new();
        let mut from = i64::MAX;
        for &slot in &watchers {
            let watcher = &mut self.watchers[slot];
            watcher.state = State::Reading(id);
            from = from.min(watcher.next);
            groups.insert(watcher.group);
            let stream = &mut self.streams[watcher.stream];
            stream.waiting.remove(&(watcher.turn, slot));
            stream.reading += 1;
            rooms.insert(watcher.stream, self.outbox.budget().room_for_history(stream));
        }
        let (ranges, interests) = self.wishes(&groups);
        let room = rooms.values().fold(0usize, |sum, room| sum.saturating_add(*room));
        let to = self.revision;
        self.readings.insert(id, Reading { from, to, watchers });
        HistoryRequest {
            id,
            from,
            to,
            wants_previous: groups.iter().any(|group| self.groups[*group].wish.prev_kv),
            ranges,
            bytes_max: room.clamp(1, self.history_bytes),
            interests,
        }
    }

    /// The watchers that can take part in a request made for `first`, the longest waiting first.
    ///
    /// They need the same revision or later ones. Who needs earlier ones is left out: what it is sent may fill the
    /// answer before `first` gets anything, and a slow stream would delay another.
    fn read_along(&self, first: Slot<Watcher>) -> Vec<Slot<Watcher>> {
        let next = self.watchers[first].next;
        let similar = (next, Slot::MIN)..=(next.saturating_add(SIMILAR_REVISIONS), Slot::MAX);
        let can_read = |slot: &Slot<Watcher>| {
            let watcher = &self.watchers[*slot];
            *slot != first && watcher.state == State::Waiting && self.may_ask(watcher.stream)
        };
        let others = self.behind.range(similar).take(READ_ALONG_MAX).map(|(_, slot)| *slot).filter(can_read);
        let mut watchers: Vec<_> = [first].into_iter().chain(others).collect();
        watchers.sort_unstable_by_key(|slot| self.watchers[*slot].turn);
        watchers
    }

    /// What the groups want, each range once.
    fn wishes(&self, groups: &BTreeSet<Slot<Group>>) -> (Vec<KeyRange>, RangeMap<Interest>) {
        let mut wishes: BTreeMap<&KeyRange, Interest> = BTreeMap::new();
        for slot in groups {
            let group = &self.groups[*slot];
            let interest = wishes.entry(&group.range).or_insert(Interest::None);
            *interest = group.wish.interest().max(*interest);
        }
        let mut interests = RangeMap::new();
        for (range, interest) in &wishes {
            interests.insert(KeyRange::clone(range), *interest);
        }
        (wishes.into_keys().cloned().collect(), interests)
    }

    fn deliver_history(&mut self, id: u64, reading: &Reading, events: &[Event], next: i64) {
        let mut matches = mem::take(&mut self.matches);
        for &slot in &reading.watchers {
            if self.is_reading(slot, id) {
                matches.claim(&mut self.groups, self.watchers[slot].group);
            }
        }
        matches.fill(&self.ranges, &mut self.groups, events, Audience::Claimed);
        self.matches = matches;
        for &slot in &reading.watchers {
            if self.is_reading(slot, id) {
                self.catch_up(slot, events, next);
            }
        }
        self.matches.clear(&mut self.groups);
    }

    /// Queues for a watcher what its stream has room for, of events that are complete below `next`.
    fn catch_up(&mut self, slot: Slot<Watcher>, events: &[Event], next: i64) {
        self.leave_state(slot);
        let watcher = &mut self.watchers[slot];
        let group = &self.groups[watcher.group];
        let list = self.matches.list(group);
        let stream = &mut self.streams[watcher.stream];
        let budget = self.outbox.budget();

        let base = plain_len(watcher.watch_id, next);
        let start = list.start(events, watcher);
        let mut end = list.end_within(events, start, budget.room_for_history(stream).saturating_sub(base));
        if end == start && budget.is_drained(stream) {
            end = list.end_of_revision(events, start);
        }
        let covered = list.revision(events, end).unwrap_or(next) - 1;
        let served = end > start || (end == list.len() && covered >= watcher.next);
        watcher.next = watcher.next.max(covered + 1);
        if end > start {
            let bytes = base + list.bytes(&(start..end));
            let events = list.share(events, group.wish, start..end);
            watcher.quiet = false;
            let response = Response::plain(watcher.watch_id, covered, events);
            self.outbox.push_events(stream, watcher.stream, response, bytes, watcher.fragment);
        }
        if watcher.next > self.revision {
            self.enter_head(slot);
        } else if served {
            self.wait(slot);
        } else {
            self.wait_again(slot);
        }
    }
}
