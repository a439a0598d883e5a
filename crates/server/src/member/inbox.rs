//! What waits for the core thread: one queue, one wake-up per turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use etched_replica::{Answer, ApiError, Caller};

use crate::api::{Front, FrontId, Submission, Token};
use crate::member::backend::Committed;

/// Requests that may wait for the core thread; above, they are refused as too many.
pub(crate) const REQUESTS_MAX: usize = 65_536;

/// From fronts.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) front: FrontId,
    pub(crate) submissions: Vec<Submission>,
}

/// From the member's own threads and its owner.
pub(crate) enum Control {
    /// A front, to be known under the next id.
    Register(Arc<dyn Front>),
    /// The backend has committed the batch under way.
    Committed(Box<Committed>),
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
    /// Submissions in `incoming`.
    waiting: usize,
    pub(crate) control: Vec<Control>,
    pub(crate) is_stopped: bool,
}

/// The requests that do not enter the queue, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotTaken {
    pub(crate) tokens: Vec<Token>,
    pub(crate) is_stopped: bool,
}

impl Inbox {
    /// Makes the calling thread the one that is woken.
    pub(crate) fn attach(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Takes a front's batch; calls of watch streams always enter, requests only while there is room.
    pub(crate) fn push(&self, front: FrontId, mut submissions: Vec<Submission>) -> Option<NotTaken> {
        let not_taken = {
            let mut queues = self.lock();
            let is_stopped = queues.is_stopped;
            let is_full = queues.waiting + submissions.len() > REQUESTS_MAX;
            let not_taken = (is_stopped || is_full).then(|| {
                let tokens = requests_of(&submissions);
                submissions.retain(|submission| !is_stopped && matches!(submission, Submission::Watch(_)));
                NotTaken { tokens, is_stopped }
            });
            if !submissions.is_empty() {
                queues.waiting += submissions.len();
                queues.incoming.push(Incoming { front, submissions });
            }
            not_taken
        };
        self.wake();
        not_taken
    }

    pub(crate) fn push_control(&self, control: Control) {
        self.lock().control.push(control);
        self.wake();
    }

    /// Takes all that waits.
    pub(crate) fn take(&self, incoming: &mut Vec<Incoming>, control: &mut Vec<Control>) {
        let mut queues = self.lock();
        std::mem::swap(&mut queues.control, control);
        std::mem::swap(&mut queues.incoming, incoming);
        queues.waiting = 0;
    }

    /// Nothing is taken in any more; what waited comes out.
    pub(crate) fn stop(&self) -> Vec<Incoming> {
        let mut queues = self.lock();
        queues.is_stopped = true;
        std::mem::take(&mut queues.incoming)
    }

    /// Sleeps until something arrives or the time is over.
    pub(crate) fn park(&self, timeout: Duration) {
        self.is_parked.store(true, Ordering::SeqCst);
        let is_empty = {
            let queues = self.lock();
            queues.control.is_empty() && queues.incoming.is_empty()
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

/// The tokens of the requests in a batch.
pub(crate) fn requests_of(submissions: &[Submission]) -> Vec<Token> {
    submissions
        .iter()
        .filter_map(|submission| match submission {
            Submission::Request { token, .. } => Some(*token),
            Submission::Watch(_) => None,
        })
        .collect()
}
