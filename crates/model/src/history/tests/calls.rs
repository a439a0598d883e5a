//! Calls: what they did, what they saw, and when.

use super::world::{STEP, World, compare, delete, put, put_step, put_with, txn};
use super::{breaks, broken, holds, verdict};
use crate::history::{Body, Message, Outcome, Range, Refusal, Relation, Request, Target};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_store_that_does_everything_right_passes() {
    let world = World::busy();
    holds(&world);
    assert_eq!(verdict(&world).revision, world.revision());
}

#[test]
fn a_stale_read_is_found_by_its_revision() {
    let mut world = World::busy();
    let old = world.read("a", "");
    let answer = world.answer(old).clone();
    world.put("a", "new");
    let stale = world.read("a", "");
    *world.answer(stale) = answer;
    breaks(&world, "stale read");
}

#[test]
fn a_stale_read_is_found_after_a_watch_told_of_more() {
    let mut world = World::new();
    let old = world.read("a", "");
    let answer = world.answer(old).clone();
    world.unanswered(put("a", "new"), true);
    let stale = world.read("a", "");
    *world.answer(stale) = answer;
    breaks(&world, "stale read");
}

#[test]
fn a_stale_read_with_a_wrong_revision_is_found_by_the_search() {
    let mut world = World::new();
    for round in 0..30 {
        world.put("solo", &round.to_string());
        world.read("solo", "");
    }
    assert_eq!(verdict(&world).searched.keys, 1);
    let read = world.read("solo", "");
    if let Body::Range { records, .. } = &mut world.answer(read).body {
        records[0].value = "28".into();
        records[0].version = 29;
    }
    breaks(&world, "linearizable");
    breaks(&world, "reads of one state");
}

#[test]
fn a_serializable_read_may_be_old_but_is_of_one_state() {
    let mut world = World::busy();
    let request =
        Request::Range(Range { key: "a".into(), end: "z".into(), serializable: true, ..Range::default() });
    let old = world.call(request.clone());
    let answer = world.answer(old).clone();
    world.put("a", "new");
    world.put("b", "new");
    let read = world.call(request);
    let new = std::mem::replace(world.answer(read), answer);
    assert_eq!(broken(&world), ["a member goes back"], "the same member had told more");
    world.history.calls[read].member = 1;
    holds(&world);
    if let (Body::Range { records, .. }, Body::Range { records: new, .. }) =
        (&mut world.answer(read).body, new.body)
    {
        records.push(new[0].clone());
    }
    breaks(&world, "reads of one state");
}

#[test]
fn a_read_of_the_future_is_found() {
    let mut world = World::new();
    let read = world.read("a", "");
    world.put("a", "1");
    let later = world.read("a", "");
    *world.answer(read) = world.answer(later).clone();
    breaks(&world, "order of writes");
}

#[test]
fn a_lost_write_is_found() {
    let mut world = World::busy();
    let lost = world.put("a", "lost");
    world.history.streams[0].told.pop();
    breaks(&world, "durable");
    world.history.calls[lost].outcome = Outcome::Unknown;
    holds(&world);
}

#[test]
fn a_lost_write_below_others_is_found() {
    let mut world = World::busy();
    let made = world.put("b", "made");
    let answer = world.answer(made).clone();
    world.record(put("a", "lost"), Outcome::Answered(answer));
    breaks(&world, "durable");
    breaks(&world, "one write a revision");
}

#[test]
fn a_write_that_happened_twice_is_found() {
    let mut world = World::new();
    world.put("a", "1");
    world.execute(&put("a", "1"));
    breaks(&world, "at most once");
    let mut world = World::new();
    world.unanswered(put("a", "1"), true);
    holds(&world);
    world.execute(&put("a", "1"));
    breaks(&world, "at most once");
}

