//! Transactions: what is refused beforehand, what is chosen, what is answered.

use bytes::Bytes;
use etched_backend::Backend;
use etched_mvcc::RangeQuery;
use etched_state_machine::{
    Command, Compact, Compare, CompareTarget, DeleteRangeDone, Limits, Outcome, Put, PutDone, Range, Refusal,
    Txn, TxnDone, TxnOp, TxnOpDone,
};

use crate::support::*;

fn check(txn: Txn) -> Result<(), Refusal> {
    Command::Txn(txn).check(&Limits::default())
}

fn success(ops: Vec<TxnOp>) -> Txn {
    txn(vec![], ops, vec![])
}

fn nested(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
    TxnOp::Txn(txn(vec![], success, failure))
}

fn keep(key: &str) -> TxnOp {
    TxnOp::Put(Put { ignore_value: true, ..put_of(key, "") })
}

#[test]
fn the_number_of_operations_is_bounded_along_each_path() {
    let puts = |count: usize| (0..count).map(|i| op_put(&format!("{i}"), "")).collect::<Vec<_>>();
    let limits = Limits { txn_ops_max: 4, ..Limits::default() };
    let check = |txn: Txn| Command::Txn(txn).check(&limits);
    assert_eq!(check(txn(vec![], puts(4), puts(4))), Ok(()));
    assert_eq!(check(txn(vec![], puts(5), vec![])), Err(Refusal::TooManyOps));
    assert_eq!(check(txn(vec![], vec![], puts(5))), Err(Refusal::TooManyOps));
    let compares = |count| vec![compare("a", 0, CompareTarget::Version(0)); count];
    assert_eq!(check(txn(compares(5), vec![], vec![])), Err(Refusal::TooManyOps));
    assert_eq!(check(success(vec![nested(puts(3), vec![])])), Ok(()));
    assert_eq!(check(success(vec![nested(puts(4), vec![])])), Err(Refusal::TooManyOps));
    assert_eq!(check(txn(compares(2), vec![nested(vec![nested(puts(1), vec![])], vec![])], vec![])), Ok(()));
    assert_eq!(
        check(txn(compares(2), vec![nested(vec![nested(puts(2), vec![])], vec![])], vec![])),
        Err(Refusal::TooManyOps)
    );
    assert_eq!(check(success(vec![op_put("", ""); 5])), Err(Refusal::TooManyOps), "before other faults");
}

#[test]
fn nesting_is_bounded_whatever_the_limits_are() {
    let limits = Limits { txn_ops_max: usize::MAX, ..Limits::default() };
    let mut deep = Txn::default();
    for _ in 1..256 {
        deep = success(vec![TxnOp::Txn(deep)]);
    }
    assert_eq!(Command::Txn(deep.clone()).check(&limits), Ok(()));
    assert_eq!(Member::new().run(Command::Txn(deep.clone())).map(|_| ()), Ok(()));
    assert_eq!(Command::Txn(success(vec![TxnOp::Txn(deep)])).check(&limits), Err(Refusal::TooManyOps));
}

#[test]
fn malformed_operations_are_refused_wherever_they_stand() {
    assert_eq!(
        check(txn(vec![compare("", 0, CompareTarget::Version(0))], vec![], vec![])),
        Err(Refusal::EmptyKey)
    );
    assert_eq!(check(success(vec![TxnOp::Absent])), Err(Refusal::KeyNotFound));
    assert_eq!(
        check(txn(vec![], vec![], vec![nested(vec![], vec![op_delete("", "")])])),
        Err(Refusal::EmptyKey)
    );
    let sorted = TxnOp::Range(Range::from_wire(RangeQuery::new(span("a", "")), false, 9, 0));
    assert_eq!(check(success(vec![sorted, TxnOp::Absent])), Err(Refusal::InvalidSortOption));
    let put = TxnOp::Put(Put { ignore_lease: true, lease: 1, ..put_of("a", "") });
    assert_eq!(check(txn(vec![], vec![put], vec![TxnOp::Absent])), Err(Refusal::LeaseProvided));
    assert_eq!(
        check(txn(vec![], vec![op_put("a", ""), op_put("a", "")], vec![TxnOp::Absent])),
        Err(Refusal::KeyNotFound)
    );
}

