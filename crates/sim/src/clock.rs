//! Time: the run's true time, and what a member's monotonic clock makes of it.

/// Nanoseconds of a microsecond.
pub const MICROSECOND: u64 = 1_000;
/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000 * MICROSECOND;
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;

const MILLION: u128 = 1_000_000;

/// A monotonic clock that runs at a rate of its own and may jump forwards, never back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    true_base: u64,
    local_base: u64,
    /// Local nanoseconds in a million true ones.
    rate: u64,
}

impl Clock {
    /// A clock that shows `local` at the true time `now` and runs `rate_ppm` parts in a million too fast.
    pub(crate) fn new(now: u64, local: u64, rate_ppm: i64) -> Self {
        let rate = 1_000_000_u64.saturating_add_signed(rate_ppm).max(1);
        Self { true_base: now, local_base: local, rate }
    }

    /// What it shows.
    pub(crate) fn at(&self, now: u64) -> u64 {
        let passed = u128::from(now.saturating_sub(self.true_base)) * u128::from(self.rate) / MILLION;
        self.local_base + u64::try_from(passed).expect("a run is shorter than centuries")
    }

    /// How long `local` nanoseconds take in true time.
    pub(crate) fn true_span(&self, local: u64) -> u64 {
        let span = u128::from(local) * MILLION / u128::from(self.rate);
        u64::try_from(span).expect("a run is shorter than centuries")
    }

    /// Lets it jump forwards.
    pub(crate) fn jump(&mut self, now: u64, by: u64) {
        *self = Self { true_base: now, local_base: self.at(now) + by, rate: self.rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_fast_shows_more_and_takes_less() {
        let mut clock = Clock::new(SECOND, 7 * SECOND, 100_000);
        assert_eq!(clock.at(2 * SECOND), 8 * SECOND + 100 * MILLISECOND);
        assert_eq!(clock.true_span(11 * SECOND), 10 * SECOND);
        clock.jump(2 * SECOND, SECOND);
        assert_eq!(clock.at(2 * SECOND), 9 * SECOND + 100 * MILLISECOND);
    }
}
