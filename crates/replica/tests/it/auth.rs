//! Who asks a member, and what it asks back: the whole table of requests, tokens, and their end.

use std::collections::BTreeMap;

use etched_key_range::KeyRange;
use etched_replica::auth::{
    Access, Credentials, Done, Operation, Permission, Principal, Refusal as AuthRefusal, Secret, SimpleToken,
};
use etched_replica::{Answer, ApiError, DowngradeAction, Request, WatchCall};
use etched_state_machine::{
    AlarmRequest, Command, Compact, Outcome, Put, Range, RangeQuery, Refusal, Txn, TxnOp,
};
use etched_watch::{Create, Filters, StreamId};

use crate::harness::{Harness, SECOND, put};

fn auth(operation: Operation) -> Request {
    Request::Propose(Command::Auth(operation))
}

fn add(name: &str) -> Request {
    auth(Operation::UserAdd {
        name: name.into(),
        password: Secret::default(),
        hashed_password: "JDJhJDA0JA==".into(),
        no_password: None,
    })
}

fn grant(user: &str, role: &str) -> Request {
    auth(Operation::UserGrantRole { user: user.into(), role: role.into() })
}

fn refused(result: &Result<Answer, ApiError>) -> Option<AuthRefusal> {
    match result {
        Err(ApiError::Refused(Refusal::Auth(refusal))) => Some(*refusal),
        Ok(_) | Err(_) => None,
    }
}

/// A member on which authentication is on, and a token of each of its users.
struct Guarded {
    harness: Harness,
    tokens: BTreeMap<&'static str, Credentials>,
}

impl Guarded {
    /// `alice` may read and write `a` to `c`; the lease 1 holds `a`, the lease 2 holds `z`.
    fn new() -> Self {
        let mut harness = Harness::new();
        let permission =
            Some(Permission { access: Access::ReadWrite, key: "a".into(), range_end: "c".into() });
        for request in [
            Request::Propose(Command::LeaseGrant { id: 1, ttl: 100 }),
            Request::Propose(Command::LeaseGrant { id: 2, ttl: 100 }),
            leased("a", 1),
            leased("z", 2),
            add("root"),
            grant("root", "root"),
            add("alice"),
            auth(Operation::RoleAdd { name: "role".into() }),
            auth(Operation::RoleGrantPermission { role: "role".into(), permission }),
            grant("alice", "role"),
            add("bob"),
            auth(Operation::Enable),
        ] {
            harness.call(request).unwrap();
        }
        let mut guarded = Self { harness, tokens: BTreeMap::new() };
        for name in ["root", "alice", "bob"] {
            let token = guarded.log_in(name);
            guarded.tokens.insert(name, token);
        }
        guarded
    }

    fn log_in(&mut self, name: &'static str) -> Credentials {
        let operation = Operation::Authenticate {
            name: name.into(),
            password: Secret::default(),
            simple_token: format!("letters-of-{name}").into(),
        };
        self.harness.credentials = Credentials::Anonymous;
        let answer = self.harness.call(auth(operation)).unwrap();
        let Answer::Applied(Outcome::Auth { done: Done::Authenticated { token, .. }, .. }) = answer else {
            panic!("{answer:?}");
        };
        Credentials::Simple(SimpleToken::parse(&token.0).expect("a token"))
    }

    fn call_as(&mut self, credentials: Credentials, request: Request) -> Result<Answer, ApiError> {
        self.harness.credentials = credentials;
        self.harness.call(request)
    }

    fn call(&mut self, name: &str, request: Request) -> Result<Answer, ApiError> {
        self.call_as(self.tokens[name].clone(), request)
    }
}

fn leased(key: &'static str, lease: i64) -> Request {
    Request::Propose(Command::Put(Put { key: key.into(), lease, ..Put::default() }))
}

fn range(key: &'static str, end: &'static str, serializable: bool) -> Request {
    let query = RangeQuery::new(KeyRange::from_wire(key.into(), end.into()));
    Request::Range(Range::from_wire(query, serializable, 0, 0))
}

