//! Users, roles and permissions as they are administered, stored and restored.

use alloc::format;
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

use etched_backend::{Backend, Durability, MemoryBackend};
use proptest::prelude::*;

use super::*;
use crate::permission::Access;

/// Users and roles with the batch that they wrote, as one member has them.
#[derive(Default)]
struct World {
    auth: Auth,
    backend: MemoryBackend,
    index: u64,
}

impl World {
    fn apply(&mut self, operation: Operation) -> Result<Done, Refusal> {
        self.index += 1;
        let mut batch = Batch::new();
        let before = self.auth.clone();
        let done = self.auth.apply(&operation, self.index, &mut batch);
        if done.is_err() {
            assert_eq!(self.auth, before, "{operation:?} is refused and changes something");
            assert!(batch.is_empty());
        }
        self.backend.commit(&batch, Durability::Buffered).unwrap();
        done
    }

    /// How much the revision grows by an operation that must not be refused.
    fn grown(&mut self, operation: Operation) -> u64 {
        let before = self.auth.revision();
        self.apply(operation).unwrap();
        self.auth.revision() - before
    }

    fn refused(&mut self, operation: Operation) -> Refusal {
        self.apply(operation).unwrap_err()
    }

    fn stored(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let view = self.backend.view().unwrap();
        view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        rows
    }

    fn permit(
        &self,
        user: &str,
        access: Access,
        key: &'static str,
        end: &'static str,
    ) -> Result<(), Refusal> {
        let principal = Principal { user: user.into(), revision: self.auth.revision() };
        let range = KeyRange::from_wire(key.into(), end.into());
        match access {
            Access::Read => self.auth.permit_read(Some(&principal), &range),
            Access::Write | Access::ReadWrite | Access::Unknown(_) => {
                self.auth.permit_write(Some(&principal), &range)
            }
        }
    }
}

fn user(name: &str) -> Operation {
    let (password, hashed_password) = Default::default();
    Operation::UserAdd { name: name.into(), password, hashed_password, no_password: None }
}

fn change_password(name: &str, hashed: &str) -> Operation {
    let (name, hashed_password) = (name.into(), hashed.into());
    Operation::UserChangePassword { name, password: Secret::default(), hashed_password }
}

fn role(name: &str) -> Operation {
    Operation::RoleAdd { name: name.into() }
}

fn grant(user: &str, role: &str) -> Operation {
    Operation::UserGrantRole { user: user.into(), role: role.into() }
}

fn revoke(user: &str, role: &str) -> Operation {
    Operation::UserRevokeRole { name: user.into(), role: role.into() }
}

fn permission(access: Access, key: &'static str, end: &'static str) -> Permission {
    Permission { access, key: key.into(), range_end: end.into() }
}

fn allow(role: &str, access: Access, key: &'static str, end: &'static str) -> Operation {
    Operation::RoleGrantPermission { role: role.into(), permission: Some(permission(access, key, end)) }
}

fn forbid(role: &str, key: &'static str, end: &'static str) -> Operation {
    Operation::RoleRevokePermission { role: role.into(), key: key.into(), range_end: end.into() }
}

fn enabled() -> World {
    let mut world = World::default();
    for operation in [user("root"), grant("root", "root"), Operation::Enable] {
        world.apply(operation).unwrap();
    }
    world
}