#[test]
fn no_key_is_changed_twice() {
    let twice = Err(Refusal::DuplicateKey);
    assert_eq!(check(success(vec![op_put("a", ""), op_put("a", "")])), twice);
    assert_eq!(check(txn(vec![], vec![], vec![op_put("a", ""), op_put("a", "")])), twice);
    assert_eq!(check(txn(vec![], vec![op_put("a", "")], vec![op_put("a", "")])), Ok(()));
    assert_eq!(check(success(vec![op_delete("a", "c"), op_put("b", "")])), twice);
    assert_eq!(check(success(vec![op_put("b", ""), op_delete("a", "c")])), twice);
    assert_eq!(check(success(vec![op_put("b", ""), op_delete("b", "")])), twice);
    assert_eq!(check(success(vec![op_put("c", ""), op_delete("a", "c")])), Ok(()));
    assert_eq!(check(success(vec![op_delete("a", "c"), op_delete("b", "d"), op_delete("b", "")])), Ok(()));
    assert_eq!(
        check(success(vec![op_delete("c", "a"), op_put("b", "")])),
        Ok(()),
        "an inverted range is empty"
    );
}

#[test]
fn no_key_is_changed_twice_by_nested_transactions() {
    let twice = Err(Refusal::DuplicateKey);
    let put = || vec![op_put("a", "")];
    let delete = || vec![op_delete("a", "b")];
    assert_eq!(check(success(vec![nested(put(), put())])), Ok(()), "only one branch is done");
    assert_eq!(check(success(vec![nested(put(), vec![]), op_put("a", "")])), twice);
    assert_eq!(check(success(vec![nested(put(), vec![]), nested(vec![], put())])), twice);
    assert_eq!(check(success(vec![nested(put(), vec![]), op_delete("a", "")])), twice);
    assert_eq!(check(success(vec![nested(delete(), vec![]), op_put("a", "")])), twice);
    assert_eq!(check(success(vec![nested(vec![], delete()), nested(put(), vec![])])), twice);
    assert_eq!(
        check(success(vec![nested(put(), vec![]), nested(delete(), vec![])])),
        Ok(()),
        "not seen, as in etcd"
    );
    assert_eq!(check(success(vec![nested(put(), delete())])), Ok(()));
    assert_eq!(check(success(vec![nested(vec![nested(put(), vec![]), op_put("a", "")], vec![])])), twice);
}

#[test]
fn an_open_ended_delete_hides_puts_unless_they_keep_something() {
    let open = || op_delete("a", "\0");
    assert_eq!(check(success(vec![open(), op_put("k", "")])), Ok(()));
    assert_eq!(check(success(vec![open(), keep("k")])), Err(Refusal::DuplicateKey));
    assert_eq!(check(success(vec![open(), keep("A")])), Ok(()));
    assert_eq!(check(success(vec![nested(vec![open()], vec![]), keep("k")])), Err(Refusal::DuplicateKey));
    assert_eq!(
        check(success(vec![nested(vec![open()], vec![]), nested(vec![], vec![keep("k")])])),
        Err(Refusal::DuplicateKey)
    );
    assert_eq!(check(success(vec![nested(vec![keep("k")], vec![open()])])), Ok(()));
}

#[test]
fn a_put_that_keeps_what_was_deleted_before_it_does_not_crash() {
    // No checked transaction does this, but an entry may hold it.
    let mut member = Member::new();
    member.done(Command::LeaseGrant { id: 5, ttl: 10 });
    member.done(Command::Put(Put { lease: 5, ..put_of("k", "1") }));
    let keep = TxnOp::Put(Put { ignore_value: true, ignore_lease: true, ..put_of("k", "") });
    member.done(Command::Txn(success(vec![op_delete("a", "\0"), keep])));
    assert_eq!(member.dump(), ["k=@3/3/1/0"]);
    assert_eq!(member.machine.leases().get(5).unwrap().keys().count(), 0);
}

