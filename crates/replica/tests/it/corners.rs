//! Where the member's parts meet: a slow backend, a backend that fails, the end, checkpoints of leases.

use etched_key_range::KeyRange;
use etched_replica::{Answer, ApiError, Notice, Request};
use etched_state_machine::{Command, Compact, DeleteRange, Outcome, Put, Range, RangeQuery, Refusal};

use crate::harness::{Harness, SECOND, Settings, put};

fn all() -> Range {
    Range::new(RangeQuery::new(KeyRange::all()))
}

fn compact(revision: i64, physical: bool) -> Request {
    Request::Propose(Command::Compact(Compact { revision, physical }))
}

/// The hash was once planned when the commit that it waited for was done. A compaction that had gone on meanwhile had
/// its deletions in the next batch: the plan did not know them any more, and the view still had what they delete.
#[test]
fn a_hash_that_waits_for_a_slow_commit_is_not_changed_by_a_compaction_meanwhile() {
    let mut harness = Harness::new();
    for number in 0..500 {
        harness.put("a", &number.to_string());
    }
    let Ok(Answer::HashKv(before)) = harness.call(Request::HashKv { revision: 0 }) else {
        panic!("the hash is computed")
    };
    harness.holds_commits = true;
    let read = harness.submit(Request::HashKv { revision: 0 });
    harness.step();
    let done = harness.submit(compact(400, false));
    harness.run();
    assert!(harness.answer(done).is_some());
    assert!(harness.notices.contains(&Notice::CompactionFinished { revision: 400, took_ns: 0 }));
    harness.release_commit();
    let Some(Ok(Answer::HashKv(after))) = harness.answer(read) else { panic!("the hash is computed") };
    assert_eq!(after, before);
}

/// A compaction once waited until no large read was under way, so that clients that list all the time kept it away.
#[test]
fn a_compaction_goes_on_while_reads_above_it_never_end() {
    let mut harness = Harness::new();
    harness.fill(5_000, "old");
    harness.fill(5_000, "new");
    harness.advance(SECOND);
    let revision = harness.member.report().revision;
    let done = harness.submit(compact(revision, true));
    for _ in 0..300 {
        harness.submit(Request::Range(all()));
        harness.step();
    }
    assert!(matches!(harness.answer(done), Some(Ok(Answer::Applied(Outcome::Compact { .. })))));
}

/// The index of an entry that failed half-way once reached the backend, with what it had done so far.
#[test]
fn an_entry_that_fails_leaves_nothing_for_the_backend() {
    let mut harness = Harness::new();
    harness.fill(100, &"x".repeat(1_000));
    harness.advance(SECOND);
    let commits = harness.commits;
    harness.now += SECOND;
    harness.submit(put("b", "1"));
    let delete = DeleteRange { range: KeyRange::all(), prev_kv: true };
    harness.submit(Request::Propose(Command::DeleteRange(delete)));
    harness.member.want_snapshot();
    harness.holds_commits = true;
    harness.run_without_backend();
    assert!(harness.member.failure().is_some());
    let wanted_before_the_entry = 1;
    assert!(harness.commits <= commits + wanted_before_the_entry);
    harness.release_commit_after_failure();
    assert!(harness.commits <= commits + wanted_before_the_entry);
}

