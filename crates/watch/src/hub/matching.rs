//! Which events go to which group, found with one lookup a key.

use super::parts::{Group, Watcher, Wish};
use super::slab::{Slab, Slot};
use crate::Event;
use crate::response::event_len;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use core::ops::Range;
use etched_key_range::RangeMap;

/// The events of one round, by group; the memory is used again in the next round.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// The groups that take part; a group's list has the same place.
    groups: Vec<Slot<Group>>,
    lists: Vec<MatchList>,
    /// The groups around the key of the last event.
    around: Vec<Slot<Group>>,
}

/// The events of one round for one group.
#[derive(Debug, Default)]
pub(super) struct MatchList {
    /// Their places among all events, rising.
    places: Vec<u32>,
    /// The sizes on the wire of all up to and with this one.
    sizes: Vec<usize>,
    /// What was made for the last receiver; the next one often needs the same.
    shared: Option<(Range<usize>, Arc<[Bytes]>)>,
}

/// Which groups take part in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// All that have listeners.
    Listeners,
    /// Those that were [claimed](Matches::claim).
    Claimed,
}

impl Matches {
    /// Lets a group take part.
    pub(super) fn claim(&mut self, groups: &mut Slab<Group>, slot: Slot<Group>) {
        claim(&mut self.groups, &mut self.lists, &mut groups[slot], slot);
    }

    /// Sorts events into the lists of the groups that want them.
    pub(super) fn fill(
        &mut self,
        ranges: &RangeMap<Slot<Group>>,
        groups: &mut Slab<Group>,
        events: &[Event],
        audience: Audience,
    ) {
        let mut key: Option<&Bytes> = None;
        for (event, place) in events.iter().zip(0u32..) {
            if key != Some(&event.key) {
                key = Some(&event.key);
                self.around.clear();
                ranges.for_each_containing(&event.key, |slot| self.around.push(*slot));
            }
            for &slot in &self.around {
                let group = &mut groups[slot];
                let takes_part = match audience {
                    Audience::Listeners => !group.listeners.is_empty(),
                    Audience::Claimed => group.matched.is_some(),
                };
                if takes_part && group.wish.filters.pass(event.kind) {
                    let list = claim(&mut self.groups, &mut self.lists, group, slot);
                    list.push(place, event_len(group.wish.form(event)));
                }
            }
        }
    }

    /// The groups that took part, with their lists.
    pub(super) fn lists(&mut self) -> impl Iterator<Item = (Slot<Group>, &mut MatchList)> {
        self.groups.iter().copied().zip(&mut self.lists)
    }

    /// The list of a group that takes part.
    pub(super) fn list(&mut self, group: &Group) -> &mut MatchList {
        let place = group.matched.expect("the group takes part");
        &mut self.lists[place as usize]
    }

    /// Ends the round.
    pub(super) fn clear(&mut self, groups: &mut Slab<Group>) {
        for slot in self.groups.drain(..) {
            groups[slot].matched = None;
        }
        for list in &mut self.lists {
            list.clear();
        }
    }
}

/// The list of the group, an unused one if it has none yet.
fn claim<'a>(
    claimed: &mut Vec<Slot<Group>>,
    lists: &'a mut Vec<MatchList>,
    group: &mut Group,
    slot: Slot<Group>,
) -> &'a mut MatchList {
    let place = match group.matched {
        Some(place) => place as usize,
        None => {
            let place = claimed.len();
            group.matched = Some(u32::try_from(place).expect("there are fewer than four billion groups"));
            claimed.push(slot);
            if lists.len() == place {
                lists.push(MatchList::default());
            }
            place
        }
    };
    &mut lists[place]
}

/// The capacity that an unused list keeps.
const KEPT_PLACES_MAX: usize = 1_024;

impl MatchList {
    fn push(&mut self, place: u32, bytes: usize) {
        self.places.push(place);
        let before = self.sizes.last().copied().unwrap_or(0);
        self.sizes.push(before + bytes);
    }

    fn clear(&mut self) {
        if self.places.capacity() > KEPT_PLACES_MAX {
            drop(mem::take(self));
        } else {
            self.places.clear();
            self.sizes.clear();
            self.shared = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The revision of the event at `at` in the list.
    pub(super) fn revision(&self, events: &[Event], at: usize) -> Option<i64> {
        self.places.get(at).map(|place| events[*place as usize].revision)
    }

    /// The first event of the list that the watcher was not sent.
    pub(super) fn start(&self, events: &[Event], watcher: &Watcher) -> usize {
        if self.revision(events, 0).is_none_or(|first| first >= watcher.next) {
            return 0;
        }
        self.places.partition_point(|place| events[*place as usize].revision < watcher.next)
    }

    /// Where the revision that starts at `start` ends in the list.
    pub(super) fn end_of_revision(&self, events: &[Event], start: usize) -> usize {
        let revision = self.revision(events, start);
        (start..self.len()).find(|at| self.revision(events, *at) != revision).unwrap_or(self.len())
    }

    /// The size of these events on the wire.
    pub(super) fn bytes(&self, range: &Range<usize>) -> usize {
        match range.is_empty() {
            true => 0,
            false => self.sizes[range.end - 1] - self.bytes_before(range.start),
        }
    }

    /// Where a response must end that starts at `start`, holds at most `bytes_max` and divides no revision.
    pub(super) fn end_within(&self, events: &[Event], start: usize, bytes_max: usize) -> usize {
        let limit = self.bytes_before(start).saturating_add(bytes_max);
        let mut end = self.sizes.partition_point(|bytes| *bytes <= limit).max(start);
        while end > start && self.revision(events, end) == self.revision(events, end - 1) {
            end -= 1;
        }
        end
    }

    /// These events in the form that the group wants, made once for receivers that need the same.
    pub(super) fn share(&mut self, events: &[Event], wish: Wish, range: Range<usize>) -> Arc<[Bytes]> {
        if let Some((made_for, made)) = &self.shared
            && *made_for == range
        {
            return made.clone();
        }
        let forms =
            self.places[range.clone()].iter().map(|place| wish.form(&events[*place as usize]).clone());
        let made: Arc<[Bytes]> = forms.collect();
        self.shared = Some((range, made.clone()));
        made
    }

    fn bytes_before(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.sizes[before])
    }
}

impl Wish {
    /// The form of an event that is sent. One with the previous value may not exist, for instance because the key did
    /// not either.
    fn form(self, event: &Event) -> &Bytes {
        match &event.with_prev {
            Some(with_prev) if self.prev_kv => with_prev,
            Some(_) | None => &event.bytes,
        }
    }
}
