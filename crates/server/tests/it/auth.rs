//! Every call under every identity: one table, sent to this server and to the real etcd.

use std::future::Future;
use std::pin::Pin;

use etched_proto::authpb;
use etched_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::process::{Server, Settings};

/// Puts a token into requests.
#[derive(Clone, Debug)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

type Caller = InterceptedService<Channel, Bearer>;
type Calling = Pin<Box<dyn Future<Output = Result<(), Status>>>>;

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Everybody,
    /// Whoever says who he is.
    Somebody,
    /// Who may read and write `a` to `c`.
    Alice,
    Root,
}

/// One call: its name, who may make it, and how.
struct Row {
    name: &'static str,
    who: For,
    call: fn(Caller) -> Calling,
}

/// A row for a unary call.
macro_rules! unary {
    ($who:ident, $client:ident, $method:ident, $message:expr) => {
        Row {
            name: concat!(stringify!($client), ".", stringify!($method)),
            who: For::$who,
            call: |caller| Box::pin(async move { $client::new(caller).$method($message).await.map(|_| ()) }),
        }
    };
}

/// A row for a call whose first response tells.
macro_rules! stream {
    ($who:ident, $client:ident, $method:ident, $message:expr) => {
        Row {
            name: concat!(stringify!($client), ".", stringify!($method)),
            who: For::$who,
            call: |caller| {
                Box::pin(async move {
                    $client::new(caller).$method($message).await?.into_inner().message().await.map(|_| ())
                })
            },
        }
    };
}

