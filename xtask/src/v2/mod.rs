//! `cargo xtask v2`: the same generated requests to an etcd that still has the v2 API and to etched, every answer
//! compared: status, headers and body.
//!
//! The other side is an etcd up to 3.5: the one that is named, or Debian's, unpacked from its package without being
//! installed.
//! Where there is none, that is said, and nothing is compared.
//!
//! That etcd's data directory is then taken over by etched.
//!
//! Left out of the comparison is what two servers cannot have in common: dates, indices of Raft, names of clusters and
//! times. Indices of the store are equal, since both begin at the same one.

mod adopt;
mod exchange;
mod generate;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::process::{Program, Server};
use crate::random::Random;
use exchange::{Connection, Request};

/// Options of `v2`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests, in sessions of 500 on fresh servers.
    #[arg(long, default_value_t = 2_000)]
    requests: u64,
    /// An etcd up to 3.5; Debian's is fetched when it is not given.
    #[arg(long)]
    etcd_bin: Option<PathBuf>,
    /// The server's program; ours is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
}

impl Options {
    /// The same comparison each time.
    pub(crate) fn of_ci(requests: u64) -> Self {
        Self { seed: 1, requests, etcd_bin: None, server_bin: None }
    }
}

/// Requests between two fresh starts.
const SESSION: u64 = 500;

/// Runs the comparison.
///
/// # Errors
/// If an answer differs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("etched-v2-").tempdir()?;
    let Some(etcd) = find(options.etcd_bin.clone(), folder.path())? else {
        println!(
            "v2: SKIPPED, no etcd with the v2 API: name one with --etcd-bin, or run where Debian's package is"
        );
        return Ok(());
    };
    let etcd = Program { name: "etcd".into(), path: etcd };
    let etched = Program::ours(options.server_bin.clone())?;
    // Users and roles come in a session of their own: etcd makes more nodes for them, so that later indices differ.
    let users = generate::users_and_roles();
    on_fresh_servers(&etcd, &etched, &folder.path().join("users"), |reference, subject| {
        users.iter().try_for_each(|request| compare(reference, subject, request))
    })?;
    let mut random = Random::new(options.seed);
    let mut compared = 0;
    while compared < options.requests {
        let directory = folder.path().join(format!("session-{compared}"));
        let mut scripted = generate::script().into_iter();
        let requests = SESSION.min(options.requests - compared);
        let result = on_fresh_servers(&etcd, &etched, &directory, |reference, subject| {
            (0..requests).try_for_each(|_| {
                let request = scripted.next().unwrap_or_else(|| generate::request(&mut random));
                compare(reference, subject, &request)
            })
        });
        result.with_context(|| format!("seed {}, session from request {compared}", options.seed))?;
        compared += SESSION;
    }
    println!("v2: {} requests, every answer equal", options.requests);
    adopt::check(&etcd, &etched, &folder.path().join("adopted")).context("taking over a directory")?;
    println!("v2: a directory of that etcd was taken over, with its users");
    Ok(())
}

/// Starts both servers, lets something be done with them, and stops them.
fn on_fresh_servers(
    etcd: &Program,
    etched: &Program,
    directory: &Path,
    run: impl FnOnce(&mut Connection, &mut Connection) -> Result<()>,
) -> Result<()> {
    let reference = Server::start(etcd, &directory.join("etcd"), &["--enable-v2"])?;
    let subject = Server::start(etched, &directory.join("etched"), &[])?;
    let mut connections = (Connection::open(reference.address())?, Connection::open(subject.address())?);
    run(&mut connections.0, &mut connections.1)?;
    reference.stop()?;
    subject.stop()
}

/// Sends a request to both servers.
fn compare(reference: &mut Connection, subject: &mut Connection, request: &Request) -> Result<()> {
    let (expected, found) = (reference.ask(request)?.normal(), subject.ask(request)?.normal());
    ensure!(expected == found, "{request}:\n etcd   {expected:?}\n etched {found:?}");
    Ok(())
}

/// The program that is named, or the one in Debian's package; none if neither is here.
fn find(named: Option<PathBuf>, folder: &Path) -> Result<Option<PathBuf>> {
    if named.is_some() {
        return Ok(named);
    }
    let fetched = Command::new("apt-get").args(["download", "etcd-server"]).current_dir(folder).output();
    if !fetched.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let Some(package) = entries.into_iter().map(|entry| entry.path()).find(is_package) else {
        return Ok(None);
    };
    let unpacked = folder.join("unpacked");
    let output = Command::new("dpkg").arg("-x").arg(package).arg(&unpacked).output()?;
    ensure!(output.status.success(), "dpkg -x: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(unpacked.join("usr/bin/etcd")).filter(|path| path.exists()))
}
