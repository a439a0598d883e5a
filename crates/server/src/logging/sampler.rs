//! Limits repetition: of equal messages, the first hundred in a second are written, then each hundredth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Level, Record};

const COUNTERS: usize = 4096;
const FIRST: u64 = 100;
const THEREAFTER: u64 = 100;

/// Counts messages by a hash of level and text; two messages may share a counter, which only samples sooner.
pub(super) struct Sampler {
    /// In each: the second it counts for in the upper half, the count in the lower half.
    counters: Vec<AtomicU64>,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether this line is one of those to write. Errors and worse always are.
    pub(super) fn admits(&self, record: &Record<'_>, now: Duration) -> bool {
        if record.level >= Level::Error {
            return true;
        }
        let counter = &self.counters[hash(record) % COUNTERS];
        let second = now.as_secs() & u64::from(u32::MAX);
        let before = counter.load(Ordering::Relaxed);
        let count = if before >> 32 == second { (before & u64::from(u32::MAX)) + 1 } else { 1 };
        // Threads that meet here may lose a count, which does no harm.
        counter.store(second << 32 | count, Ordering::Relaxed);
        count <= FIRST || (count - FIRST).is_multiple_of(THEREAFTER)
    }
}

/// FNV-1a over the level and the message.
fn hash(record: &Record<'_>) -> usize {
    let seed = 0x811c_9dc5_u32 ^ record.level as u32;
    record.message.bytes().fold(seed, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        as usize
}
