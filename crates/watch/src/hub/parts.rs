//! What the hub is made of: streams, watchers, and groups of watchers.

use super::slab::Slot;
use crate::{Filters, StreamId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use etched_key_range::KeyRange;

/// One open stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// All its watchers, those that compaction ended among them.
    pub(super) watchers: BTreeMap<i64, Slot<Watcher>>,
    /// The next id to try for a watcher that did not bring one.
    pub(super) next_id: i64,
    /// Bytes that were handed out, or wait to be, and were not reported as consumed.
    pub(super) queued_bytes: usize,
    /// About how many events are among them.
    pub(super) queued_events: usize,
    /// The watchers in [`State::Waiting`], the one that waits longest first.
    pub(super) waiting: BTreeSet<(u64, Slot<Watcher>)>,
    /// Whether the stream stands in the queue of those that may ask history.
    pub(super) hungry: bool,
    /// How many of its watchers are in [`State::Reading`].
    pub(super) reading: usize,
    /// How many of its watchers are in [`State::Head`].
    pub(super) at_head: usize,
    /// How many of its watchers have not ended.
    pub(super) alive: usize,
    /// The time between two progress notifications; 0 for none.
    pub(super) progress_interval_ns: u64,
    pub(super) next_tick: u64,
}

/// One watcher of one stream.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: Slot<Stream>,
    pub(super) group: Slot<Group>,
    /// Its place among the listeners of the group, while it is one of them.
    pub(super) place: u32,
    pub(super) watch_id: i64,
    /// No event below this revision is sent to it any more. Exact while it is behind; at the head it may be lower than
    /// it could be, so that a delivery need not touch it.
    pub(super) next: i64,
    /// Its turn among those of its stream that are behind.
    pub(super) turn: u64,
    pub(super) state: State,
    pub(super) progress_notify: bool,
    pub(super) fragment: bool,
    /// Whether no events were sent to it since the last tick of its stream.
    pub(super) quiet: bool,
}

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its start revision is above the current one. It listens.
    Ahead,
    /// It has been sent everything up to the current revision. It listens.
    Head,
    /// It misses events, and waits for room in its stream.
    Waiting,
    /// It misses events, and takes part in this history request.
    Reading(u64),
    /// It missed events that were compacted. Only its id is left, until it is cancelled.
    Ended,
}

/// Watchers that want the same, on any streams.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) range: KeyRange,
    pub(super) wish: Wish,
    /// How many belong to it, listening or behind.
    pub(super) watchers: u32,
    /// Those to whom events go when they are published.
    pub(super) listeners: Vec<Slot<Watcher>>,
    /// The list of events that matched, while events are being matched.
    pub(super) matched: Option<u32>,
}

/// What the watchers of a group want of the events in their range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) filters: Filters,
    pub(super) prev_kv: bool,
}

impl Stream {
    pub(super) fn new(id: StreamId, progress_interval_ns: u64, next_tick: u64) -> Self {
        Self {
            id,
            watchers: BTreeMap::new(),
            next_id: 0,
            queued_bytes: 0,
            queued_events: 0,
            waiting: BTreeSet::new(),
            hungry: false,
            reading: 0,
            at_head: 0,
            alive: 0,
            progress_interval_ns,
            next_tick,
        }
    }
}
