//! A cluster under measurement: members of one program on loopback, and what is asked of them beside the load.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etched_proto::etcdserverpb::{StatusRequest, StatusResponse};
use prost::Message as _;

use super::load::Target;
use crate::http2;
use crate::process::{Program, Server, free_port};

const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// All members.
pub(super) struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts `size` members on fresh data and waits until each serves linearizable reads.
    pub(super) fn start(program: &Program, directory: &Path, size: usize, flags: &[&str]) -> Result<Self> {
        let mut places = Vec::new();
        for number in 0..size {
            places.push((format!("m{number}"), free_port()?, free_port()?));
        }
        let entries: Vec<String> =
            places.iter().map(|(name, _, peer)| format!("{name}=http://{peer}")).collect();
        let entries = entries.join(",");
        let mut servers = Vec::new();
        for (name, client, peer) in &places {
            let mut all = vec![
                format!("--name={name}"),
                format!("--data-dir={}", directory.join(name).join("data").display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster={entries}"),
                "--log-level=warn".to_owned(),
            ];
            all.extend(flags.iter().map(|flag| (*flag).to_owned()));
            servers.push(Server::launch(program, &directory.join(name), *client, all)?);
        }
        let mut cluster = Self { servers };
        cluster.servers.iter_mut().try_for_each(|server| server.wait_until_ready().map(drop))?;
        Ok(cluster)
    }

    pub(super) fn member(&mut self, place: usize) -> &mut Server {
        &mut self.servers[place]
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// The place of the member that leads by its own account.
    pub(super) fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (place, server) in self.servers.iter().enumerate() {
                if let Ok(status) = status(server.address())
                    && status.header.as_ref().is_some_and(|header| header.member_id == status.leader)
                {
                    return Ok(place);
                }
            }
            ensure!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(PAUSE);
        }
    }

    /// A load on all members; all members' processor time counts, here and for the others.
    pub(super) fn all(&self) -> Target {
        Target { addresses: self.addresses(), pids: self.pids(), token: None, is_secure: false }
    }

    /// A load on one member.
    pub(super) fn only(&self, place: usize) -> Target {
        Target {
            addresses: vec![self.servers[place].address()],
            pids: self.pids(),
            token: None,
            is_secure: false,
        }
    }

    /// A load on all members but one.
    pub(super) fn without(&self, place: usize) -> Target {
        let mut addresses = self.addresses();
        addresses.remove(place);
        Target { addresses, pids: self.pids(), token: None, is_secure: false }
    }

    /// The ends of the members' logs.
    pub(super) fn log_tails(&self) -> String {
        self.servers.iter().map(Server::log_tail).collect::<Vec<_>>().join("\n")
    }
}

/// What a member says of itself.
pub(super) fn status(address: SocketAddr) -> Result<StatusResponse> {
    let answer = http2::unary(address, STATUS, &StatusRequest {}.encode_to_vec(), Duration::from_secs(10))?;
    StatusResponse::decode(answer.as_slice()).context("a status")
}