fn range(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn put(key: &'static str, lease: i64, prev_kv: bool) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), lease, prev_kv, ..Default::default() }
}

fn txn(compare: &'static str, put_key: &'static str) -> pb::TxnRequest {
    let compare = pb::Compare { key: compare.into(), ..Default::default() };
    let request = Some(pb::request_op::Request::RequestPut(put(put_key, 0, false)));
    let nested = pb::TxnRequest { failure: vec![pb::RequestOp { request }], ..Default::default() };
    let request = Some(pb::request_op::Request::RequestTxn(nested));
    pb::TxnRequest { compare: vec![compare], success: vec![pb::RequestOp { request }], ..Default::default() }
}

/// A watch is refused on its stream.
async fn watch(caller: Caller, key: &'static str, range_end: &'static str) -> Result<(), Status> {
    let create =
        pb::WatchCreateRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(request).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let response = WatchClient::new(caller).watch(requests).await?.into_inner().message().await?.unwrap();
    assert!(response.created);
    if response.canceled { Err(Status::unknown(response.cancel_reason)) } else { Ok(()) }
}

fn rows_of_keys() -> Vec<Row> {
    vec![
        unary!(Alice, KvClient, range, range("a", "c")),
        unary!(Root, KvClient, range, range("a", "\0")),
        unary!(Alice, KvClient, range, pb::RangeRequest { serializable: true, ..range("a", "") }),
        stream!(Alice, KvClient, range_stream, range("a", "c")),
        stream!(Root, KvClient, range_stream, range("a", "d")),
        unary!(Alice, KvClient, put, put("a", 0, false)),
        unary!(Alice, KvClient, put, put("a", 1, true)),
        unary!(Root, KvClient, put, put("a", 2, false)),
        unary!(Root, KvClient, put, put("z", 2, false)),
        unary!(Alice, KvClient, put, put("a", 1, false)),
        unary!(
            Alice,
            KvClient,
            delete_range,
            pb::DeleteRangeRequest { key: "b".into(), ..Default::default() }
        ),
        unary!(
            Root,
            KvClient,
            delete_range,
            pb::DeleteRangeRequest { key: "x".into(), ..Default::default() }
        ),
        unary!(Alice, KvClient, txn, txn("a", "a")),
        unary!(Root, KvClient, txn, txn("z", "a")),
        unary!(Root, KvClient, txn, txn("a", "z")),
        unary!(Root, KvClient, compact, pb::CompactionRequest { revision: 1, physical: false }),
        Row { name: "watch", who: For::Alice, call: |caller| Box::pin(watch(caller, "a", "c")) },
        Row { name: "watch of more", who: For::Root, call: |caller| Box::pin(watch(caller, "a", "\0")) },
        Row { name: "watch of all", who: For::Root, call: |caller| Box::pin(watch(caller, "", "\0")) },
        unary!(Somebody, LeaseClient, lease_grant, pb::LeaseGrantRequest { ttl: 100, id: 0 }),
        unary!(Somebody, LeaseClient, lease_revoke, pb::LeaseRevokeRequest { id: 404 }),
        unary!(Root, LeaseClient, lease_revoke, pb::LeaseRevokeRequest { id: 3 }),
        stream!(
            Alice,
            LeaseClient,
            lease_keep_alive,
            tokio_stream::once(pb::LeaseKeepAliveRequest { id: 1 })
        ),
        stream!(Root, LeaseClient, lease_keep_alive, tokio_stream::once(pb::LeaseKeepAliveRequest { id: 2 })),
        unary!(Somebody, LeaseClient, lease_time_to_live, pb::LeaseTimeToLiveRequest { id: 2, keys: false }),
        unary!(Alice, LeaseClient, lease_time_to_live, pb::LeaseTimeToLiveRequest { id: 1, keys: true }),
        unary!(Root, LeaseClient, lease_time_to_live, pb::LeaseTimeToLiveRequest { id: 2, keys: true }),
        unary!(Root, LeaseClient, lease_leases, pb::LeaseLeasesRequest {}),
    ]
}

fn rows_of_the_server() -> Vec<Row> {
    vec![
        unary!(Somebody, ClusterClient, member_list, pb::MemberListRequest { linearizable: false }),
        unary!(Somebody, ClusterClient, member_list, pb::MemberListRequest { linearizable: true }),
        unary!(Root, ClusterClient, member_remove, pb::MemberRemoveRequest { id: 404 }),
        unary!(Root, ClusterClient, member_promote, pb::MemberPromoteRequest { id: 404 }),
        unary!(
            Root,
            ClusterClient,
            member_update,
            pb::MemberUpdateRequest { id: 404, peer_ur_ls: vec!["http://127.0.0.1:1".into()] }
        ),
        unary!(Somebody, MaintenanceClient, status, pb::StatusRequest {}),
        unary!(Somebody, MaintenanceClient, alarm, pb::AlarmRequest::default()),
        unary!(Root, MaintenanceClient, alarm, pb::AlarmRequest { action: 1, member_id: 7, alarm: 1 }),
        unary!(Root, MaintenanceClient, alarm, pb::AlarmRequest { action: 2, member_id: 7, alarm: 1 }),
        unary!(Root, MaintenanceClient, defragment, pb::DefragmentRequest {}),
        unary!(Root, MaintenanceClient, hash, pb::HashRequest {}),
        unary!(Root, MaintenanceClient, hash_kv, pb::HashKvRequest { revision: 0 }),
        stream!(Root, MaintenanceClient, snapshot, pb::SnapshotRequest {}),
        unary!(Root, MaintenanceClient, move_leader, pb::MoveLeaderRequest { target_id: 404 }),
        unary!(Root, MaintenanceClient, downgrade, pb::DowngradeRequest { action: 0, version: "3.6".into() }),
    ]
}

fn rows_of_users() -> Vec<Row> {
    vec![
        unary!(Everybody, AuthClient, auth_status, pb::AuthStatusRequest {}),
        unary!(Everybody, AuthClient, authenticate, login("alice")),
        unary!(Root, AuthClient, auth_enable, pb::AuthEnableRequest {}),
        unary!(Root, AuthClient, user_add, user("root", "")),
        unary!(Root, AuthClient, user_list, pb::AuthUserListRequest {}),
        unary!(Alice, AuthClient, user_get, pb::AuthUserGetRequest { name: "alice".into() }),
        unary!(Root, AuthClient, user_get, pb::AuthUserGetRequest { name: "root".into() }),
        unary!(Root, AuthClient, user_delete, pb::AuthUserDeleteRequest { name: "nobody".into() }),
        unary!(
            Root,
            AuthClient,
            user_change_password,
            pb::AuthUserChangePasswordRequest { name: "nobody".into(), ..Default::default() }
        ),
        unary!(
            Root,
            AuthClient,
            user_grant_role,
            pb::AuthUserGrantRoleRequest { user: "alice".into(), role: "role".into() }
        ),
        unary!(
            Root,
            AuthClient,
            user_revoke_role,
            pb::AuthUserRevokeRoleRequest { name: "root".into(), role: "role".into() }
        ),
        unary!(Root, AuthClient, role_add, pb::AuthRoleAddRequest { name: "role".into() }),
        unary!(Root, AuthClient, role_list, pb::AuthRoleListRequest {}),
        unary!(Alice, AuthClient, role_get, pb::AuthRoleGetRequest { role: "role".into() }),
        unary!(Root, AuthClient, role_get, pb::AuthRoleGetRequest { role: "none".into() }),
        unary!(Root, AuthClient, role_delete, pb::AuthRoleDeleteRequest { role: "none".into() }),
        unary!(
            Root,
            AuthClient,
            role_grant_permission,
            pb::AuthRoleGrantPermissionRequest { name: "none".into(), perm: Some(permission()) }
        ),
        unary!(
            Root,
            AuthClient,
            role_revoke_permission,
            pb::AuthRoleRevokePermissionRequest { role: "none".into(), ..Default::default() }
        ),
    ]
}

fn permission() -> authpb::Permission {
    authpb::Permission { perm_type: 2, key: "a".into(), range_end: "c".into() }
}

fn user(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() }
}

