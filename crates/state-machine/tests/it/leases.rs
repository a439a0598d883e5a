//! Leases and the keys attached to them.

use etched_lease::TTL_MAX;
use etched_state_machine::{Command, CompareTarget, Options, Outcome, Refusal};

use crate::support::*;

fn grant(id: i64, ttl: i64) -> Command {
    Command::LeaseGrant { id, ttl }
}

fn keys(member: &Member, id: i64) -> Vec<String> {
    let mut keys: Vec<String> = member
        .machine
        .leases()
        .get(id)
        .unwrap()
        .keys()
        .map(|key| String::from_utf8(key.to_vec()).unwrap())
        .collect();
    keys.sort();
    keys
}

#[test]
fn a_grant_raises_a_short_life_and_refuses_what_exists() {
    let mut member = Member::new();
    for (id, ttl) in [(1, 0), (2, -9), (3, 1)] {
        assert_eq!(member.done(grant(id, ttl)), Outcome::LeaseGrant { revision: 1, id, ttl: 2 });
    }
    let applied = member.apply(grant(-5, 60));
    assert_eq!(applied.outcome, Ok(Outcome::LeaseGrant { revision: 1, id: -5, ttl: 60 }));
    assert_eq!(applied.effects.lease_granted, Some((-5, 60)));
    assert_eq!(member.run(grant(-5, 60)), Err(Refusal::LeaseExists));
    assert_eq!(member.run(grant(-5, TTL_MAX + 1)), Err(Refusal::LeaseTtlTooLarge), "as etcd: the life first");
    assert_eq!(member.run(grant(9, i64::MAX)), Err(Refusal::LeaseTtlTooLarge));
    assert_eq!(member.run(grant(0, 60)), Err(Refusal::LeaseNotFound));
    assert!(member.run(grant(9, TTL_MAX)).is_ok());
    let mut other = Member::with_options(Options { lease_ttl_min: 7, ..options() });
    assert_eq!(other.done(grant(1, 6)), Outcome::LeaseGrant { revision: 1, id: 1, ttl: 7 });
}

#[test]
fn a_revoke_deletes_the_keys_in_order_in_one_revision() {
    let mut member = Member::new();
    member.done(grant(5, 10));
    for key in ["c", "a", "b"] {
        member.done(put_leased(key, 5));
    }
    member.done(put("d", "stays"));
    assert_eq!(member.run(Command::LeaseRevoke { id: 6 }), Err(Refusal::LeaseNotFound));
    let applied = member.apply(Command::LeaseRevoke { id: 5 });
    assert_eq!(applied.outcome, Ok(Outcome::LeaseRevoke { revision: 6 }));
    assert_eq!(applied.effects.lease_revoked, Some(5));
    let changes: Vec<_> = applied
        .changes
        .iter()
        .map(|change| (change.key.to_vec(), change.revision.main, change.revision.sub))
        .collect();
    assert_eq!(changes, [(b"a".to_vec(), 6, 0), (b"b".to_vec(), 6, 1), (b"c".to_vec(), 6, 2)]);
    assert_eq!(member.dump(), ["d=stays@5/5/1/0"]);
    assert_eq!(member.run(Command::LeaseRevoke { id: 5 }), Err(Refusal::LeaseNotFound));
    member.done(grant(5, 10));
    let applied = member.apply(Command::LeaseRevoke { id: 5 });
    assert_eq!(
        applied.outcome,
        Ok(Outcome::LeaseRevoke { revision: 6 }),
        "without keys there is no revision"
    );
}

#[test]
fn keys_move_between_leases() {
    let mut member = Member::new();
    member.done(grant(1, 10));
    member.done(grant(2, 10));
    assert_eq!(member.run(put_leased("a", 3)), Err(Refusal::LeaseNotFound));
    member.done(put_leased("a", 1));
    member.done(put_leased("b", 1));
    member.done(put_leased("a", 2));
    assert_eq!((keys(&member, 1), keys(&member, 2)), (vec!["b".into()], vec!["a".into()]));
    member.done(put_leased("a", 2));
    assert_eq!(keys(&member, 2), ["a"]);
    member.done(put("a", "free"));
    assert!(keys(&member, 2).is_empty());
    member.done(delete("b", ""));
    assert!(keys(&member, 1).is_empty());
    member.done(Command::LeaseRevoke { id: 1 });
    member.done(Command::LeaseRevoke { id: 2 });
    assert_eq!(member.dump().len(), 1);
}

#[test]
fn attachments_follow_a_transaction_through() {
    let mut member = Member::new();
    member.done(grant(1, 10));
    member.done(grant(2, 10));
    member.done(put_leased("a", 1));
    member.done(put_leased("b", 1));
    let leased = |key: &str, lease| {
        etched_state_machine::TxnOp::Put(etched_state_machine::Put { lease, ..put_of(key, "") })
    };
    let command = txn(
        vec![compare("a", 0, CompareTarget::Lease(1))],
        vec![op_delete("a", "c"), leased("c", 2), leased("d", 1)],
        vec![],
    );
    member.done(Command::Txn(command));
    assert_eq!((keys(&member, 1), keys(&member, 2)), (vec!["d".into()], vec!["c".into()]));
    // Nothing is changed, though the first put would be valid.
    let refused = txn(vec![], vec![leased("e", 1), leased("f", 9)], vec![]);
    assert_eq!(member.run(Command::Txn(refused)), Err(Refusal::LeaseNotFound));
    assert_eq!(keys(&member, 1), ["d"]);
}

#[test]
fn leases_and_attachments_survive_a_restart() {
    // etcd issue 14239: negative ids too.
    let mut member = Member::new();
    member.done(grant(-7, 100));
    member.done(grant(8, 100));
    member.done(put_leased("a", -7));
    member.done(Command::LeaseCheckpoint(vec![(8, 30)]));
    member.commit();
    member.done(grant(9, 100));
    let mut member = member.restarted();
    assert_eq!(member.machine.leases().iter().count(), 2);
    assert_eq!(member.machine.leases().get(8).unwrap().remaining(), 30);
    assert_eq!(keys(&member, -7), ["a"]);
    member.done(Command::LeaseRevoke { id: -7 });
    assert!(member.dump().is_empty());
    member.commit();
    assert_eq!(member.restarted().machine.leases().iter().count(), 1);
}

#[test]
fn a_checkpoint_notes_up_to_the_first_unknown_lease() {
    let mut member = Member::new();
    for id in [1, 2, 3] {
        member.done(grant(id, 100));
    }
    let applied = member.apply(Command::LeaseCheckpoint(vec![(1, 10), (2, 20)]));
    assert_eq!(applied.outcome, Ok(Outcome::LeaseCheckpoint { revision: 1 }));
    assert_eq!(applied.effects.leases_checkpointed, [(1, 10), (2, 20)]);
    let applied = member.apply(Command::LeaseCheckpoint(vec![(1, 0), (9, 20), (3, 30)]));
    assert_eq!(applied.outcome, Err(Refusal::LeaseNotFound));
    assert_eq!(applied.effects.leases_checkpointed, [(1, 0)]);
    let remaining = |id| member.machine.leases().get(id).unwrap().remaining();
    assert_eq!((remaining(1), remaining(2), remaining(3)), (0, 20, 0));
}
