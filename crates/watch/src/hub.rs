//! The hub: streams and watchers, and the answers to their requests.

mod catch_up;
mod matching;
mod outbox;
mod parts;
mod progress;
mod publish;
mod slab;

#[cfg(test)]
mod tests;

use crate::{Create, Delivery, Interest, Response, StreamId};
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use catch_up::Reading;
use etched_key_range::{KeyRange, RangeEnd, RangeMap};
use matching::Matches;
use outbox::{Budget, Outbox};
use parts::{Group, State, Stream, Watcher, Wish};
use slab::{Slab, Slot};

/// The id in answers that concern no single watcher.
const NO_WATCHER: i64 = -1;

const REASON_COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const REASON_EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const REASON_DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";

/// The limits of a hub, all in bytes of encoded responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// Responses of this size and more are fragmented for watchers that allow it; etcd: the largest request plus
    /// 512 KiB.
    pub fragment_bytes: usize,
    /// What a stream may hold that was handed out and not consumed.
    ///
    /// When live events do not fit, their watcher falls behind. History is read for a stream that has drained to a
    /// quarter of this, and fills it to a half. A single revision is never divided: it may exceed the limit by what it
    /// has above three quarters of it. Answers to requests are always queued; see [`Hub::is_full`].
    pub stream_queue_bytes: usize,
    /// What one history request asks for at most.
    pub history_bytes: usize,
}

impl Default for HubOptions {
    /// etcd's limit for fragments; 1 MiB for a stream and for a history request.
    fn default() -> Self {
        Self { fragment_bytes: 2 << 20, stream_queue_bytes: 1 << 20, history_bytes: 1 << 20 }
    }
}

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Watchers that were created and have not ended.
    pub watchers: usize,
    /// Those of them that are behind.
    pub slow_watchers: usize,
    /// Open streams.
    pub streams: usize,
    /// Events that were sent since the start, once for each receiver.
    pub events: u64,
    /// Events that were queued and not consumed; about, since consumption is told in bytes.
    pub pending_events: usize,
}

/// All watch streams of a member.
///
/// Requests ([`create`](Hub::create), [`cancel`](Hub::cancel), [`request_progress`](Hub::request_progress)) are answered
/// in their order, by deliveries; requests on a stream that is not open are ignored, since a client may leave at any
/// time. Changes are told by [`publish`](Hub::publish), in the order of their revisions and without a gap, and
/// compactions by [`on_compacted`](Hub::on_compacted).
///
/// After each of these, and after [`on_consumed`](Hub::on_consumed) and [`on_tick`](Hub::on_tick), the caller first polls
/// [`history`](Hub::poll_history) and answers each request, at once or later, then polls
/// [`deliveries`](Hub::poll_delivery), each until nothing comes.
#[derive(Debug)]
pub struct Hub {
    history_bytes: usize,
    /// The current revision: all events up to it were published.
    revision: i64,
    /// The revision of the last compaction; history begins there.
    compacted: i64,
    streams: Slab<Stream>,
    stream_ids: BTreeMap<StreamId, Slot<Stream>>,
    watchers: Slab<Watcher>,
    /// How many watchers compaction ended whose id was not cancelled.
    ended: usize,
    groups: Slab<Group>,
    ranges: RangeMap<Slot<Group>>,
    /// The watchers in [`State::Ahead`], by their start revision.
    ahead: BTreeSet<(i64, Slot<Watcher>)>,
    /// The watchers in [`State::Waiting`] and [`State::Reading`], by the next revision they need.
    behind: BTreeSet<(i64, Slot<Watcher>)>,
    /// Streams that may ask history, the one whose turn it is first.
    hungry: VecDeque<Slot<Stream>>,
    /// History requests under way, by their id.
    readings: BTreeMap<u64, Reading>,
    reading_id: u64,
    /// The last turn that was given to a watcher that is behind.
    turn: u64,
    /// The streams with progress notifications, by their next tick.
    ticks: BTreeSet<(u64, Slot<Stream>)>,
    outbox: Outbox,
    matches: Matches,
    /// Scratch: listeners that a round found too slow, with the revision they missed.
    too_slow: Vec<(Slot<Watcher>, i64)>,
}

