//! Leases over changes of the leader, and watchers over snapshots.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_replica::auth::Credentials;
use etched_replica::{Answer, ApiError, Request, WatchCall};
use etched_state_machine::{Command, Outcome, Put, Range};
use etched_watch::{Create, Filters, StreamId};

use crate::cluster::everything;
use crate::harness::{SECOND, put};
use crate::world::World;

fn grant(world: &mut World, member: u64, ttl: i64) -> i64 {
    match world.call(member, Request::Propose(Command::LeaseGrant { id: 0, ttl })) {
        Ok(Answer::Applied(Outcome::LeaseGrant { id, .. })) => id,
        other => panic!("{other:?}"),
    }
}

fn attach(world: &mut World, member: u64, key: &str, lease: i64) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let command = Command::Put(Put { key, value: Bytes::new(), lease, ..Put::default() });
    world.call(member, Request::Propose(command)).unwrap();
}

fn remaining(world: &mut World, member: u64, id: i64) -> i64 {
    match world.call(member, Request::LeaseTimeToLive { id, keys: false }) {
        Ok(Answer::LeaseTimeToLive(Some(lease))) => lease.remaining,
        other => panic!("{other:?}"),
    }
}

fn watch_all(start_revision: i64) -> Create {
    Create {
        range: KeyRange::all(),
        start_revision,
        filters: Filters::default(),
        prev_kv: false,
        progress_notify: false,
        fragment: false,
        watch_id: 0,
    }
}

#[test]
fn only_the_leader_knows_how_long_a_lease_lives() {
    let (mut world, leader) = World::with_leader(3, 1);
    let other = world.other(leader);
    let id = grant(&mut world, other, 100);
    assert_eq!(world.call(other, Request::LeaseRenew { id }).unwrap_err(), ApiError::NotPrimary);
    let asked = world.call(other, Request::LeaseTimeToLive { id, keys: true });
    assert_eq!(asked.unwrap_err(), ApiError::NotPrimary);
    assert!(matches!(world.call(leader, Request::LeaseRenew { id }), Ok(Answer::LeaseRenewed { ttl: 100 })));
}

#[test]
fn a_new_leader_gives_each_lease_its_life_and_two_elections_more() {
    let (mut world, old) = World::with_leader(3, 2);
    let id = grant(&mut world, old, 20);
    attach(&mut world, old, "a", id);
    world.run(10 * SECOND);
    world.crash(old);
    let new = world.await_leader();
    world.run(SECOND / 2);
    let left = remaining(&mut world, new, id);
    // Whole seconds of what is left of 22 after half a second and a bit.
    assert_eq!(left, 21);
    world.run(23 * SECOND);
    let range = Range { serializable: true, ..Range::new(everything()) };
    assert!(world.range(new, range).unwrap().is_empty(), "it ran out with its key");
}

/// The others could not reach the old leader and did not wait for it, but its clients did reach it.
#[test]
fn a_lease_that_the_old_leader_renewed_lives_on_with_one_that_was_elected_early() {
    for seed in 10..20 {
        let (mut world, old) = World::with_leader(3, seed);
        let id = grant(&mut world, old, 5);
        attach(&mut world, old, "kept", id);
        world.cut(&[old]);
        let others: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != old).collect();
        others.iter().for_each(|other| world.tell_gone(*other, old));
        let mut renewed_at = 0;
        for _ in 0..60 {
            let renewal = world.submit(old, Request::LeaseRenew { id });
            world.run(SECOND / 20);
            if let Some(Ok(_)) = world.answer(old, renewal) {
                renewed_at = world.now;
            }
        }
        assert!(renewed_at > 0, "it renewed while it believed to lead");
        let new = world.await_leader_among(&others);
        let range = Range { serializable: true, ..Range::new(everything()) };
        while !world.range(new, range.clone()).unwrap().is_empty() {
            world.run(SECOND / 20);
        }
        assert!(world.now >= renewed_at + 5 * SECOND, "seed {seed}: it was renewed");
    }
}

#[test]
fn a_checkpoint_keeps_the_remaining_life_over_changes_of_the_leader() {
    let (mut world, old) = World::with_leader(3, 3);
    let id = grant(&mut world, old, 1_000);
    world.run(650 * SECOND);
    let target = world.other(old);
    world.call(old, Request::MoveLeader { target }).unwrap();
    world.run(SECOND);
    let left = remaining(&mut world, target, id);
    assert!((395..=402).contains(&left), "two checkpoints of five minutes: {left}");
}

#[test]
fn a_leader_that_was_stopped_renews_nothing_before_it_is_confirmed_and_lets_nothing_run_out() {
    for (seed, is_deaf) in [(4, true), (5, false), (6, true)] {
        let (mut world, old) = World::with_leader(3, seed);
        let id = grant(&mut world, old, 5);
        attach(&mut world, old, "kept", id);
        world.node(old).is_paused = true;
        let new = world.await_other_leader(old);
        world.run(SECOND / 2);
        // The owner keeps it alive with the new leader, longer than the old one believes it lives.
        for _ in 0..4 {
            world.run(2 * SECOND);
            let renewed = world.call(new, Request::LeaseRenew { id });
            assert!(matches!(renewed, Ok(Answer::LeaseRenewed { ttl: 5 })), "{renewed:?}");
        }
        if is_deaf {
            world.resume_deaf(old);
        } else {
            world.resume(old);
        }
        let renewal = world.submit(old, Request::LeaseRenew { id });
        world.work(old);
        assert!(!matches!(world.answer(old, renewal), Some(Ok(_))), "not confirmed");
        world.run(2 * SECOND);
        let leader = world.await_leader();
        let renewed = world.call(leader, Request::LeaseRenew { id });
        assert!(matches!(renewed, Ok(Answer::LeaseRenewed { ttl: 5 })), "{renewed:?}");
        world.assert_equal_states();
    }
}

