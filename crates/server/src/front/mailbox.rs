//! What the member hands to a front, and how it reaches the tasks that wait for it.
//!
//! The member's thread stores whole batches and wakes the front's thread once.
//! A task on that thread then hands out what came, so all further wake-ups stay within the thread.
//! In the other direction, what the tasks of a front ask for gathers until all that are ready have run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use etched_watch::StreamId;
use tokio::sync::Notify;

use super::calls::CallTable;
use super::streams::StreamSlot;
use crate::api::{Completion, Delivery, Front, Submission};

/// The mailbox of one front.
///
/// Its bounds are those of what can come: one completion for each waiting call, and for each stream what the hub's
/// budget of undelivered bytes allows.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    arrived: Notify,
    /// What gathers until all tasks that are ready have run.
    outgoing: Mutex<Vec<Submission>>,
    gathered: Notify,
    calls: Mutex<CallTable>,
    streams: Mutex<BTreeMap<StreamId, Arc<StreamSlot>>>,
}

#[derive(Debug, Default)]
struct Inbox {
    completions: Vec<Vec<Completion>>,
    deliveries: Vec<Vec<Delivery>>,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.deliveries.is_empty()
    }
}

impl Mailbox {
    pub(super) fn calls(&self) -> MutexGuard<'_, CallTable> {
        lock(&self.calls)
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<StreamSlot>>> {
        lock(&self.streams)
    }

    /// Hands out what comes, for ever.
    pub(super) async fn run(&self) {
        let mut wakers = Vec::new();
        loop {
            self.arrived.notified().await;
            let Inbox { completions, deliveries } = std::mem::take(&mut *lock(&self.inbox));
            if !completions.is_empty() {
                let mut calls = self.calls();
                let flat = completions.into_iter().flatten();
                wakers.extend(flat.filter_map(|completion| calls.complete(completion)));
            }
            if !deliveries.is_empty() {
                let streams = self.streams();
                // The stream may have been closed meanwhile; then nobody wants it.
                let flat = deliveries.into_iter().flatten();
                wakers.extend(flat.filter_map(|delivery| streams.get(&delivery.stream)?.push(delivery)));
            }
            wakers.drain(..).for_each(Waker::wake);
        }
    }

    /// Puts something into the next batch for the member.
    pub(super) fn send(&self, submission: Submission) {
        let mut outgoing = lock(&self.outgoing);
        let was_empty = outgoing.is_empty();
        outgoing.push(submission);
        drop(outgoing);
        if was_empty {
            self.gathered.notify_one();
        }
    }

    /// Puts several things into the next batch for the member; the list is empty then.
    pub(super) fn send_all(&self, submissions: &mut Vec<Submission>) {
        if submissions.is_empty() {
            return;
        }
        let mut outgoing = lock(&self.outgoing);
        let was_empty = outgoing.is_empty();
        outgoing.append(submissions);
        drop(outgoing);
        if was_empty {
            self.gathered.notify_one();
        }
    }

    /// Hands over what gathered, for ever.
    /// The task is woken by the first of a batch and runs after the tasks that were ready by then.
    pub(super) async fn run_outgoing(&self, hand_over: impl Fn(Vec<Submission>)) {
        loop {
            self.gathered.notified().await;
            hand_over(std::mem::take(&mut *lock(&self.outgoing)));
        }
    }

    fn store(&self, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = lock(&self.inbox);
        let was_empty = inbox.is_empty();
        put(&mut inbox);
        drop(inbox);
        if was_empty {
            self.arrived.notify_one();
        }
    }
}

impl Front for Mailbox {
    fn complete(&self, completions: Vec<Completion>) {
        if !completions.is_empty() {
            self.store(|inbox| inbox.completions.push(completions));
        }
    }

    fn deliver(&self, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() {
            self.store(|inbox| inbox.deliveries.push(deliveries));
        }
    }
}

/// A thread that panicked while it held the lock ends the process elsewhere; the data is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
