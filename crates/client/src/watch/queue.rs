//! The queue between the driver and the reader of one watch.
//!
//! Its bound is in bytes. The driver never waits for a reader, because all watches share its stream.
//! Instead it learns from [`Queue::push`] that the queue is full, takes the watch off the server, and puts it on again
//! when the reader has emptied half of the queue.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::WatchNotice;
use crate::Error;

/// Notices that were received and not read yet.
#[derive(Debug)]
pub(crate) struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Result<WatchNotice, Error>>,
    bytes: usize,
    /// The driver was told that the queue is full, and not yet that it has room.
    paused: bool,
    room_again: bool,
    ended: bool,
    reader: Option<Waker>,
}

/// Whether more may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    Full,
}

/// The memory of a notice beside its keys and values, roughly.
const NOTICE_BYTES: usize = 256;
const EVENT_BYTES: usize = 192;

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::new(State::default()) }
    }

    /// Adds a notice. It is taken in any case; the answer says whether to pause after it.
    pub(super) fn push(&self, notice: WatchNotice) -> Room {
        let mut state = self.lock();
        state.bytes += bytes_of(&notice);
        state.items.push_back(Ok(notice));
        state.paused = state.bytes > self.bytes_max;
        let room = if state.paused { Room::Full } else { Room::Free };
        wake(state);
        room
    }

    /// Adds the error that is the last item.
    pub(super) fn end(&self, error: Error) {
        let mut state = self.lock();
        state.items.push_back(Err(error));
        state.ended = true;
        wake(state);
    }

    /// Takes the next item; `None` after the last one.
    pub(super) fn poll_pop(&self, cx: &Context<'_>) -> Poll<Option<Result<WatchNotice, Error>>> {
        let mut state = self.lock();
        match state.items.pop_front() {
            Some(item) => {
                if let Ok(notice) = &item {
                    state.bytes -= bytes_of(notice);
                }
                if state.paused && state.bytes <= self.bytes_max / 2 {
                    state.paused = false;
                    state.room_again = true;
                }
                Poll::Ready(Some(item))
            }
            None if state.ended => Poll::Ready(None),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the driver has to be told that there is room again; true once.
    pub(super) fn take_room_again(&self) -> bool {
        std::mem::take(&mut self.lock().room_again)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

fn bytes_of(notice: &WatchNotice) -> usize {
    match notice {
        WatchNotice::Progress { .. } => NOTICE_BYTES,
        WatchNotice::Events { events, .. } => {
            let of_event = |event: &etched_proto::mvccpb::Event| {
                let pairs = event.kv.iter().chain(&event.prev_kv);
                EVENT_BYTES + pairs.map(|kv| kv.key.len() + kv.value.len()).sum::<usize>()
            };
            NOTICE_BYTES + events.iter().map(of_event).sum::<usize>()
        }
    }
}
