//! Authentication in clusters: tokens, users and rights are the same wherever a client asks.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etched_client::{Access, Client, Credentials, ErrorKind, Get, Keys, Options, Put};
use serde_json::Value;

use crate::identities::ways::Way;
use crate::process::{Server, Settings};
use crate::session::connect;

/// How long a cluster may take to find a leader and to catch up, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "secret";

async fn as_user(server: &Server, name: &str) -> Client {
    as_anybody(server, Credentials::password(name, PASSWORD)).await
}

async fn with_token(server: &Server, token: &str) -> Client {
    as_anybody(server, Credentials::token(token)).await
}

async fn as_anybody(server: &Server, credentials: Credentials) -> Client {
    let mut options = Options::default();
    options.credentials = Some(credentials);
    Client::connect([&server.endpoint], options).await.unwrap()
}

/// A cluster with the users `root` and `alice`, who may use the keys from `a` to `c`.
async fn start(settings: &[Settings]) -> Vec<Server> {
    let servers = Settings::start_all(settings);
    let client = connect(&servers[0]).await;
    client.put(Put::new("a", "1")).await.unwrap();
    client.put(Put::new("z", "1")).await.unwrap();
    client.role_add("role").await.unwrap();
    client.role_grant_permission("role", Access::ReadWrite, Keys::between("a", "c")).await.unwrap();
    for (name, role) in [("root", "root"), ("alice", "role")] {
        client.user_add(name, PASSWORD).await.unwrap();
        client.user_grant_role(name, role).await.unwrap();
    }
    client.auth_enable().await.unwrap();
    servers
}

/// Posts a request to the gateway that must be answered well.
async fn must(server: &Server, token: Option<&str>, path: &str, body: &str) -> Value {
    let (status, line) = post(server, token, path, body).await;
    assert_eq!(status, 200, "{path} {body}: {line}");
    line
}

async fn post(server: &Server, token: Option<&str>, path: &str, body: &str) -> (u16, Value) {
    let port = server.endpoint.rsplit_once(':').unwrap().1.parse().unwrap();
    let (status, line) = Way::Tcp(port).ask(path, body, token).await;
    (status, serde_json::from_str(&line).unwrap_or_else(|error| panic!("{path}: {error}: {line}")))
}

/// Logs in at a member; simple tokens begin to be good when the members have applied that.
async fn log_in(server: &Server, name: &str) -> String {
    let login = format!("{{\"name\":\"{name}\",\"password\":\"{PASSWORD}\"}}");
    let answer = must(server, None, "/v3/auth/authenticate", &login).await;
    answer["token"].as_str().unwrap().to_owned()
}

