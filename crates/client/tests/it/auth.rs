//! Users, roles, permissions, and tokens that end while they are in use.

use std::time::Duration;

use etched_client::proto::authpb::permission::Type;
use etched_client::{
    Access, Client, Credentials, Error, ErrorKind, Keys, Options, Put, WatchNotice, WatchOptions,
};

use crate::etcd::{Etcd, Setup, options};

fn as_user(name: &str, password: &str) -> Options {
    let mut options = options();
    options.credentials = Some(Credentials::password(name, password));
    options
}

/// A member with authentication on, its administrator, and a user who may do anything below `a/`.
async fn guarded(setup: Setup) -> (Etcd, Client, Client) {
    let etcd = Etcd::start_with(setup).await;
    // Who signs in while authentication is off needs no token until it is on.
    let root = etcd.client_with(as_user("root", "r")).await;
    root.user_add("root", "r").await.unwrap();
    root.role_add("root").await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.user_add("alice", "a").await.unwrap();
    root.role_add("below-a").await.unwrap();
    root.role_grant_permission("below-a", Access::ReadWrite, Keys::prefix("a/")).await.unwrap();
    root.user_grant_role("alice", "below-a").await.unwrap();
    root.auth_enable().await.unwrap();
    let alice = etcd.client_with(as_user("alice", "a")).await;
    (etcd, root, alice)
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

#[tokio::test]
async fn users_may_do_what_their_roles_allow() {
    let (etcd, root, alice) = guarded(Setup::default()).await;
    alice.put(Put::new("a/1", "x")).await.unwrap();
    assert_eq!(alice.get(Keys::prefix("a/")).await.unwrap().count, 1);
    assert_eq!(kind(alice.put(Put::new("b", "x")).await), ErrorKind::PermissionDenied);
    assert_eq!(kind(alice.user_list().await), ErrorKind::PermissionDenied);
    let nobody = etcd.client().await;
    assert_eq!(kind(nobody.get("a/1").await), ErrorKind::UserEmpty);
    let wrong = Client::connect([etcd.endpoint()], as_user("alice", "b")).await;
    assert_eq!(kind(wrong), ErrorKind::AuthFailed);
    assert!(root.auth_status().await.unwrap().enabled);
}

#[tokio::test]
async fn users_and_roles_are_managed() {
    let (_etcd, root, alice) = guarded(Setup::default()).await;
    assert_eq!(root.user_list().await.unwrap().users, ["alice", "root"]);
    assert_eq!(root.role_list().await.unwrap().roles, ["below-a", "root"]);
    assert_eq!(alice.user_get("alice").await.unwrap().roles, ["below-a"]);
    let permissions = root.role_get("below-a").await.unwrap().perm;
    assert_eq!((permissions[0].perm_type(), &permissions[0].key[..]), (Type::Readwrite, &b"a/"[..]));
    root.role_revoke_permission("below-a", Keys::prefix("a/")).await.unwrap();
    assert_eq!(kind(alice.get("a/1").await), ErrorKind::PermissionDenied);
    root.user_revoke_role("alice", "below-a").await.unwrap();
    root.role_delete("below-a").await.unwrap();
    assert_eq!(kind(root.role_get("below-a").await), ErrorKind::RoleNotFound);
    root.user_add_without_password("carol").await.unwrap();
    root.user_delete("carol").await.unwrap();
    root.user_change_password("alice", "b").await.unwrap();
    assert_eq!(kind(alice.user_get("alice").await), ErrorKind::AuthFailed, "the client's password is old");
    root.auth_disable().await.unwrap();
    alice.put(Put::new("b", "x")).await.unwrap();
}

#[tokio::test]
async fn tokens_that_a_restart_forgot_are_renewed() {
    let (mut etcd, _root, alice) = guarded(Setup::default()).await;
    alice.put(Put::new("a/1", "x")).await.unwrap();
    let lease = alice.lease_grant(600).await.unwrap().id;
    let _keep_alive = alice.keep_alive(lease).await.unwrap();
    let mut watch = alice.watch(WatchOptions::new(Keys::prefix("a/"))).await.unwrap();
    etcd.kill().await;
    etcd.restart();
    let revision = loop {
        match alice.put(Put::new("a/2", "y")).await {
            Ok(response) => break response.header.unwrap().revision,
            Err(error) => assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}"),
        }
    };
    // The stream of the watches has a token of its own, which is gone too.
    loop {
        let notice = watch.next().await.unwrap().unwrap();
        if let WatchNotice::Events { events, .. } = notice
            && events.iter().any(|event| event.kv.as_ref().unwrap().mod_revision == revision)
        {
            break;
        }
    }
    assert!(alice.lease_keep_alive_once(lease).await.unwrap().ttl > 0);
}

#[tokio::test]
async fn a_watch_without_permission_is_refused_alone() {
    let (_etcd, _root, alice) = guarded(Setup::default()).await;
    let mut allowed = alice.watch("a/1").await.unwrap();
    assert_eq!(kind(alice.watch("b").await), ErrorKind::PermissionDenied);
    alice.put(Put::new("a/1", "x")).await.unwrap();
    assert!(matches!(allowed.next().await.unwrap().unwrap(), WatchNotice::Events { .. }));
}

#[tokio::test]
async fn a_token_that_expired_is_renewed() {
    let setup = Setup { flags: vec!["--auth-token-ttl".to_owned(), "1".to_owned()], tls: None };
    let (_etcd, root, alice) = guarded(setup).await;
    alice.put(Put::new("a/1", "x")).await.unwrap();
    // Somebody else's requests pass the time; they keep only their own token fresh.
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        root.get("a/1").await.unwrap();
    }
    alice.put(Put::new("a/1", "y")).await.unwrap();
    let watch = alice.watch("a/1").await.unwrap();
    assert!(watch.header().revision > 0);
}
