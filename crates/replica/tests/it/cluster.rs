//! Clusters: elections, replication, reads, faults.

use etched_key_range::KeyRange;
use etched_replica::{Answer, ApiError, Request};
use etched_state_machine::{Range, RangeQuery};

use crate::harness::{SECOND, put};
use crate::world::{World, id};

pub(crate) fn everything() -> RangeQuery {
    RangeQuery::new(KeyRange::all())
}

fn key(key: &str) -> RangeQuery {
    RangeQuery::new(KeyRange::single(bytes::Bytes::copy_from_slice(key.as_bytes())))
}

fn linearizable(query: RangeQuery) -> Range {
    Range { serializable: false, ..Range::new(query) }
}

#[test]
fn clusters_of_all_sizes_elect_a_leader_and_replicate() {
    for size in [1, 3, 5, 7] {
        let (mut world, leader) = World::with_leader(size, size);
        world.put(leader, "a", "1");
        let other = world.nodes.keys().copied().find(|id| *id != leader).unwrap_or(leader);
        world.put(other, "b", "2");
        let found = world.range(other, linearizable(everything())).unwrap();
        assert_eq!(found, [("a".into(), "1".into(), 1), ("b".into(), "2".into(), 1)]);
        world.assert_equal_states();
        let members = world.node(other).member.members();
        assert_eq!(members.len() as u64, size);
        assert!(members.iter().all(|member| member.name.starts_with('m')), "{members:?}");
        assert_eq!(world.node(other).members, members);
    }
}

#[test]
fn a_member_of_several_does_not_campaign_at_once() {
    let mut world = World::found(3, 1);
    world.run(500_000_000);
    assert_eq!(world.leader(), None);
    let leader = world.await_leader();
    assert!((1..=3).any(|number| id(number) == leader));
}

#[test]
fn members_that_find_each_other_elect_earlier_than_an_election_timeout() {
    for seed in 1..20 {
        let mut world = World::found_with(3, seed, true);
        world.await_leader();
        assert!(world.now < 100 * SECOND + 1_500_000_000, "seed {seed}: {}", world.now);
        assert_eq!(world.node(id(1)).member.report().raft_term, 2, "one election was enough");
    }
}

#[test]
fn a_leader_whose_process_ends_is_replaced_within_a_few_heartbeats() {
    for seed in 1..20 {
        let (mut world, leader) = World::with_leader(3, seed);
        let term = world.node(leader).member.report().raft_term;
        let other = world.other(leader);
        world.crash(leader);
        let began = world.now;
        let write = world.submit(other, put("a", "1"));
        world.run_until("an answer", |world| world.answer(other, write).is_some());
        assert!(world.now - began < 500_000_000, "seed {seed}: {}", world.now - began);
        assert_eq!(world.node(other).member.report().raft_term, term + 1, "one election was enough");
    }
}

#[test]
fn rumours_that_the_leader_is_gone_neither_depose_it_nor_lose_a_request() {
    let (mut world, leader) = World::with_leader(3, 5);
    let term = world.node(leader).member.report().raft_term;
    let others: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
    let mut asked = Vec::new();
    for round in 0..40 {
        others.iter().for_each(|other| world.tell_gone(*other, leader));
        for other in &others {
            asked.push((*other, world.submit(*other, put(&format!("{other}-{round}"), "v"))));
            asked.push((*other, world.submit(*other, Request::Range(linearizable(everything())))));
        }
        world.run(130_000_000);
    }
    world.run(SECOND);
    for (member, token) in asked {
        assert!(matches!(world.answer(member, token), Some(Ok(_))));
    }
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.node(leader).member.report().raft_term, term);
}

#[test]
fn a_leader_that_one_member_does_not_reach_stays() {
    let (mut world, leader) = World::with_leader(3, 6);
    let term = world.node(leader).member.report().raft_term;
    let other = world.other(leader);
    for one_way in [(leader, other), (other, leader)] {
        world.cuts.insert(one_way);
        for _ in 0..20 {
            world.tell_gone(other, leader);
            world.run(250_000_000);
        }
        world.heal();
        world.run(SECOND);
        assert_eq!(world.leader(), Some(leader));
        assert_eq!(world.node(other).member.leader(), leader);
        assert_eq!(world.node(leader).member.report().raft_term, term);
    }
}

