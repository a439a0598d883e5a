//! The rules of the clock, on a made-up time.

use super::*;
use alloc::vec;
use etched_backend::Batch;

const SECOND: u64 = NANOS_PER_SECOND;
const MINUTE: u64 = 60 * SECOND;

/// A leader's leases and clock, kept in step.
struct Leader {
    leases: Leases,
    clock: LeaseClock,
}

impl Leader {
    fn new() -> Self {
        let mut leader = Self { leases: Leases::new(), clock: LeaseClock::default() };
        leader.clock.promote(0, 0, &leader.leases);
        leader
    }

    fn grant(&mut self, id: i64, ttl: i64, now: u64) {
        self.leases.grant(id, ttl, &mut Batch::new()).unwrap();
        self.clock.on_granted(id, ttl, now);
    }

    fn revoke(&mut self, id: i64) {
        self.leases.revoke(id, &mut Batch::new()).unwrap();
        self.clock.on_revoked(id);
    }

    fn renew(&mut self, id: i64, now: u64) -> Renewal {
        self.clock.renew(id, &self.leases, now)
    }

    fn expired(&mut self, now: u64) -> Vec<i64> {
        self.clock.poll_expired(now, usize::MAX)
    }

    /// Applies the checkpoints that are due, and returns them.
    fn checkpoint(&mut self, now: u64) -> Vec<(i64, i64)> {
        let due = self.clock.poll_checkpoints(now);
        for (id, remaining) in &due {
            self.leases.checkpoint(*id, *remaining, &mut Batch::new());
        }
        due
    }
}

fn renewed(ttl: i64) -> Renewal {
    Renewal::Renewed { ttl, clear_checkpoint: false }
}

#[test]
fn the_smallest_life_is_one_and_a_half_elections() {
    assert_eq!(ttl_min_seconds(10, 100), 2);
    assert_eq!(ttl_min_seconds(10, 200), 3);
    assert_eq!(ttl_min_seconds(3, 10), 1);
    assert_eq!(ttl_min_seconds(500, 100), 75);
    assert_eq!(ttl_min_seconds(0, 100), 0);
    assert_eq!(ttl_min_seconds(i64::MAX, i64::MAX), i64::MAX / 1_000 + 1);
}

#[test]
fn a_lease_runs_out_after_its_time_to_live() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 5 * SECOND);
    assert_eq!(leader.clock.next_deadline(), Some(15 * SECOND));
    assert_eq!(leader.expired(15 * SECOND - 1), [0; 0]);
    assert_eq!(leader.expired(15 * SECOND), [1]);
    assert_eq!(leader.clock.remaining_ns(1, 16 * SECOND), Some(-1_000_000_000));
}

#[test]
fn renewing_gives_the_whole_life_again() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    assert_eq!(leader.renew(1, 9 * SECOND), renewed(10));
    assert_eq!(leader.expired(18 * SECOND), [0; 0]);
    assert_eq!(leader.clock.remaining_ns(1, 18 * SECOND), Some(1_000_000_000));
    assert_eq!(leader.expired(19 * SECOND), [1]);
}

#[test]
fn a_lease_that_has_run_out_cannot_be_renewed_while_it_exists() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    assert_eq!(leader.renew(1, 10 * SECOND), Renewal::Expired, "even before it was named");
    assert_eq!(leader.expired(10 * SECOND), [1]);
    assert_eq!(leader.renew(1, 11 * SECOND), Renewal::Expired);
    leader.revoke(1);
    assert_eq!(leader.renew(1, 11 * SECOND), Renewal::NotFound);
}

#[test]
fn an_expired_lease_is_named_again_until_it_is_revoked() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    leader.grant(2, 10, 0);
    assert_eq!(leader.expired(10 * SECOND), [1, 2]);
    assert_eq!(leader.expired(13 * SECOND - 1), [0; 0]);
    leader.revoke(1);
    assert_eq!(leader.expired(13 * SECOND), [2]);
    leader.revoke(2);
    assert_eq!(leader.expired(MINUTE), [0; 0]);
    assert_eq!(leader.clock.next_deadline(), None);
}