fn login(name: &str) -> pb::AuthenticateRequest {
    pb::AuthenticateRequest { name: name.into(), password: "secret".into() }
}

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(server.endpoint.clone()).unwrap().connect().await.unwrap()
}

async fn token(channel: &Channel, name: &str) -> Bearer {
    let answer = AuthClient::new(channel.clone()).authenticate(login(name)).await.unwrap();
    Bearer(Some(answer.into_inner().token.parse().unwrap()))
}

/// Users, leases and keys; returns who calls, by name.
async fn set_up(channel: &Channel) -> Vec<(&'static str, Bearer)> {
    let mut auth = AuthClient::new(channel.clone());
    let mut lease = LeaseClient::new(channel.clone());
    let mut kv = KvClient::new(channel.clone());
    for id in [1, 2, 3] {
        lease.lease_grant(pb::LeaseGrantRequest { ttl: 1000, id }).await.unwrap();
    }
    for (key, id) in [("a", 1), ("z", 2), ("y", 3)] {
        kv.put(put(key, id, false)).await.unwrap();
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "role".into() }).await.unwrap();
    let grant = pb::AuthRoleGrantPermissionRequest { name: "role".into(), perm: Some(permission()) };
    auth.role_grant_permission(grant).await.unwrap();
    for name in ["root", "alice", "bob", "revoked", "changed"] {
        auth.user_add(user(name, "secret")).await.unwrap();
        let role = if name == "root" { "root" } else { "role" };
        let grant = pb::AuthUserGrantRoleRequest { user: name.into(), role: role.into() };
        if name != "bob" {
            auth.user_grant_role(grant).await.unwrap();
        }
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let mut callers = vec![
        ("nobody", Bearer(None)),
        ("nonsense", Bearer(Some("nonsense".parse().unwrap()))),
        ("stranger", Bearer(Some("abcdefghijklmnop.1".parse().unwrap()))),
    ];
    for name in ["bob", "revoked", "changed", "alice", "root"] {
        callers.push((name, token(channel, name).await));
    }
    let root = callers.last().unwrap().1.clone();
    let mut auth = AuthClient::with_interceptor(channel.clone(), root);
    let revoke = pb::AuthUserRevokeRoleRequest { name: "revoked".into(), role: "role".into() };
    auth.user_revoke_role(revoke).await.unwrap();
    let (name, password) = ("changed".into(), "other".into());
    let change = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
    auth.user_change_password(change).await.unwrap();
    callers
}

