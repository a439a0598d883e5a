//! Data directories of a real etcd: taken over, member by member too, and given back as snapshots.

use std::io::Write as _;
use std::path::Path;

use etched_backend::{Backend as _, ReadView as _, RedbBackend, RedbOptions, Table};
use etched_bolt::{BoltFile, FileView};
use etched_client::{Client, Credentials, ErrorKind, Get, Keys, Options, Put, WatchNotice, WatchOptions};
use etched_disk::{Disk as _, RealDisk};
use etched_proto::etcdserverpb::auth_client::AuthClient;
use etched_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use etched_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
    alarm_request,
};
use tonic::transport::Endpoint;

use crate::identities::log_everybody_in;
use crate::process::{Server, Settings, contents, etcd, etched};
use crate::session::connect;
use crate::tools;

/// What a client can see of a member.
#[derive(Debug, PartialEq)]
struct Seen {
    hash: (u32, i64, i64),
    kvs: Vec<etched_proto::mvccpb::KeyValue>,
    old_kvs: Vec<etched_proto::mvccpb::KeyValue>,
    members: Vec<etched_proto::etcdserverpb::Member>,
    alarms: Vec<AlarmMember>,
    leases: Vec<i64>,
    lease: (i64, Vec<Vec<u8>>),
}

async fn look(client: &Client) -> Seen {
    let hash = client.hash_kv(0).await.unwrap();
    let lease = client.lease_time_to_live_with_keys(77).await.unwrap();
    let get = |revision| client.get(Get::new(Keys::all()).revision(revision));
    Seen {
        hash: (hash.hash, hash.compact_revision, hash.hash_revision),
        kvs: get(0).await.unwrap().kvs,
        old_kvs: get(50).await.unwrap().kvs,
        members: client.member_list().await.unwrap().members,
        alarms: client.alarm_list().await.unwrap().alarms,
        leases: client.lease_leases().await.unwrap().leases.iter().map(|lease| lease.id).collect(),
        lease: (lease.granted_ttl, lease.keys.iter().map(|key| key.to_vec()).collect()),
    }
}

/// Keys with history, a compaction, leases, users and roles, an alarm.
async fn fill(server: &Server) {
    let client = connect(server).await;
    for number in 0..80 {
        client.put(Put::new(format!("key-{}", number % 20), format!("value-{number}"))).await.unwrap();
    }
    client.delete(Keys::one("key-3")).await.unwrap();
    client.compact(40).await.unwrap();
    client.lease_grant_with_id(3600, 77).await.unwrap();
    client.put(Put::new("leased", "x").lease(77)).await.unwrap();
    let channel = Endpoint::from_shared(server.endpoint.clone()).unwrap().connect().await.unwrap();
    let mut auth = AuthClient::new(channel.clone());
    let user =
        AuthUserAddRequest { name: "ann".into(), password: "secret".into(), ..AuthUserAddRequest::default() };
    auth.user_add(user).await.unwrap();
    auth.role_add(AuthRoleAddRequest { name: "reader".into() }).await.unwrap();
    let grant = AuthUserGrantRoleRequest { user: "ann".into(), role: "reader".into() };
    auth.user_grant_role(grant).await.unwrap();
    let alarm = AlarmRequest {
        action: alarm_request::AlarmAction::Activate.into(),
        member_id: 5,
        alarm: AlarmType::Nospace.into(),
    };
    MaintenanceClient::new(channel).alarm(alarm).await.unwrap();
}

/// A directory that the real etcd has used until it was killed, and what it said of it.
async fn killed(dir: &Path) -> (Settings, Seen) {
    let mut settings = Settings::new(dir);
    settings.program = etcd();
    let server = settings.start();
    fill(&server).await;
    let seen = look(&connect(&server).await).await;
    server.kill();
    settings.program = etched();
    (settings, seen)
}

fn bolt(path: &Path) -> FileView {
    FileView::new(BoltFile::open(RealDisk::new().open_read_only(path).unwrap()).unwrap())
}