#[test]
fn no_more_are_named_than_asked_for_and_the_rest_follow() {
    let mut leader = Leader::new();
    for id in 1..=5 {
        leader.grant(id, 10, 0);
    }
    assert_eq!(leader.clock.poll_expired(10 * SECOND, 0), [0; 0]);
    assert_eq!(leader.clock.poll_expired(10 * SECOND, 3), [1, 2, 3]);
    assert_eq!(leader.clock.poll_expired(10 * SECOND, 3), [4, 5]);
}

#[test]
fn an_id_that_is_granted_again_has_only_its_new_time() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    leader.revoke(1);
    leader.grant(1, 20, SECOND);
    assert_eq!(leader.expired(10 * SECOND), [0; 0]);
    assert_eq!(leader.expired(21 * SECOND), [1]);
}

#[test]
fn who_does_not_lead_says_so_and_names_nothing() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    leader.clock.demote();
    assert!(!leader.clock.is_primary());
    assert_eq!(leader.renew(1, SECOND), Renewal::NotPrimary);
    assert_eq!(leader.renew(2, SECOND), Renewal::NotPrimary);
    leader.clock.on_granted(2, 10, 0);
    leader.clock.on_revoked(2);
    assert_eq!(leader.expired(MINUTE), [0; 0]);
    assert_eq!(leader.clock.remaining_ns(1, SECOND), None);
    assert_eq!((leader.clock.next_deadline(), leader.clock.by_remaining()), (None, vec![]));
}

#[test]
fn a_new_leader_gives_the_whole_life_and_the_length_of_an_election() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    leader.clock.demote();
    leader.clock.promote(8 * SECOND, SECOND, &leader.leases);
    assert_eq!(leader.expired(19 * SECOND - 1), [0; 0]);
    assert_eq!(leader.expired(19 * SECOND), [1]);
}

#[test]
fn a_renewal_soon_after_promotion_takes_the_extension_back() {
    let mut leader = Leader::new();
    leader.grant(1, 10, 0);
    leader.clock.promote(0, 5 * SECOND, &leader.leases);
    assert_eq!(leader.renew(1, SECOND), renewed(10));
    assert_eq!(leader.clock.next_deadline(), Some(11 * SECOND));
    assert_eq!(leader.expired(11 * SECOND), [1]);
}

#[test]
fn long_leases_are_checkpointed_every_five_minutes() {
    let mut leader = Leader::new();
    leader.grant(1, 600, 0);
    leader.grant(2, 300, 0);
    assert_eq!(leader.checkpoint(5 * MINUTE - 1), [(0, 0); 0]);
    assert_eq!(
        leader.checkpoint(5 * MINUTE + 1),
        [(1, 300)],
        "rounded up, and none for the lease of five minutes"
    );
    assert_eq!(leader.checkpoint(20 * MINUTE), [(0, 0); 0], "what is left is not longer than five minutes");
}

#[test]
fn a_lease_that_is_renewed_in_time_needs_no_checkpoint() {
    let mut leader = Leader::new();
    leader.grant(1, 3_600, 0);
    for minute in (4..60).step_by(4) {
        assert_eq!(leader.checkpoint(minute * MINUTE), [(0, 0); 0]);
        assert_eq!(leader.renew(1, minute * MINUTE), renewed(3_600));
    }
    assert_eq!(leader.checkpoint(61 * MINUTE), [(1, 3_600 - 5 * 60)]);
}

#[test]
fn renewing_after_a_checkpoint_asks_for_it_to_be_cleared() {
    let mut leader = Leader::new();
    leader.grant(1, 3_600, 0);
    assert_eq!(leader.checkpoint(5 * MINUTE), [(1, 3_300)]);
    assert_eq!(leader.renew(1, 6 * MINUTE), Renewal::Renewed { ttl: 3_600, clear_checkpoint: true });
    leader.leases.checkpoint(1, 0, &mut Batch::new());
    assert_eq!(leader.renew(1, 7 * MINUTE), renewed(3_600));
}

