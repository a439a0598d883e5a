//! How long to wait between attempts.

use std::time::Duration;

/// Doubles from 10 ms to half a second, with a spread so that clients do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    seed: u64,
}

const FIRST: Duration = Duration::from_millis(10);
const LAST: Duration = Duration::from_millis(500);

impl Backoff {
    /// A backoff that has not waited yet; different seeds spread differently.
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: FIRST, seed }
    }

    /// The next time to wait: between half of and the whole of the step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LAST);
        // splitmix64: good enough to spread clients, and needs no dependency.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let half = step / 2;
        half + half.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Begins again with the shortest time.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new(7);
        let mut step = FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} for {step:?}");
            step = (step * 2).min(LAST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
