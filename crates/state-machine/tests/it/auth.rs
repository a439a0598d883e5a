//! Who may do what where entries are applied: the whole table of commands, and what a restart keeps.

use etched_key_range::KeyRange;
use etched_mvcc::RangeQuery;
use etched_state_machine::auth::{
    Access, Done, Operation, Permission, Principal, Refusal as AuthRefusal, Secret, TokenChange,
};
use etched_state_machine::{
    Command, Compact, Compare, CompareTarget, DeleteRange, Header, Outcome, Range, Refusal, Txn, TxnOp,
    schema,
};

use crate::support::{Member, put, put_leased, put_of};

const DENIED: Refusal = Refusal::Auth(AuthRefusal::PermissionDenied);

fn add(name: &str) -> Operation {
    Operation::UserAdd {
        name: name.into(),
        password: Secret::default(),
        hashed_password: Secret::default(),
        no_password: Some(true),
    }
}

fn grant(user: &str, role: &str) -> Operation {
    Operation::UserGrantRole { user: user.into(), role: role.into() }
}

fn allow(role: &str, access: Access, key: &'static str, end: &'static str) -> Operation {
    let permission = Some(Permission { access, key: key.into(), range_end: end.into() });
    Operation::RoleGrantPermission { role: role.into(), permission }
}

/// A member whose user `r` may read `a` to `c`, whose `w` may write that, whose `rw` may both; `root` is root.
/// The lease 1 holds `a`, the lease 2 holds `z`.
fn guarded() -> Member {
    let mut member = Member::new();
    for id in [1, 2, 3] {
        member.done(Command::LeaseGrant { id, ttl: 100 });
    }
    member.done(put_leased("a", 1));
    member.done(put_leased("z", 2));
    for (name, access) in [("r", Access::Read), ("w", Access::Write), ("rw", Access::ReadWrite)] {
        for operation in [
            add(name),
            Operation::RoleAdd { name: name.into() },
            allow(name, access, "a", "c"),
            grant(name, name),
        ] {
            member.done(Command::Auth(operation));
        }
    }
    for operation in [add("root"), grant("root", "root"), add("none"), Operation::Enable] {
        member.done(Command::Auth(operation));
    }
    member
}

/// Applies a command in somebody's name, as of now.
fn run_as(member: &mut Member, user: &str, command: &Command) -> Result<Outcome, Refusal> {
    let auth_revision = if user.is_empty() { 0 } else { member.machine.auth().revision() };
    run_at(member, user, auth_revision, command)
}

fn run_at(
    member: &mut Member,
    user: &str,
    auth_revision: u64,
    command: &Command,
) -> Result<Outcome, Refusal> {
    let header = Header { request_id: 7, username: user.into(), auth_revision };
    member.apply_entry(&schema::encode(&header, command)).outcome
}

fn range(key: &'static str, end: &'static str) -> KeyRange {
    KeyRange::from_wire(key.into(), end.into())
}

fn delete(key: &'static str, end: &'static str, prev_kv: bool) -> DeleteRange {
    DeleteRange { range: range(key, end), prev_kv }
}

fn compare(key: &'static str, end: &'static str) -> Compare {
    Compare { range: range(key, end), result: 3, target: CompareTarget::Version(77) }
}

fn read(key: &'static str, end: &'static str) -> TxnOp {
    TxnOp::Range(Range::new(RangeQuery::new(range(key, end))))
}

