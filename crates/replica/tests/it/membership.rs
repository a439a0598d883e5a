//! Members come and go, snapshots travel, versions are agreed on.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_replica::raft::{ConfChange, ConfChangeKind, Message};
use etched_replica::{Answer, ApiError, Caller, DowngradeAction, Notice, PeerVersion, Request};
use etched_state_machine::{AlarmRequest, Command, Range, Refusal};

use crate::cluster::everything;
use crate::harness::{Disk, SECOND, put};
use crate::world::{World, peer_url};

fn add(number: u64, is_learner: bool) -> Request {
    Request::MemberAdd { peer_urls: vec![peer_url(number)], is_learner, unix_seconds: 1_700_000_000 }
}

fn added(answer: Result<Answer, ApiError>) -> u64 {
    match answer {
        Ok(Answer::MemberChanged { member: Some(member), members }) => {
            assert!(members.contains(&member));
            assert!(member.name.is_empty());
            member.id
        }
        other => panic!("{other:?}"),
    }
}

/// Lets a member join and waits until it has made itself known.
fn join(world: &mut World, by: u64, number: u64, is_learner: bool) -> u64 {
    let id = added(world.call(by, add(number, is_learner)));
    world.start(id, Disk::default());
    world.run_until("the new member is known", |world| {
        world.node(by).member.members().iter().any(|member| member.id == id && !member.name.is_empty())
    });
    world.run(6 * SECOND);
    id
}

