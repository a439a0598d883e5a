//! What callers of one member can rely on.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_replica::auth::Credentials;
use etched_replica::{Answer, ApiError, AutoCompaction, Notice, Request, WatchCall};
use etched_state_machine::{Command, Compact, Outcome, Put, Range, RangeQuery, Refusal};
use etched_watch::{Create, Filters, StreamId};

use crate::harness::{Disk, Harness, SECOND, Settings, put};

fn all() -> Range {
    Range::new(RangeQuery::new(KeyRange::all()))
}

fn compact(revision: i64, physical: bool) -> Request {
    Request::Propose(Command::Compact(Compact { revision, physical }))
}

fn hash(harness: &mut Harness) -> etched_state_machine::HashKv {
    match harness.call(Request::HashKv { revision: 0 }) {
        Ok(Answer::HashKv(hash)) => hash,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fresh_member_becomes_leader_and_makes_itself_known() {
    let harness = Harness::new();
    assert!(harness.notices.iter().any(|notice| matches!(notice, Notice::BecameLeader { .. })));
    assert!(harness.notices.contains(&Notice::Published));
    assert!(harness.notices.contains(&Notice::ClusterVersionSet("3.7.0".into())));
    let report = harness.member.report();
    assert_eq!((report.revision, report.cluster_version.as_str()), (1, "3.7.0"));
}

#[test]
fn a_put_is_answered_after_its_entry_is_persisted_and_not_before() {
    let mut harness = Harness::new();
    harness.holds_persists = true;
    let token = harness.submit(put("a", "1"));
    harness.run();
    assert!(harness.answer(token).is_none());
    harness.release_persists();
    assert!(
        matches!(harness.answer(token), Some(Ok(Answer::Applied(Outcome::Put(done)))) if done.revision == 2)
    );
}

#[test]
fn a_linearizable_read_sees_every_put_that_was_answered_before_it() {
    let mut harness = Harness::new();
    for round in 0..50 {
        harness.put("a", &round.to_string());
        assert_eq!(harness.range(all()), [("a".to_owned(), round.to_string())]);
    }
}

#[test]
fn what_was_answered_survives_a_crash_once_and_with_its_revision() {
    let mut harness = Harness::new();
    let mut expected = Vec::new();
    for round in 0..40 {
        for number in 0..37 {
            let key = format!("key-{round:02}-{number:02}");
            let revision = harness.put(&key, "value");
            assert_eq!(revision, 2 + round * 37 + number);
            expected.push((key, "value".to_owned()));
        }
        if round % 3 == 0 {
            harness.advance(SECOND / 2);
        }
        let before = hash(&mut harness);
        harness = harness.crash(Settings { snapshot_entries: 200, ..Settings::default() });
        assert_eq!(hash(&mut harness), before);
        assert_eq!(harness.range(all()), expected);
    }
}

#[test]
fn a_log_that_ends_before_what_the_backend_applied_is_refused() {
    let mut harness = Harness::with(Settings { snapshot_entries: 5, ..Settings::default() });
    for number in 0..20 {
        harness.put("a", &number.to_string());
    }
    harness.member.want_snapshot();
    harness.run();
    let mut disk: Disk = harness.disk;
    disk.forget_snapshot_and_lose_all();
    let error =
        Harness::start(disk, Settings::default(), 0, 2).err().expect("acknowledged entries are missing");
    assert!(error.to_string().starts_with("the log ends at index 0"), "{error}");
}

#[test]
fn a_large_range_reads_one_revision_while_writes_go_on() {
    let mut harness = Harness::new();
    harness.fill(20_000, "old");
    let read = harness.submit(Request::Range(all()));
    harness.step();
    let write = harness.submit(put("k19999", "new"));
    harness.step();
    assert!(harness.answer(write).is_some(), "the write does not wait for the read");
    assert!(harness.answer_is_pending(read));
    harness.run();
    let Some(Ok(Answer::Range(output))) = harness.answer(read) else { panic!("the read is answered") };
    assert_eq!((output.records.len(), output.count, output.more), (20_000, 20_000, false));
    let newest = output.records.last().expect("there are records");
    assert!(
        newest.windows(3).any(|window| window == b"old"),
        "the read is of the revision at which it began"
    );
}

#[test]
fn a_compaction_waits_for_a_large_range_below_it() {
    let mut harness = Harness::new();
    harness.fill(5_000, "old");
    harness.fill(5_000, "new");
    let mut range = all();
    range.query.revision = harness.member.report().revision - 10;
    let read = harness.submit(Request::Range(range));
    harness.step();
    let done = harness.submit(compact(harness.member.report().revision, true));
    harness.run();
    harness.advance(SECOND);
    let Some(Ok(Answer::Range(output))) = harness.answer(read) else { panic!("the read is answered") };
    assert_eq!(output.records.len(), 5_000);
    assert!(matches!(harness.answer(done), Some(Ok(Answer::Applied(Outcome::Compact { .. })))));
}

#[test]
fn a_physical_compaction_is_answered_when_its_deletions_are_committed() {
    let mut harness = Harness::new();
    for number in 0..500 {
        harness.put("a", &number.to_string());
    }
    let answer = harness.call(compact(400, true));
    assert!(matches!(answer, Ok(Answer::Applied(Outcome::Compact { revision: 501 }))), "{answer:?}");
    assert!(harness.notices.contains(&Notice::CompactionFinished { revision: 400, took_ns: 0 }));
    assert_eq!(harness.refusal(compact(400, false)), Refusal::Compacted);
    // It once waited for ever for a compaction that had long finished.
    assert_eq!(harness.refusal(compact(399, true)), Refusal::Compacted);
    let mut old = all();
    old.query.revision = 399;
    assert_eq!(harness.refusal(Request::Range(old)), Refusal::Compacted);
}

#[test]
fn an_expired_lease_takes_its_keys_along() {
    let mut harness = Harness::new();
    let granted = harness.call(Request::Propose(Command::LeaseGrant { id: 7, ttl: 3 }));
    assert!(matches!(granted, Ok(Answer::Applied(Outcome::LeaseGrant { id: 7, ttl: 3, .. }))), "{granted:?}");
    let put = Put { key: "a".into(), value: "1".into(), lease: 7, ..Put::default() };
    harness.call(Request::Propose(Command::Put(put))).expect("the lease exists");
    harness.advance(2 * SECOND);
    assert!(matches!(harness.call(Request::LeaseRenew { id: 7 }), Ok(Answer::LeaseRenewed { ttl: 3 })));
    harness.advance(2 * SECOND);
    assert_eq!(harness.range(all()).len(), 1);
    harness.advance(2 * SECOND);
    assert_eq!(harness.range(all()).len(), 0);
    assert!(matches!(harness.call(Request::LeaseRenew { id: 7 }), Ok(Answer::LeaseRenewed { ttl: 0 })));
}

#[test]
fn a_lease_id_of_zero_is_drawn_by_the_member() {
    let mut harness = Harness::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        match harness.call(Request::Propose(Command::LeaseGrant { id: 0, ttl: 60 })) {
            Ok(Answer::Applied(Outcome::LeaseGrant { id, .. })) => ids.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert!(ids.iter().all(|id| *id > 0));
    let Ok(Answer::Leases(mut listed)) = harness.call(Request::Leases) else { panic!("leases are listed") };
    listed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(listed, ids);
}

#[test]
fn a_watcher_is_told_of_the_past_and_of_what_comes() {
    let mut harness = Harness::new();
    for number in 0..10 {
        harness.put("a", &number.to_string());
    }
    let stream = StreamId(1);
    harness.member.watch(0, WatchCall::Open { stream, progress_interval_ns: 600 * SECOND }, harness.now);
    let create = Create {
        range: KeyRange::single("a".into()),
        start_revision: 5,
        filters: Filters::default(),
        prev_kv: true,
        progress_notify: false,
        fragment: false,
        watch_id: 0,
    };
    harness.member.watch(
        0,
        WatchCall::Create { stream, credentials: Credentials::Anonymous, create },
        harness.now,
    );
    harness.run();
    harness.put("a", "last");
    harness.put("b", "other");
    let revisions = delivered_revisions(&harness);
    assert_eq!(revisions, [5, 6, 7, 8, 9, 10, 11, 12]);
}

fn delivered_revisions(harness: &Harness) -> Vec<i64> {
    use prost::Message;
    let events = harness.deliveries.iter().flat_map(|delivery| delivery.response.events.iter().cloned());
    events
        .map(|bytes: Bytes| {
            let event = etched_proto::mvccpb::Event::decode(bytes).expect("an event is a message");
            let revision = event.kv.expect("an event has a key-value").mod_revision;
            let previous = event.prev_kv.expect("the previous value was asked for").mod_revision;
            assert_eq!(previous, revision - 1);
            revision
        })
        .collect()
}

#[test]
fn a_full_quota_raises_the_alarm_and_refuses_until_it_is_cleared() {
    let mut harness = Harness::with(Settings { quota_bytes: 1, snapshot_entries: 1, ..Settings::default() });
    harness.advance(SECOND);
    assert_eq!(harness.refusal(put("a", "1")), Refusal::NoSpace);
    assert_eq!(harness.member.report().alarms.len(), 1);
    let told = harness.notices.iter().filter(|notice| **notice == Notice::AlarmsChanged).count();
    assert_eq!(told, 1, "so that whoever shows alarms need not wait for a tick");
    // Whatever is wrong with the request: space comes first.
    assert_eq!(harness.refusal(put("", "1")), Refusal::NoSpace);
    assert!(harness.call(compact(1, false)).is_ok(), "a compaction frees space, so it is not refused");
}

#[test]
fn revision_mode_compacts_by_itself() {
    let auto_compaction = AutoCompaction::Revision { retention: 10 };
    let mut harness = Harness::with(Settings { auto_compaction, ..Settings::default() });
    for number in 0..30 {
        harness.put("a", &number.to_string());
    }
    harness.advance(301 * SECOND);
    assert_eq!(harness.member.report().compact_revision, 21);
}

#[test]
fn a_request_larger_than_the_limit_is_refused_before_it_is_proposed() {
    let mut harness = Harness::new();
    let value = "x".repeat(1_572_864);
    assert_eq!(harness.call(put("a", &value)).err(), Some(ApiError::RequestTooLarge));
    assert_eq!(harness.member.report().revision, 1);
}

#[test]
fn the_log_is_bounded_by_bytes_when_entries_are_few_and_large() {
    let mut harness = Harness::with(Settings { snapshot_entries: 1_000_000, ..Settings::default() });
    let value = "x".repeat(100_000);
    for number in 0..100 {
        harness.put(&format!("k{number}"), &value);
    }
    let (entries, bytes) = harness.log_size();
    assert!(bytes <= 2 << 20, "{entries} entries of {bytes} bytes are kept");
    assert!(harness.member.report().counters.snapshots >= 8);
}

#[test]
fn a_renewal_is_answered_when_the_note_of_what_was_left_is_cleared() {
    let mut harness = Harness::new();
    harness.call(Request::Propose(Command::LeaseGrant { id: 7, ttl: 1_000 })).expect("the lease is granted");
    // After five minutes the remaining life is noted in the log.
    harness.advance(400 * SECOND);
    harness.holds_persists = true;
    let token = harness.submit(Request::LeaseRenew { id: 7 });
    harness.run();
    assert!(harness.answer(token).is_none(), "a crash now would leave the lease with its old note");
    harness.release_persists();
    assert!(matches!(harness.answer(token), Some(Ok(Answer::LeaseRenewed { ttl: 1_000 }))));
    assert!(matches!(harness.call(Request::LeaseRenew { id: 7 }), Ok(Answer::LeaseRenewed { ttl: 1_000 })));
}

#[test]
fn a_hash_at_revision_zero_is_the_remembered_one_after_a_compaction_at_zero() {
    let mut harness = Harness::new();
    harness.put("a", "1");
    harness.call(compact(0, true)).expect("a first compaction at zero is taken");
    harness.put("a", "2");
    let remembered = hash(&mut harness);
    assert_eq!((remembered.compact_revision, remembered.hash_revision), (-1, 0), "as etcd answers");
}
