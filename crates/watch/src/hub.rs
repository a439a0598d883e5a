//! The hub.

use crate::{Create, Delivery, Event, History, HistoryRequest, Interest, StreamId};

/// x
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// x
    pub fragment_bytes: usize,
    /// x
    pub stream_queue_bytes: usize,
    /// x
    pub history_bytes: usize,
}

/// x
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Watchers that exist.
    pub watchers: usize,
    /// x
    pub slow_watchers: usize,
    /// x
    pub streams: usize,
    /// Events sent since the start, once for each receiver.
    pub events: u64,
    /// x
    pub pending_events: usize,
}

/// x
pub struct Hub {
    revision: i64,
}

#[expect(unused_variables, reason = "signatures first")]
impl Hub {
    pub fn new(options: HubOptions, revision: i64) -> Self {
        Self { revision }
    }
    pub fn open(&mut self, stream: StreamId, now_ns: u64, progress_interval_ns: u64) {}
    pub fn close(&mut self, stream: StreamId) {}
    pub fn create(&mut self, stream: StreamId, create: Create) {}
    /// Answers a create request with a refusal that was decided elsewhere (authentication).
    pub fn refuse(&mut self, stream: StreamId, reason: alloc::string::String) {}
    pub fn cancel(&mut self, stream: StreamId, watch_id: i64) {}
    pub fn request_progress(&mut self, stream: StreamId) {}
    pub fn interest(&self, key: &[u8]) -> Interest {
        Interest::None
    }
    pub fn is_watched(&self, key: &[u8]) -> bool {
        self.interest(key) != Interest::None
    }
    pub fn wants_previous(&self, key: &[u8]) -> bool {
        self.interest(key) == Interest::WithPrevious
    }
    pub fn publish(&mut self, revision: i64, events: &[Event]) {}
    pub fn on_compacted(&mut self, revision: i64) {}
    /// The store was replaced by a newer one whose history the hub has not seen (a snapshot was installed).
    pub fn on_restored(&mut self, revision: i64) {}
    pub fn on_tick(&mut self, now_ns: u64) {}
    pub fn next_tick(&self) -> Option<u64> {
        None
    }
    pub fn poll_history(&mut self) -> Option<HistoryRequest> {
        None
    }
    pub fn on_history(&mut self, id: u64, history: History) {}
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        None
    }
    pub fn on_consumed(&mut self, stream: StreamId, bytes: usize) {}
    /// Whether the stream's budget is used up, so that its requests should wait.
    pub fn is_full(&self, stream: StreamId) -> bool {
        false
    }
    pub fn revision(&self) -> i64 {
        self.revision
    }
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