fn refusal(answer: Result<Answer, ApiError>) -> Refusal {
    match answer {
        Err(ApiError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn local() -> Range {
    Range { serializable: true, ..Range::new(everything()) }
}

#[test]
fn a_cluster_grows_from_one_member_to_three() {
    let (mut world, first) = World::with_leader(1, 1);
    world.put(first, "a", "1");
    let second = join(&mut world, first, 2, false);
    let third = join(&mut world, second, 3, false);
    world.put(third, "b", "2");
    world.assert_equal_states();
    assert_eq!(world.node(first).members.len(), 3);
    let refused = refusal(world.call(first, add(3, false)));
    assert!(matches!(refused, Refusal::MemberExists | Refusal::PeerUrlExists), "{refused:?}");
    let bad = Request::MemberAdd { peer_urls: vec!["nonsense".into()], is_learner: false, unix_seconds: 1 };
    assert_eq!(refusal(world.call(first, bad)), Refusal::MemberBadUrls);
    let update = |id| Request::MemberUpdate { id, peer_urls: vec!["nonsense".into()] };
    let id = world.node(first).members[0].id;
    assert_eq!(refusal(world.call(first, update(id))), Refusal::MemberBadUrls);
    assert_eq!(refusal(world.call(first, update(1))), Refusal::MemberNotFound, "as in etcd this comes first");
}

#[test]
fn a_learner_is_promoted_when_it_has_caught_up() {
    let (mut world, leader) = World::with_leader(3, 2);
    world.fill(leader, 0..200);
    let learner = added(world.call(leader, add(4, true)));
    assert_eq!(
        world.call(leader, Request::MemberPromote { id: learner }).unwrap_err(),
        ApiError::LearnerNotReady
    );
    assert_eq!(refusal(world.call(leader, add(5, true))), Refusal::TooManyLearners);
    world.start(learner, Disk::default());
    world.run(6 * SECOND);
    let follower = world.nodes.keys().copied().find(|id| *id != leader && *id != learner).unwrap();
    assert_eq!(
        world.call(follower, Request::MemberPromote { id: learner }).unwrap_err(),
        ApiError::NotLeader
    );
    assert_eq!(
        world.call(leader, Request::MoveLeader { target: learner }).unwrap_err(),
        ApiError::BadLeaderTransferee
    );
    let unknown = refusal(world.call(leader, Request::MemberPromote { id: 7 }));
    assert_eq!(unknown, Refusal::MemberNotFound);
    let voter = refusal(world.call(leader, Request::MemberPromote { id: follower }));
    assert_eq!(voter, Refusal::MemberNotLearner);

    let new_url = Request::MemberUpdate { id: learner, peer_urls: vec![peer_url(44)] };
    world.call(leader, new_url).unwrap();
    world.run(SECOND);
    assert!(world.node(learner).member.report().is_learner, "an update leaves it a learner");
    world.call(leader, Request::MemberPromote { id: learner }).unwrap();
    world.run(SECOND);
    assert!(!world.node(learner).member.report().is_learner);
    assert!(matches!(world.call(leader, Request::MoveLeader { target: learner }), Ok(Answer::Done)));
    assert_eq!(world.await_leader(), learner);
    world.put(follower, "after", "1");
    world.assert_equal_states();
}

#[test]
fn the_quorum_is_not_put_at_risk() {
    let (mut world, leader) = World::with_leader(3, 3);
    let gone = world.other(leader);
    world.crash(gone);
    world.run(6 * SECOND);
    let leader = world.await_leader();
    assert_eq!(world.call(leader, add(4, false)).unwrap_err(), ApiError::Unhealthy);
    let alive = world.nodes.keys().copied().find(|id| *id != leader).unwrap();
    assert_eq!(world.call(leader, Request::MemberRemove { id: alive }).unwrap_err(), ApiError::Unhealthy);
    // The one that is gone may be removed.
    world.call(leader, Request::MemberRemove { id: gone }).unwrap();
    world.put(alive, "a", "1");
    assert_eq!(world.node(leader).member.members().len(), 2);
    assert!(world.node(leader).member.removed().contains(&gone));

    let second = added(world.call(leader, add(5, false)));
    assert_eq!(refusal(world.call(leader, add(6, false))), Refusal::NotEnoughStarted);
    assert_ne!(second, gone);
    world.start(second, Disk::default());
    world.run(6 * SECOND);
    assert_eq!(refusal(world.call(leader, Request::MemberRemove { id: gone })), Refusal::MemberNotFound);
}

/// As in etcd no time is too long for a change of membership, but nothing is changed for a caller that has gone.
#[test]
fn a_change_waits_for_a_quorum_as_long_as_its_caller_does() {
    let (mut world, leader) = World::with_leader(3, 5);
    let alone = world.other(leader);
    let gone: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != alone).collect();
    gone.iter().for_each(|id| world.crash(*id));
    world.run_until("no leader is known", |world| world.node(alone).member.leader() == 0);
    let update = |number| Request::MemberUpdate { id: gone[0], peer_urls: vec![peer_url(number)] };
    let given_up = world.submit(alone, update(50));
    let patient = world.submit(alone, update(51));
    world.run(100 * SECOND);
    assert!(world.answer(alone, given_up).is_none());
    world.node(alone).member.on_caller_gone(Caller { front: 0, token: given_up });
    world.run(SECOND);
    assert!(matches!(world.answer(alone, given_up), Some(Err(ApiError::Timeout))));
    gone.iter().for_each(|id| world.restart(*id));
    world.await_leader();
    world.run(SECOND);
    let answer = world.answer(alone, patient);
    let Some(Ok(Answer::MemberChanged { members, .. })) = answer else { panic!("{answer:?}") };
    let changed = members.iter().find(|member| member.id == gone[0]).unwrap();
    assert_eq!(changed.peer_urls, [peer_url(51)]);
}

#[test]
fn a_removed_member_is_told_and_the_others_go_on() {
    let (mut world, leader) = World::with_leader(3, 4);
    let gone = world.other(leader);
    world.call(leader, Request::MemberRemove { id: gone }).unwrap();
    world.run(3 * SECOND);
    assert!(world.node(gone).notices.contains(&Notice::Removed));
    assert!(world.node(leader).notices.contains(&Notice::MemberRemoved { id: gone }));
    world.crash(gone);
    world.run(6 * SECOND);
    world.put(leader, "a", "1");
    world.restart(gone);
    world.run(2 * SECOND);
    assert!(world.node(gone).notices.contains(&Notice::Removed), "also when it starts again");
    world.crash(gone);
    assert_eq!(world.node(leader).member.members().len(), 2);
}

#[test]
fn a_leader_that_removes_itself_hears_of_it_and_is_replaced() {
    let (mut world, old) = World::with_leader(3, 5);
    world.call(old, Request::MemberRemove { id: old }).unwrap();
    world.run(2 * SECOND);
    assert!(world.node(old).notices.contains(&Notice::Removed));
    world.crash(old);
    let new = world.await_leader();
    assert_ne!(new, old);
    world.put(new, "a", "1");
    world.assert_equal_states();
}

#[test]
fn a_follower_too_far_behind_gets_a_snapshot_and_so_does_a_new_member() {
    for seed in 0..6 {
        let (mut world, _) = World::with_leader(3, 60 + seed);
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            // A short log: settings are those of the next start.
            world.snapshot_entries = 50;
            world.crash(id);
            world.restart(id);
        }
        let leader = world.await_leader();
        world.run(6 * SECOND);
        let lame = world.other(leader);
        world.put(lame, "before", "1");
        world.crash(lame);
        world.fill(leader, 0..100);
        world.fill(leader, 100..200);
        world.run(SECOND);
        world.restart(lame);
        if seed % 2 == 1 {
            world.faults.loss_percent = 20;
            world.faults.delay_max = 100_000_000;
        }
        world.run(10 * SECOND);
        world.faults = crate::world::Faults::default();
        world.run(5 * SECOND);
        assert!(world.node(lame).snapshots_installed > 0, "seed {seed}");
        let leader = world.await_leader();
        world.put(leader, "after", "1");
        world.assert_equal_states();

        // After the next crash it starts from what it was sent.
        world.crash(lame);
        world.restart(lame);
        world.run(5 * SECOND);
        assert!(world.range(lame, local()).unwrap().len() > 200);
        world.run(6 * SECOND);
        let leader = world.await_leader();
        let fourth = join(&mut world, leader, 4, false);
        assert!(world.node(fourth).snapshots_installed > 0);
        world.assert_equal_states();
        let versions = world.node(fourth).member.report();
        assert!(!versions.storage_version.is_empty() || versions.cluster_version.is_empty());
    }
}

/// The leader used to forget the entries behind the snapshot while the follower took it up, and to send the next one.
#[test]
fn a_follower_that_takes_its_snapshot_up_slowly_is_not_sent_another() {
    let (mut world, _) = World::with_leader(3, 90);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.snapshot_entries = 50;
        world.crash(id);
        world.restart(id);
    }
    let leader = world.await_leader();
    world.run(6 * SECOND);
    let lame = world.other(leader);
    world.crash(lame);
    world.fill(leader, 0..200);
    world.run(SECOND);
    world.restart(lame);
    world.run_until("a snapshot is there", |world| world.node(lame).snapshots_installed > 0);
    world.node(lame).is_paused = true;
    world.fill(leader, 200..500);
    world.resume(lame);
    world.run(5 * SECOND);
    assert_eq!((world.node(lame).snapshots_installed, world.node(leader).snapshots_sent), (1, 1));
    world.assert_equal_states();
    // When it has caught up, older entries are forgotten again.
    world.fill(leader, 500..700);
    world.run(SECOND);
    world.crash(lame);
    world.fill(leader, 700..900);
    world.restart(lame);
    world.run(5 * SECOND);
    assert!(world.node(lame).snapshots_installed > 0, "the log does not reach back so far");
}