impl Hub {
    /// A hub without streams, over a store at this revision.
    ///
    /// If the store was compacted, [`Hub::on_compacted`] follows.
    pub fn new(options: HubOptions, revision: i64) -> Self {
        assert!(options.history_bytes > 0, "a history request must be allowed to ask for something");
        Self {
            history_bytes: options.history_bytes,
            revision,
            compacted: 0,
            streams: Slab::new(),
            stream_ids: BTreeMap::new(),
            watchers: Slab::new(),
            ended: 0,
            groups: Slab::new(),
            ranges: RangeMap::new(),
            ahead: BTreeSet::new(),
            behind: BTreeSet::new(),
            hungry: VecDeque::new(),
            readings: BTreeMap::new(),
            reading_id: 0,
            turn: 0,
            ticks: BTreeSet::new(),
            outbox: Outbox::new(Budget::new(options.stream_queue_bytes), options.fragment_bytes),
            matches: Matches::default(),
            too_slow: Vec::new(),
        }
    }

    /// A client opened a stream. Its watchers that want it are told of progress every `progress_interval_ns` (0: never);
    /// the caller adds the jitter that keeps streams apart.
    ///
    /// # Panics
    ///
    /// If the id is in use.
    pub fn open(&mut self, stream: StreamId, now_ns: u64, progress_interval_ns: u64) {
        let next_tick = now_ns.saturating_add(progress_interval_ns);
        let slot = self.streams.insert(Stream::new(stream, progress_interval_ns, next_tick));
        assert!(self.stream_ids.insert(stream, slot).is_none(), "{stream:?} is open");
        if progress_interval_ns > 0 {
            self.ticks.insert((next_tick, slot));
        }
    }

    /// A stream is gone, with all its watchers and all that was queued for it.
    pub fn close(&mut self, stream: StreamId) {
        let Some(slot) = self.stream_ids.remove(&stream) else { return };
        let watchers: Vec<_> = self.streams[slot].watchers.values().copied().collect();
        for watcher in watchers {
            self.remove_watcher(watcher);
        }
        let stream = self.streams.remove(slot);
        self.ticks.remove(&(stream.next_tick, slot));
        self.outbox.on_closed(&stream);
    }

    /// Creates a watcher, or says why not. The caller has checked that the client may read the range; if it may not,
    /// [`Hub::refuse`] is the answer.
    pub fn create(&mut self, stream: StreamId, create: Create) {
        let Some(&slot) = self.stream_ids.get(&stream) else { return };
        let range = watched_range(&create.range);
        if create.start_revision < 0 {
            return self.answer_refusal(slot, REASON_COMPACTED.into());
        }
        if range.is_empty() {
            return self.answer_refusal(slot, REASON_EMPTY_RANGE.into());
        }
        let Some(watch_id) = self.streams[slot].claim_id(create.watch_id) else {
            return self.answer_refusal(slot, REASON_DUPLICATE_ID.into());
        };
        let created = Response { watch_id, revision: self.revision, created: true, ..Response::default() };
        self.outbox.push(&mut self.streams, slot, created);

        let wish = Wish { filters: create.filters, prev_kv: create.prev_kv };
        let group = self.join_group(range, wish);
        let start = if create.start_revision == 0 { self.revision + 1 } else { create.start_revision };
        let watcher = self.watchers.insert(Watcher {
            stream: slot,
            group,
            place: 0,
            watch_id,
            next: start,
            turn: 0,
            state: State::Waiting,
            progress_notify: create.progress_notify,
            fragment: create.fragment,
            quiet: true,
        });
        let stream = &mut self.streams[slot];
        stream.watchers.insert(watch_id, watcher);
        stream.alive += 1;
        if start <= self.revision {
            self.wait(watcher);
            self.end_compacted();
        } else if create.start_revision == 0 {
            self.enter_head(watcher);
        } else {
            self.watchers[watcher].state = State::Ahead;
            self.ahead.insert((start, watcher));
            self.listen(watcher);
        }
    }

