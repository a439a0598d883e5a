//! `auth`, `user`, `role`, and signing in.

use crate::etcd::Etcd;
use crate::program::{Said, ok, run, run_with_input};

fn refused(said: &Said) -> (i32, &str) {
    (said.code, &said.err)
}

#[tokio::test]
async fn users_sign_in_and_do_what_their_roles_allow() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    assert_eq!(ok(&all, "user add root:r").await, "User root created\n");
    // The role root comes by itself.
    assert_eq!(ok(&all, "auth enable").await, "Authentication Enabled\n");
    let root = "--user root:r";
    assert_eq!(ok(&all, &format!("{root} role add below-a")).await, "Role below-a created\n");
    let grant = format!("{root} role grant-permission below-a readwrite a/ --prefix");
    assert_eq!(ok(&all, &grant).await, "Role below-a updated\n");
    let shown = ok(&all, &format!("{root} role get below-a")).await;
    assert_eq!(shown, "Role below-a\nKV Read:\n\t[a/, a0) (prefix a/)\nKV Write:\n\t[a/, a0) (prefix a/)\n");
    let added = run_with_input(&all, &format!("{root} user add alice --interactive=false"), "secret\n").await;
    assert_eq!((added.code, added.out.as_str()), (0, "User alice created\n"));
    let granted = ok(&all, &format!("{root} user grant-role alice below-a")).await;
    assert_eq!(granted, "Role below-a is granted to user alice\n");
    assert_eq!(ok(&all, "--user alice:secret put a/1 x").await, "OK\n");
    let prompted = run_with_input(&all, "--user alice get a/1", "secret\n").await;
    assert_eq!((prompted.code, prompted.out.as_str()), (0, "Password: \na/1\nx\n"));
    let outside = run(&all, "--user alice --password secret put b x").await;
    assert_eq!(refused(&outside), (1, "Error: etcdserver: permission denied\n"));
    let nobody = run(&all, "get a/1").await;
    assert_eq!(refused(&nobody), (1, "Error: etcdserver: user name is empty\n"));
    let wrong = run(&all, "--user alice:x get a/1").await;
    let text = "Error: etcdserver: authentication failed, invalid user ID or password\n";
    assert_eq!(refused(&wrong), (2, text));
    assert_eq!(ok(&all, &format!("{root} auth disable")).await, "Authentication Disabled\n");
    assert_eq!(ok(&all, "get a/1").await, "a/1\nx\n");
}

#[tokio::test]
async fn permissions_are_named_by_keys_ranges_and_flags() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    ok(&all, "role add r").await;
    for line in ["read k", "write a z", "read f --from-key", "READWRITE p --prefix"] {
        ok(&all, &format!("role grant-permission r {line}")).await;
    }
    let shown = ok(&all, "role get r").await;
    let read = "KV Read:\n\t[f, <open ended>\n\tk\n\t[p, q) (prefix p)\n";
    let write = "KV Write:\n\t[a, z)\n\t[p, q) (prefix p)\n";
    assert_eq!(shown, format!("Role r\n{read}{write}"));
    let revoked = ok(&all, "role revoke-permission r a z").await;
    assert_eq!(revoked, "Permission of range [a, z) is revoked from role r\n");
    let revoked = ok(&all, "role revoke-permission r f --from-key").await;
    assert_eq!(revoked, "Permission of range [f, <open ended> is revoked from role r\n");
    assert_eq!(ok(&all, "role revoke-permission r k").await, "Permission of key k is revoked from role r\n");
    let nonsense = run(&all, "role grant-permission r own k").await;
    assert_eq!(refused(&nonsense), (128, "Error: invalid permission type: own\n"));
}

#[tokio::test]
async fn passwords_are_asked_for_twice() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let differ = run_with_input(&all, "user add bob", "one\ntwo\n").await;
    assert_eq!(refused(&differ), (128, "Error: given passwords are different\n"));
    let empty = run_with_input(&all, "user add bob", "\n").await;
    assert_eq!(refused(&empty), (128, "Error: empty password\n"));
    let added = run_with_input(&all, "user add bob", "one\none\n").await;
    let prompts = "Password of bob: \nType password of bob again for confirmation: \nUser bob created\n";
    assert_eq!((added.code, added.out.as_str()), (0, prompts));
    let changed = run_with_input(&all, "user passwd bob --interactive=false", "two\n").await;
    assert_eq!((changed.code, changed.out.as_str()), (0, "Password updated\n"));
}