#[test]
fn a_crash_between_a_snapshot_and_its_record_leaves_the_old_state() {
    let (mut world, _) = World::with_leader(3, 7);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.snapshot_entries = 50;
        world.crash(id);
        world.restart(id);
    }
    let leader = world.await_leader();
    let lame = world.other(leader);
    world.crash(lame);
    world.fill(leader, 0..100);
    world.fill(leader, 100..200);
    world.run(SECOND);
    world.restart(lame);
    world.node(lame).is_disk_stalled = true;
    world.run_until("the snapshot is there, and not on record", |world| {
        world.node(lame).snapshots_installed > 0
    });
    world.crash(lame);
    world.restart(lame);
    assert!(world.range(lame, local()).unwrap().is_empty(), "the old state");
    world.run(10 * SECOND);
    assert!(world.node(lame).snapshots_installed > 0, "another one is sent");
    world.assert_equal_states();
}

fn conf_change(kind: ConfChangeKind, node_id: u64, context: &'static str) -> Bytes {
    ConfChange { id: 1, kind, node_id, context: Bytes::from_static(context.as_bytes()) }.encode()
}

/// A proposal that one member passes on to the leader, by the bytes.
fn proposal(from: u64, to: u64, kind: u8, data: &[u8]) -> Message {
    fn varint(mut number: u64, bytes: &mut Vec<u8>) {
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
    }
    let mut entry = vec![0x08, kind, 0x22];
    varint(data.len() as u64, &mut entry);
    entry.extend_from_slice(data);
    let mut bytes = vec![0x08, 2, 0x10];
    varint(to, &mut bytes);
    bytes.push(0x18);
    varint(from, &mut bytes);
    bytes.push(0x3a);
    varint(entry.len() as u64, &mut bytes);
    bytes.extend(entry);
    Message::decode(&bytes.into()).unwrap()
}