fn read_txn(key: &'static str) -> Request {
    let op = TxnOp::Range(Range::new(RangeQuery::new(KeyRange::single(key.into()))));
    Request::Propose(Command::Txn(Txn { success: vec![op], ..Txn::default() }))
}

fn alarm(action: i32) -> Request {
    Request::Propose(Command::Alarm(AlarmRequest { action, member_id: 9, alarm: 1 }))
}

/// Who may ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Everybody,
    Somebody,
    /// Whoever may read and write `a` to `c`.
    Alice,
    Root,
}

fn table() -> Vec<(For, Request)> {
    vec![
        (For::Alice, range("a", "", false)),
        (For::Alice, range("a", "", true)),
        (For::Alice, range("a", "c", false)),
        (For::Root, range("a", "\0", false)),
        (For::Root, range("z", "", true)),
        (For::Alice, read_txn("a")),
        (For::Root, read_txn("z")),
        (For::Alice, put("a", "1")),
        (For::Root, put("z", "1")),
        (For::Root, Request::Propose(Command::Compact(Compact { revision: 2, physical: false }))),
        (For::Somebody, Request::Propose(Command::LeaseGrant { id: 3, ttl: 100 })),
        (For::Alice, Request::LeaseRenew { id: 1 }),
        (For::Root, Request::LeaseRenew { id: 2 }),
        (For::Somebody, Request::LeaseRenew { id: 404 }),
        (For::Somebody, Request::LeaseTimeToLive { id: 2, keys: false }),
        (For::Alice, Request::LeaseTimeToLive { id: 1, keys: true }),
        (For::Root, Request::LeaseTimeToLive { id: 2, keys: true }),
        (For::Root, Request::Leases),
        (For::Somebody, Request::Status),
        (For::Somebody, Request::Members { linearizable: true }),
        (For::Somebody, Request::Members { linearizable: false }),
        (For::Somebody, alarm(0)),
        (For::Root, alarm(2)),
        (For::Root, Request::CheckRoot),
        (For::Root, Request::Hash),
        (For::Root, Request::HashKv { revision: 0 }),
        (For::Root, Request::Defragment),
        (For::Root, Request::Downgrade { action: DowngradeAction::Validate, version: "3.6".into() }),
        (For::Root, Request::MoveLeader { target: 404 }),
        (For::Root, Request::MemberRemove { id: 404 }),
        (For::Root, Request::MemberUpdate { id: 404, peer_urls: vec!["http://localhost:1".into()] }),
        (For::Root, Request::MemberPromote { id: 404 }),
        (For::Everybody, Request::PasswordHash { name: "alice".into() }),
        (For::Everybody, auth(Operation::Status)),
        (For::Root, auth(Operation::UserList)),
        (For::Alice, auth(Operation::UserGet { name: "alice".into() })),
        (For::Alice, auth(Operation::RoleGet { role: "role".into() })),
        (For::Alice, Request::Propose(Command::LeaseRevoke { id: 1 })),
        (For::Root, Request::Propose(Command::LeaseRevoke { id: 2 })),
        (For::Root, add("carol")),
        (For::Root, auth(Operation::Disable)),
    ]
}