fn txn(compares: Vec<Compare>, success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Command {
    Command::Txn(Txn { compares, success, failure })
}

fn nested(command: Command) -> TxnOp {
    let Command::Txn(txn) = command else { panic!("{command:?} is no transaction") };
    TxnOp::Txn(txn)
}

/// Who of r, w, rw may do it; nobody else but root may ever.
fn commands() -> Vec<(&'static str, Command)> {
    let previous = |key: &'static str| {
        let mut put = put_of(key, "1");
        put.prev_kv = true;
        Command::Put(put)
    };
    let put_op = |key: &str| TxnOp::Put(put_of(key, "2"));
    vec![
        ("w rw", put("a", "1")),
        ("rw", previous("a")),
        ("", put("c", "1")),
        ("", put("z", "1")),
        ("w rw", put_leased("a", 1)),
        ("", put_leased("a", 2)),
        ("w rw", put_leased("b", 3)),
        ("w rw", Command::DeleteRange(delete("a", "b", false))),
        ("w rw", Command::DeleteRange(delete("a", "c", false))),
        ("rw", Command::DeleteRange(delete("a", "b", true))),
        ("", Command::DeleteRange(delete("a", "d", false))),
        ("", Command::DeleteRange(delete("a", "\0", false))),
        ("", Command::DeleteRange(delete("\0", "\0", false))),
        ("r w rw none", txn(vec![], vec![], vec![])),
        ("r rw", txn(vec![compare("a", "")], vec![], vec![])),
        ("", txn(vec![compare("a", "\0")], vec![], vec![])),
        ("w rw", txn(vec![], vec![put_op("a")], vec![])),
        ("w rw", txn(vec![], vec![], vec![put_op("a")])),
        ("", txn(vec![], vec![], vec![put_op("z")])),
        ("", txn(vec![], vec![put_op("a")], vec![read("z", "")])),
        ("rw", txn(vec![compare("b", "")], vec![put_op("a")], vec![read("a", "c")])),
        ("rw", txn(vec![], vec![TxnOp::DeleteRange(delete("a", "", true))], vec![])),
        ("w rw", txn(vec![], vec![TxnOp::DeleteRange(delete("a", "", false))], vec![])),
        ("", txn(vec![], vec![], vec![nested(txn(vec![], vec![], vec![put_op("z")]))])),
        ("", txn(vec![], vec![], vec![nested(txn(vec![compare("z", "")], vec![], vec![]))])),
        ("r rw", txn(vec![], vec![], vec![nested(txn(vec![compare("a", "")], vec![], vec![]))])),
        ("", Command::LeaseRevoke { id: 2 }),
        ("w rw", Command::LeaseRevoke { id: 1 }),
        ("r w rw none", Command::LeaseRevoke { id: 3 }),
        ("", Command::Auth(add("x"))),
        ("", Command::Auth(Operation::UserList)),
        ("", Command::Auth(Operation::RoleList)),
        ("r", Command::Auth(Operation::UserGet { name: "r".into() })),
        ("r", Command::Auth(Operation::RoleGet { role: "r".into() })),
        ("", Command::Auth(allow("r", Access::ReadWrite, "\0", "\0"))),
        ("", Command::Auth(grant("r", "root"))),
        ("", Command::Auth(Operation::Disable)),
    ]
}

#[test]
fn each_command_is_for_those_who_may_touch_its_keys() {
    for (allowed, command) in commands() {
        for user in ["r", "w", "rw", "none", "ghost", "", "root"] {
            let mut member = guarded();
            let before = (member.machine.revision(), member.machine.auth().clone());
            let outcome = run_as(&mut member, user, &command);
            let may = user == "root" || allowed.split(' ').any(|name| name == user && !name.is_empty());
            // A transaction that touches nothing, and a lease without keys, are for anybody.
            let touches_nothing = allowed.contains("none");
            if may || touches_nothing {
                assert!(outcome.is_ok(), "{user:?} {command:?}: {outcome:?}");
                continue;
            }
            let for_root = matches!(command, Command::Auth(_));
            let expected = match user {
                "" => Refusal::Auth(AuthRefusal::UserEmpty),
                "ghost" if for_root => Refusal::Auth(AuthRefusal::UserNotFound),
                _ => DENIED,
            };
            assert_eq!(outcome, Err(expected), "{user:?} {command:?}");
            assert_eq!((member.machine.revision(), member.machine.auth().clone()), before, "{command:?}");
        }
    }
}

#[test]
fn what_was_asked_for_when_it_was_proposed_is_not_asked_again() {
    for command in [
        Command::Compact(Compact { revision: 2, physical: false }),
        Command::LeaseGrant { id: 9, ttl: 1 },
        Command::LeaseCheckpoint(vec![(1, 5)]),
        Command::raise_no_space(7),
        Command::ClusterVersionSet { version: "3.7.0".into() },
        Command::Auth(Operation::Status),
    ] {
        assert!(run_as(&mut guarded(), "", &command).is_ok(), "{command:?}");
    }
}

#[test]
fn a_name_that_was_believed_before_the_last_change_is_not_believed_any_more() {
    let mut member = guarded();
    let revision = member.machine.auth().revision();
    let command = put("a", "1");
    assert!(run_at(&mut member, "w", revision, &command).is_ok());
    assert!(run_at(&mut member, "w", revision + 5, &command).is_ok(), "one from the future is");
    run_as(&mut member, "root", &Command::Auth(add("x"))).unwrap();
    let old = Err(Refusal::Auth(AuthRefusal::OldRevision));
    assert_eq!(run_at(&mut member, "w", revision, &command), old);
    assert_eq!(run_at(&mut member, "root", revision, &command), old);
    assert!(run_at(&mut member, "root", revision, &Command::LeaseRevoke { id: 2 }).is_ok());
    run_as(&mut member, "root", &Command::Auth(Operation::Disable)).unwrap();
    assert!(run_at(&mut member, "", 0, &command).is_ok());
}