#[test]
fn changes_that_make_no_sense_stop_nobody() {
    let (mut world, leader) = World::with_leader(3, 8);
    let applied = world.node(leader).member.report().raft_applied;
    let other = world.other(leader);
    let remove_two = [0x12, 4, 0x08, 1, 0x10, 9, 0x12, 4, 0x08, 1, 0x10, 8];
    let changes = [
        (1, conf_change(ConfChangeKind::AddNode, 9, "nonsense")),
        (1, conf_change(ConfChangeKind::RemoveNode, 9, "")),
        (1, conf_change(ConfChangeKind::UpdateNode, 0, "{}")),
        (2, Bytes::new()),
        (2, Bytes::copy_from_slice(&remove_two)),
        (2, Bytes::from_static(&[0x12, 2, 0x10, 9, 0x1a, 1, b'x'])),
    ];
    for (kind, data) in changes {
        let message = proposal(other, leader, kind, &data);
        let now = world.now;
        world.node(leader).member.step(message, now).unwrap();
        world.run(SECOND);
    }
    world.run(3 * SECOND);
    world.put(leader, "a", "1");
    assert!(world.node(leader).member.report().raft_applied > applied);
    assert_eq!(world.node(leader).member.members().len(), 3);
    world.assert_equal_states();
}

fn versions(world: &World, server: &str) -> BTreeMap<u64, Option<PeerVersion>> {
    let version = PeerVersion { server: server.into(), cluster: String::new() };
    world.nodes.keys().map(|id| (*id, Some(version.clone()))).collect()
}

#[test]
fn the_cluster_agrees_on_the_lowest_version_and_raises_it_when_all_are_known() {
    let (mut world, leader) = World::with_leader(3, 9);
    assert_eq!(world.node(leader).member.report().cluster_version, "");
    let mut known = versions(&world, "3.7.2");
    let other = world.other(leader);
    known.insert(other, None);
    world.node(leader).member.on_peer_versions(known.clone());
    world.run(SECOND);
    assert_eq!(world.node(leader).member.report().cluster_version, "3.0.0");
    known.insert(other, Some(PeerVersion { server: "3.6.1".into(), cluster: String::new() }));
    world.node(leader).member.on_peer_versions(known);
    world.run(2 * SECOND);
    assert_eq!(world.node(other).member.report().cluster_version, "3.6.0");
    let all = versions(&world, "3.7.2");
    world.node(leader).member.on_peer_versions(all);
    world.run(2 * SECOND);
    assert_eq!(world.node(other).member.report().cluster_version, "3.7.0");
    assert_eq!(world.node(other).member.report().storage_version, "3.7.0");
    let lower = versions(&world, "3.6.0");
    world.node(leader).member.on_peer_versions(lower);
    world.run(2 * SECOND);
    assert_eq!(world.node(other).member.report().cluster_version, "3.7.0", "it is never lowered by itself");
}

