//! Counts by size, in etcd's buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts observations by upper bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: Vec<f64>,
    /// One more than there are bounds: the last counts what is above them all.
    counts: Vec<AtomicU64>,
    /// The bits of the sum.
    sum: AtomicU64,
}

impl Histogram {
    /// Buckets up to `start`, `start * factor`, and so on, `count` of them.
    pub fn exponential(start: f64, factor: f64, count: usize) -> Self {
        let bounds = std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count);
        Self::with_bounds(bounds.collect())
    }

    /// Buckets up to each bound.
    ///
    /// # Panics
    ///
    /// When the bounds do not ascend.
    pub fn with_bounds(bounds: Vec<f64>) -> Self {
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "bounds ascend");
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Records a duration, in seconds.
    pub fn record(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Records a size in the histogram's own unit.
    pub fn observe(&self, size: f64) {
        self.observe_many(size, 1);
    }

    /// Records a size that was observed so often.
    pub fn observe_many(&self, size: f64, count: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < size);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "nothing is observed so often")]
        let size = size * count as f64;
        // The closure always gives a value, so this cannot fail.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            Some((f64::from_bits(bits) + size).to_bits())
        });
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The sum of what was recorded.
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// Each bound with the number of observations up to it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut total = 0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            total += count.load(Ordering::Relaxed);
            (*bound, total)
        })
    }
}
