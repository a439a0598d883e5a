//! Long-lived streams of one front: what waits to be sent on each, and why it may have to end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use etched_watch::StreamId;

use super::link::Link;
use super::mailbox::lock;
use crate::api::{Delivery, WatchCall};

/// Why a stream ends from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There has been no leader for too long, and the client asked to be told.
    NoLeader,
    /// The server stops.
    Stopped,
}

/// What comes next on a stream.
#[derive(Debug)]
pub(crate) enum Next {
    /// A response.
    Delivery(Delivery),
    /// The end.
    End(Ending),
}

/// The sending side of a stream.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    needs_leader: bool,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    queue: VecDeque<Delivery>,
    waker: Option<Waker>,
    ending: Option<Ending>,
}

impl StreamSlot {
    /// Puts a response at the end; gives the waker of whoever waits for it.
    pub(super) fn push(&self, delivery: Delivery) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.queue.push_back(delivery);
        state.waker.take()
    }

    /// Ends the stream: nothing more is sent.
    pub(super) fn end(&self, ending: Ending) -> Option<Waker> {
        let mut state = lock(&self.state);
        state.ending.get_or_insert(ending);
        state.waker.take()
    }

    /// Whether the client wants no stream without a leader.
    pub(super) fn needs_leader(&self) -> bool {
        self.needs_leader
    }
}

/// An open stream; dropping it closes it.
#[derive(Debug)]
pub(crate) struct OpenStream {
    link: Arc<Link>,
    id: StreamId,
    slot: Arc<StreamSlot>,
    is_watch: bool,
    consumed: usize,
}

/// Bytes that may have left the queue before the hub is told.
const CONSUMED_UNTOLD_MAX: usize = 32 * 1024;

impl OpenStream {
    /// Opens a stream; one with a progress interval is a watch stream.
    pub(crate) fn new(link: Arc<Link>, needs_leader: bool, progress_interval_ns: Option<u64>) -> Self {
        let id = link.api().new_stream();
        let slot = Arc::new(StreamSlot { needs_leader, state: Mutex::default() });
        link.mailbox().streams().insert(id, Arc::clone(&slot));
        if link.is_stopping() {
            slot.end(Ending::Stopped);
        }
        let is_watch = progress_interval_ns.is_some();
        if let Some(progress_interval_ns) = progress_interval_ns {
            link.watch(WatchCall::Open { stream: id, progress_interval_ns });
        }
        Self { link, id, slot, is_watch, consumed: 0 }
    }

    /// The stream's id.
    pub(crate) fn id(&self) -> StreamId {
        self.id
    }

    /// What comes next.
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Next> {
        let mut state = lock(&self.slot.state);
        if let Some(ending) = state.ending {
            return Poll::Ready(Next::End(ending));
        }
        let Some(delivery) = state.queue.pop_front() else {
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                state.waker = Some(context.waker().clone());
            }
            return Poll::Pending;
        };
        let is_last = state.queue.is_empty();
        drop(state);
        self.consumed += delivery.bytes;
        if self.consumed > 0 && (is_last || self.consumed >= CONSUMED_UNTOLD_MAX) {
            let bytes = std::mem::take(&mut self.consumed);
            self.link.watch(WatchCall::Consumed { stream: self.id, bytes });
        }
        Poll::Ready(Next::Delivery(delivery))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.link.mailbox().streams().remove(&self.id);
        if self.is_watch {
            self.link.watch(WatchCall::Close { stream: self.id });
        }
    }
}
