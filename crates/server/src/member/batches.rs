//! When each batch of the log was taken in, written and synced: from it, a request's time is divided into phases.
//!
//! One record is kept for each batch, not for each request, so that this costs nothing where it counts.

use std::collections::VecDeque;

use crate::api::Phases;

/// Batches that are remembered; what was asked for longer ago has no phases.
const BATCHES_MAX: usize = 4096;

/// The times of one batch, in nanoseconds of the core thread's clock.
#[derive(Clone, Copy, Debug)]
struct Batch {
    last_index: u64,
    /// The turn before it, in which its requests may have waited.
    turn_before_ns: u64,
    taken_ns: u64,
    appended_ns: u64,
    synced_ns: u64,
}

/// The times of the newest batches.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    batches: VecDeque<Batch>,
    turn_before_ns: u64,
    taken_ns: u64,
}

impl Batches {
    /// A turn takes in what waits.
    pub(crate) fn on_taken(&mut self, now_ns: u64) {
        self.turn_before_ns = now_ns.saturating_sub(self.taken_ns);
        self.taken_ns = now_ns;
    }

    /// Entries up to this one are in the log's buffer.
    pub(crate) fn on_appended(&mut self, last_index: u64, now_ns: u64) {
        // A new leader may replace what an old one had put there.
        while self.batches.back().is_some_and(|batch| batch.last_index >= last_index) {
            self.batches.pop_back();
        }
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(Batch {
            last_index,
            turn_before_ns: self.turn_before_ns,
            taken_ns: self.taken_ns,
            appended_ns: now_ns,
            synced_ns: now_ns,
        });
    }

    /// All that was appended is on the disk.
    pub(crate) fn on_synced(&mut self, begun_ns: u64, now_ns: u64) {
        for batch in self.batches.iter_mut().rev() {
            if batch.synced_ns != batch.appended_ns || batch.appended_ns > begun_ns {
                break;
            }
            batch.synced_ns = now_ns.max(batch.appended_ns + 1);
        }
    }

    /// The phases of the request that is in the entry of that index and is answered now.
    pub(crate) fn phases(&self, index: u64, applied_ns: u64, now_ns: u64) -> Option<Phases> {
        let position = self.batches.partition_point(|batch| batch.last_index < index);
        let batch = self.batches.get(position)?;
        Some(Phases {
            turn_before_ns: batch.turn_before_ns,
            taken_ns: batch.taken_ns,
            appended_ns: batch.appended_ns,
            synced_ns: batch.synced_ns,
            applied_ns,
            answered_ns: now_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_times_of_its_batch() {
        let mut batches = Batches::default();
        batches.on_taken(100);
        batches.on_appended(3, 110);
        batches.on_synced(110, 150);
        batches.on_taken(200);
        batches.on_appended(7, 210);
        batches.on_synced(210, 290);
        let phases = batches.phases(5, 300, 310).unwrap();
        let expected = Phases {
            turn_before_ns: 100,
            taken_ns: 200,
            appended_ns: 210,
            synced_ns: 290,
            applied_ns: 300,
            answered_ns: 310,
        };
        assert_eq!(phases, expected);
        assert_eq!(batches.phases(3, 300, 310).unwrap().synced_ns, 150);
        assert_eq!(batches.phases(8, 300, 310), None);
    }

    #[test]
    fn entries_that_are_replaced_take_their_times_along() {
        let mut batches = Batches::default();
        batches.on_taken(100);
        batches.on_appended(9, 110);
        batches.on_taken(200);
        batches.on_appended(5, 210);
        assert_eq!(batches.phases(5, 300, 300).unwrap().taken_ns, 200);
        assert_eq!(batches.phases(6, 300, 300), None);
    }
}
