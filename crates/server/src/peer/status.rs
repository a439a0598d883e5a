//! Whether another member can be spoken with.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PeerSink;
use crate::logging::Value;
use crate::metrics::PeerNumbers;

/// Any success makes a member active, any failure makes it inactive, as in etcd.
pub(super) struct Status {
    id: u64,
    sink: Arc<dyn PeerSink>,
    numbers: Arc<PeerNumbers>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Inactive,
    Active,
    /// The member is not spoken with any more; what its last tasks have to say does not count.
    Closed,
}

impl Status {
    pub(super) fn new(id: u64, sink: Arc<dyn PeerSink>, numbers: Arc<PeerNumbers>) -> Self {
        Self { id, sink, numbers, state: Mutex::new(State::Inactive) }
    }

    pub(super) fn activate(&self) {
        let mut state = self.lock();
        if *state == State::Inactive {
            *state = State::Active;
            crate::log!(Info, "peer became active", "peer-id" => Value::hex(self.id));
            self.numbers.activated();
            // Under the lock, so that changes are told in their order.
            self.sink.on_active(self.id, true);
        }
    }

    /// Notes what could not be done, where, and why.
    pub(super) fn deactivate(&self, action: &str, source: &str, reason: impl Display) {
        let error = || format!("failed to {action} {:x} on {source} ({reason})", self.id);
        let mut state = self.lock();
        match *state {
            State::Active => {
                *state = State::Inactive;
                crate::log!(
                    Warn, "peer became inactive (message send to peer failed)",
                    "peer-id" => Value::hex(self.id), "error" => error(),
                );
                self.numbers.deactivated();
                self.sink.on_active(self.id, false);
            }
            State::Inactive => crate::log!(
                Debug, "peer deactivated again", "peer-id" => Value::hex(self.id), "error" => error(),
            ),
            State::Closed => {}
        }
    }

    /// The member is not spoken with any more, and that is no failure.
    pub(super) fn close(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        if before == State::Active {
            self.numbers.closed();
            self.sink.on_active(self.id, false);
        }
    }

    pub(super) fn is_active(&self) -> bool {
        *self.lock() == State::Active
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