#[test]
fn read_only_transactions_are_told_from_others() {
    let serializable =
        |serializable| TxnOp::Range(Range { serializable, ..Range::new(RangeQuery::new(span("a", ""))) });
    let both = txn(vec![], vec![serializable(true)], vec![serializable(true)]);
    assert!(both.is_read_only() && both.is_serializable());
    let one = txn(vec![], vec![serializable(true)], vec![serializable(false)]);
    assert!(one.is_read_only() && !one.is_serializable());
    assert!(Txn::default().is_read_only() && Txn::default().is_serializable());
    assert!(!txn(vec![], vec![serializable(true)], vec![op_put("a", "")]).is_read_only());
    assert!(!success(vec![nested(vec![], vec![])]).is_read_only());
}

fn member_with_keys() -> Member {
    let mut member = Member::new();
    member.done(Command::LeaseGrant { id: 5, ttl: 10 });
    member.done(put("a", "m"));
    member.done(put("a", "n"));
    member.done(Command::Put(Put { lease: 5, ..put_of("b", "p") }));
    member
}

/// Whether the compares hold, applied and read.
fn holds(member: &mut Member, compares: Vec<Compare>) -> bool {
    let command = txn(compares, vec![], vec![]);
    let read = member.machine.read_txn(&member.backend.view().unwrap(), &command).unwrap();
    let revision = member.machine.revision();
    assert_eq!(read, TxnDone { revision, succeeded: read.succeeded, responses: vec![] });
    assert_eq!(member.done(Command::Txn(command)), Outcome::Txn(read.clone()));
    read.succeeded
}

#[test]
fn compares_relate_the_actual_to_the_given() {
    use CompareTarget::{CreateRevision, Lease, ModRevision, Unknown, Value, Version};
    let mut member = member_with_keys();
    for is_stored in [false, true] {
        if is_stored {
            member.commit();
        }
        let mut check = |key: &str, target: CompareTarget, expected: [bool; 4]| {
            for result in 0..4 {
                let holds = holds(&mut member, vec![compare(key, result, target.clone())]);
                assert_eq!(holds, expected[result as usize], "{key} {result} {target:?}");
            }
            let missing_value = key == "x" && matches!(target, Value(_));
            assert_eq!(
                holds(&mut member, vec![compare(key, 77, target.clone())]),
                !missing_value,
                "{target:?}"
            );
        };
        let (equal, greater, less) =
            ([true, false, false, false], [false, true, false, true], [false, false, true, true]);
        check("a", Version(2), equal);
        check("a", Version(1), greater);
        check("a", Version(3), less);
        check("a", CreateRevision(2), equal);
        check("a", CreateRevision(-1), greater);
        check("a", ModRevision(3), equal);
        check("a", ModRevision(4), less);
        check("b", Lease(5), equal);
        check("a", Lease(5), less);
        check("a", Value("n".into()), equal);
        check("a", Value("mm".into()), greater);
        check("a", Value("na".into()), less);
        check("a", Value(Bytes::new()), greater);
        check("a", Unknown(9), equal);
        check("x", Version(0), equal);
        check("x", CreateRevision(1), less);
        check("x", ModRevision(-1), greater);
        check("x", Lease(0), equal);
        check("x", Value("m".into()), [false; 4]);
        check("x", Value(Bytes::new()), [false; 4]);
        check("x", Unknown(-1), equal);
    }
}

#[test]
fn a_compare_over_a_range_holds_for_all_its_keys() {
    let mut member = member_with_keys();
    let mut check = |key: &str, end: &str, result, target| {
        holds(&mut member, vec![Compare { range: span(key, end), result, target }])
    };
    assert!(check("a", "c", 1, CompareTarget::Version(0)));
    assert!(!check("a", "c", 0, CompareTarget::Version(2)));
    assert!(check("a", "\0", 1, CompareTarget::Value("m".into())));
    assert!(!check("a", "\0", 1, CompareTarget::Value("n".into())));
    assert!(check("\0", "\0", 3, CompareTarget::Value("m".into())));
    assert!(check("c", "z", 0, CompareTarget::ModRevision(0)), "no key: as a missing one");
    assert!(!check("c", "z", 3, CompareTarget::Value("n".into())));
    assert!(check("z", "a", 0, CompareTarget::CreateRevision(0)), "an inverted range is empty");
}