#[test]
fn unanswered_deletions_share_what_they_explain() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("b", "1");
    let range = |end: &str| {
        Request::Delete(crate::history::Delete { key: "a".into(), end: end.into(), previous: false })
    };
    // The wide one made the second revision, because the narrow one can only have made the first.
    world.unanswered(range("c"), false);
    world.unanswered(delete("a"), false);
    world.execute(&delete("a"));
    world.execute(&delete("b"));
    holds(&world);
    assert_eq!(verdict(&world).found, 2);
    world.put("b", "2");
    world.execute(&delete("b"));
    breaks(&world, "at most once");
}

#[test]
fn an_unanswered_call_explains_nothing_that_was_known_before_it() {
    let mut world = World::new();
    world.execute(&put("a", "1"));
    world.time += STEP;
    world.unanswered(put("a", "1"), false);
    breaks(&world, "at most once");
}

#[test]
fn writes_out_of_order_are_found() {
    let mut world = World::new();
    let first = world.put("a", "1");
    let second = world.put("b", "1");
    let (one, other) = (world.history.calls[first].clone(), world.history.calls[second].clone());
    world.history.calls[first].request = other.request;
    world.history.calls[first].outcome = other.outcome;
    world.history.calls[second].request = one.request;
    world.history.calls[second].outcome = one.outcome;
    world.history.streams[0].told.iter_mut().for_each(|told| told.at += 10 * STEP);
    assert_eq!(broken(&world), ["order of writes"]);
}

#[test]
fn a_wrong_answer_of_a_transaction_is_found() {
    let mut world = World::busy();
    let absent = vec![compare("new", Relation::Equal, Target::Version(0))];
    let place = world.call(txn(absent.clone(), vec![put_step("new", "1")], vec![]));
    let again = world.call(txn(absent, vec![put_step("new", "2")], vec![]));
    holds(&world);
    let wrong = world.answer(again).body.clone();
    assert_eq!(wrong, Body::Txn { succeeded: false, steps: vec![] });
    world.answer(again).body = Body::Txn { succeeded: true, steps: vec![] };
    breaks(&world, "reads of one state");
    world.answer(again).body = wrong;
    world.answer(place).body = Body::Txn { succeeded: false, steps: vec![Body::Put { previous: None }] };
    breaks(&world, "answers");
}

#[test]
fn a_compare_sees_versions_values_and_revisions() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("a", "2");
    for (relation, target, expected) in [
        (Relation::Greater, Target::Version(1), true),
        (Relation::Less, Target::Created(3), true),
        (Relation::NotEqual, Target::Modified(3), false),
        (Relation::Equal, Target::Value("2".into()), true),
    ] {
        let place = world.call(txn(vec![compare("a", relation, target)], vec![], vec![]));
        assert_eq!(world.answer(place).body, Body::Txn { succeeded: expected, steps: vec![] });
    }
    let missing = compare("b", Relation::NotEqual, Target::Value("1".into()));
    let place = world.call(txn(vec![missing], vec![], vec![]));
    assert_eq!(world.answer(place).body, Body::Txn { succeeded: false, steps: vec![] });
}

#[test]
fn a_reused_or_skipped_revision_is_found() {
    let mut world = World::busy();
    let at = world.history.streams[0].told.len() / 2;
    world.history.streams[0].told.remove(at);
    breaks(&world, "revisions without gaps");
}

#[test]
fn wrong_counters_of_a_key_are_found() {
    let mut world = World::busy();
    world.events(0, 2)[0].record.version += 1;
    breaks(&world, "lives of keys");
}

#[test]
fn unequal_members_are_found() {
    let mut world = World::busy();
    world.hash(0, 7);
    world.hash(1, 7);
    holds(&world);
    world.hash(2, 8);
    breaks(&world, "equal members");
}

/// A lease of two seconds with a key, which ends after so many nanoseconds.
fn lease_that_lasts(life: u64) -> World {
    let mut world = World::new();
    world.call(Request::Grant { lease: 7, ttl: 2 });
    world.call(put_with("l", "1", 7));
    world.time += life;
    world.execute(&Request::Revoke { lease: 7 });
    world.time += STEP;
    world
}