/// What the token's owner may do at a member, and what he may not.
async fn assert_alice(server: &Server, token: &str) {
    let alice = with_token(server, token).await;
    let text = format!("by {}", server.process_id());
    alice.put(Put::new("b", text.clone())).await.unwrap();
    assert_eq!(alice.get("b").await.unwrap().kvs[0].value, text);
    for refused in [
        alice.get("z").await.err(),
        alice.put(Put::new("z", "2")).await.err(),
        alice.get(Get::new(Keys::all()).serializable()).await.err(),
        alice.user_list().await.err(),
    ] {
        assert_eq!(refused.map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
    }
}

async fn kind_of_read(client: &Client) -> Option<ErrorKind> {
    client.get("a").await.err().map(|error| error.kind())
}

/// All members have the same users, by their revision and by their names.
async fn assert_same_users(servers: &[Server]) {
    let mut seen = Vec::new();
    for server in servers {
        let root = as_user(server, "root").await;
        let status = root.auth_status().await.unwrap();
        let alice = root.user_get("alice").await.unwrap().roles;
        seen.push((status.enabled, status.auth_revision, root.user_list().await.unwrap().users, alice));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

fn three(dir: &std::path::Path) -> Vec<Settings> {
    let quick = ["--bcrypt-cost=4", "--snapshot-count=50", "--snapshot-catchup-entries=20"];
    let with = |one: Settings| quick.iter().fold(one, |one, flag| one.with(flag));
    Settings::cluster(dir, 3).into_iter().map(with).collect()
}

#[tokio::test]
async fn a_simple_token_is_good_at_each_member_and_a_snapshot_brings_users_along() {
    let dir = tempfile::tempdir().unwrap();
    let settings = three(dir.path());
    let mut servers = start(&settings).await;
    for issuer in &servers {
        let token = log_in(issuer, "alice").await;
        for server in &servers {
            assert_alice(server, &token).await;
        }
    }
    servers.pop().unwrap().kill();
    let start = Instant::now();
    let root = as_user(&servers[0], "root").await;
    while let Err(error) = root.put(Put::new("a", "there is a leader")).await {
        assert!(start.elapsed() < PATIENCE, "{error}");
    }
    let token = log_in(&servers[0], "alice").await;
    root.user_add("bob", PASSWORD).await.unwrap();
    root.user_grant_role("bob", "role").await.unwrap();
    root.user_revoke_role("alice", "role").await.unwrap();
    for number in 0..300 {
        root.put(Put::new(format!("key-{number}"), "value")).await.unwrap();
    }
    let last = settings[2].spawn();
    last.wait_for("applied snapshot");
    last.wait_for("ready to serve");
    servers.push(last);

    // It knows the users of the snapshot, and no token that was made before.
    assert_same_users(&servers).await;
    let [first, _, last] = &servers[..] else { panic!("there are three") };
    assert_eq!(kind_of_read(&with_token(last, &token).await).await, Some(ErrorKind::InvalidAuthToken));
    assert_eq!(kind_of_read(&as_user(last, "alice").await).await, Some(ErrorKind::PermissionDenied));
    assert_eq!(kind_of_read(&connect(last).await).await, Some(ErrorKind::UserEmpty));
    let bob = log_in(last, "bob").await;
    for server in &servers {
        assert_alice(server, &bob).await;
    }
    // Whose user is deleted at one member is unknown at all, and so is his token.
    as_user(first, "root").await.user_delete("bob").await.unwrap();
    for server in &servers {
        assert_eq!(kind_of_read(&with_token(server, &bob).await).await, Some(ErrorKind::InvalidAuthToken));
    }
    servers.into_iter().for_each(Server::kill);
    let servers = Settings::start_all(&settings);
    for server in &servers {
        assert_eq!(kind_of_read(&connect(server).await).await, Some(ErrorKind::UserEmpty));
    }
    assert_same_users(&servers).await;
}

#[tokio::test]
async fn a_signed_token_is_good_at_each_member_until_users_change_and_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "a key that all members know").unwrap();
    let flag = format!("--auth-token=jwt,sign-method=HS256,priv-key={}", key.display());
    let settings: Vec<_> = three(dir.path()).into_iter().map(|one| one.with(&flag)).collect();
    let servers = start(&settings).await;
    let token = log_in(&servers[0], "alice").await;
    for server in &servers {
        assert_alice(server, &token).await;
    }
    servers.into_iter().for_each(Server::kill);
    let servers = Settings::start_all(&settings);
    for server in &servers {
        assert_alice(server, &token).await;
    }
    as_user(&servers[1], "root").await.user_add("bob", PASSWORD).await.unwrap();
    for server in &servers {
        // A barrier, since a member may not know it yet.
        as_user(server, "root").await.get("a").await.unwrap();
        assert_eq!(kind_of_read(&with_token(server, &token).await).await, Some(ErrorKind::AuthOldRevision));
    }
    assert_alice(&servers[2], &log_in(&servers[0], "alice").await).await;
}

#[tokio::test]
async fn locks_and_elections_of_users_go_from_member_to_member() {
    let dir = tempfile::tempdir().unwrap();
    let servers = start(&three(dir.path())).await;
    let [first, second, third] = &servers[..] else { panic!("there are three") };
    let alice = log_in(first, "alice").await;
    let alice = Some(alice.as_str());
    for id in [1, 2] {
        must(second, alice, "/v3/lease/grant", &format!("{{\"ID\":\"{id}\",\"TTL\":\"600\"}}")).await;
    }
    let key = |text: &str| STANDARD.encode(text);
    let lock = |name: &str, lease: i64| format!("{{\"name\":\"{}\",\"lease\":\"{lease}\"}}", key(name));
    let held = must(first, alice, "/v3/lock/lock", &lock("b", 1)).await;
    assert_eq!(held["key"], key("b/1"));
    let queue = format!("{{\"key\":\"{}\",\"range_end\":\"{}\"}}", key("b/"), key("b0"));
    let waiting = lock("b", 2);
    let (waited, ()) = tokio::join!(must(second, alice, "/v3/lock/lock", &waiting), async {
        while must(third, alice, "/v3/kv/range", &queue).await["count"] != "2" {
            tokio::task::yield_now().await;
        }
        let mine = format!("{{\"key\":\"{}\"}}", key("b/1"));
        must(third, alice, "/v3/lock/unlock", &mine).await;
    });
    assert_eq!(waited["key"], key("b/2"));

    let campaign = format!("{{\"name\":\"{}\",\"lease\":\"1\",\"value\":\"{}\"}}", key("a"), key("v"));
    let leader = must(third, alice, "/v3/election/campaign", &campaign).await["leader"].to_string();
    let name = format!("{{\"name\":\"{}\"}}", key("a"));
    assert_eq!(must(second, alice, "/v3/election/leader", &name).await["kv"]["value"], key("v"));
    let resign = format!("{{\"leader\":{leader}}}");
    for token in [None, Some("nonsense")] {
        for (path, body) in [
            ("/v3/lock/lock", lock("b", 2)),
            ("/v3/election/campaign", campaign.clone()),
            ("/v3/election/resign", resign.clone()),
        ] {
            let (status, _) = post(second, token, path, &body).await;
            assert!(matches!(status, 400 | 401 | 500), "{path} with {token:?}: {status}");
        }
    }
    let (_, refused) = post(second, alice, "/v3/lock/lock", &lock("z", 2)).await;
    assert_eq!(refused["message"], "etcdserver: permission denied");
    must(first, alice, "/v3/election/resign", &resign).await;
    let (_, none) = post(third, alice, "/v3/election/leader", &name).await;
    assert_eq!(none["message"], "election: no leader");
}
