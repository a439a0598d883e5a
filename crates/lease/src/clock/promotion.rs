//! Starting the clock over all leases at once, a million of them within a tenth of a second.
//!
//! What costs time here is memory, not arithmetic: the leases are walked once, in the order of their ids, and
//! everything that is built from them is built in one go from sorted values.

use super::{LeaseClock, NANOS_PER_SECOND, NEVER, Timer, nanos};
use crate::{Leases, TTL_MAX};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// From this many leases on, the times at which they run out are spread.
const SPREAD_FROM: usize = 1_000;

/// How many leases may run out within a second at promotion: well below what a leader can revoke in one.
const EXPIRIES_PER_SECOND_MAX: usize = 750;

/// Bits of a packed sort key that hold a lease's place; the seconds of its life are above them.
const PLACE_BITS: u32 = 30;
const _: () = assert!(TTL_MAX.cast_unsigned() < 1 << (u64::BITS - PLACE_BITS));

pub(super) fn start(clock: &mut LeaseClock, now: u64, extend_ns: u64, leases: &Leases) {
    let base = now.saturating_add(extend_ns);
    let mut ids = Vec::with_capacity(leases.len());
    let mut lives = Vec::with_capacity(leases.len());
    for (id, lease) in leases.iter() {
        ids.push(id);
        lives.push(lease.life().clamp(0, TTL_MAX));
    }
    let order = in_order_of_life(&lives);
    let mut expiries: Vec<u64> =
        order.iter().map(|place| base.saturating_add(nanos(lives[*place]))).collect();
    if expiries.len() >= SPREAD_FROM {
        spread(&mut expiries);
    }
    clock.expiries.fill(order.iter().zip(&expiries).map(|(place, at)| Reverse((*at, ids[*place]))).collect());

    let mut expires_at = alloc::vec![0; ids.len()];
    for (place, at) in order.into_iter().zip(expiries) {
        expires_at[place] = at;
    }
    let mut checkpoints = Vec::new();
    clock.timers = ids
        .into_iter()
        .zip(expires_at)
        .map(|(id, expires_at)| {
            let checkpoint_at = clock.checkpoint_due(now, expires_at);
            if checkpoint_at != NEVER {
                checkpoints.push(Reverse((checkpoint_at, id)));
            }
            (id, Timer { expires_at, checkpoint_at, expiry_look: expires_at, checkpoint_look: checkpoint_at })
        })
        .collect();
    clock.checkpoints.fill(checkpoints);
}

/// The places of all lives (seconds), the shortest life first, equal ones in the order of their places.
fn in_order_of_life(lives: &[i64]) -> Vec<usize> {
    assert!(lives.len() < 1 << PLACE_BITS, "so many leases do not fit into memory");
    let mut keys: Vec<u64> =
        lives.iter().zip(0..).map(|(life, place)| life.cast_unsigned() << PLACE_BITS | place).collect();
    keys.sort_unstable();
    let place = |key| usize::try_from(key & ((1 << PLACE_BITS) - 1)).expect("a place is small");
    keys.into_iter().map(place).collect()
}

/// Delays times, which rise, so that no second holds more than [`EXPIRIES_PER_SECOND_MAX`] of them.
fn spread(expiries: &mut [u64]) {
    for place in EXPIRIES_PER_SECOND_MAX..expiries.len() {
        let earliest = expiries[place - EXPIRIES_PER_SECOND_MAX].saturating_add(NANOS_PER_SECOND);
        expiries[place] = expiries[place].max(earliest);
    }
}
