//! What waits for the core thread: one queue, one wake-up per turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use etched_replica::raft::{Message, SnapshotDelivery};
use etched_replica::{Answer, ApiError, Caller, PeerVersion};

use tokio::sync::oneshot;

use crate::api::{Database, Front, FrontId, Submission, Token};
use crate::member::backend::Committed;
use crate::member::incoming::Incoming as IncomingBackend;

/// Requests that may wait for the core thread; above, they are refused as too many.
pub(crate) const REQUESTS_MAX: usize = 65_536;

/// Messages of other members that may wait for the core thread; above, they are dropped, and Raft sends them again.
pub(crate) const MESSAGES_MAX: usize = 16_384;

/// Bytes of entries in messages that may wait; above, they are dropped, too, but for what comes into an empty queue.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// From other members, by way of the transport.
pub(crate) enum PeerEvent {
    /// Raft messages, in order.
    Messages(Vec<Message>),
    /// A snapshot, and the backend made of its database.
    Snapshot { message: Message, incoming: IncomingBackend },
    /// Messages to this member were dropped.
    Unreachable(u64),
    /// How it went with a snapshot for this member.
    SnapshotSent(u64, SnapshotDelivery),
    /// Whether this member can be spoken with.
    Active(u64, bool),
    /// This member is probably not running.
    Gone(u64),
    /// Others say that this member was removed from the cluster.
    Removed,
    /// The versions of all members, for a leader; `None` for one that does not answer.
    Versions(BTreeMap<u64, Option<PeerVersion>>),
}

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
    /// Somebody wants the whole state.
    Database(oneshot::Sender<Result<Database, ApiError>>),
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
    peers: Vec<PeerEvent>,
    /// Messages in `peers`.
    messages: usize,
    /// Bytes of their entries.
    message_bytes: usize,
    pub(crate) is_stopped: bool,
}

/// All that waited.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) control: Vec<Control>,
    pub(crate) peers: Vec<PeerEvent>,
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

    /// Takes a front's batch; requests enter only while there is room, all else always.
    pub(crate) fn push(&self, front: FrontId, mut submissions: Vec<Submission>) -> Option<NotTaken> {
        let not_taken = {
            let mut queues = self.lock();
            let is_stopped = queues.is_stopped;
            let is_full = queues.waiting + submissions.len() > REQUESTS_MAX;
            let not_taken = (is_stopped || is_full).then(|| {
                let tokens = requests_of(&submissions);
                submissions.retain(|submission| {
                    !is_stopped && matches!(submission, Submission::Watch(_) | Submission::Gone(_))
                });
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

    /// Messages of another member; dropped when too many wait.
    pub(crate) fn push_messages(&self, messages: Vec<Message>) {
        let bytes: usize = messages.iter().map(Message::payload_bytes).sum();
        {
            let mut queues = self.lock();
            let is_full = queues.messages + messages.len() > MESSAGES_MAX
                || queues.message_bytes + bytes > MESSAGE_BYTES_MAX;
            if is_full && queues.messages > 0 {
                return;
            }
            queues.messages += messages.len();
            queues.message_bytes += bytes;
            queues.peers.push(PeerEvent::Messages(messages));
        }
        self.wake();
    }

    pub(crate) fn push_peer(&self, event: PeerEvent) {
        self.lock().peers.push(event);
        self.wake();
    }

    /// Takes all that waits; `taken` must be empty.
    pub(crate) fn take(&self, taken: &mut Taken) {
        let mut queues = self.lock();
        std::mem::swap(&mut queues.control, &mut taken.control);
        std::mem::swap(&mut queues.incoming, &mut taken.incoming);
        std::mem::swap(&mut queues.peers, &mut taken.peers);
        queues.waiting = 0;
        queues.messages = 0;
        queues.message_bytes = 0;
    }

    /// Takes what the backend thread has reported, and leaves everything else.
    pub(crate) fn take_committed(&self) -> Vec<Committed> {
        let mut queues = self.lock();
        let control = std::mem::take(&mut queues.control);
        let mut all = Vec::new();
        for message in control {
            if let Control::Committed(committed) = message {
                all.push(*committed);
            } else {
                queues.control.push(message);
            }
        }
        all
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
            queues.control.is_empty() && queues.incoming.is_empty() && queues.peers.is_empty()
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
            Submission::Watch(_) | Submission::Gone(_) => None,
        })
        .collect()
}