#[test]
fn everybody_who_waits_is_answered_once_when_the_member_ends() {
    let mut harness = Harness::new();
    harness.fill(5_000, "old");
    harness.call(Request::Propose(Command::LeaseGrant { id: 7, ttl: 2 })).expect("the lease is granted");
    harness.advance(SECOND);
    harness.holds_commits = true;
    let mut tokens = vec![
        harness.submit(compact(4_000, true)),
        harness.submit(Request::HashKv { revision: 0 }),
        harness.submit(Request::Range(all())),
    ];
    harness.step();
    harness.holds_persists = true;
    tokens.push(harness.submit(Request::Hash));
    tokens.push(harness.submit(put("a", "1")));
    harness.step();
    tokens.push(harness.submit(Request::Barrier));
    tokens.push(harness.submit(put("b", "1")));
    harness.now += 5 * SECOND;
    tokens.push(harness.submit(Request::LeaseRenew { id: 7 }));
    harness.member.refuse_all(&ApiError::Stopped);
    harness.carry_out();
    for token in tokens {
        let answer = harness.answer(token);
        let is_compaction = matches!(answer, Some(Ok(Answer::Applied(Outcome::Compact { .. }))));
        assert!(answer.is_some(), "request {token} is answered");
        assert!(!is_compaction, "its deletions are not committed");
        assert!(harness.answer(token).is_none(), "request {token} is answered once");
    }
}

/// A renewal was once answered before the checkpoint was cleared; after a crash in between the lease had the little life
/// that the checkpoint said, though its owner had been promised the whole.
#[test]
fn a_renewal_is_answered_when_the_checkpoint_of_the_lease_is_cleared() {
    let mut harness = Harness::new();
    harness.call(Request::Propose(Command::LeaseGrant { id: 7, ttl: 1_000 })).expect("the lease is granted");
    harness.advance(700 * SECOND);
    harness.holds_persists = true;
    let renewal = harness.submit(Request::LeaseRenew { id: 7 });
    harness.run();
    assert!(harness.answer_is_pending(renewal));
    harness.release_persists();
    assert!(matches!(harness.answer(renewal), Some(Ok(Answer::LeaseRenewed { ttl: 1_000 }))));
    let mut harness = harness.crash(Settings::default());
    let left = harness.call(Request::LeaseTimeToLive { id: 7, keys: false });
    assert!(matches!(left, Ok(Answer::LeaseTimeToLive(Some(left))) if left.remaining >= 1_000));
}

/// A caller that waited for the alarm to be raised had no deadline, and each one raised it again.
#[test]
fn the_alarm_is_raised_once_and_a_caller_does_not_wait_for_it_longer_than_for_anything_else() {
    let mut harness = Harness::with(Settings { quota_bytes: 1, snapshot_entries: 1, ..Settings::default() });
    harness.advance(SECOND);
    harness.holds_persists = true;
    let late = harness.submit(put("a", "1"));
    harness.advance(8 * SECOND);
    assert!(matches!(harness.answer(late), Some(Err(ApiError::Timeout))));
    harness.release_persists();
    let applied = harness.member.report().raft_applied;
    for _ in 0..10 {
        assert_eq!(harness.refusal(put("a", "1")), Refusal::NoSpace);
    }
    assert_eq!(harness.member.report().raft_applied, applied);
}

/// Callers of long compactions were once kept among those that have a deadline, where every later request is kept as
/// long as they are.
#[test]
fn a_caller_of_a_long_compaction_is_not_late() {
    let mut harness = Harness::new();
    harness.fill(500, "old");
    harness.advance(SECOND);
    harness.holds_commits = true;
    let done = harness.submit(compact(400, true));
    harness.advance(60 * SECOND);
    assert!(harness.answer_is_pending(done));
    harness.release_commit();
    assert!(matches!(harness.answer(done), Some(Ok(Answer::Applied(Outcome::Compact { .. })))));
}

/// A member that starts again is known to its cluster; it once let its clients in before its log was applied.
#[test]
fn a_member_that_starts_again_is_ready_when_its_log_is_applied() {
    let mut harness = Harness::new();
    harness.put("a", "1");
    let mut harness = harness.restart_without_running(Settings::default());
    harness.holds_persists = true;
    harness.run();
    assert!(!harness.notices.contains(&Notice::Published));
    harness.release_persists();
    assert!(harness.notices.contains(&Notice::Published));
    let put = Put { key: "b".into(), value: "2".into(), ..Put::default() };
    harness.call(Request::Propose(Command::Put(put))).expect("the member leads");
}