#[test]
fn a_leader_that_was_stopped_shortly_confirms_itself_and_goes_on() {
    let (mut world, leader) = World::with_leader(3, 7);
    let id = grant(&mut world, leader, 30);
    world.node(leader).is_paused = true;
    world.run(SECOND / 2);
    world.resume(leader);
    let renewed = world.call(leader, Request::LeaseRenew { id });
    assert!(matches!(renewed, Ok(Answer::LeaseRenewed { ttl: 30 })), "{renewed:?}");
    assert!(world.node(leader).member.report().is_leader);
}

/// The grant is committed by the others, and whoever asked them has been answered; the leader's own disk lags.
#[test]
fn a_leader_that_lags_with_applying_does_not_deny_a_lease() {
    let (mut world, leader) = World::with_leader(3, 17);
    let follower = world.other(leader);
    world.node(leader).is_disk_stalled = true;
    let grant = Request::Propose(Command::LeaseGrant { id: 7, ttl: 60 });
    world.call(follower, grant).unwrap();
    let time_to_live = world.submit(leader, Request::LeaseTimeToLive { id: 7, keys: false });
    let renewal = world.submit(leader, Request::LeaseRenew { id: 7 });
    world.run(SECOND / 10);
    assert!(world.answer(leader, time_to_live).is_none());
    assert!(world.answer(leader, renewal).is_none());
    world.node(leader).release_disk();
    world.run(SECOND / 10);
    let told = world.answer(leader, time_to_live);
    assert!(matches!(told, Some(Ok(Answer::LeaseTimeToLive(Some(_))))), "{told:?}");
    let renewed = |answer| matches!(answer, Some(Ok(Answer::LeaseRenewed { ttl: 60 })));
    assert!(renewed(world.answer(leader, renewal)));

    world.node(leader).is_disk_stalled = true;
    world.call(follower, put("a", "1")).unwrap();
    let question = world.submit(leader, Request::LeaseTimeToLive { id: 7, keys: false });
    let promotion = world.submit(leader, Request::MemberPromote { id: 1 });
    let known = world.submit(leader, Request::LeaseRenew { id: 7 });
    world.run(SECOND / 10);
    assert!(renewed(world.answer(leader, known)), "it need not wait");
    world.run(SECOND);
    for token in [question, promotion] {
        let answer = world.answer(leader, token);
        assert!(matches!(answer, Some(Err(ApiError::TimeoutApplied))), "{answer:?}");
    }
}

#[test]
fn clocks_that_differ_make_no_difference() {
    let (mut world, old) = World::with_leader(3, 8);
    for (place, node) in world.nodes.values_mut().enumerate() {
        node.skew = place as u64 * 1_000 * SECOND;
    }
    world.run(SECOND);
    let old = world.leader().unwrap_or(old);
    let id = grant(&mut world, old, 30);
    let target = world.other(old);
    world.call(old, Request::MoveLeader { target }).unwrap();
    world.run(SECOND);
    let left = remaining(&mut world, target, id);
    assert!((28..=31).contains(&left), "{left}");
}

#[test]
fn watchers_go_on_over_a_snapshot_and_those_of_compacted_revisions_are_told() {
    let (mut world, _) = World::with_leader(3, 9);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.snapshot_entries = 50;
        world.crash(id);
        world.restart(id);
    }
    let leader = world.await_leader();
    world.run(SECOND);
    let lame = world.other(leader);
    let now = world.now;
    let node = world.node(lame);
    let (live, old, ahead) = (StreamId(1), StreamId(2), StreamId(3));
    for (stream, start_revision) in [(live, 0), (old, 0), (ahead, 1_000)] {
        node.member.watch(0, WatchCall::Open { stream, progress_interval_ns: u64::MAX / 2 }, now);
        let create = watch_all(start_revision);
        node.member.watch(0, WatchCall::Create { stream, credentials: Credentials::Anonymous, create }, now);
    }
    world.run(SECOND);
    let first = world.put(lame, "first", "1");
    world.run(SECOND);
    let others: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != lame).collect();
    world.cut(&[lame]);
    world.run(3 * SECOND);
    let leader = world.await_leader_among(&others);
    world.fill(leader, 0..100);
    world.fill(leader, 100..200);
    world.run(SECOND);
    let seen_before = world.revisions_seen(lame, live);
    assert_eq!(seen_before, [first]);
    world.heal();
    world.run(10 * SECOND);
    assert!(world.node(lame).snapshots_installed > 0);
    let seen = world.revisions_seen(lame, live);
    let expected: Vec<i64> = (first..=first + 200).collect();
    assert_eq!(seen, expected, "nothing is missed and nothing repeated");
    assert!(world.revisions_seen(lame, ahead).is_empty());
    let last = world.put(leader, "last", "1");
    world.run(SECOND);
    assert_eq!(world.revisions_seen(lame, live).last(), Some(&last));

    // The next time, what it missed is compacted.
    world.cut(&[lame]);
    world.run(3 * SECOND);
    let leader = world.await_leader_among(&others);
    world.fill(leader, 200..300);
    world.fill(leader, 300..400);
    let compact = etched_state_machine::Compact { revision: last + 150, physical: true };
    world.call(leader, Request::Propose(Command::Compact(compact))).unwrap();
    world.run(SECOND);
    world.heal();
    world.run(10 * SECOND);
    assert!(world.node(lame).snapshots_installed > 1);
    assert!(world.is_cancelled_as_compacted(lame, live));
    assert!(world.is_cancelled_as_compacted(lame, old));
    world.call(leader, put("more", "1")).unwrap();
    world.assert_equal_states();
}