#[test]
fn full_and_corrupt_come_before_forbidden() {
    let mut member = guarded();
    member.done(Command::raise_no_space(7));
    assert_eq!(run_as(&mut member, "r", &put("a", "1")), Err(Refusal::NoSpace));
    assert_eq!(run_as(&mut member, "r", &Command::DeleteRange(delete("a", "", false))), Err(DENIED));
}

#[test]
fn reads_are_judged_by_the_same_rules() {
    let member = guarded();
    let machine = &member.machine;
    let revision = machine.auth().revision();
    let principal = |user: &str| Principal { user: user.into(), revision };
    let (r, w, root) = (principal("r"), principal("w"), principal("root"));
    let query = |key, end| Range::new(RangeQuery::new(range(key, end)));
    assert_eq!(machine.permit_range(Some(&r), &query("a", "c")), Ok(()));
    assert_eq!(machine.permit_range(Some(&r), &query("a", "\0")), Err(DENIED));
    assert_eq!(machine.permit_range(Some(&w), &query("a", "")), Err(DENIED));
    let Command::Txn(of_compare) = txn(vec![compare("z", "")], vec![read("a", "")], vec![]) else { panic!() };
    assert_eq!(machine.permit_txn(Some(&r), &of_compare), Err(DENIED));
    assert_eq!(machine.permit_txn(Some(&root), &of_compare), Ok(()));
    assert_eq!(machine.permit_renewal(Some(&w), 1), Ok(()));
    assert_eq!(machine.permit_renewal(Some(&r), 1), Err(DENIED));
    assert_eq!(machine.permit_renewal(Some(&r), 404), Ok(()));
    assert_eq!(machine.permit_renewal(None, 3), Err(Refusal::Auth(AuthRefusal::UserEmpty)));
    assert_eq!(machine.permit_keys_of_lease(Some(&r), 1), Ok(()));
    assert_eq!(machine.permit_keys_of_lease(Some(&w), 1), Err(DENIED));
    assert_eq!(machine.permit_leases(Some(&r)), Err(DENIED), "the lease 2 holds a key that is not his");
    assert_eq!(machine.permit_leases(Some(&root)), Ok(()));
}

/// etcd 14409 and 13946: authentication is on right after a restart, before anything is applied.
#[test]
fn users_and_rights_survive_a_restart_and_a_snapshot() {
    let mut member = guarded();
    member.commit();
    let before = member.machine.auth().clone();
    let mut member = member.restarted();
    assert_eq!(member.machine.auth(), &before);
    assert!(member.machine.auth().is_enabled());
    assert_eq!(run_as(&mut member, "r", &put("a", "1")), Err(DENIED));
    assert!(run_as(&mut member, "w", &put("a", "1")).is_ok());
}

#[test]
fn members_learn_which_tokens_are_worth_something() {
    let mut member = guarded();
    let hashed = Operation::UserAdd {
        name: "p".into(),
        password: Secret::default(),
        hashed_password: "JDJhJDA0JA==".into(),
        no_password: None,
    };
    run_as(&mut member, "root", &Command::Auth(hashed)).unwrap();
    let mut effects = |operation| {
        let header = Header { username: "root".into(), auth_revision: 1, ..Header::default() };
        let applied = member.apply_entry(&schema::encode(&header, &Command::Auth(operation)));
        let index = applied.index;
        (index, applied.outcome.unwrap(), applied.effects)
    };
    let login = Operation::Authenticate {
        name: "p".into(),
        password: Secret::default(),
        simple_token: "abcdefghijklmnop".into(),
    };
    let (index, outcome, made) = effects(login);
    let Outcome::Auth { done: Done::Authenticated { token, .. }, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(token.0, format!("abcdefghijklmnop.{}", index - 1));
    let expected = TokenChange::Made { prefix: "abcdefghijklmnop".into(), user: "p".into() };
    assert_eq!(made.token_change, Some(expected));
    let (_, _, dropped) = effects(Operation::UserDelete { name: "p".into() });
    assert_eq!(dropped.token_change, Some(TokenChange::OfUserDropped("p".into())));
    let (_, _, all) = effects(Operation::Disable);
    assert_eq!((all.token_change, all.auth_switched), (Some(TokenChange::AllDropped), Some(false)));
}

#[test]
fn operations_are_answered_with_the_revision_of_the_keys() {
    let mut member = guarded();
    let revision = member.machine.revision();
    let status = run_as(&mut member, "", &Command::Auth(Operation::Status)).unwrap();
    let auth_revision = member.machine.auth().revision();
    assert_eq!(
        status,
        Outcome::Auth { revision, done: Done::Status { enabled: true, revision: auth_revision } }
    );
}
