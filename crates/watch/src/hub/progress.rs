//! Telling watchers how far they have come when nothing happens.

use super::parts::State;
use super::{Hub, NO_WATCHER, Response};
use crate::StreamId;
use alloc::vec::Vec;

impl Hub {
    /// Tells the stream the current revision, if every watcher on it has been sent everything up to there; else, or if
    /// the stream is full, nothing happens, and the client asks again.
    pub fn request_progress(&mut self, stream: StreamId) {
        let Some(&slot) = self.stream_ids.get(&stream) else { return };
        let stream = &self.streams[slot];
        let all_at_head = stream.alive > 0 && stream.at_head == stream.alive;
        if all_at_head && !self.outbox.budget().is_spent(stream) {
            let progress = Response { watch_id: NO_WATCHER, revision: self.revision, ..Response::default() };
            self.outbox.push(&mut self.streams, slot, progress);
        }
    }

    /// Sends the progress notifications that are due.
    ///
    /// A watcher gets one if it wants them, was sent no events since the last tick of its stream, and is at the head.
    pub fn on_tick(&mut self, now_ns: u64) {
        while let Some(&(at, slot)) = self.ticks.first() {
            if at > now_ns {
                break;
            }
            self.ticks.pop_first();
            let stream = &mut self.streams[slot];
            stream.next_tick = now_ns.saturating_add(stream.progress_interval_ns);
            self.ticks.insert((stream.next_tick, slot));
            let watchers: Vec<_> = stream.watchers.values().copied().collect();
            for watcher in watchers {
                let watcher = &mut self.watchers[watcher];
                let quiet = core::mem::replace(&mut watcher.quiet, true);
                let is_due = watcher.progress_notify && quiet && watcher.state == State::Head;
                if is_due && !self.outbox.budget().is_spent(&self.streams[slot]) {
                    let (watch_id, revision) = (watcher.watch_id, self.revision);
                    let progress = Response { watch_id, revision, ..Response::default() };
                    self.outbox.push(&mut self.streams, slot, progress);
                }
            }
        }
    }

    /// When [`Hub::on_tick`] has something to do next.
    pub fn next_tick(&self) -> Option<u64> {
        self.ticks.first().map(|(at, _)| *at)
    }
}
