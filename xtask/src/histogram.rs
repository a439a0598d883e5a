//! Latencies, counted in buckets whose width is a sixty-fourth of their value: an error of less than two percent.

use std::time::Duration;

const SUB_BITS: u32 = 6;
const SUBS: u64 = 1 << SUB_BITS;

/// How often which latency was seen.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0, max_ns: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what `other` has seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, added) in self.counts.iter_mut().zip(&other.counts) {
            *count += added;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn max_us(&self) -> f64 {
        micros(self.max_ns)
    }

    /// The latency in microseconds below which `permille` thousandths of all lie; 0 if there is none.
    pub(crate) fn quantile_us(&self, permille: u64) -> f64 {
        let rank = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return micros(upper_bound(index).min(self.max_ns));
            }
        }
        0.0
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn bucket(ns: u64) -> usize {
    let shift = (64 - SUB_BITS).saturating_sub(1 + ns.leading_zeros());
    let index = u64::from(shift) * SUBS + (ns >> shift);
    usize::try_from(index).expect("fewer than 4,000 buckets")
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUBS {
        return index;
    }
    let shift = index / SUBS - 1;
    let low = (index - shift * SUBS) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_dense_and_their_bounds_close() {
        for ns in (0..200_000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            let bound = upper_bound(bucket(ns));
            assert!(bound >= ns, "{ns} {bound}");
            assert!(bound - ns <= ns / SUBS + 1, "{ns} {bound}");
            assert!(ns == 0 || bucket(ns) - bucket(ns - 1) <= 1, "{ns}");
        }
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|us| histogram.record(Duration::from_micros(us)));
        assert!((histogram.quantile_us(500) - 500.0).abs() < 10.0);
        assert!((histogram.quantile_us(990) - 990.0).abs() < 17.0);
        assert!((histogram.max_us() - 1000.0).abs() < f64::EPSILON);
        assert_eq!(histogram.count(), 1000);
    }
}
