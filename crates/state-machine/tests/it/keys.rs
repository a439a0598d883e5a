//! Puts, deletes, compactions, the quota and the alarms that forbid them.

use bytes::Bytes;
use etched_backend::{Backend, Table};
use etched_key_range::KeyRange;
use etched_mvcc::{RangeQuery, SortOrder, SortTarget};
use etched_state_machine::{
    AlarmKind, AlarmMember, AlarmRequest, Command, Compact, DeleteRange, DeleteRangeDone, Limits, Options,
    Outcome, Put, PutDone, Range, Refusal, schema,
};

use crate::support::*;

fn check(command: Command) -> Result<(), Refusal> {
    command.check(&Limits::default())
}

#[test]
fn malformed_requests_are_refused_before_they_are_proposed() {
    let put = |put: Put| check(Command::Put(put));
    assert_eq!(put(put_of("a", "1")), Ok(()));
    assert_eq!(put(put_of("", "1")), Err(Refusal::EmptyKey));
    assert_eq!(put(Put { ignore_value: true, ..put_of("", "1") }), Err(Refusal::EmptyKey));
    assert_eq!(
        put(Put { ignore_value: true, ignore_lease: true, lease: 1, ..put_of("a", "1") }),
        Err(Refusal::ValueProvided)
    );
    assert_eq!(put(Put { ignore_value: true, ..put_of("a", "") }), Ok(()));
    assert_eq!(put(Put { ignore_lease: true, lease: 1, ..put_of("a", "1") }), Err(Refusal::LeaseProvided));
    assert_eq!(check(delete("", "z")), Err(Refusal::EmptyKey));
    assert_eq!(check(delete("z", "a")), Ok(()));
    assert_eq!(check(Command::ClusterVersionSet { version: "x".into() }), Err(Refusal::MalformedVersion));
    assert_eq!(
        Limits { request_bytes_max: 3, ..Limits::default() }.check_size(&Bytes::from_static(b"1234")),
        Err(Refusal::RequestTooLarge)
    );
    assert_eq!(
        Limits { request_bytes_max: 4, ..Limits::default() }.check_size(&Bytes::from_static(b"1234")),
        Ok(())
    );
}

#[test]
fn ranges_are_checked_and_streams_more_so() {
    let range = |order, target| Range::from_wire(RangeQuery::new(span("a", "")), false, order, target);
    assert_eq!(range(2, 4).check(), Ok(()));
    assert_eq!(range(3, 0).check(), Err(Refusal::InvalidSortOption));
    assert_eq!(range(0, 5).check(), Err(Refusal::InvalidSortOption));
    assert_eq!(Range::new(RangeQuery::new(span("", ""))).check(), Err(Refusal::EmptyKey));
    assert_eq!(range(0, 4).check_stream(), Ok(()));
    assert_eq!(range(1, 0).check_stream(), Ok(()));
    assert_eq!(range(2, 0).check_stream(), Err(Refusal::StreamSortUnsupported));
    assert_eq!(range(1, 1).check_stream(), Err(Refusal::StreamSortUnsupported));
    assert_eq!(range(1, 9).check_stream(), Err(Refusal::InvalidSortOption));
    let filtered = RangeQuery { create_revision_max: -1, ..RangeQuery::new(span("a", "")) };
    assert_eq!(Range::new(filtered).check_stream(), Err(Refusal::StreamFilterUnsupported));
}

#[test]
fn a_put_makes_a_revision_and_tells_what_it_replaced() {
    let mut member = Member::new();
    assert_eq!(member.done(put("a", "1")), Outcome::Put(PutDone { revision: 2, previous: None }));
    let applied = member.apply(Command::Put(Put { prev_kv: true, ..put_of("a", "1") }));
    let Ok(Outcome::Put(PutDone { revision: 3, previous: Some(previous) })) = applied.outcome else {
        panic!("{applied:?}")
    };
    assert_eq!(show(&previous), "a=1@2/2/1/0");
    assert_eq!(applied.changes.len(), 1);
    assert_eq!(show(&applied.changes[0].record), "a=1@2/3/2/0");
    assert_eq!(member.dump(), ["a=1@2/3/2/0"]);
}

