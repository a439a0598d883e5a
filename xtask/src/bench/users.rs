//! What authentication and TLS cost: the same puts before they are on, and after, in a user's name.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use etched_proto::authpb;
use etched_proto::etcdserverpb as pb;
use prost::Message;

use super::load::{Shape, Target, Until};
use super::report::{Floor, Metric};
use super::scenarios::{Samples, Sizes, put_at, target};
use crate::http2;
use crate::process::Server;

/// How long a call for setting up may take; a password is hashed in it.
const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "secret";
/// Both halves run so often in turn, so that the moods of a machine concern both.
const ROUNDS: u32 = 3;

fn call(server: &Server, method: &str, request: &impl Message) -> Result<Vec<u8>> {
    http2::unary(
        server.address(),
        &format!("/etcdserverpb.Auth/{method}"),
        &request.encode_to_vec(),
        PATIENCE,
    )
}

/// Makes root, and a user who may do what the puts need.
fn make_users(server: &Server) -> Result<()> {
    let perm = authpb::Permission { perm_type: 2, key: "key/".into(), range_end: "key0".into() };
    call(server, "RoleAdd", &pb::AuthRoleAddRequest { name: "putter".into() })?;
    let grant = pb::AuthRoleGrantPermissionRequest { name: "putter".into(), perm: Some(perm) };
    call(server, "RoleGrantPermission", &grant)?;
    for (name, role) in [("root", "root"), ("putter", "putter")] {
        let (name, password) = (name.to_owned(), PASSWORD.to_owned());
        let grant = pb::AuthUserGrantRoleRequest { user: name.clone(), role: role.into() };
        call(server, "UserAdd", &pb::AuthUserAddRequest { name, password, ..Default::default() })?;
        call(server, "UserGrantRole", &grant)?;
    }
    Ok(())
}

fn log_in(server: &Server, name: &str) -> Result<String> {
    let login = pb::AuthenticateRequest { name: name.into(), password: PASSWORD.into() };
    Ok(pb::AuthenticateResponse::decode(&call(server, "Authenticate", &login)?[..])?.token)
}

fn measure(target: Target, sizes: &Sizes) -> Result<(f64, f64)> {
    let run = put_at(target, Shape::of_clients(256), Until::Elapsed(sizes.measured / ROUNDS))?;
    Ok((run.per_second(), run.server_us()))
}

/// Puts without and with authentication, in turn.
pub(super) fn put_as_user(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    make_users(server)?;
    let (mut without, mut with) = ((0.0, 0.0), (0.0, 0.0));
    let share = f64::from(ROUNDS);
    for _ in 0..ROUNDS {
        let (rate, cpu) = measure(target(server), sizes)?;
        without = (without.0 + rate / share, without.1 + cpu / share);
        call(server, "AuthEnable", &pb::AuthEnableRequest {})?;
        let token = Some(log_in(server, "putter")?);
        let (rate, cpu) = measure(Target { token, ..target(server) }, sizes)?;
        with = (with.0 + rate / share, with.1 + cpu / share);
        disable(server, &log_in(server, "root")?)?;
    }
    Ok(vec![
        (Metric::new("put as a user, 256 clients", "1/s", Floor::RatioMin(1.8)), with.0),
        (Metric::new("put as a user, 256 clients, server cpu", "us", Floor::RatioMax(0.5)), with.1),
        (Metric::new("put, share kept with users", "%", Floor::Min(95.0)), with.0 / without.0 * 100.0),
        (Metric::new("put, server cpu with users", "%", Floor::None), with.1 / without.1 * 100.0),
    ])
}

/// Puts of a user over TLS.
pub(super) fn put_over_tls(server: &mut Server, secure: SocketAddr, sizes: &Sizes) -> Result<Samples> {
    let plain = put_at(target(server), Shape::of_clients(256), Until::Elapsed(sizes.measured))?;
    make_users(server)?;
    call(server, "AuthEnable", &pb::AuthEnableRequest {})?;
    let token = Some(log_in(server, "putter")?);
    let target = Target { addresses: vec![secure], is_secure: true, token, ..target(server) };
    let run = put_at(target, Shape::of_clients(256), Until::Elapsed(sizes.measured))?;
    let kept = run.per_second() / plain.per_second() * 100.0;
    Ok(vec![
        (Metric::new("put over TLS as a user, 256 clients", "1/s", Floor::RatioMin(1.8)), run.per_second()),
        (Metric::new("put over TLS as a user, server cpu", "us", Floor::RatioMax(0.5)), run.server_us()),
        (Metric::new("put, share kept with TLS and users", "%", Floor::None), kept),
    ])
}

fn disable(server: &Server, token: &str) -> Result<()> {
    let (path, request) = ("/etcdserverpb.Auth/AuthDisable", pb::AuthDisableRequest {}.encode_to_vec());
    http2::unary_as(server.address(), path, &request, PATIENCE, Some(token)).map(|_| ())
}
