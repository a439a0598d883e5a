//! What a client may do often, and what only now and then: pings, resets, frames that carry nothing.

use std::time::Duration;

/// Resets of young streams, and streams that break a rule: so many at once, and so many a second.
const RESETS_MAX: u32 = 1_000;
const RESETS_PER_SECOND: u32 = 500;
/// A stream that is reset at this age was hardly wanted.
pub(super) const YOUNG: Duration = Duration::from_secs(1);
/// Frames that carry nothing: so many at once, and so many a second.
const IDLE_FRAMES_MAX: u32 = 10_000;
const IDLE_FRAMES_PER_SECOND: u32 = 2_000;
/// Pings that may come too early until the connection is ended.
const PING_STRIKES_MAX: u32 = 2;
/// The shortest time between two pings of a connection without calls.
const IDLE_PING_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// A measure that runs full by events and empties with time.
#[derive(Debug)]
struct Bucket {
    level: u32,
    max: u32,
    per_second: u32,
    emptied: Duration,
}

impl Bucket {
    fn new(max: u32, per_second: u32) -> Self {
        Self { level: 0, max, per_second, emptied: Duration::ZERO }
    }

    /// Adds one event; `false` if it is one too many.
    fn add(&mut self, now: Duration) -> bool {
        let seconds = now.saturating_sub(self.emptied).as_secs();
        if seconds > 0 {
            self.emptied = now;
            let less = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(self.per_second);
            self.level = self.level.saturating_sub(less);
        }
        self.level = self.level.saturating_add(1);
        self.level <= self.max
    }
}

/// Counts what a client does.
#[derive(Debug)]
pub(super) struct Guard {
    resets: Bucket,
    idle_frames: Bucket,
    ping_min_time: Duration,
    pinged: Option<Duration>,
    ping_strikes: u32,
}

impl Guard {
    /// Pings may come every `ping_min_time` while there are calls.
    pub(super) fn new(ping_min_time: Duration) -> Self {
        Self {
            resets: Bucket::new(RESETS_MAX, RESETS_PER_SECOND),
            idle_frames: Bucket::new(IDLE_FRAMES_MAX, IDLE_FRAMES_PER_SECOND),
            ping_min_time,
            pinged: None,
            ping_strikes: 0,
        }
    }

    /// A young stream was reset, or a stream broke a rule; `false` if that happens too often.
    pub(super) fn on_reset(&mut self, now: Duration) -> bool {
        self.resets.add(now)
    }

    /// A frame came that carries nothing; `false` if that happens too often.
    pub(super) fn on_idle_frame(&mut self, now: Duration) -> bool {
        self.idle_frames.add(now)
    }

    /// A ping came; `false` if there were too many too early.
    pub(super) fn on_ping(&mut self, now: Duration, has_streams: bool) -> bool {
        let min_time = if has_streams { self.ping_min_time } else { IDLE_PING_TIME };
        let before = self.pinged.replace(now);
        if before.is_some_and(|before| now < before + min_time) {
            self.ping_strikes += 1;
        }
        self.ping_strikes <= PING_STRIKES_MAX
    }

    /// Something was answered: clients measure the way with pings then.
    pub(super) fn on_answer(&mut self) {
        self.ping_strikes = 0;
        self.pinged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_third_early_ping_is_too_much() {
        let mut guard = Guard::new(5 * SECOND);
        assert!((0..3).all(|number| guard.on_ping(number * SECOND, true)));
        assert!(!guard.on_ping(3 * SECOND, true));
    }

    #[test]
    fn answers_and_patience_forgive_pings() {
        let mut guard = Guard::new(5 * SECOND);
        assert!((0..100).all(|number| guard.on_ping(number * 5 * SECOND, true)));
        for _ in 0..100 {
            assert!(guard.on_ping(SECOND, false));
            guard.on_answer();
        }
    }

    #[test]
    fn without_calls_a_ping_every_two_hours_is_enough() {
        let mut guard = Guard::new(5 * SECOND);
        assert!((0..3).all(|number| guard.on_ping(number * 60 * SECOND, false)));
        assert!(!guard.on_ping(180 * SECOND, false));
    }

    #[test]
    fn resets_are_limited_by_time() {
        let mut guard = Guard::new(SECOND);
        assert!((0..RESETS_MAX).all(|_| guard.on_reset(SECOND)));
        assert!(!guard.on_reset(SECOND));
        assert!((0..400).all(|_| guard.on_reset(2 * SECOND)));
    }
}
