//! `cargo xtask clients`: independent clients against our server, each with a short session of the usual calls.
//!
//! The clients are the Rust crate `etcd-client`; the Python packages `aetcd`, `etcd3`, `etcd3gw` with `tooz` (which speak
//! JSON) and `python-etcd` (which speaks the v2 API); the package `etcd3` of npm; Debian's `etcdctl`; and `curl`.
//! What cannot be had on a machine is skipped, with a message.

mod curl;
mod etcdctl;
mod node;
mod protoc;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::process::{Program, Server};
use crate::workspace;

pub(crate) use protoc::stand_in as stand_in_for_protoc;

/// Options of `clients`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the client of this name (rust, python, python-v2, python-etcd3, python-gateway, node, etcdctl, curl); repeatable.
    #[arg(long)]
    only: Vec<String>,
    /// The server's program; ours is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
}

impl Options {
    /// The client that can be had wherever this workspace is built.
    pub(crate) fn of_ci() -> Self {
        Self { only: vec!["rust".into()], server_bin: None }
    }
}

/// How a session went.
enum Session {
    Done,
    /// The client is not to be had here.
    Skipped(String),
}

/// A client's name and its session: with the server's address and an empty folder.
type Client = (&'static str, fn(&Server, &Path) -> Result<Session>);

const CLIENTS: [Client; 8] = [
    ("rust", rust),
    ("python", python),
    ("python-v2", python_v2),
    ("python-etcd3", python_etcd3),
    ("python-gateway", python_gateway),
    ("node", node::session),
    ("etcdctl", etcdctl::session),
    ("curl", curl::session),
];

/// Runs the sessions, each on a fresh server.
///
/// # Errors
/// If a client does not get what it expects.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = Program::ours(options.server_bin.clone())?;
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let chosen: Vec<&Client> = CLIENTS.iter().filter(|(name, _)| chosen(name)).collect();
    ensure!(!chosen.is_empty(), "no client has such a name");
    for (name, session) in chosen {
        let directory = tempfile::Builder::new().prefix("etched-clients-").tempdir()?;
        let server = Server::start(&program, &directory.path().join("server"), &[])?;
        let folder = directory.path().join("client");
        std::fs::create_dir(&folder)?;
        match session(&server, &folder).with_context(|| format!("client {name}"))? {
            Session::Done => println!("client {name}: done"),
            Session::Skipped(why) => println!("client {name}: SKIPPED, {why}"),
        }
        server.stop()?;
    }
    Ok(())
}

/// The crate `etcd-client`, in a package of its own.
fn rust(server: &Server, _: &Path) -> Result<Session> {
    let metadata = workspace::metadata()?;
    let target =
        metadata["target_directory"].as_str().context("cargo metadata names the target directory")?;
    let manifest = workspace::root().join("xtask/clients/rust/Cargo.toml");
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(Path::new(target).join("clients"))
        .arg("--")
        .arg(server.address().to_string())
        .envs(protoc::environment()?)
        .status()?;
    ensure!(status.success(), "the session ended with {status}");
    Ok(Session::Done)
}

/// The package `aetcd`.
fn python(server: &Server, folder: &Path) -> Result<Session> {
    python_session(server, folder, &["aetcd==1.0.0"], "session.py")
}

/// The package `python-etcd`.
fn python_v2(server: &Server, folder: &Path) -> Result<Session> {
    python_session(server, folder, &["python-etcd==0.4.5"], "session_v2.py")
}

/// The package `etcd3`, with what it needs of that time.
fn python_etcd3(server: &Server, folder: &Path) -> Result<Session> {
    let packages = ["etcd3==0.12.0", "protobuf==3.20.3", "tenacity==6.3.1"];
    python_session(server, folder, &packages, "session_etcd3.py")
}

/// The package `etcd3gw`, and `tooz` with it.
fn python_gateway(server: &Server, folder: &Path) -> Result<Session> {
    python_session(server, folder, &["etcd3gw==2.7.0", "tooz==9.1.0"], "session_gateway.py")
}

/// A script that uses packages, in a virtual environment of its own.
fn python_session(server: &Server, folder: &Path, packages: &[&str], script: &str) -> Result<Session> {
    let environment = folder.join("venv");
    let created = Command::new("python3").args(["-m", "venv"]).arg(&environment).output();
    if !created.is_ok_and(|output| output.status.success()) {
        return Ok(Session::Skipped("python3 makes no virtual environment here".into()));
    }
    let pip = environment.join("bin/pip");
    let installed = Command::new(pip).args(["install", "--quiet"]).args(packages).output()?;
    if !installed.status.success() {
        let why = String::from_utf8_lossy(&installed.stderr);
        return Ok(Session::Skipped(format!("{} cannot be installed: {}", packages.join(", "), why.trim())));
    }
    let address = server.address();
    let output = Command::new(environment.join("bin/python"))
        .arg(workspace::root().join("xtask/clients").join(script))
        .arg(address.ip().to_string())
        .arg(address.port().to_string())
        .current_dir(folder)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Session::Done)
}