#[test]
fn each_request_is_for_those_whom_the_table_names() {
    for (who, request) in table() {
        let mut guarded = Guarded::new();
        let ghost = Credentials::CommonName("ghost".into());
        for (name, credentials) in [
            ("nobody", Credentials::Anonymous),
            ("invalid", Credentials::Invalid),
            ("stranger", Credentials::Simple(SimpleToken::parse("never-given.1").unwrap())),
            ("ghost", ghost),
            ("bob", guarded.tokens["bob"].clone()),
        ] {
            let result = guarded.call_as(credentials, request.clone());
            let is_token_bad = matches!(name, "invalid" | "stranger");
            let is_asked = !matches!(request, Request::PasswordHash { .. });
            let expected = match who {
                _ if is_token_bad && is_asked => Some(AuthRefusal::InvalidToken),
                For::Everybody => None,
                _ if name == "nobody" => Some(AuthRefusal::UserEmpty),
                For::Somebody => None,
                For::Alice | For::Root => {
                    let told = refused(&result);
                    assert!(
                        matches!(told, Some(AuthRefusal::PermissionDenied | AuthRefusal::UserNotFound)),
                        "{name} {request:?}: {result:?}"
                    );
                    told
                }
            };
            assert_eq!(refused(&result), expected, "{name} {request:?}: {result:?}");
        }
        let result = guarded.call("alice", request.clone());
        let is_denied = refused(&result) == Some(AuthRefusal::PermissionDenied);
        assert_eq!(is_denied, who == For::Root, "alice {request:?}: {result:?}");
        let mut guarded = Guarded::new();
        let result = guarded.call("root", request.clone());
        assert_eq!(refused(&result), None, "root {request:?}: {result:?}");
        let mut guarded = Guarded::new();
        let result = guarded.call_as(Credentials::Member, request.clone());
        assert_eq!(refused(&result), None, "the member {request:?}: {result:?}");
    }
}

#[test]
fn nobody_is_asked_while_authentication_is_off() {
    for (_, request) in table() {
        let mut guarded = Guarded::new();
        guarded.call("root", auth(Operation::Disable)).unwrap();
        let result = guarded.call_as(Credentials::Invalid, request.clone());
        let told = refused(&result).filter(|told| *told != AuthRefusal::NotEnabled);
        assert_eq!(told, None, "{request:?}: {result:?}");
    }
}

#[test]
fn a_token_ends_with_its_user_his_password_and_its_time() {
    let mut guarded = Guarded::new();
    let change = auth(Operation::UserChangePassword {
        name: "alice".into(),
        password: Secret::default(),
        hashed_password: Secret::default(),
    });
    guarded.call("root", change).unwrap();
    let invalid = Some(AuthRefusal::InvalidToken);
    assert_eq!(refused(&guarded.call("alice", put("a", "1"))), invalid);
    guarded.call("root", auth(Operation::UserDelete { name: "bob".into() })).unwrap();
    assert_eq!(refused(&guarded.call("bob", Request::Status)), invalid);
    // Used in time, then not.
    for seconds in [200, 200, 299] {
        guarded.harness.advance(seconds * SECOND);
        assert!(guarded.call("root", Request::Status).is_ok());
    }
    guarded.harness.advance(302 * SECOND);
    assert_eq!(refused(&guarded.call("root", Request::Status)), invalid);
    let again = guarded.log_in("root");
    assert!(guarded.call_as(again.clone(), auth(Operation::Disable)).is_ok());
    guarded.call_as(Credentials::Anonymous, auth(Operation::Enable)).unwrap();
    assert_eq!(refused(&guarded.call_as(again, Request::Status)), invalid, "all tokens ended with it");
}

#[test]
fn a_right_that_is_lost_is_lost_at_once() {
    let mut guarded = Guarded::new();
    assert!(guarded.call("alice", put("a", "1")).is_ok());
    let revoke = Operation::UserRevokeRole { name: "alice".into(), role: "role".into() };
    guarded.call("root", auth(revoke)).unwrap();
    for request in [put("a", "2"), range("a", "", false), range("a", "", true), read_txn("a")] {
        assert_eq!(refused(&guarded.call("alice", request)), Some(AuthRefusal::PermissionDenied));
    }
    guarded.call("root", grant("alice", "role")).unwrap();
    assert!(guarded.call("alice", put("a", "3")).is_ok());
}