#[tokio::test]
async fn a_directory_of_a_killed_etcd_is_taken_over_with_all_that_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, before) = killed(dir.path()).await;
    let server = settings.start();
    server.wait_for("took over the data directory of etcd");
    let client = connect(&server).await;
    assert_eq!(look(&client).await, before);

    // History goes on where it was.
    let mut watch = client.watch(WatchOptions::new(Keys::one("key-19")).start_revision(41)).await.unwrap();
    let WatchNotice::Events { events, .. } = watch.next().await.unwrap().unwrap() else {
        panic!("not an event")
    };
    assert_eq!(events[0].kv.as_ref().unwrap().mod_revision, 41);
    client.alarm_disarm(before.alarms[0]).await.unwrap();
    let put = client.put(Put::new("and", "on")).await.unwrap();
    assert_eq!(put.header.unwrap().revision, before.hash.2 + 1);
    drop((watch, client));
    server.terminate();

    // Users and roles are those that etcd has stored.
    let snap = dir.path().join("member/snap");
    let kept = bolt(&snap.join("db.etcd"));
    let backend = RedbBackend::open(&RealDisk::new(), &snap.join("db"), RedbOptions::default()).unwrap();
    let view = backend.view().unwrap();
    for (table, key) in [(Table::AuthUsers, "ann"), (Table::AuthRoles, "reader")] {
        let stored = view.get(table, key.as_bytes()).unwrap();
        assert!(stored.is_some());
        assert_eq!(stored, kept.get(table, key.as_bytes()).unwrap());
    }
    drop((view, backend));
    let server = settings.start();
    assert_eq!(connect(&server).await.get("and").await.unwrap().count, 1);
    server.kill();
}

#[tokio::test]
async fn users_of_a_directory_that_is_taken_over_keep_their_passwords_and_rights() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(dir.path()).with("--bcrypt-cost=4").of_etcd();
    let server = settings.start();
    log_everybody_in(&server).await;
    let before = connect(&server).await.auth_status().await.unwrap();
    server.kill();
    settings.program = etched();
    let server = settings.start();
    server.wait_for("took over the data directory of etcd");
    let nobody = connect(&server).await;
    let after = nobody.auth_status().await.unwrap();
    assert_eq!((after.enabled, after.auth_revision), (true, before.auth_revision));
    assert_eq!(nobody.get("a").await.unwrap_err().kind(), ErrorKind::UserEmpty);
    let as_user = async |name: &str| {
        let mut options = Options::default();
        options.credentials = Some(Credentials::password(name, "secret"));
        Client::connect([&server.endpoint], options).await
    };
    let alice = as_user("alice").await.unwrap();
    assert_eq!(alice.get(Get::new(Keys::between("a", "c"))).await.unwrap().count, 2);
    assert_eq!(alice.get("z").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    for gone in ["changed", "deleted"] {
        assert_eq!(as_user(gone).await.err().map(|error| error.kind()), Some(ErrorKind::AuthFailed));
    }
    let names = as_user("root").await.unwrap().user_list().await.unwrap().users;
    assert_eq!(names, ["alice", "bob", "carol", "changed", "revoked", "root"]);
}

/// What was put aside is what etcd needs to go back to that moment.
#[tokio::test]
async fn etcd_goes_back_to_what_was_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut settings, before) = killed(dir.path()).await;
    let server = settings.start();
    let client = connect(&server).await;
    client.alarm_disarm(before.alarms[0]).await.unwrap();
    client.put(Put::new("later", "lost")).await.unwrap();
    server.kill();
    let member = dir.path().join("member");
    std::fs::rename(member.join("snap/db.etcd"), member.join("etcd/snap/db")).unwrap();
    std::fs::rename(&member, dir.path().join("member.etched")).unwrap();
    std::fs::rename(dir.path().join("member.etched/etcd"), &member).unwrap();
    settings.program = etcd();
    let server = settings.start();
    assert_eq!(look(&connect(&server).await).await, before);
    server.kill();
}