    /// Answers a create request with a refusal that was decided elsewhere.
    pub fn refuse(&mut self, stream: StreamId, reason: Cow<'static, str>) {
        if let Some(&slot) = self.stream_ids.get(&stream) {
            self.answer_refusal(slot, reason);
        }
    }

    /// Ends a watcher, which is confirmed; nothing happens if there is none with this id.
    pub fn cancel(&mut self, stream: StreamId, watch_id: i64) {
        let Some(&slot) = self.stream_ids.get(&stream) else { return };
        let Some(&watcher) = self.streams[slot].watchers.get(&watch_id) else { return };
        self.remove_watcher(watcher);
        let canceled = Response { watch_id, revision: self.revision, canceled: true, ..Response::default() };
        self.outbox.push(&mut self.streams, slot, canceled);
    }

    /// What has to be made of an event of this key before it is published.
    pub fn interest(&self, key: &[u8]) -> Interest {
        let mut interest = Interest::None;
        self.ranges.any_containing(key, |slot| {
            let group = &self.groups[*slot];
            if !group.listeners.is_empty() {
                interest = interest.max(group.wish.interest());
            }
            interest == Interest::WithPrevious
        });
        interest
    }

    /// Whether someone is told when this key changes.
    pub fn is_watched(&self, key: &[u8]) -> bool {
        self.interest(key) != Interest::None
    }

    /// Whether someone is told when this key changes and wants the value before.
    pub fn wants_previous(&self, key: &[u8]) -> bool {
        self.interest(key) == Interest::WithPrevious
    }