#[test]
fn a_downgrade_lowers_the_cluster_and_is_over_when_all_are_down() {
    let (mut world, leader) = World::with_leader(3, 10);
    let downgrade = |action, version: &str| Request::Downgrade { action, version: version.to_owned() };
    let unavailable = world.call(leader, downgrade(DowngradeAction::Validate, "3.6.0")).unwrap_err();
    assert_eq!(unavailable, ApiError::ClusterVersionUnavailable);
    let all = versions(&world, "3.7.2");
    world.node(leader).member.on_peer_versions(all.clone());
    world.run(2 * SECOND);
    for (version, error) in [
        ("x", ApiError::DowngradeVersionFormat),
        ("3.5.0", ApiError::DowngradeTarget),
        ("3.7.0", ApiError::DowngradeTarget),
    ] {
        assert_eq!(world.call(leader, downgrade(DowngradeAction::Enable, version)).unwrap_err(), error);
    }
    let other = world.other(leader);
    let valid = world.call(other, downgrade(DowngradeAction::Validate, "3.6"));
    assert!(matches!(valid, Ok(Answer::ClusterVersion(version)) if version == "3.7"));
    world.call(other, downgrade(DowngradeAction::Enable, "3.6.0")).unwrap();
    assert_eq!(world.node(other).member.report().downgrade_target.as_deref(), Some("3.6.0"));
    let again = world.call(other, downgrade(DowngradeAction::Enable, "3.6.0")).unwrap_err();
    assert_eq!(again, ApiError::DowngradeInProcess);
    world.node(leader).member.on_peer_versions(all);
    world.run(2 * SECOND);
    assert_eq!(world.node(other).member.report().cluster_version, "3.6.0");
    assert_eq!(world.node(other).member.report().storage_version, "3.6.0", "the stored data follows");
    world.call(other, downgrade(DowngradeAction::Cancel, "")).unwrap();
    assert_eq!(world.node(other).member.report().downgrade_target, None);
    world.run(SECOND);
    world.assert_equal_states();
}

#[test]
fn force_new_cluster_leaves_one_member_with_all_that_was_committed() {
    for seed in 0..6 {
        let (mut world, leader) = World::with_leader(3, 200 + seed);
        world.fill(leader, 0..50);
        // A follower that has not heard of it would drop what is committed.
        world.run(SECOND);
        let survivor = [leader, world.other(leader)][usize::try_from(seed % 2).unwrap()];
        if seed >= 4 {
            world.cut(&[survivor]);
            world.submit(survivor, put("uncommitted", "1"));
            world.run(SECOND / 10);
        }
        for id in world.nodes.keys().copied().collect::<Vec<_>>() {
            world.crash(id);
        }
        let disk = world.stopped.remove(&survivor).unwrap();
        world.heal();
        world.start_with(survivor, disk, true);
        world.run(5 * SECOND);
        assert_eq!(world.leader(), Some(survivor));
        assert_eq!(world.node(survivor).member.members().len(), 1);
        assert_eq!(world.range(survivor, local()).unwrap().len(), 50);
        world.put(survivor, "after", "1");
        // It stays alone after a usual start.
        world.crash(survivor);
        world.restart(survivor);
        world.run(SECOND);
        assert_eq!(world.node(survivor).member.members().len(), 1);
        assert_eq!(world.range(survivor, local()).unwrap().len(), 51);
        let second = join(&mut world, survivor, 9, false);
        world.put(second, "more", "1");
        world.stopped.clear();
        world.assert_equal_states();
    }
}

#[test]
fn an_alarm_of_one_member_counts_for_all() {
    let (mut world, leader) = World::with_leader(3, 11);
    let other = world.other(leader);
    let alarm =
        |action, member_id| Request::Propose(Command::Alarm(AlarmRequest { action, member_id, alarm: 1 }));
    world.call(other, alarm(1, other)).unwrap();
    world.run(SECOND);
    assert_eq!(refusal(world.call(leader, put("a", "1"))), Refusal::NoSpace);
    world.call(leader, alarm(2, leader)).unwrap();
    assert_eq!(refusal(world.call(leader, put("a", "1"))), Refusal::NoSpace, "it is another member's alarm");
    world.call(leader, alarm(2, other)).unwrap();
    world.put(leader, "a", "1");
}

#[test]
fn force_new_cluster_drops_learners_too() {
    // etcd issues 12288 and 20896, the latter with a snapshot just made.
    let (mut world, leader) = World::with_leader(3, 230);
    world.fill(leader, 0..20);
    let learner = join(&mut world, leader, 4, true);
    world.run(SECOND);
    for id in world.nodes.keys().copied().collect::<Vec<_>>() {
        world.crash(id);
    }
    let disk = world.stopped.remove(&leader).unwrap();
    world.start_with(leader, disk, true);
    world.run(5 * SECOND);
    assert_eq!(world.leader(), Some(leader));
    let members = world.node(leader).member.members();
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [leader]);
    assert!(world.node(leader).member.removed().contains(&learner));
    world.put(leader, "after", "1");
    assert_eq!(world.range(leader, local()).unwrap().len(), 21);
}