#[test]
fn leader_after_leader_a_checkpointed_lease_runs_out() {
    let mut leader = Leader::new();
    leader.grant(1, 3_600, 0);
    let mut now = 0;
    for remaining in (1..12).rev() {
        now += 5 * MINUTE;
        assert_eq!(leader.checkpoint(now), [(1, remaining * 300)]);
        now += MINUTE;
        leader.clock.promote(now, SECOND, &leader.leases);
        let left = leader.clock.remaining_ns(1, now);
        assert_eq!(
            left,
            Some((remaining * 300 + 1) * 1_000_000_000),
            "at most an interval and an election more"
        );
        leader.clock.promote(now, 0, &leader.leases);
    }
    assert_eq!(leader.expired(now + 5 * MINUTE), [1]);
}

#[test]
fn checkpoints_can_be_turned_off() {
    let mut clock = LeaseClock::new(ClockOptions { checkpoint_interval_ns: None, ..ClockOptions::default() });
    clock.promote(0, 0, &Leases::new());
    clock.on_granted(1, 3_600, 0);
    assert_eq!(clock.poll_checkpoints(59 * MINUTE), [(0, 0); 0]);
}

#[test]
fn checkpoints_come_in_batches_of_a_thousand() {
    let mut leader = Leader::new();
    for id in 1..=2_500 {
        leader.grant(id, 3_600, 0);
    }
    let batches: Vec<usize> = (0..4).map(|_| leader.checkpoint(5 * MINUTE).len()).collect();
    assert_eq!(batches, [1_000, 1_000, 500, 0]);
}

#[test]
fn promotion_spreads_leases_that_would_run_out_together() {
    for (count, spreads) in [(999, false), (1_000, true), (10_000, true)] {
        let mut leader = Leader::new();
        for id in 1..=count {
            leader.grant(id, 60 + i64::from(id % 10 == 0), 0);
        }
        leader.clock.promote(0, SECOND, &leader.leases);
        let times: Vec<i64> =
            leader.clock.by_remaining().iter().map(|id| leader.clock.remaining_ns(*id, 0).unwrap()).collect();
        let crowded = times.windows(751).any(|times| times[750] - times[0] < 1_000_000_000);
        assert_eq!(!crowded, spreads, "{count}");
        assert_eq!(times[0], 61_000_000_000);
        assert!(
            (1..=count).all(|id| {
                leader.clock.remaining_ns(id, 0) >= Some((61 + i64::from(id % 10 == 0)) * 1_000_000_000)
            }),
            "nobody loses"
        );
        if spreads {
            assert!(
                times[times.len() - 1] <= (63 + count / 750 + 1) * 1_000_000_000,
                "nor gains more than needed"
            );
        }
    }
}

#[test]
fn leases_are_listed_by_what_remains() {
    let mut leader = Leader::new();
    for (id, ttl) in [(1, 30), (2, 10), (3, 20), (-4, 20)] {
        leader.grant(id, ttl, 0);
    }
    assert_eq!(leader.clock.by_remaining(), [2, -4, 3, 1]);
    leader.renew(2, 9 * SECOND);
    assert_eq!(leader.clock.by_remaining(), [2, -4, 3, 1]);
    leader.renew(3, 9 * SECOND);
    assert_eq!(leader.clock.by_remaining(), [2, -4, 3, 1]);
    leader.renew(2, 15 * SECOND);
    assert_eq!(leader.clock.by_remaining(), [-4, 2, 3, 1]);
}

#[test]
fn the_longest_life_does_not_overflow() {
    let mut leader = Leader::new();
    leader.grant(1, crate::TTL_MAX, u64::MAX / 2);
    assert!(leader.clock.remaining_ns(1, u64::MAX / 2).unwrap() > 0);
    assert_eq!(leader.renew(1, u64::MAX / 2), renewed(crate::TTL_MAX));
    leader.clock.promote(u64::MAX / 2, u64::MAX, &leader.leases);
    assert_eq!(leader.expired(u64::MAX / 2), [0; 0]);
}

#[test]
fn granting_and_revoking_all_day_leaves_nothing_behind() {
    let mut leader = Leader::new();
    leader.grant(1, 3_600, 0);
    for _ in 0..100_000 {
        leader.grant(2, 3_600, 0);
        leader.revoke(2);
    }
    assert!(leader.clock.expiries.len() <= 2_000);
    assert!(leader.clock.checkpoints.len() <= 2_000);
    assert_eq!(leader.expired(3_600 * SECOND), [1]);
}
