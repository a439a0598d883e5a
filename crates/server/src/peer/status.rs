//! Whether another member can be spoken with.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use super::PeerSink;
use crate::logging::Value;
use crate::metrics::PeerNumbers;

/// Any success makes a member active, any failure makes it inactive, as in etcd.
pub(super) struct Status {
    id: u64,
    sink: Arc<dyn PeerSink>,
    numbers: Arc<PeerNumbers>,
    is_active: Mutex<bool>,
}

impl Status {
    pub(super) fn new(id: u64, sink: Arc<dyn PeerSink>, numbers: Arc<PeerNumbers>) -> Self {
        Self { id, sink, numbers, is_active: Mutex::new(false) }
    }

    pub(super) fn activate(&self) {
        let mut is_active = self.is_active.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_active {
            *is_active = true;
            crate::log!(Info, "peer became active", "peer-id" => Value::hex(self.id));
            self.numbers.activated();
            // Under the lock, so that changes are told in their order.
            self.sink.on_active(self.id, true);
        }
    }

    /// Notes what could not be done, where, and why.
    pub(super) fn deactivate(&self, action: &str, source: &str, reason: impl Display) {
        let error = || format!("failed to {action} {:x} on {source} ({reason})", self.id);
        let mut is_active = self.is_active.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_active {
            crate::log!(
                Debug, "peer deactivated again", "peer-id" => Value::hex(self.id), "error" => error(),
            );
            return;
        }
        *is_active = false;
        crate::log!(
            Warn, "peer became inactive (message send to peer failed)",
            "peer-id" => Value::hex(self.id), "error" => error(),
        );
        self.numbers.deactivated();
        self.sink.on_active(self.id, false);
    }

    /// The member is not spoken with any more, and that is no failure.
    pub(super) fn close(&self) {
        let mut is_active = self.is_active.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_active {
            *is_active = false;
            self.numbers.closed();
            self.sink.on_active(self.id, false);
        }
    }

    pub(super) fn is_active(&self) -> bool {
        *self.is_active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