/// The rows that etcd 3.7.2 has after the operations below, read out of its database file.
#[test]
fn records_are_those_of_etcd() {
    let mut world = World::default();
    let hashed = |name: &str, hash: &str| Operation::UserAdd {
        name: name.into(),
        password: Secret::default(),
        hashed_password: hash.into(),
        no_password: None,
    };
    let with_option = |name: &str, no_password| Operation::UserAdd {
        name: name.into(),
        password: Secret::default(),
        hashed_password: Secret::default(),
        no_password: Some(no_password),
    };
    for operation in [
        hashed("root", "JDJhJDA0JEU0UVNKQThMRThoSmd2dTZyLzZsY2VGVTg5OHA5L1k2cXhnLmlHTXF4SlpCV3BwRDFOSDRT"),
        role("root"),
        grant("root", "root"),
        hashed("alice", "JDJhJDA0JEsxZkhFVzY2WHpGQlRLM2szanM0ck8zWlAxTy9adlp5VFVlZGRhZ2RoT3NSMDV4dU5uQXNl"),
        with_option("bob", true),
        with_option("carol", false),
        role("pods"),
        allow("pods", Access::Read, "pods/", "pods0"),
        allow("pods", Access::ReadWrite, "a", ""),
        allow("pods", Access::Write, "z", "\0"),
        role("empty"),
        grant("alice", "pods"),
        grant("alice", "empty"),
        grant("bob", "empty"),
        change_password("carol", ""),
        Operation::Enable,
    ] {
        world.apply(operation).unwrap();
    }
    let rows = |rows: &[(&str, &[u8])]| -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.to_vec())).collect()
    };
    assert_eq!(
        world.stored(Table::Auth),
        rows(&[("authEnabled", b"\x01"), ("authRevision", b"\0\0\0\0\0\0\0\x10")])
    );
    assert_eq!(
        world.stored(Table::AuthUsers),
        rows(&[
            (
                "alice",
                b"\n\x05alice\x12<$2a$04$K1fHEW66XzFBTK3k3js4rO3ZP1O/ZvZyTUeddagdhOsR05xuNnAse\x1a\x05empty\x1a\x04pods\"\0"
            ),
            ("bob", b"\n\x03bob\x1a\x05empty\"\x02\x08\x01"),
            ("carol", b"\n\x05carol\"\0"),
            (
                "root",
                b"\n\x04root\x12<$2a$04$E4QSJA8LE8hJgvu6r/6lceFU898p9/Y6qxg.iGMqxJZBWppD1NH4S\x1a\x04root\"\0"
            ),
        ])
    );
    assert_eq!(
        world.stored(Table::AuthRoles),
        rows(&[
            ("empty", b"\n\x05empty"),
            (
                "pods",
                b"\n\x04pods\x12\x05\x08\x02\x12\x01a\x12\x0e\x12\x05pods/\x1a\x05pods0\x12\x08\x08\x01\x12\x01z\x1a\x01\0"
            ),
            ("root", b"\n\x04root"),
        ])
    );
    assert_eq!(Auth::restore(&world.backend.view().unwrap()).unwrap(), world.auth);
}

#[test]
fn a_fresh_store_has_revision_one_and_writes_it_once() {
    let mut auth = Auth::restore(&MemoryBackend::new().view().unwrap()).unwrap();
    assert_eq!((auth.revision(), auth.is_enabled()), (1, false));
    let backend = MemoryBackend::new();
    let mut batch = Batch::new();
    auth.store_revision(&mut batch);
    backend.commit(&batch, Durability::Buffered).unwrap();
    let mut again = Batch::new();
    auth.store_revision(&mut again);
    assert!(again.is_empty());
    assert_eq!(Auth::restore(&backend.view().unwrap()).unwrap(), auth);
}

#[test]
fn damaged_records_are_named() {
    let check = |table: Table, key: &'static str, value: &[u8], why: &str| {
        let backend = MemoryBackend::new();
        let mut batch = Batch::new();
        batch.put(table, key, value.to_vec());
        backend.commit(&batch, Durability::Buffered).unwrap();
        let error = Auth::restore(&backend.view().unwrap()).unwrap_err();
        assert!(error.to_string().ends_with(why), "{error}");
    };
    check(Table::Auth, "authRevision", b"1", "the value is not eight bytes long");
    check(Table::AuthUsers, "a", b"\x0a\x05b", "the value is not a user");
    check(Table::AuthUsers, "a", b"\x0a\x01b", "the key and the value have different names");
    check(Table::AuthRoles, "a", b"\x0a\x01b", "the key and the value have different names");
    check(Table::AuthRoles, "a", b"\x12\x05b", "the value is not a role");
}