#[test]
fn a_lease_may_run_out_and_not_before() {
    let world = lease_that_lasts(2 * SECOND);
    holds(&world);
    assert_eq!(verdict(&world).expired, 1);
    breaks(&lease_that_lasts(SECOND), "lease");
}

#[test]
fn a_lease_that_ended_stays_ended() {
    let keep_alive = Request::KeepAlive { lease: 7 };
    let mut world = lease_that_lasts(2 * SECOND);
    let place = world.call(keep_alive);
    world.answer(place).body = Body::Life { ttl: 0 };
    holds(&world);
    world.answer(place).body = Body::Life { ttl: 2 };
    breaks(&world, "lease");
    let mut world = lease_that_lasts(2 * SECOND);
    world.call(put_with("m", "1", 7));
    breaks(&world, "lease");
}

#[test]
fn a_lease_that_lives_is_not_denied() {
    let mut world = World::new();
    world.call(Request::Grant { lease: 7, ttl: 2 });
    let denied = world.refused(put_with("l", "1", 7), Refusal::NoLease);
    breaks(&world, "lease");
    world.history.calls[denied].returned += 3 * SECOND;
    holds(&world);
}

#[test]
fn a_revocation_takes_the_keys_along() {
    let mut world = World::new();
    world.call(Request::Grant { lease: 7, ttl: 2 });
    world.call(put_with("l", "1", 7));
    world.call(Request::Revoke { lease: 7 });
    holds(&world);
    // The keys stayed: what was answered at the revision of the put left them there.
    world.history.streams[0].told.pop();
    world.answer(2).revision -= 1;
    breaks(&world, "durable");
}

#[test]
fn compaction_refuses_what_is_below_and_answers_what_is_above() {
    let at =
        |revision| Request::Range(Range { key: "a".into(), end: "z".into(), revision, ..Range::default() });
    let mut world = World::busy();
    world.call(at(4));
    world.call(Request::Compact { revision: 5 });
    world.call(at(5));
    world.refused(at(4), Refusal::Compacted);
    let future = world.revision() + 1;
    world.refused(at(future), Refusal::Future);
    holds(&world);
    let answered = world.call(at(4));
    breaks(&world, "compaction");
    world.history.calls.remove(answered);
    world.refused(at(5), Refusal::Compacted);
    breaks(&world, "compaction");
    world.history.calls.pop();
    world.refused(at(6), Refusal::Future);
    breaks(&world, "compaction");
}

#[test]
fn an_old_revision_has_its_old_content() {
    let mut world = World::busy();
    let request = Request::Range(Range { key: "a".into(), end: "z".into(), revision: 3, ..Range::default() });
    let read = world.call(request);
    holds(&world);
    let now = world.read("a", "z");
    world.answer(read).body = world.answer(now).body.clone();
    breaks(&world, "reads of one state");
}

#[test]
fn a_search_finds_orders_through_overlaps_and_unanswered_calls() {
    let mut world = World::new();
    for round in 0..40 {
        let place = world.unanswered(put("solo", &format!("u{round}")), round % 2 == 0);
        world.history.calls[place].returned = u64::MAX;
        world.put("solo", &format!("p{round}"));
        world.read("solo", "");
        let swap = compare("solo", Relation::Equal, Target::Value(format!("p{round}")));
        world.call(txn(vec![swap], vec![put_step("solo", &format!("s{round}"))], vec![]));
        world.call(delete("solo"));
    }
    for call in &mut world.history.calls {
        call.returned = call.returned.saturating_add(STEP);
    }
    holds(&world);
    let searched = verdict(&world).searched;
    assert_eq!((searched.keys, searched.undecided), (1, 0));
}

#[test]
fn a_scribe_that_contradicts_another_is_found() {
    let mut world = World::busy();
    let other = world.history.streams[0].clone();
    world.history.streams.push(other);
    holds(&world);
    let Message::Events { events, .. } = &mut world.history.streams[1].told[1].what else { panic!("events") };
    events[0].record.value.push('!');
    breaks(&world, "one history");
}