#[test]
fn proposals_and_reads_wait_for_a_leader() {
    let mut world = World::found(3, 2);
    let member = id(1);
    let write = world.submit(member, put("a", "1"));
    let read = world.submit(member, Request::Range(linearizable(everything())));
    world.run(300_000_000);
    assert!(world.answer(member, write).is_none() && world.answer(member, read).is_none());
    world.await_leader();
    world.run(SECOND);
    assert!(matches!(world.answer(member, write), Some(Ok(_))));
    assert!(matches!(world.answer(member, read), Some(Ok(Answer::Range(_)))));
}

#[test]
fn without_a_leader_the_deadline_comes_and_nothing_is_proposed() {
    let (mut world, leader) = World::with_leader(3, 3);
    let other = world.other(leader);
    world.cut(&[other]);
    world.run(5 * SECOND);
    let write = world.submit(other, put("a", "1"));
    let read = world.submit(other, Request::Range(linearizable(everything())));
    world.run(8 * SECOND);
    assert_eq!(world.answer(other, write).unwrap().unwrap_err(), ApiError::DeadlineExceeded);
    assert_eq!(world.answer(other, read).unwrap().unwrap_err(), ApiError::Timeout);
    world.heal();
    world.run(5 * SECOND);
    world.assert_equal_states();
    assert_eq!(world.range(other, linearizable(everything())).unwrap(), []);
}

#[test]
fn an_isolated_leader_confirms_neither_reads_nor_writes() {
    let (mut world, old) = World::with_leader(3, 4);
    world.put(old, "a", "1");
    world.cut(&[old]);
    let read = world.submit(old, Request::Range(linearizable(everything())));
    let write = world.submit(old, put("a", "stale"));
    world.run(SECOND / 2);
    assert!(world.answer(old, read).is_none() && world.answer(old, write).is_none());
    let new = world.await_other_leader(old);
    world.put(new, "a", "2");
    world.run(3 * SECOND);
    assert!(!world.node(old).member.report().is_leader, "check-quorum deposes it");
    assert!(!matches!(world.answer(old, read), Some(Ok(_))));
    world.heal();
    world.run(8 * SECOND);
    assert!(!matches!(world.answer(old, write), Some(Ok(_))));
    let found = world.range(old, linearizable(key("a"))).unwrap();
    assert_eq!(found, [("a".into(), "2".into(), 2)], "the write of the old leader is lost, and says so");
    world.assert_equal_states();
}

#[test]
fn a_leader_that_was_paused_serves_no_stale_read() {
    for (seed, is_deaf) in [(5, false), (6, true), (7, false), (8, true)] {
        let (mut world, old) = World::with_leader(3, seed);
        world.put(old, "a", "1");
        world.node(old).is_paused = true;
        let new = world.await_other_leader(old);
        world.put(new, "a", "2");
        if is_deaf {
            world.resume_deaf(old);
        } else {
            world.resume(old);
        }
        let read = world.submit(old, Request::Range(linearizable(key("a"))));
        world.run(8 * SECOND);
        match world.answer(old, read).expect("it is answered") {
            Ok(answer) => {
                let found = crate::world::records(answer);
                assert_eq!(found, [("a".into(), "2".into(), 2)]);
            }
            Err(error) => assert_eq!(error, ApiError::LeaderChanged),
        }
    }
}