    /// The next response to send; those of one stream come in the order in which they must be sent.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.outbox.pop(&self.streams)
    }

    /// Deliveries of this size were sent to the client: their stream has room again.
    pub fn on_consumed(&mut self, stream: StreamId, bytes: usize) {
        let Some(&slot) = self.stream_ids.get(&stream) else { return };
        self.outbox.on_consumed(&mut self.streams[slot], bytes);
        self.offer_history(slot);
    }

    /// Whether the stream holds all it may. Requests are answered even then, so the caller should not read more of them.
    pub fn is_full(&self, stream: StreamId) -> bool {
        self.stream_ids.get(&stream).is_some_and(|slot| self.outbox.budget().is_spent(&self.streams[*slot]))
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How much there is of what.
    pub fn counters(&self) -> Counters {
        Counters {
            watchers: self.watchers.len() - self.ended,
            slow_watchers: self.behind.len(),
            streams: self.streams.len(),
            events: self.outbox.events,
            pending_events: self.outbox.pending_events,
        }
    }

    fn answer_refusal(&mut self, slot: Slot<Stream>, cancel_reason: Cow<'static, str>) {
        let (watch_id, revision) = (NO_WATCHER, self.revision);
        let refused = Response {
            watch_id,
            revision,
            created: true,
            canceled: true,
            cancel_reason,
            ..Response::default()
        };
        self.outbox.push(&mut self.streams, slot, refused);
    }

    fn join_group(&mut self, range: KeyRange, wish: Wish) -> Slot<Group> {
        let found = self.ranges.values(&range).copied().find(|slot| self.groups[*slot].wish == wish);
        let slot = found.unwrap_or_else(|| {
            let group =
                Group { range: range.clone(), wish, watchers: 0, listeners: Vec::new(), matched: None };
            let slot = self.groups.insert(group);
            self.ranges.insert(range, slot);
            slot
        });
        self.groups[slot].watchers += 1;
        slot
    }

    fn leave_group(&mut self, slot: Slot<Group>) {
        let group = &mut self.groups[slot];
        group.watchers -= 1;
        if group.watchers == 0 {
            assert!(group.listeners.is_empty(), "who listens belongs to the group");
            let group = self.groups.remove(slot);
            let removed = self.ranges.remove(&group.range, &slot);
            assert!(removed, "the ranges name each group");
        }
    }

    /// Adds a watcher to the live feed.
    fn listen(&mut self, slot: Slot<Watcher>) {
        let watcher = &mut self.watchers[slot];
        let listeners = &mut self.groups[watcher.group].listeners;
        watcher.place = u32::try_from(listeners.len()).expect("there are fewer than four billion watchers");
        if listeners.is_empty() {
            // Most groups have one watcher.
            listeners.reserve_exact(1);
        }
        listeners.push(slot);
    }

    /// Takes a watcher out of the live feed.
    fn stop_listening(&mut self, slot: Slot<Watcher>) {
        let Watcher { group, place, .. } = self.watchers[slot];
        let listeners = &mut self.groups[group].listeners;
        let removed = listeners.swap_remove(place as usize);
        assert_eq!(removed, slot, "a listener knows its place");
        if let Some(moved) = listeners.get(place as usize) {
            self.watchers[*moved].place = place;
        }
    }

    /// A watcher that listens nowhere has been sent everything up to the current revision.
    fn enter_head(&mut self, slot: Slot<Watcher>) {
        let watcher = &mut self.watchers[slot];
        watcher.state = State::Head;
        self.streams[watcher.stream].at_head += 1;
        self.listen(slot);
    }

    /// Takes a watcher out of everything that its state has put it into.
    fn leave_state(&mut self, slot: Slot<Watcher>) {
        let Watcher { stream: of, state, next, turn, .. } = self.watchers[slot];
        let stream = &mut self.streams[of];
        match state {
            State::Ahead => {
                self.ahead.remove(&(next, slot));
                self.stop_listening(slot);
            }
            State::Head => {
                stream.at_head -= 1;
                self.stop_listening(slot);
            }
            State::Waiting => {
                stream.waiting.remove(&(turn, slot));
                self.behind.remove(&(next, slot));
            }
            State::Reading(_) => {
                stream.reading -= 1;
                self.behind.remove(&(next, slot));
                // Others of the stream may have waited for this reading to end.
                self.offer_history(of);
            }
            State::Ended => {}
        }
    }

    /// Ends a watcher without a word.
    fn remove_watcher(&mut self, slot: Slot<Watcher>) {
        self.leave_state(slot);
        let watcher = self.watchers.remove(slot);
        let stream = &mut self.streams[watcher.stream];
        stream.watchers.remove(&watcher.watch_id);
        if watcher.state == State::Ended {
            self.ended -= 1;
        } else {
            stream.alive -= 1;
            self.leave_group(watcher.group);
        }
    }
}

impl Stream {
    /// The id for a new watcher: the one it brought, or for 0 the next free one; `None` if it is taken.
    fn claim_id(&mut self, brought: i64) -> Option<i64> {
        if brought != 0 {
            return (!self.watchers.contains_key(&brought)).then_some(brought);
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }
}

impl Wish {
    fn interest(self) -> Interest {
        if self.prev_kv { Interest::WithPrevious } else { Interest::Event }
    }
}

/// The range to watch, in memory of its own: the request's bytes are part of something larger, which would stay alive as
/// long as the watcher.
fn watched_range(range: &KeyRange) -> KeyRange {
    let start =
        if range.start.is_empty() { Bytes::from_static(&[0]) } else { Bytes::copy_from_slice(&range.start) };
    let end = match &range.end {
        RangeEnd::Single => RangeEnd::Single,
        RangeEnd::Before(end) => RangeEnd::Before(Bytes::copy_from_slice(end)),
        RangeEnd::Unbounded => RangeEnd::Unbounded,
    };
    KeyRange { start, end }
}