#[test]
fn all_compares_must_hold() {
    let mut member = member_with_keys();
    let version = |key, version| compare(key, 0, CompareTarget::Version(version));
    assert!(holds(&mut member, vec![]));
    assert!(holds(&mut member, vec![version("a", 2), version("b", 1)]));
    assert!(!holds(&mut member, vec![version("a", 2), version("b", 2)]));
    assert!(!holds(&mut member, vec![version("a", 1), version("b", 1)]));
}

fn put_done(revision: i64) -> TxnOpDone {
    TxnOpDone::Put(PutDone { revision, previous: None })
}

/// The header's revision and the keys of the answer to a range.
fn range_done(done: &TxnOpDone) -> (i64, Vec<String>) {
    let TxnOpDone::Range { revision, output } = done else { panic!("{done:?}") };
    (*revision, output.records.iter().map(show).collect())
}

#[test]
fn headers_say_the_revision_before_or_after_the_first_change() {
    let mut member = member_with_keys();
    let command = success(vec![
        op_range("a", "", 0),
        op_delete("x", ""),
        op_put("c", "1"),
        op_range("a", "d", 0),
        op_range("a", "d", 3),
        op_delete("x", ""),
        op_delete("a", ""),
        nested(vec![op_put("d", "2"), op_range("d", "", 0), nested(vec![], vec![])], vec![]),
    ]);
    let Outcome::Txn(done) = member.done(Command::Txn(command)) else { panic!() };
    assert_eq!((done.revision, done.succeeded, done.responses.len()), (5, true, 8));
    let [first, nothing, put, second, old, still_nothing, deleted, inner] = &done.responses[..] else {
        panic!()
    };
    assert_eq!(range_done(first), (4, vec!["a=n@2/3/2/0".into()]));
    assert_eq!(
        nothing,
        &TxnOpDone::DeleteRange(DeleteRangeDone { revision: 4, deleted: 0, previous: vec![] })
    );
    assert_eq!(put, &put_done(5));
    assert_eq!(
        range_done(second),
        (5, vec!["a=n@2/3/2/0".into(), "b=p@4/4/1/5".into(), "c=1@5/5/1/0".into()])
    );
    assert_eq!(range_done(old), (5, vec!["a=n@2/3/2/0".into()]));
    assert_eq!(
        still_nothing,
        &TxnOpDone::DeleteRange(DeleteRangeDone { revision: 5, deleted: 0, previous: vec![] })
    );
    let TxnOpDone::DeleteRange(deleted) = deleted else { panic!() };
    assert_eq!((deleted.revision, deleted.deleted, deleted.previous.len()), (5, 1, 1));
    let TxnOpDone::Txn(inner) = inner else { panic!() };
    assert_eq!((inner.revision, inner.succeeded), (0, true));
    assert_eq!(inner.responses[0], put_done(5));
    assert_eq!(range_done(&inner.responses[1]), (5, vec!["d=2@5/5/1/0".into()]));
    assert_eq!(
        inner.responses[2],
        TxnOpDone::Txn(TxnDone { revision: 0, succeeded: true, responses: vec![] })
    );
}

#[test]
fn a_transaction_makes_one_revision_or_none() {
    let mut member = member_with_keys();
    let applied = member.apply(Command::Txn(success(vec![
        op_put("y", ""),
        op_delete("a", "c"),
        nested(vec![op_put("z", "")], vec![]),
    ])));
    let changes: Vec<_> = applied
        .changes
        .iter()
        .map(|change| (change.key[0], change.revision.main, change.revision.sub))
        .collect();
    assert_eq!(changes, [(b'y', 5, 0), (b'a', 5, 1), (b'b', 5, 2), (b'z', 5, 3)]);
    let applied = member.apply(Command::Txn(success(vec![op_delete("a", "c"), op_range("a", "", 0)])));
    assert!(applied.changes.is_empty());
    let Ok(Outcome::Txn(done)) = applied.outcome else { panic!() };
    assert_eq!((done.revision, applied.revision), (5, 5));
}

