//! What waits to be handed out, and the budgets that bound it.

use super::parts::Stream;
use super::slab::{Slab, Slot};
use crate::response::event_len;
use crate::{Delivery, Response};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use bytes::Bytes;

/// All responses that were not polled yet, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: VecDeque<(Slot<Stream>, Delivery)>,
    budget: Budget,
    fragment_bytes: usize,
    /// Events that were queued since the start, once for each receiver.
    pub(super) events: u64,
    /// Events that are queued and not consumed, on all streams.
    pub(super) pending_events: usize,
}

/// How much a stream may hold that was not consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        assert!(bytes > 0, "a stream must be allowed to hold something");
        Self { bytes }
    }

    /// Whether nothing more should be added, not even an answer.
    pub(super) fn is_spent(self, stream: &Stream) -> bool {
        stream.queued_bytes >= self.bytes
    }

    /// Whether the stream has drained so far that it is worth reading history for it.
    pub(super) fn is_drained(self, stream: &Stream) -> bool {
        stream.queued_bytes <= self.bytes / 4
    }

    /// What history may still fill: half of the budget is left to the live feed, so that a watcher that catches up does
    /// not push the others of its stream out of it.
    pub(super) fn room_for_history(self, stream: &Stream) -> usize {
        (self.bytes / 2).saturating_sub(stream.queued_bytes)
    }

    /// Whether live events fit. One revision cannot be divided, so it fits into a drained stream whatever its size.
    pub(super) fn fits(self, stream: &Stream, bytes: usize, single_revision: impl FnOnce() -> bool) -> bool {
        stream.queued_bytes.saturating_add(bytes) <= self.bytes
            || (self.is_drained(stream) && single_revision())
    }
}

impl Outbox {
    pub(super) fn new(budget: Budget, fragment_bytes: usize) -> Self {
        assert!(fragment_bytes > 0, "a fragment must be allowed to hold something");
        Self { queue: VecDeque::new(), budget, fragment_bytes, events: 0, pending_events: 0 }
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget
    }

    /// Queues an answer or a notification; it is the caller's decision whether the budget allows it.
    pub(super) fn push(&mut self, streams: &mut Slab<Stream>, slot: Slot<Stream>, response: Response) {
        let bytes = response.encoded_len();
        self.push_sized(&mut streams[slot], slot, response, bytes);
    }

    /// Queues events, in fragments if they are large and the watcher takes fragments.
    pub(super) fn push_events(
        &mut self,
        stream: &mut Stream,
        slot: Slot<Stream>,
        response: Response,
        bytes: usize,
        may_fragment: bool,
    ) {
        if may_fragment && bytes >= self.fragment_bytes && response.events.len() > 1 {
            self.push_fragments(stream, slot, &response);
        } else {
            self.push_sized(stream, slot, response, bytes);
        }
    }

    /// Queues as many events at a time as stay below the limit, and at least one.
    fn push_fragments(&mut self, stream: &mut Stream, slot: Slot<Stream>, whole: &Response) {
        let template = Response { fragment: true, events: Arc::default(), ..whole.clone() };
        let base = template.encoded_len_without_events();
        let mut rest: &[Bytes] = &whole.events;
        while !rest.is_empty() {
            let mut bytes = base + event_len(&rest[0]);
            let mut count = 1;
            while let Some(event) = rest.get(count) {
                if bytes + event_len(event) >= self.fragment_bytes {
                    break;
                }
                bytes += event_len(event);
                count += 1;
            }
            let (events, later) = rest.split_at(count);
            rest = later;
            let response = Response { fragment: !rest.is_empty(), events: events.into(), ..template.clone() };
            self.push_sized(stream, slot, response, bytes);
        }
    }

    fn push_sized(&mut self, stream: &mut Stream, slot: Slot<Stream>, response: Response, bytes: usize) {
        stream.queued_bytes += bytes;
        stream.queued_events += response.events.len();
        self.events += response.events.len() as u64;
        self.pending_events += response.events.len();
        self.queue.push_back((slot, Delivery { stream: stream.id, response, bytes }));
    }

    /// The next response, of those whose stream is still open.
    pub(super) fn pop(&mut self, streams: &Slab<Stream>) -> Option<Delivery> {
        loop {
            let (slot, delivery) = self.queue.pop_front()?;
            if streams.get(slot).is_some_and(|stream| stream.id == delivery.stream) {
                return Some(delivery);
            }
        }
    }

    /// Gives room back. How many events were among the bytes is taken from their share.
    pub(super) fn on_consumed(&mut self, stream: &mut Stream, bytes: usize) {
        let left = stream.queued_bytes.saturating_sub(bytes);
        let events = match stream.queued_bytes {
            0 => 0,
            queued => u128_share(stream.queued_events, left, queued),
        };
        self.pending_events -= stream.queued_events - events;
        stream.queued_bytes = left;
        stream.queued_events = events;
    }

    /// A stream is closed: what it had queued is not pending any more.
    pub(super) fn on_closed(&mut self, stream: &Stream) {
        self.pending_events -= stream.queued_events;
    }
}

/// `count * part / whole`, rounded up, for a part that is not larger than the whole.
fn u128_share(count: usize, part: usize, whole: usize) -> usize {
    let share = (count as u128 * part as u128).div_ceil(whole as u128);
    usize::try_from(share).unwrap_or(count)
}