#[test]
fn each_operation_is_refused_for_etcds_reasons_in_its_order() {
    let mut world = World::default();
    assert_eq!(world.refused(Operation::Enable), Refusal::RootUserMissing);
    assert_eq!(world.grown(user("root")), 1);
    assert_eq!(world.refused(Operation::Enable), Refusal::RootRoleMissing);
    assert_eq!(world.refused(user("")), Refusal::UserEmpty);
    assert_eq!(world.refused(user("root")), Refusal::UserExists);
    assert_eq!(world.refused(change_password("nobody", "")), Refusal::UserNotFound);
    assert_eq!(world.refused(change_password("root", "no base64")), Refusal::NoPasswordUser);
    assert_eq!(world.refused(grant("nobody", "root")), Refusal::UserNotFound);
    assert_eq!(world.refused(grant("root", "missing")), Refusal::RoleNotFound);
    assert_eq!(world.grown(grant("root", "root")), 1, "the role root needs not exist");
    assert_eq!(world.grown(grant("root", "root")), 0);
    assert_eq!(world.refused(revoke("nobody", "root")), Refusal::UserNotFound);
    assert_eq!(world.refused(revoke("root", "missing")), Refusal::RoleNotGranted);
    assert_eq!(world.refused(Operation::UserDelete { name: "nobody".into() }), Refusal::UserNotFound);
    assert_eq!(world.refused(Operation::UserGet { name: "nobody".into() }), Refusal::UserNotFound);
    assert_eq!(world.refused(role("")), Refusal::RoleEmpty);
    assert_eq!(world.grown(role("r")), 1);
    assert_eq!(world.refused(role("r")), Refusal::RoleExists);
    assert_eq!(world.refused(Operation::RoleGet { role: "x".into() }), Refusal::RoleNotFound);
    assert_eq!(world.refused(Operation::RoleDelete { role: "x".into() }), Refusal::RoleNotFound);
    let absent = Operation::RoleGrantPermission { role: "x".into(), permission: None };
    assert_eq!(world.refused(absent), Refusal::PermissionNotGiven);
    for (key, end) in [("", ""), ("b", "a"), ("b", "b"), ("", "\0")] {
        assert_eq!(world.refused(allow("x", Access::Read, key, end)), Refusal::InvalidManagement);
    }
    assert_eq!(world.refused(allow("x", Access::Read, "a", "\0")), Refusal::RoleNotFound);
    assert_eq!(world.refused(forbid("x", "a", "")), Refusal::RoleNotFound);
    assert_eq!(world.refused(forbid("r", "a", "")), Refusal::PermissionNotGranted);
    assert_eq!(world.grown(allow("r", Access::Read, "a", "b")), 1);
    assert_eq!(world.refused(forbid("r", "a", "")), Refusal::PermissionNotGranted, "both ends must fit");
    assert_eq!(world.grown(forbid("r", "a", "b")), 1);
}

#[test]
fn root_cannot_be_lost_while_authentication_is_on() {
    let mut world = enabled();
    world.apply(role("root")).unwrap();
    assert_eq!(world.grown(Operation::Enable), 0);
    for operation in [
        Operation::UserDelete { name: "root".into() },
        revoke("root", "root"),
        Operation::RoleDelete { role: "root".into() },
    ] {
        assert_eq!(world.refused(operation), Refusal::InvalidManagement);
    }
    assert_eq!(world.grown(Operation::Disable), 1);
    assert_eq!(world.grown(Operation::Disable), 0);
    assert_eq!(world.grown(Operation::RoleDelete { role: "root".into() }), 1);
    assert_eq!(world.refused(Operation::Enable), Refusal::RootRoleMissing);
}

#[test]
fn a_role_that_goes_is_taken_from_its_users() {
    let mut world = enabled();
    for operation in [user("alice"), role("a"), role("b"), grant("alice", "b"), grant("alice", "a")] {
        world.apply(operation).unwrap();
    }
    let get = Operation::UserGet { name: "alice".into() };
    assert_eq!(world.apply(get.clone()), Ok(Done::Roles(vec!["a".into(), "b".into()])));
    assert_eq!(world.grown(Operation::RoleDelete { role: "a".into() }), 1);
    assert_eq!(world.apply(get), Ok(Done::Roles(vec!["b".into()])));
    assert_eq!(Auth::restore(&world.backend.view().unwrap()).unwrap(), world.auth);
}

#[test]
fn a_permission_replaces_only_the_first_with_its_key() {
    let mut world = enabled();
    world.apply(role("r")).unwrap();
    for (access, key, end) in [
        (Access::Read, "a", "c"),
        (Access::Read, "a", "b"),
        (Access::Write, "a", "c"),
        (Access::ReadWrite, "a", "b"),
        (Access::Unknown(7), "A", ""),
    ] {
        assert_eq!(world.grown(allow("r", access, key, end)), 1);
    }
    let Ok(Done::Permissions(permissions)) = world.apply(Operation::RoleGet { role: "r".into() }) else {
        panic!("the role exists");
    };
    let expected = [
        permission(Access::Unknown(7), "A", ""),
        permission(Access::Write, "a", "c"),
        permission(Access::Read, "a", "b"),
        permission(Access::ReadWrite, "a", "b"),
    ];
    assert_eq!(permissions, expected);
    assert_eq!(world.grown(forbid("r", "a", "b")), 1, "both go");
    assert_eq!(world.refused(forbid("r", "a", "b")), Refusal::PermissionNotGranted);
}