/// The whole table: call, caller, outcome.
async fn table_of(settings: &Settings) -> Vec<(&'static str, &'static str, For, String)> {
    let server = settings.start();
    let channel = channel(&server).await;
    let callers = set_up(&channel).await;
    let mut table = Vec::new();
    for rows in [rows_of_keys(), rows_of_the_server(), rows_of_users()] {
        for Row { name, who, call } in rows {
            for (caller, bearer) in &callers {
                let named = InterceptedService::new(channel.clone(), bearer.clone());
                let outcome = match call(named).await {
                    Ok(()) => "ok".to_owned(),
                    Err(status) => format!("{:?}: {}", status.code(), status.message()),
                };
                table.push((name, *caller, who, outcome));
            }
        }
    }
    server.kill();
    table
}

/// Whether an outcome says that the caller may not.
fn is_refused(outcome: &str) -> bool {
    ["permission denied", "user name is empty", "invalid auth token"]
        .iter()
        .any(|text| outcome.contains(text))
}

#[tokio::test]
async fn each_call_is_for_those_whom_the_table_names_as_in_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let settings = |name: &str| Settings::new(&dir.path().join(name)).with("--bcrypt-cost=4");
    let ours = table_of(&settings("ours")).await;
    for (name, caller, who, outcome) in &ours {
        let may = match who {
            For::Everybody => {
                !(matches!(*caller, "nonsense" | "stranger" | "changed")
                    && *name != "AuthClient.authenticate")
            }
            For::Somebody => !matches!(*caller, "nobody" | "nonsense" | "stranger" | "changed"),
            For::Alice => matches!(*caller, "alice" | "root"),
            For::Root => *caller == "root",
        };
        assert_eq!(is_refused(outcome), !may, "{name} by {caller}: {outcome}");
    }
    let theirs = table_of(&settings("theirs").of_etcd()).await;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// etcd 14409 and 11652: nothing is open after a restart, and nothing is applied twice.
#[tokio::test]
async fn users_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(dir.path()).with("--bcrypt-cost=4");
    let server = settings.start();
    let before = channel(&server).await;
    let callers = set_up(&before).await;
    let root = callers.last().unwrap().1.clone();
    let status = |channel: Channel| async move {
        AuthClient::new(channel).auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner()
    };
    let known = status(before).await;
    server.kill();
    let server = settings.start();
    let after = channel(&server).await;
    let error = KvClient::new(after.clone()).range(range("a", "")).await.unwrap_err();
    assert_eq!(error.message(), "etcdserver: user name is empty");
    // A login that the log still holds is done again, and its token is good again.
    KvClient::with_interceptor(after.clone(), root).range(range("a", "")).await.unwrap();
    let now = status(after.clone()).await;
    assert_eq!((now.enabled, now.auth_revision), (true, known.auth_revision));
    let again = token(&after, "alice").await;
    KvClient::with_interceptor(after, again).range(range("a", "c")).await.unwrap();
}

#[test]
fn flags_of_tokens_that_make_no_sense_end_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for token in ["complex", "jwt", "jwt,sign-method=RS256,pub-key=/nowhere"] {
        let ended = Settings::new(dir.path()).with(&format!("--auth-token={token}")).refused();
        assert!(ended.log.contains("auth: invalid auth options"), "{token}: {}", ended.log);
    }
}