#[test]
fn nested_compares_do_not_see_the_writes_before_them() {
    let mut member = Member::new();
    let exists = compare("a", 1, CompareTarget::Version(0));
    let inner = TxnOp::Txn(txn(vec![exists], vec![op_put("seen", "")], vec![op_put("not-seen", "")]));
    let command = success(vec![op_put("a", "1"), inner]);
    let Outcome::Txn(done) = member.done(Command::Txn(command)) else { panic!() };
    let TxnOpDone::Txn(inner) = &done.responses[1] else { panic!() };
    assert!(done.succeeded && !inner.succeeded);
    assert_eq!(member.dump(), ["a=1@2/2/1/0", "not-seen=@2/2/1/0"]);
}

#[test]
fn a_transaction_is_refused_whole_for_any_reason_on_its_path() {
    // etcd issue 18667: a range at a compacted revision fails the transaction on all members alike.
    let mut member = member_with_keys();
    member.done(Command::Compact(Compact { revision: 3, physical: false }));
    let mut refused = |op: TxnOp| {
        let path = success(vec![op_put("c", ""), nested(vec![op.clone()], vec![])]);
        let before = member.dump();
        let result = member.run(Command::Txn(path)).map(|_| ());
        if result.is_err() {
            assert_eq!(member.dump(), before);
        }
        // Off the path it does not matter.
        let off = txn(vec![], vec![op_range("a", "", 0)], vec![op]);
        assert!(member.run(Command::Txn(off)).is_ok());
        result
    };
    assert_eq!(refused(op_range("a", "", 2)), Err(Refusal::Compacted));
    assert_eq!(refused(op_range("a", "", -1)), Err(Refusal::Compacted));
    assert_eq!(
        refused(op_range("a", "", 5)),
        Err(Refusal::FutureRevision),
        "though the transaction makes it"
    );
    assert_eq!(refused(TxnOp::Put(Put { lease: 9, ..put_of("d", "") })), Err(Refusal::LeaseNotFound));
    assert_eq!(refused(keep("d")), Err(Refusal::KeyNotFound));
    assert_eq!(refused(TxnOp::Absent), Err(Refusal::KeyNotFound));
    assert_eq!(
        refused(TxnOp::Range(Range::from_wire(RangeQuery::new(span("a", "")), false, 0, 7))),
        Err(Refusal::InvalidSortOption)
    );
    assert_eq!(refused(op_range("a", "", 3)), Ok(()));
}

#[test]
fn the_first_reason_along_the_path_is_the_answer() {
    let mut member = member_with_keys();
    let future = || op_range("a", "", 99);
    let unleased = || TxnOp::Put(Put { lease: 9, ..put_of("d", "") });
    assert_eq!(member.run(Command::Txn(success(vec![future(), unleased()]))), Err(Refusal::FutureRevision));
    assert_eq!(member.run(Command::Txn(success(vec![unleased(), future()]))), Err(Refusal::LeaseNotFound));
}

#[test]
fn a_negative_revision_is_the_current_one_until_something_is_compacted() {
    let mut member = member_with_keys();
    assert!(member.run(Command::Txn(success(vec![op_put("c", ""), op_range("a", "", -1)]))).is_ok());
    assert_eq!(
        member.run(Command::Txn(success(vec![op_put("d", ""), op_range("a", "", -2)]))),
        Err(Refusal::Compacted)
    );
}

#[test]
fn a_read_only_transaction_is_read_or_refused() {
    let mut member = member_with_keys();
    let view = member.backend.view().unwrap();
    let read = txn(
        vec![compare("a", 0, CompareTarget::Version(2))],
        vec![op_range("a", "", 0), op_range("a", "", 2)],
        vec![],
    );
    let done = member.machine.read_txn(&view, &read).unwrap();
    assert_eq!((done.revision, done.succeeded), (4, true));
    assert_eq!(range_done(&done.responses[0]), (4, vec!["a=n@2/3/2/0".into()]));
    assert_eq!(range_done(&done.responses[1]), (4, vec!["a=m@2/2/1/0".into()]));
    let future = success(vec![op_range("a", "", 9)]);
    assert_eq!(member.machine.read_txn(&view, &future).unwrap_err(), Refusal::FutureRevision.into());
    assert_eq!(member.done(Command::Txn(read)), Outcome::Txn(done), "through the log it is the same");
}