#[test]
fn roles_add_up_and_each_kind_counts_by_itself() {
    let mut world = enabled();
    for operation in [
        user("alice"),
        role("one"),
        role("two"),
        grant("alice", "one"),
        grant("alice", "two"),
        allow("one", Access::Read, "a", "c"),
        allow("two", Access::ReadWrite, "c", "e"),
        allow("two", Access::Write, "x", "\0"),
    ] {
        world.apply(operation).unwrap();
    }
    assert_eq!(world.permit("alice", Access::Read, "a", "e"), Ok(()));
    assert_eq!(world.permit("alice", Access::Write, "c", "e"), Ok(()));
    assert_eq!(world.permit("alice", Access::Write, "xyz", "\0"), Ok(()));
    for (access, key, end) in [
        (Access::Write, "a", "e"),
        (Access::Read, "a", "f"),
        (Access::Read, "a", "\0"),
        (Access::Read, "e", ""),
        (Access::Read, "x", ""),
        (Access::Write, "b", ""),
    ] {
        assert_eq!(world.permit("alice", access, key, end), Err(Refusal::PermissionDenied), "{key} {end}");
    }
    assert_eq!(world.permit("root", Access::Write, "\0", "\0"), Ok(()));
    assert_eq!(world.permit("", Access::Read, "a", ""), Err(Refusal::PermissionDenied));
    world.apply(revoke("alice", "two")).unwrap();
    assert_eq!(world.permit("alice", Access::Read, "a", "e"), Err(Refusal::PermissionDenied));
    assert_eq!(world.permit("alice", Access::Read, "a", "c"), Ok(()));
}

#[test]
fn an_old_principal_has_to_come_again_even_if_it_is_root() {
    let mut world = enabled();
    let old = Principal { user: "root".into(), revision: world.auth.revision() };
    let range = KeyRange::all();
    assert_eq!(world.auth.permit_read(Some(&old), &range), Ok(()));
    world.apply(role("r")).unwrap();
    assert_eq!(world.auth.permit_read(Some(&old), &range), Err(Refusal::OldRevision));
    assert_eq!(world.auth.permit_root(Some(&old)), Ok(()), "its revision does not count here");
    assert_eq!(world.auth.permit_read(None, &range), Err(Refusal::UserEmpty));
    world.apply(Operation::Disable).unwrap();
    assert_eq!(world.auth.permit_read(None, &range), Ok(()));
    assert_eq!(world.auth.permit_root(None), Ok(()));
    assert_eq!(world.auth.permit_somebody(None), Ok(()));
}

#[test]
fn who_is_not_root_may_ask_about_himself() {
    let mut world = enabled();
    for operation in [user("alice"), user("bob"), role("r"), role("s"), grant("alice", "r")] {
        world.apply(operation).unwrap();
    }
    let check = |user: &str, operation: &Operation| {
        let principal = Principal { user: user.into(), revision: 1 };
        world.auth.permit_operation(Some(&principal), operation)
    };
    let get = |name: &str| Operation::UserGet { name: name.into() };
    let role_get = |role: &str| Operation::RoleGet { role: role.into() };
    assert_eq!(check("alice", &get("alice")), Ok(()));
    assert_eq!(check("alice", &get("bob")), Err(Refusal::PermissionDenied));
    assert_eq!(check("alice", &role_get("r")), Ok(()));
    assert_eq!(check("alice", &role_get("s")), Err(Refusal::PermissionDenied));
    assert_eq!(check("ghost", &Operation::UserList), Err(Refusal::UserNotFound));
    assert_eq!(check("", &Operation::UserList), Err(Refusal::UserEmpty));
    assert_eq!(check("alice", &Operation::Disable), Err(Refusal::PermissionDenied));
    assert_eq!(check("root", &Operation::Disable), Ok(()));
    assert_eq!(world.auth.permit_operation(None, &Operation::Status), Ok(()));
    assert_eq!(world.auth.permit_operation(None, &Operation::UserList), Err(Refusal::UserEmpty));
    assert_eq!(world.auth.permit_somebody(None), Err(Refusal::UserEmpty));
}

