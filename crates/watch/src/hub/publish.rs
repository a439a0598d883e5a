//! The live feed.

use super::Hub;
use super::matching::Audience;
use super::parts::State;
use crate::response::plain_len;
use crate::{Event, Response};
use core::mem;

impl Hub {
    /// The store has reached `revision`; `events` are all changes since the last call, in order, as far as someone has
    /// an [`interest`](Hub::interest) in their keys.
    ///
    /// A watcher gets all of them in one response. If they do not fit into the budget of its stream, it falls behind.
    ///
    /// # Panics
    ///
    /// If the revision goes back, or the events are not in order or not between the two revisions.
    pub fn publish(&mut self, revision: i64, events: &[Event]) {
        assert!(revision >= self.revision, "revision {revision} follows {}", self.revision);
        assert!(
            events.is_sorted_by_key(|event| event.revision),
            "events come in the order of their revisions"
        );
        assert!(
            events.first().is_none_or(|first| first.revision > self.revision),
            "events are published once"
        );
        assert!(events.last().is_none_or(|last| last.revision <= revision), "the revision covers all events");
        self.revision = revision;
        self.wake_ahead();
        if !events.is_empty() {
            self.matches.fill(&self.ranges, &mut self.groups, events, Audience::Listeners);
            self.deliver_live(events);
            self.matches.clear(&mut self.groups);
            self.put_behind();
        }
    }

    /// The store was replaced by one at a later revision, and what happened between is known to its history only.
    ///
    /// # Panics
    ///
    /// If the revision goes back.
    pub fn on_restored(&mut self, revision: i64) {
        assert!(revision >= self.revision, "revision {revision} follows {}", self.revision);
        let missed = self.revision + 1;
        self.revision = revision;
        if revision < missed {
            return;
        }
        self.wake_ahead();
        let at_head = self.watchers.iter().filter(|(_, watcher)| watcher.state == State::Head);
        self.too_slow.extend(at_head.map(|(slot, watcher)| (slot, watcher.next.max(missed))));
        self.put_behind();
    }

    /// Takes the listeners that were found too slow out of the live feed.
    fn put_behind(&mut self) {
        let mut too_slow = mem::take(&mut self.too_slow);
        for (watcher, missed) in too_slow.drain(..) {
            self.leave_state(watcher);
            self.watchers[watcher].next = missed;
            self.wait(watcher);
        }
        self.too_slow = too_slow;
        // A compaction may have been told before the changes that it covers.
        self.end_compacted();
    }

    /// The start revision of some watchers has come. They listen already, and `next` keeps earlier events from them.
    fn wake_ahead(&mut self) {
        while let Some(&(start, slot)) = self.ahead.first() {
            if start > self.revision {
                break;
            }
            self.ahead.pop_first();
            let watcher = &mut self.watchers[slot];
            watcher.state = State::Head;
            self.streams[watcher.stream].at_head += 1;
        }
    }

    /// Queues the events of each group for its listeners, and notes the listeners for whom there is no room.
    fn deliver_live(&mut self, events: &[Event]) {
        let Self { matches, groups, watchers, streams, outbox, too_slow, revision, .. } = self;
        for (group, list) in matches.lists() {
            let group = &groups[group];
            for &slot in &group.listeners {
                let watcher = &mut watchers[slot];
                let range = list.start(events, watcher)..list.len();
                let Some(first) = list.revision(events, range.start) else { continue };
                let bytes = list.bytes(&range) + plain_len(watcher.watch_id, *revision);
                let stream = &mut streams[watcher.stream];
                let single_revision = || list.end_of_revision(events, range.start) == range.end;
                if !outbox.budget().fits(stream, bytes, single_revision) {
                    too_slow.push((slot, first));
                    continue;
                }
                watcher.quiet = false;
                let shared = list.share(events, group.wish, range);
                let response = Response::plain(watcher.watch_id, *revision, shared);
                outbox.push_events(stream, watcher.stream, response, bytes, watcher.fragment);
            }
        }
    }
}
