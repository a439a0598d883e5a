//! What waits for the core thread: one queue, one wake-up per turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use etched_replica::{Answer, ApiError, Caller};

use crate::api::{Front, FrontId, Request, Token, WatchCall};
use crate::member::backend::Committed;

/// Requests that may wait for the core thread; above, they are refused as too many.
pub(crate) const REQUESTS_MAX: usize = 65_536;

/// From fronts: held back while the backend cannot keep up.
#[derive(Debug)]
pub(crate) enum Incoming {
    Submit { front: FrontId, token: Token, request: Request },
    Watch { front: FrontId, call: WatchCall },
}

/// From the member's own threads and its owner: always taken.
pub(crate) enum Control {
    /// A front, to be known under the next id.
    Register(Arc<dyn Front>),
    /// The backend has committed the batch under way.
    Committed(Committed),
    /// A request was answered away from the core thread.
    Answered { caller: Caller, result: Result<Answer, ApiError> },
    /// A log segment was prepared ahead of time, or could not be.
    SpareReady(Option<etched_wal::Spare>),
    /// Finish: refuse what waits, flush, end.
    Stop,
    /// Something failed for good in another thread.
    Fatal(String),
}

/// The core thread's queue.
#[derive(Default)]
pub(crate) struct Inbox {
    queues: Mutex<Queues>,
    /// Whether the core thread sleeps (or is about to), so that a wake-up is due.
    is_parked: AtomicBool,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) control: Vec<Control>,
    pub(crate) is_stopped: bool,
}

/// Why a request does not enter the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Full,
    Stopped,
}

impl Inbox {
    /// Makes the calling thread the one that is woken.
    pub(crate) fn attach(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    pub(crate) fn push(&self, incoming: Incoming) -> Result<(), NotTaken> {
        {
            let mut queues = self.lock();
            if queues.is_stopped {
                return Err(NotTaken::Stopped);
            }
            let is_request = matches!(incoming, Incoming::Submit { .. });
            if is_request && queues.incoming.len() >= REQUESTS_MAX {
                return Err(NotTaken::Full);
            }
            queues.incoming.push(incoming);
        }
        self.wake();
        Ok(())
    }

    pub(crate) fn push_control(&self, control: Control) {
        self.lock().control.push(control);
        self.wake();
    }

    /// Takes all that waits; `incoming` only if the caller has room for it.
    pub(crate) fn take(&self, incoming: &mut Vec<Incoming>, control: &mut Vec<Control>, wants_incoming: bool) {
        let mut queues = self.lock();
        std::mem::swap(&mut queues.control, control);
        if wants_incoming {
            std::mem::swap(&mut queues.incoming, incoming);
        }
    }

    /// Nothing is taken in any more; what waited comes out.
    pub(crate) fn stop(&self) -> Vec<Incoming> {
        let mut queues = self.lock();
        queues.is_stopped = true;
        std::mem::take(&mut queues.incoming)
    }

    /// Sleeps until something arrives or the time is over.
    pub(crate) fn park(&self, timeout: Duration, wants_incoming: bool) {
        self.is_parked.store(true, Ordering::SeqCst);
        let is_empty = {
            let queues = self.lock();
            queues.control.is_empty() && (!wants_incoming || queues.incoming.is_empty())
        };
        if is_empty {
            std::thread::park_timeout(timeout);
        }
        self.is_parked.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.is_parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // A thread that panicked ends the process, so the lock is never poisoned for long.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
