//! The v2 API: changes of its tree, those who wait for them, and members that do not keep it.

use etched_replica::{Answer, ApiError, Request, V2Answer, V2Call};
use etched_state_machine::v2store::{Depth, Request as Change, Watched, What, Written};
use etched_state_machine::{Command, Outcome, Refusal, V2Command, V2Done};

use crate::harness::SECOND;
use crate::world::World;

/// The clock of whoever asks.
const UNIX_NS: i64 = 1_700_000_000_000_000_000;

fn set(path: &str, expires_ns: i64) -> Request {
    let written = Written { value: "x".into(), expires_ns, ..Written::default() };
    let change = Change { path: path.into(), what: What::Set(written), now_ns: UNIX_NS };
    Request::Propose(Command::V2(V2Command::Change(change)))
}

fn read(path: &str) -> Request {
    let (path, depth) = (path.to_owned(), Depth::All);
    Request::V2(V2Call::Read { path, depth, is_linearizable: true, now_ns: UNIX_NS })
}

fn wait(path: &str, since: u64) -> Request {
    Request::V2(V2Call::Wait { watched: Watched { path: path.into(), is_recursive: true }, since })
}

fn index_of(answer: Result<Answer, ApiError>) -> u64 {
    match answer {
        Ok(Answer::Applied(Outcome::V2 { done, .. })) => {
            let V2Done::Change(Ok(reply)) = *done else { panic!("{done:?}") };
            reply.index
        }
        Ok(Answer::V2 { answer, .. }) => match *answer {
            V2Answer::Read(Ok(reply)) => reply.index,
            V2Answer::Begun(Ok(begun)) => begun.event.expect("an event is found").index(),
            V2Answer::Read(_)
            | V2Answer::Begun(_)
            | V2Answer::Who(_)
            | V2Answer::Users(_)
            | V2Answer::Roles(_)
            | V2Answer::Stats(..)
            | V2Answer::WasRemoved(_) => panic!("{answer:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_write_waits_until_all_members_keep_the_tree() {
    let (mut world, leader) = World::with_leader(3, 1);
    let other = world.other(leader);
    let waiting = world.submit(other, wait("/1", 4));
    assert_eq!(index_of(world.call(other, set("/1/a", 0))), 4);
    assert_eq!(index_of(world.call(leader, set("/1/b", 0))), 5);
    for id in [leader, other] {
        assert_eq!(index_of(world.call(id, read("/1"))), 5);
    }
    assert_eq!(index_of(world.answer(other, waiting).unwrap()), 4);
    world.run(SECOND);
    world.assert_equal_states();
}

#[test]
fn nodes_expire_when_the_leader_says_so_and_not_otherwise() {
    let (mut world, leader) = World::with_leader(3, 2);
    let other = world.other(leader);
    world.call(leader, set("/1/a", UNIX_NS + 5)).unwrap();
    let expire = |until_ns| Request::V2(V2Call::Expire { until_ns });
    for (id, until_ns) in [(leader, UNIX_NS + 4), (other, UNIX_NS + 9)] {
        world.call(id, expire(until_ns)).unwrap();
        world.run(SECOND);
        assert_eq!(index_of(world.call(id, read("/1/a"))), 4);
    }
    let waiting = world.submit(other, wait("/1/a", 5));
    world.call(leader, expire(UNIX_NS + 5)).unwrap();
    world.run(SECOND);
    assert_eq!(index_of(world.answer(other, waiting).unwrap()), 5);
    world.assert_equal_states();
}

#[test]
fn a_member_that_never_spoke_stops_changes_until_it_is_removed() {
    let (mut world, leader) = World::with_leader(3, 3);
    world.call(leader, set("/1/a", 0)).unwrap();
    // It may be one of etcd's, which could not follow.
    let add = Request::MemberAdd {
        peer_urls: vec!["http://unknown:2380".into()],
        is_learner: true,
        unix_seconds: 1,
    };
    let Ok(Answer::MemberChanged { member: Some(member), .. }) = world.call(leader, add) else {
        panic!("the member is added")
    };
    let write = world.submit(leader, set("/1/a", 0));
    world.run(SECOND);
    assert!(world.answer(leader, write).is_none(), "it might still speak");
    world.run(3 * SECOND);
    let refused = |answer| matches!(answer, Err(ApiError::Refused(Refusal::V2Unsupported)));
    assert!(refused(world.answer(leader, write).unwrap()));
    assert!(refused(world.call(leader, set("/1/a", 0))));
    assert_eq!(index_of(world.call(leader, read("/1/a"))), 4);
    world.call(leader, Request::MemberRemove { id: member.id }).unwrap();
    assert_eq!(index_of(world.call(leader, set("/1/a", 0))), 5);
    world.run(SECOND);
    world.assert_equal_states();
}

#[test]
fn a_member_that_starts_again_has_the_tree_and_its_history() {
    let (mut world, leader) = World::with_leader(3, 4);
    let other = world.other(leader);
    for _ in 0..5 {
        world.call(leader, set("/1/a", 0)).unwrap();
    }
    world.crash(other);
    world.call(leader, set("/1/a", 0)).unwrap();
    world.restart(other);
    assert_eq!(index_of(world.call(other, read("/1/a"))), 9);
    assert_eq!(index_of(world.call(other, wait("/1", 6))), 6);
    world.run(SECOND);
    world.assert_equal_states();
}

#[test]
fn who_does_not_wait_any_more_is_forgotten() {
    let (mut world, leader) = World::with_leader(1, 5);
    let waiting = world.submit(leader, wait("/1", 0));
    world.run(SECOND);
    assert!(world.answer(leader, waiting).is_none());
    world.call(leader, Request::V2(V2Call::Forget { token: waiting })).unwrap();
    assert_eq!(world.answer(leader, waiting).unwrap().unwrap_err(), ApiError::Stopped);
    let stats = world.call(leader, Request::V2(V2Call::Stats)).unwrap();
    let Answer::V2 { answer, .. } = stats else { panic!("{stats:?}") };
    assert!(matches!(*answer, V2Answer::Stats(_, 0)), "{answer:?}");
}
