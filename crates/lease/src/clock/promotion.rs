//! Starting the clock over all leases at once, a million of them within a tenth of a second.

use super::{LeaseClock, NANOS_PER_SECOND, NEVER, Timer, nanos};
use crate::Leases;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// From this many leases on, the times at which they run out are spread.
const SPREAD_FROM: usize = 1_000;

/// How many leases may run out within a second at promotion: well below what a leader can revoke in one.
const EXPIRIES_PER_SECOND_MAX: usize = 750;

pub(super) fn start(clock: &mut LeaseClock, now: u64, extend_ns: u64, leases: &Leases) {
    let base = now.saturating_add(extend_ns);
    let mut expiries: Vec<u64> =
        leases.iter().map(|(_, lease)| base.saturating_add(nanos(lease.life()))).collect();
    if expiries.len() >= SPREAD_FROM {
        spread(&mut expiries);
    }
    let mut expiry_entries = Vec::with_capacity(expiries.len());
    let mut checkpoint_entries = Vec::new();
    // Both run in the order of the ids, which lets the map be built in one go.
    clock.timers = leases
        .iter()
        .zip(expiries)
        .map(|((id, _), expires_at)| {
            let checkpoint_at = clock.checkpoint_due(now, expires_at);
            expiry_entries.push(Reverse((expires_at, id)));
            if checkpoint_at != NEVER {
                checkpoint_entries.push(Reverse((checkpoint_at, id)));
            }
            (id, Timer { expires_at, checkpoint_at, expiry_look: expires_at, checkpoint_look: checkpoint_at })
        })
        .collect();
    clock.expiries.fill(expiry_entries);
    clock.checkpoints.fill(checkpoint_entries);
}

/// Delays times, keeping their order, so that no second holds more than [`EXPIRIES_PER_SECOND_MAX`] of them.
fn spread(expiries: &mut [u64]) {
    // Times and places in one vector of pairs, since sorting by an index into another vector misses the cache each time.
    let mut order: Vec<(u64, usize)> = expiries.iter().copied().zip(0..).collect();
    order.sort_unstable();
    for place in EXPIRIES_PER_SECOND_MAX..order.len() {
        let earliest = order[place - EXPIRIES_PER_SECOND_MAX].0.saturating_add(NANOS_PER_SECOND);
        order[place].0 = order[place].0.max(earliest);
    }
    for (expires_at, place) in order {
        expiries[place] = expires_at;
    }
}
