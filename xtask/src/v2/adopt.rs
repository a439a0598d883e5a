//! The data directory of that old etcd, with keys, history, a lease and users, is taken over by our server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etched_proto::authpb;
use etched_proto::etcdserverpb as pb;
use prost::Message;

use crate::http2;
use crate::process::{Program, Server};

/// How long one call may take; a password is hashed in some.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "secret";
/// So many puts that etcd has made a snapshot of its log meanwhile.
const PUTS: u64 = 60;
const FLAGS: [&str; 2] = ["--snapshot-count=20", "--bcrypt-cost=4"];
const LEASE: i64 = 77;

fn call<A: Message + Default>(
    server: &Server,
    token: Option<&str>,
    path: &str,
    request: &impl Message,
) -> Result<A> {
    let answer = http2::unary_as(server.address(), path, &request.encode_to_vec(), PATIENCE, token);
    Ok(A::decode(&answer.with_context(|| format!("{} {path}", server.name()))?[..])?)
}

fn log_in(server: &Server, name: &str) -> Result<String> {
    let login = pb::AuthenticateRequest { name: name.into(), password: PASSWORD.into() };
    Ok(call::<pb::AuthenticateResponse>(server, None, "/etcdserverpb.Auth/Authenticate", &login)?.token)
}

fn range(server: &Server, token: Option<&str>, revision: i64) -> Result<pb::RangeResponse> {
    let request =
        pb::RangeRequest { key: "key/".into(), range_end: "key0".into(), revision, ..Default::default() };
    call(server, token, "/etcdserverpb.KV/Range", &request)
}

/// Keys with history, a lease, and users.
fn fill(server: &Server) -> Result<()> {
    let grant = pb::LeaseGrantRequest { ttl: 3600, id: LEASE };
    call::<pb::LeaseGrantResponse>(server, None, "/etcdserverpb.Lease/LeaseGrant", &grant)?;
    for number in 0..PUTS {
        let (key, value) = (format!("key/{}", number % 7).into(), format!("{number}").into());
        let put = pb::PutRequest { key, value, lease: LEASE, ..Default::default() };
        call::<pb::PutResponse>(server, None, "/etcdserverpb.KV/Put", &put)?;
    }
    let auth = |method: &str, request: Vec<u8>| {
        http2::unary(server.address(), &format!("/etcdserverpb.Auth/{method}"), &request, PATIENCE)
    };
    let perm = authpb::Permission { perm_type: 0, key: "key/".into(), range_end: "key0".into() };
    auth("RoleAdd", pb::AuthRoleAddRequest { name: "reader".into() }.encode_to_vec())?;
    let grant = pb::AuthRoleGrantPermissionRequest { name: "reader".into(), perm: Some(perm) };
    auth("RoleGrantPermission", grant.encode_to_vec())?;
    for (name, role) in [("root", "root"), ("ann", "reader")] {
        let (name, password) = (name.to_owned(), PASSWORD.to_owned());
        let grant = pb::AuthUserGrantRoleRequest { user: name.clone(), role: role.into() };
        auth("UserAdd", pb::AuthUserAddRequest { name, password, ..Default::default() }.encode_to_vec())?;
        auth("UserGrantRole", grant.encode_to_vec())?;
    }
    auth("AuthEnable", pb::AuthEnableRequest {}.encode_to_vec())?;
    Ok(())
}

/// What a member tells root, now and at a revision of the past.
fn look(server: &Server) -> Result<Vec<pb::RangeResponse>> {
    let token = log_in(server, "root")?;
    [0, 30]
        .iter()
        .map(|revision| {
            let mut answer = range(server, Some(&token), *revision)?;
            let header = answer.header.as_mut().context("an answer has a header")?;
            // Terms go up with each start.
            header.raft_term = 0;
            Ok(answer)
        })
        .collect()
}

/// Has etcd use a directory, kills it, and starts ours there.
///
/// # Errors
/// If what etcd kept is not there, or not as it was.
pub(super) fn check(etcd: &Program, etched: &Program, directory: &Path) -> Result<()> {
    let mut old = Server::start(etcd, directory, &FLAGS)?;
    fill(&old)?;
    let before = look(&old)?;
    old.kill()?;
    let new = Server::start(etched, directory, &FLAGS)?;
    ensure!(look(&new)? == before, "{:?} became {:?}", before, look(&new)?);
    let ann = log_in(&new, "ann")?;
    ensure!(range(&new, Some(&ann), 0)?.kvs == before[0].kvs, "a reader sees something else than root");
    let put = pb::PutRequest { key: "key/1".into(), ..Default::default() };
    let refused = call::<pb::PutResponse>(&new, Some(&ann), "/etcdserverpb.KV/Put", &put);
    let text = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(text.contains("permission denied"), "a reader has written: {text}");
    let ask = pb::LeaseTimeToLiveRequest { id: LEASE, keys: true };
    let root = log_in(&new, "root")?;
    let path = "/etcdserverpb.Lease/LeaseTimeToLive";
    let lease = call::<pb::LeaseTimeToLiveResponse>(&new, Some(&root), path, &ask)?;
    ensure!(lease.granted_ttl == 3600 && lease.keys.len() == 7, "the lease became {lease:?}");
    new.stop()
}