#[test]
fn a_put_may_keep_the_value_or_the_lease() {
    let mut member = Member::new();
    let keep_value = Command::Put(Put { ignore_value: true, ..put_of("a", "") });
    let keep_lease = Command::Put(Put { ignore_lease: true, ..put_of("a", "2") });
    assert_eq!(member.run(keep_value.clone()), Err(Refusal::KeyNotFound));
    assert_eq!(member.run(keep_lease.clone()), Err(Refusal::KeyNotFound));
    let both_wrong = Command::Put(Put { ignore_value: true, lease: 99, ..put_of("a", "") });
    assert_eq!(member.run(both_wrong), Err(Refusal::LeaseNotFound), "as etcd: the lease first");
    member.done(Command::LeaseGrant { id: 5, ttl: 10 });
    member.done(Command::Put(Put { lease: 5, ..put_of("a", "1") }));
    member.done(keep_lease);
    assert_eq!(member.dump(), ["a=2@2/3/2/5"]);
    member.done(keep_value);
    assert_eq!(member.dump(), ["a=2@2/4/3/0"]);
    assert_eq!(member.machine.leases().get(5).unwrap().keys().count(), 0);
    member.commit();
    member.done(Command::Put(Put { ignore_value: true, ignore_lease: true, ..put_of("a", "") }));
    assert_eq!(member.dump(), ["a=2@2/5/4/0"]);
}

#[test]
fn a_delete_counts_and_returns_what_it_deleted() {
    let mut member = Member::new();
    for key in ["a", "b", "c"] {
        member.done(put(key, "1"));
    }
    let outcome = member.done(delete("x", ""));
    assert_eq!(
        outcome,
        Outcome::DeleteRange(DeleteRangeDone { revision: 4, deleted: 0, previous: [].into() })
    );
    let command = Command::DeleteRange(DeleteRange { range: span("a", "c"), prev_kv: true });
    let applied = member.apply(command);
    let Ok(Outcome::DeleteRange(done)) = applied.outcome else { panic!("{applied:?}") };
    assert_eq!((done.revision, done.deleted), (5, 2));
    assert_eq!(done.previous.iter().map(show).collect::<Vec<_>>(), ["a=1@2/2/1/0", "b=1@3/3/1/0"]);
    assert_eq!(applied.changes.iter().map(|change| change.revision.sub).collect::<Vec<_>>(), [0, 1]);
    member.done(put("a", "2"));
    assert_eq!(member.dump(), ["a=2@6/6/1/0", "c=1@4/4/1/0"]);
}