#[test]
fn a_signed_name_is_as_old_as_its_token() {
    let mut guarded = Guarded::new();
    let revision = guarded.harness.member.report().auth_revision;
    let signed = |revision| Credentials::Signed(Principal { user: "alice".into(), revision });
    assert!(guarded.call_as(signed(revision), put("a", "1")).is_ok());
    for request in [put("a", "1"), range("a", "", false), read_txn("a")] {
        let result = guarded.call_as(signed(revision - 1), request.clone());
        assert_eq!(refused(&result), Some(AuthRefusal::OldRevision), "{request:?}");
    }
    // What is newer than this member is read by nobody, as in etcd.
    let result = guarded.call_as(signed(revision + 1), range("a", "", false));
    assert_eq!(refused(&result), Some(AuthRefusal::OldRevision));
}

#[test]
fn a_token_of_an_entry_to_come_is_waited_for() {
    let mut guarded = Guarded::new();
    // The number in a token is the index before that of its entry.
    let index = guarded.harness.member.report().raft_applied;
    let early = SimpleToken::parse(&format!("letters-of-alice.{index}")).unwrap();
    guarded.harness.credentials = Credentials::Simple(early);
    let waiting = guarded.harness.submit(put("a", "1"));
    guarded.harness.run();
    assert!(guarded.harness.answer_is_pending(waiting));
    guarded.call("bob", Request::Propose(Command::LeaseGrant { id: 7, ttl: 100 })).unwrap();
    assert!(guarded.harness.answer(waiting).unwrap().is_ok());
    let never = SimpleToken::parse("letters-of-alice.999999").unwrap();
    guarded.harness.credentials = Credentials::Simple(never);
    let waiting = guarded.harness.submit(put("a", "1"));
    guarded.harness.advance(8 * SECOND);
    let result = guarded.harness.answer(waiting).unwrap();
    assert_eq!(refused(&result), Some(AuthRefusal::InvalidToken), "{result:?}");
}

#[test]
fn a_watch_is_refused_on_its_stream() {
    let mut guarded = Guarded::new();
    let stream = StreamId(1);
    guarded.harness.member.watch(0, WatchCall::Open { stream, progress_interval_ns: 0 }, guarded.harness.now);
    let create = |key: &'static str, end: &'static str, start_revision| Create {
        range: KeyRange::from_wire(key.into(), end.into()),
        start_revision,
        filters: Filters::default(),
        prev_kv: false,
        progress_notify: false,
        fragment: false,
        watch_id: 0,
    };
    let alice = guarded.tokens["alice"].clone();
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    for (credentials, create, reason) in [
        (alice.clone(), create("a", "", 0), ""),
        (alice.clone(), create("a", "c", 0), ""),
        (alice.clone(), create("a", "\0", 0), denied),
        (alice.clone(), create("", "", 0), denied),
        (alice.clone(), create("", "\0", 0), denied),
        (alice, create("z", "", -1), "etcdserver: mvcc: required revision has been compacted"),
        (
            Credentials::Anonymous,
            create("a", "", 0),
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
        ),
        (
            Credentials::Invalid,
            create("a", "", 0),
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
        ),
    ] {
        let call = WatchCall::Create { stream, credentials, create };
        guarded.harness.member.watch(0, call, guarded.harness.now);
        guarded.harness.run();
        let response = guarded.harness.deliveries.pop().expect("each create is answered").response;
        assert_eq!((response.cancel_reason.as_ref(), response.created), (reason, true));
        assert_eq!((response.canceled, response.watch_id == -1), (!reason.is_empty(), !reason.is_empty()));
    }
}

/// The leader's own revocations are root's, so that members which are etcd carry them out too.
#[test]
fn leases_run_out_while_authentication_is_on() {
    let mut guarded = Guarded::new();
    guarded.harness.advance(120 * SECOND);
    guarded.harness.run();
    let root = guarded.log_in("root");
    let leases = guarded.call_as(root, Request::Leases).unwrap();
    assert!(matches!(&leases, Answer::Leases(left) if left.is_empty()), "{leases:?}");
    let entries = &guarded.harness.disk.entries;
    let revoked = entries.iter().filter(|entry| {
        entry.data.windows(4).any(|part| part == b"root") && entry.data.first() == Some(&0x4a)
    });
    assert_eq!(revoked.count(), 2, "both revocations are in root's name");
}