async fn member_id(server: &Server) -> u64 {
    connect(server).await.status().await.unwrap().header.unwrap().member_id
}

#[tokio::test]
async fn a_member_of_a_cluster_of_etcd_is_replaced_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Settings::cluster(dir.path(), 3);
    all.iter_mut().for_each(|settings| settings.program = etcd());
    let mut servers = Settings::start_all(&all);
    let client = connect(&servers[0]).await;
    for number in 0..50 {
        client.put(Put::new(format!("before-{number}"), "value")).await.unwrap();
    }
    let members = client.member_list().await.unwrap().members;
    // A follower: without a leader the writes that follow would be in doubt.
    let leader = client.status().await.unwrap().leader;
    let mut gone = 1;
    if member_id(&servers[gone]).await == leader {
        gone = 2;
    }
    servers.remove(gone).kill();
    for number in 0..50 {
        client.put(Put::new(format!("meanwhile-{number}"), "value")).await.unwrap();
    }
    all[gone].program = etched();
    let replaced = all[gone].start();
    replaced.wait_for("took over the data directory of etcd");
    let own = connect(&replaced).await;
    assert_eq!(own.get(Get::new(Keys::all()).count_only()).await.unwrap().count, 100);
    let put = own.put(Put::new("through", "etched")).await.unwrap();
    let revision = put.header.unwrap().revision;
    assert_eq!(own.member_list().await.unwrap().members, members);
    assert_eq!(client.get("through").await.unwrap().count, 1);
    let hash = |client: Client| async move { client.hash_kv(revision).await.unwrap().hash };
    assert_eq!(hash(own).await, hash(client).await);
    replaced.kill();
}

#[tokio::test]
async fn a_running_etcd_keeps_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(dir.path());
    settings.program = etcd();
    let server = settings.start();
    let other = Settings::new(dir.path());
    let ended = other.refused();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("in use by another process"), "{}", ended.log);
    connect(&server).await.put(Put::new("a", "1")).await.unwrap();
    server.kill();
}

#[tokio::test]
async fn a_torn_database_of_etcd_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, _) = killed(dir.path()).await;
    let path = dir.path().join("member/snap/db");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..3 * 4096]).unwrap();
    let before = contents(dir.path());
    let ended = settings.refused();
    assert!(ended.log.contains("cannot take over the data directory of etcd"), "{}", ended.log);
    assert_eq!(ended.status.code(), Some(1));
    assert!(contents(dir.path()) == before, "the directory was changed");
}

/// A snapshot of etched in the hands of etcd's own tool.
#[tokio::test]
async fn a_snapshot_of_etched_is_restored_by_etcdutl_and_served_by_etcd() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(&dir.path().join("data"));
    let server = settings.start();
    let client = connect(&server).await;
    for number in 0..80 {
        client.put(Put::new(format!("key-{}", number % 20), format!("value-{number}"))).await.unwrap();
    }
    client.compact(40).await.unwrap();
    client.lease_grant_with_id(3600, 77).await.unwrap();
    client.put(Put::new("leased", "x").lease(77)).await.unwrap();
    let before = look(&client).await;
    let path = dir.path().join("snapshot");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut snapshot = client.snapshot().await.unwrap();
    while let Some(part) = snapshot.next().await.unwrap() {
        file.write_all(&part.blob).unwrap();
    }
    server.kill();
    let Some(mut etcdutl) = tools::program("etcdutl") else { return };
    settings.data_dir = dir.path().join("restored");
    let url = settings.peer_url();
    tools::run(
        etcdutl.args(["snapshot", "restore"]).arg(&path).arg("--data-dir").arg(&settings.data_dir).args([
            "--initial-cluster",
            &format!("default={url}"),
            "--initial-advertise-peer-urls",
            &url,
        ]),
    );
    settings.program = etcd();
    let server = settings.start();
    let after = look(&connect(&server).await).await;
    assert_eq!((after.hash, after.kvs, after.lease), (before.hash, before.kvs, before.lease));
    server.kill();
}
