//! Users, roles and what they allow.

use std::format;
use std::string::ToString;
use std::vec;

use super::*;

fn user(name: &str, password: &str, roles: &[&str]) -> User {
    let roles = (!roles.is_empty()).then(|| roles.iter().map(ToString::to_string).collect());
    User { user: name.into(), password: password.into(), roles, ..User::default() }
}

fn role(name: &str, read: &[&str], write: &[&str]) -> Role {
    let list = |paths: &[&str]| Some(paths.iter().map(ToString::to_string).collect());
    let permissions = Permissions { kv: Paths { read: list(read), write: list(write) } };
    Role { role: name.into(), permissions, ..Role::default() }
}

fn refused(store: &mut Store, change: AuthChange) -> String {
    let error = store.apply_auth(change).unwrap_err();
    format!("{} {}", error.status, error.text)
}

fn secured() -> Store {
    let mut store = Store::default();
    store.apply_auth(AuthChange::CreateUser(user("root", "hash", &[]))).unwrap();
    store.apply_auth(AuthChange::CreateRole(role("fleet", &["/fleet/*", "/one"], &["/fleet/*"]))).unwrap();
    store.apply_auth(AuthChange::CreateOrUpdateUser(user("alice", "hash", &[]))).unwrap();
    let grant = User { grant: Some(vec!["fleet".into()]), ..user("alice", "", &[]) };
    store.apply_auth(AuthChange::UpdateUser(grant)).unwrap();
    store.apply_auth(AuthChange::Enable).unwrap();
    store
}

fn access(path: &str, is_write: bool, is_recursive: bool) -> Access<'_> {
    Access { path, is_write, is_recursive }
}

#[test]
fn authentication_needs_a_user_who_may_do_everything() {
    let mut store = Store::default();
    assert_eq!(refused(&mut store, AuthChange::Disable), "409 auth: already disabled");
    assert_eq!(
        refused(&mut store, AuthChange::Enable),
        "409 auth: No root user available, please create one"
    );
    let mut store = secured();
    assert!(store.is_auth_enabled());
    assert_eq!(refused(&mut store, AuthChange::Enable), "409 auth: already enabled");
    assert_eq!(
        refused(&mut store, AuthChange::DeleteUser("root".into())),
        "403 auth: Cannot delete root user while auth is enabled."
    );
    assert!(AuthView::of(&store, Some("root")).is_root());
    assert!(!AuthView::of(&store, Some("alice")).is_root());
    assert!(!AuthView::of(&store, None).is_root());
}

#[test]
fn roles_allow_paths_and_what_begins_like_them() {
    let store = secured();
    let alice = AuthView::of(&store, Some("alice"));
    for (path, is_write, is_recursive, allowed) in [
        ("/fleet/a", true, false, true),
        ("/fleet/", true, true, true),
        ("/fleet", false, false, false),
        ("/one", false, false, true),
        ("/one", false, true, false),
        ("/one", true, false, false),
        ("/two", false, false, false),
    ] {
        assert_eq!(alice.allows(access(path, is_write, is_recursive)), allowed, "{path}");
    }
    assert!(
        AuthView::of(&store, None).allows(access("/any", true, false)),
        "guests may do everything at first"
    );
    assert!(!AuthView::of(&store, Some("nobody")).allows(access("/any", false, false)));
    assert!(AuthView::of(&store, Some("root")).allows(access("/any", true, true)));
}

#[test]
fn refusals_have_the_texts_that_clients_know() {
    let mut store = secured();
    let grant = |role: &str| User { grant: Some(vec![role.into()]), ..user("alice", "", &[]) };
    let revoke = User { revoke: Some(vec!["x".into()]), ..user("alice", "", &[]) };
    for (change, expected) in [
        (AuthChange::CreateUser(user("alice", "h", &["fleet"])), "409 auth: User alice already exists."),
        (
            AuthChange::CreateUser(user("bob", "", &["fleet"])),
            "400 auth: Cannot create user bob with an empty password",
        ),
        (AuthChange::UpdateUser(grant("fleet")), "409 auth: Granting duplicate role fleet for user alice"),
        (AuthChange::UpdateUser(revoke), "409 auth: Revoking ungranted role x for user alice"),
        (AuthChange::UpdateUser(user("bob", "h", &[])), "404 auth: User bob does not exist."),
        (AuthChange::DeleteUser("bob".into()), "404 auth: User bob does not exist"),
        (
            AuthChange::CreateOrUpdateUser(user("alice", "", &[])),
            "400 auth: User not updated. Use grant/revoke/password to update the user.",
        ),
        (AuthChange::CreateRole(role("root", &[], &[])), "403 auth: Cannot modify role root: is root role."),
        (AuthChange::CreateRole(role("fleet", &[], &[])), "409 auth: Role fleet already exists."),
        (AuthChange::DeleteRole("x".into()), "404 auth: Role x doesn't exist."),
        (AuthChange::UpdateRole(role("x", &[], &[])), "404 auth: Role x does not exist."),
        (
            AuthChange::UpdateRole(Role {
                grant: Some(role("", &["/one"], &[]).permissions),
                ..role("fleet", &[], &[])
            }),
            "409 auth: Granting duplicate read permission /one",
        ),
        (AuthChange::CreateUser(user("a/b", "h", &[])), "400 auth: the name \"a/b\" cannot be used"),
    ] {
        let before = store.index();
        assert_eq!(refused(&mut store, change), expected);
        assert_eq!(store.index(), before, "{expected}");
    }
}

#[test]
fn answers_show_no_password() {
    let mut store = Store::default();
    let done = store.apply_auth(AuthChange::CreateOrUpdateUser(user("alice", "hash", &[]))).unwrap();
    let AuthDone::User { user, is_created } = done else { panic!("{done:?}") };
    assert_eq!((user.to_json().as_str(), is_created), (r#"{"user":"alice","roles":null}"#, true));
    assert_eq!(store.user("alice").unwrap().password, "hash");
    assert_eq!(
        role("r", &["/a"], &[]).to_json(),
        r#"{"role":"r","permissions":{"kv":{"read":["/a"],"write":[]}}}"#
    );
}