#[test]
fn a_token_is_made_only_for_who_can_log_in() {
    let mut world = World::default();
    let authenticate = |name: &str, prefix: &str| Operation::Authenticate {
        name: name.into(),
        password: Secret::default(),
        simple_token: prefix.into(),
    };
    assert_eq!(world.refused(authenticate("root", "x")), Refusal::NotEnabled);
    assert_eq!(world.auth.password_hash("root"), Err(Refusal::NotEnabled));
    let mut world = enabled();
    let without = Operation::UserAdd {
        name: "cn".into(),
        password: Secret::default(),
        hashed_password: Secret::default(),
        no_password: Some(true),
    };
    world.apply(without).unwrap();
    assert_eq!(world.refused(authenticate("cn", "x")), Refusal::AuthenticationFailed);
    assert_eq!(world.refused(authenticate("ghost", "x")), Refusal::AuthenticationFailed);
    assert_eq!(world.auth.password_hash("cn"), Err(Refusal::NoPasswordUser));
    assert_eq!(world.auth.password_hash("ghost"), Err(Refusal::AuthenticationFailed));
    let operation = authenticate("root", "abcdefghijklmnop");
    let done = world.apply(operation.clone()).unwrap();
    let token = format!("abcdefghijklmnop.{}", world.index - 1);
    let revision = world.auth.revision();
    assert_eq!(done, Done::Authenticated { user: "root".into(), token: token.as_str().into(), revision });
    let made = TokenChange::Made { prefix: "abcdefghijklmnop".into(), user: "root".into() };
    assert_eq!(Auth::token_change(&operation, &done), Some(made));
    assert!(!format!("{operation:?} {done:?}").contains("abcdef"), "no text tells a token");
}

#[test]
fn a_password_in_the_clear_is_hashed_alike_by_all_members() {
    let operation = Operation::UserAdd {
        name: "old".into(),
        password: "secret".into(),
        hashed_password: Secret::default(),
        no_password: None,
    };
    let (mut one, mut other) = (enabled(), enabled());
    for world in [&mut one, &mut other] {
        world.apply(operation.clone()).unwrap();
    }
    let (hash, _) = one.auth.password_hash("old").unwrap();
    assert!(crate::password::verify("secret", &hash));
    assert_eq!(one.auth, other.auth);
    assert!(!format!("{:?} {operation:?}", one.auth).contains("$2a$"), "no text tells a hash");
    let too_long = change_password_in_the_clear("old", &"x".repeat(73));
    assert_eq!(one.refused(too_long), Refusal::NoPasswordUser);
}

fn change_password_in_the_clear(name: &str, password: &str) -> Operation {
    let (name, password) = (name.into(), password.into());
    Operation::UserChangePassword { name, password, hashed_password: Secret::default() }
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || prop_oneof![Just("root"), Just("a"), Just("b"), Just("")];
    let key = || prop_oneof![Just(""), Just("a"), Just("b"), Just("c"), Just("\0")];
    let access = (0..4).prop_map(Access::from_wire);
    prop_oneof![
        Just(Operation::Enable),
        Just(Operation::Disable),
        name().prop_map(user),
        name().prop_map(|name| Operation::UserDelete { name: name.into() }),
        (name(), name()).prop_map(|(user, role)| grant(user, role)),
        (name(), name()).prop_map(|(user, role)| revoke(user, role)),
        name().prop_map(role),
        name().prop_map(|role| Operation::RoleDelete { role: role.into() }),
        (name(), access, key(), key()).prop_map(|(role, access, key, end)| allow(role, access, key, end)),
        (name(), key(), key()).prop_map(|(role, key, end)| forbid(role, key, end)),
    ]
}

proptest! {
    #[test]
    fn what_is_stored_is_what_is_known_and_permissions_are_those_of_the_roles(operations in prop::collection::vec(operation(), 0..60)) {
        let mut world = World::default();
        for operation in operations {
            let before = (world.auth.revision(), world.auth.users.clone(), world.auth.roles.clone());
            let done = world.apply(operation.clone());
            let is_changed = (&world.auth.users, &world.auth.roles) != (&before.1, &before.2);
            prop_assert!(!is_changed || world.auth.revision() == before.0 + 1, "{operation:?}: {done:?}");
        }
        let mut restored = Auth::restore(&world.backend.view().unwrap()).unwrap();
        restored.is_revision_stored = world.auth.is_revision_stored;
        prop_assert_eq!(&restored, &world.auth);
        for operation in [user("root"), grant("root", "root"), Operation::Enable] {
            let _ = world.apply(operation);
        }
        prop_assert_eq!(world.permit("root", Access::Write, "\0", "\0"), Ok(()));
        for (name, user) in &world.auth.users {
            for key in ["a", "b", "c"] {
                let permissions = user.roles.iter().filter_map(|role| world.auth.roles.get(role)).flatten();
                let is_allowed = user.has_role("root")
                    || permissions.clone().any(|p| p.range().contains(key.as_bytes()) && p.access.allows_reading());
                prop_assert_eq!(world.permit(name, Access::Read, key, "").is_ok(), is_allowed);
            }
        }
    }
}