/// etcd-io/raft#397: the confirmation of an old leader's question must not count for a new leader's.
#[test]
fn a_read_that_is_asked_again_is_never_answered_for_an_older_question() {
    for seed in 0..30 {
        let (mut world, old) = World::with_leader(3, 100 + seed);
        let reader = world.other(old);
        world.put(old, "a", "1");
        // Questions reach the old leader, answers to its heartbeats do not: it asks and cannot confirm.
        world.faults.delay_max = 400_000_000;
        world.faults.repeat_percent = 30;
        let early = world.submit(reader, Request::Range(linearizable(key("a"))));
        world.run(100_000_000);
        world.node(old).is_paused = true;
        let new = world.await_other_leader(old);
        world.faults.delay_max = 0;
        let revision = world.put(new, "a", "2");
        assert!(revision > 0);
        let late = world.submit(reader, Request::Range(linearizable(key("a"))));
        world.resume(old);
        world.faults.delay_max = 400_000_000;
        world.run(8 * SECOND);
        // The early one may see either.
        assert!(world.answer(reader, early).is_some());
        if let Some(Ok(answer)) = world.answer(reader, late) {
            assert_eq!(crate::world::records(answer), [("a".into(), "2".into(), 2)], "seed {seed}");
        }
    }
}

#[test]
fn a_one_way_partition_of_a_follower_does_not_depose_the_leader() {
    let (mut world, leader) = World::with_leader(3, 9);
    let deaf = world.other(leader);
    let term = world.node(leader).member.report().raft_term;
    for id in world.nodes.keys().copied().filter(|id| *id != deaf).collect::<Vec<_>>() {
        world.cuts.insert((id, deaf));
    }
    world.run(20 * SECOND);
    assert_eq!(world.leader(), Some(leader));
    world.put(leader, "a", "1");
    world.heal();
    world.run(5 * SECOND);
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.node(leader).member.report().raft_term, term);
    world.assert_equal_states();
}

#[test]
fn a_leader_whose_disk_stands_still_gives_way_and_acknowledges_nothing() {
    let (mut world, old) = World::with_leader(3, 10);
    world.node(old).is_disk_stalled = true;
    let write = world.submit(old, put("a", "1"));
    world.run(4 * SECOND);
    let new = world.leader().expect("another one leads");
    assert_ne!(new, old);
    assert!(!matches!(world.answer(old, write), Some(Ok(_))));
    world.put(new, "b", "2");
    world.node(old).release_disk();
    world.run(8 * SECOND);
    world.assert_equal_states();
}

#[test]
fn a_lone_leader_with_a_slow_disk_stays() {
    let (mut world, leader) = World::with_leader(1, 11);
    world.node(leader).is_disk_stalled = true;
    let write = world.submit(leader, put("a", "1"));
    world.run(5 * SECOND);
    assert!(world.node(leader).member.report().is_leader);
    world.node(leader).release_disk();
    world.run(SECOND);
    assert!(matches!(world.answer(leader, write), Some(Ok(_))));
}

#[test]
fn a_timeout_says_what_may_be_the_cause() {
    let (mut world, leader) = World::with_leader(3, 12);
    let other = world.other(leader);
    world.cut(&[other]);
    // It still believes in its leader, and passes the proposal on.
    let write = world.submit(other, put("a", "1"));
    world.run(8 * SECOND);
    assert_eq!(world.answer(other, write).unwrap().unwrap_err(), ApiError::Timeout);
    world.heal();
    world.run(5 * SECOND);

    let leader = world.await_leader();
    world.cut(&[leader]);
    let write = world.submit(leader, put("b", "2"));
    let new = world.await_other_leader(leader);
    world.heal();
    world.run(8 * SECOND);
    assert_ne!(new, leader);
    assert_eq!(world.answer(leader, write).unwrap().unwrap_err(), ApiError::TimeoutLeaderFailed);
    world.assert_equal_states();
}

/// Unique keys show whether anything is applied twice, or acknowledged and lost; reads show whether they are stale.
#[test]
fn under_faults_nothing_acknowledged_is_lost_and_nothing_is_applied_twice() {
    for seed in 0..20 {
        let size = [3, 5][usize::try_from(seed % 2).unwrap()];
        let mut world = World::found(size, 1_000 + seed);
        world.snapshot_entries = 40;
        world.faults = crate::world::Faults {
            loss_percent: seed % 10,
            repeat_percent: 5,
            delay_max: 30_000_000 * (1 + seed % 4),
        };
        crate::chaos::run(&mut world, size, 40);
    }
}