#[test]
fn a_compaction_is_logical_at_once_and_physical_step_by_step() {
    let mut member = Member::new();
    for value in ["1", "2", "3"] {
        member.done(put("a", value));
    }
    let compact = |revision, physical| Command::Compact(Compact { revision, physical });
    assert_eq!(member.run(compact(5, true)), Err(Refusal::FutureRevision));
    let applied = member.apply(compact(4, true));
    assert_eq!(applied.outcome, Ok(Outcome::Compact { revision: 4 }));
    assert_eq!(applied.effects.compaction_scheduled, Some(4));
    assert_eq!(applied.effects.wait_for_compaction, Some(4));
    let applied = member.apply(compact(4, true));
    assert_eq!(applied.outcome, Err(Refusal::Compacted));
    assert_eq!((applied.effects.compaction_scheduled, applied.effects.wait_for_compaction), (None, Some(4)));
    assert_eq!(member.apply(compact(3, false)).effects.wait_for_compaction, None);

    let old = Range::new(RangeQuery { revision: 3, ..RangeQuery::new(span("a", "")) });
    let view = member.backend.view().unwrap();
    let refused = member.machine.range(&view, &old).unwrap_err();
    assert_eq!(refused, Refusal::Compacted.into());

    member.commit();
    assert_eq!(member.machine.store().compaction_pending(), Some(4));
    let view = member.backend.view().unwrap();
    while member.machine.store().compaction_pending().is_some() {
        member.machine.compaction_step(&view, 1).unwrap();
    }
    let (before, _) = member.machine.applied();
    member.commit();
    assert_eq!(member.machine.applied().0, before);
    assert_eq!(member.dump(), ["a=3@2/4/3/0"]);
    let view = member.backend.view().unwrap();
    let mut records = 0;
    let all = (core::ops::Bound::Unbounded, core::ops::Bound::Unbounded);
    etched_backend::ReadView::scan(&view, Table::Key, all, &mut |_, _| {
        records += 1;
        core::ops::ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(records, 1);
}

#[test]
fn compacting_at_zero_succeeds_once() {
    let mut member = Member::new();
    let compact = |revision| Command::Compact(Compact { revision, physical: false });
    assert_eq!(member.run(compact(-1)), Err(Refusal::Compacted));
    assert_eq!(member.run(compact(0)), Ok(Outcome::Compact { revision: 1 }));
    assert_eq!(member.run(compact(0)), Err(Refusal::Compacted));
}

fn alarm(action: i32, member_id: u64, alarm: i32) -> Command {
    Command::Alarm(AlarmRequest { action, member_id, alarm })
}

fn alarms(outcome: Outcome) -> Vec<(u64, i32)> {
    let Outcome::Alarm { alarms, .. } = outcome else { panic!("{outcome:?}") };
    alarms.iter().map(|alarm| (alarm.member_id, alarm.kind.to_wire())).collect()
}

#[test]
fn alarms_are_raised_listed_and_cleared_for_each_member() {
    // etcd issue 13476: the same alarm of several members.
    let mut member = Member::new();
    assert_eq!(alarms(member.done(alarm(1, 5, 1))), [(5, 1)]);
    assert!(!member.apply(alarm(1, 5, 1)).effects.alarms_changed);
    assert_eq!(alarms(member.done(alarm(1, 5, 1))), [(5, 1)]);
    assert!(member.apply(alarm(1, 6, 1)).effects.alarms_changed);
    assert_eq!(alarms(member.done(alarm(1, 0, 2))), [(0, 2)]);
    assert_eq!(alarms(member.done(alarm(0, 0, 0))), [(5, 1), (6, 1), (0, 2)]);
    assert_eq!(alarms(member.done(alarm(0, 9, 2))), [(0, 2)]);
    assert_eq!(alarms(member.done(alarm(2, 7, 1))), []);
    assert_eq!(alarms(member.done(alarm(2, 5, 1))), [(5, 1)]);
    member.commit();
    let mut member = member.restarted();
    assert_eq!(alarms(member.done(alarm(0, 0, 1))), [(6, 1)]);
    assert!(member.machine.alarms().contains(AlarmMember { kind: AlarmKind::Corrupt, member_id: 0 }));
}

#[test]
fn unknown_alarms_and_actions_change_nothing() {
    let mut member = Member::new();
    for command in [
        alarm(1, 5, 0),
        alarm(1, 5, 3),
        alarm(2, 5, 0),
        alarm(2, 5, -1),
        alarm(0, 0, 9),
        alarm(3, 5, 1),
        alarm(-1, 5, 2),
    ] {
        assert_eq!(alarms(member.done(command)), []);
    }
    assert_eq!(member.machine.alarms().iter().count(), 0);
}

#[test]
fn without_space_only_what_grows_is_refused() {
    let mut member = Member::new();
    member.done(put("a", "1"));
    member.done(Command::LeaseGrant { id: 1, ttl: 10 });
    member.done(alarm(1, 9, 1));
    assert_eq!(member.run(put("a", "2")), Err(Refusal::NoSpace));
    assert_eq!(member.run(put_leased("a", 99)), Err(Refusal::NoSpace), "before other reasons");
    assert_eq!(member.run(Command::LeaseGrant { id: 2, ttl: 10 }), Err(Refusal::NoSpace));
    let nested = txn(
        vec![],
        vec![],
        vec![etched_state_machine::TxnOp::Txn(txn(vec![], vec![op_put("b", "1")], vec![]))],
    );
    assert_eq!(member.run(Command::Txn(nested)), Err(Refusal::NoSpace), "etcd issue 22139");
    assert!(
        member.run(Command::Txn(txn(vec![], vec![op_delete("a", ""), op_range("a", "", 0)], vec![]))).is_ok()
    );
    assert!(member.run(delete("a", "")).is_ok());
    assert!(member.run(Command::LeaseRevoke { id: 1 }).is_ok());
    assert!(member.run(Command::Compact(Compact { revision: 2, physical: false })).is_ok());
    member.done(alarm(2, 9, 1));
    assert!(member.run(put("a", "2")).is_ok());
}

#[test]
fn with_corrupt_data_nothing_is_changed() {
    let mut member = Member::new();
    member.done(alarm(1, 9, 2));
    member.done(alarm(1, 9, 1));
    let refused = [
        put("a", "1"),
        delete("a", ""),
        Command::Txn(txn(vec![], vec![], vec![])),
        Command::Compact(Compact { revision: 1, physical: false }),
        Command::LeaseGrant { id: 1, ttl: 1 },
        Command::LeaseRevoke { id: 1 },
    ];
    for command in refused {
        assert_eq!(member.run(command), Err(Refusal::Corrupt));
    }
    assert!(member.dump().is_empty(), "ranges are served");
    let view = member.backend.view().unwrap();
    assert!(member.machine.read_txn(&view, &txn(vec![], vec![op_range("a", "", 0)], vec![])).is_ok());
}

#[test]
fn above_the_quota_a_write_stands_but_its_caller_learns_that_there_is_no_room() {
    let mut member = Member::with_options(Options { quota_bytes: 1000, ..options() });
    let cost = put("a", "1").quota_cost();
    assert_eq!(cost, 258);
    assert_eq!(Command::LeaseGrant { id: 1, ttl: 1 }.quota_cost(), 64);
    let nested = txn(
        vec![],
        vec![op_put("a", "1"), op_delete("a", "")],
        vec![
            op_put("a", "1"),
            etched_state_machine::TxnOp::Txn(txn(vec![], vec![op_put("b", "22")], vec![])),
        ],
    );
    assert_eq!(Command::Txn(nested).quota_cost(), 258 + 259);

    member.machine.set_database_size(1000 - cost - 1, 1000 - cost - 1);
    assert!(!member.machine.quota_exceeded_by(cost));
    assert!(member.run(put("a", "1")).is_ok());
    member.machine.set_database_size(1000 - cost, 1000 - cost);
    assert!(member.machine.quota_exceeded_by(cost));
    let applied = member.apply(put("a", "2"));
    assert_eq!(applied.outcome, Err(Refusal::NoSpace));
    assert!(applied.effects.raise_no_space);
    assert_eq!(applied.changes.len(), 1);
    assert_eq!(member.dump(), ["a=2@2/3/2/0"]);
    assert!(member.run(delete("a", "")).is_ok(), "what costs nothing passes");

    member.done(Command::raise_no_space(7));
    assert!(member.machine.alarms().contains(AlarmMember { kind: AlarmKind::NoSpace, member_id: 7 }));
    let applied = member.apply(put("a", "3"));
    assert!(!applied.effects.raise_no_space);
    assert!(applied.changes.is_empty());

    let refused = Command::Put(Put { lease: 5, ..put_of("a", "") });
    member.done(Command::Alarm(AlarmRequest { action: 2, member_id: 7, alarm: 1 }));
    let applied = member.apply(refused);
    assert_eq!(applied.outcome, Err(Refusal::LeaseNotFound));
    assert!(!applied.effects.raise_no_space);
}

#[test]
fn the_quota_has_a_default_and_can_be_off() {
    let mut member = Member::new();
    member.machine.set_database_size((2 << 30) - 300, (2 << 30) - 300);
    assert!(member.machine.quota_exceeded_by(300));
    assert!(!member.machine.quota_exceeded_by(299));
    assert!(!member.machine.quota_exceeded_by(0));
    let mut member = Member::with_options(Options { quota_bytes: -1, ..options() });
    member.machine.set_database_size(u64::MAX, u64::MAX);
    assert!(!member.machine.quota_exceeded_by(300));
}

#[test]
fn sorted_ranges_read_through_the_machine() {
    let mut member = Member::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2")] {
        member.done(put(key, value));
    }
    let query = RangeQuery {
        order: SortOrder::Descend,
        target: SortTarget::Value,
        limit: 2,
        ..RangeQuery::new(KeyRange::all())
    };
    let output = member.range(query);
    assert_eq!(output.records.iter().map(show).collect::<Vec<_>>(), ["a=3@2/2/1/0", "c=2@4/4/1/0"]);
    assert_eq!((output.more, output.count, output.revision), (true, 3, 4));
}

#[test]
fn an_empty_entry_only_moves_on() {
    let mut member = Member::new();
    let view = member.backend.view().unwrap();
    let applied = member.machine.apply(&view, 1, 3, &Bytes::new()).unwrap();
    assert_eq!((applied.outcome, applied.request_id), (Ok(Outcome::Nothing), 0));
    assert_eq!(member.machine.applied(), (1, 3));
    member.commit();
    let member = member.restarted();
    assert_eq!(member.machine.applied(), (1, 3));
}

#[test]
fn a_batch_carries_the_index_and_an_empty_one_nothing() {
    let mut member = Member::new();
    assert!(member.machine.take_batch().is_empty());
    member.done(put("a", "1"));
    member.done(put("b", "1"));
    assert!(member.machine.pending_bytes() > 0);
    member.commit();
    assert_eq!(member.machine.pending_bytes(), 0);
    assert!(member.machine.take_batch().is_empty());
    let view = member.backend.view().unwrap();
    let index = etched_backend::ReadView::get(&view, Table::Meta, b"consistent_index").unwrap();
    assert_eq!(index.as_deref(), Some(&[0, 0, 0, 0, 0, 0, 0, 2][..]));
    let term = etched_backend::ReadView::get(&view, Table::Meta, b"term").unwrap();
    assert_eq!(term.as_deref(), Some(&[0, 0, 0, 0, 0, 0, 0, 1][..]));
}

#[test]
fn an_entry_of_a_newer_version_is_an_error_and_changes_nothing() {
    let mut member = Member::new();
    let view = member.backend.view().unwrap();
    let error = member.machine.apply(&view, 1, 1, &Bytes::from_static(&[0x62, 0])).unwrap_err();
    assert_eq!(error.to_string(), "the entry at index 1 cannot be understood by this version");
    assert_eq!(member.machine.applied(), (0, 0));
    assert!(schema::decode(&Bytes::from_static(&[0x62, 0])).is_err());
}
