//! Servers under test: where their programs are, how they are started, and that they end.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use etched_proto::etcdserverpb::RangeRequest;
use prost::Message as _;

use crate::http2;
use crate::random::Random;

/// What a member says to a request without a name when authentication is on.
const USER_EMPTY: &str = "etcdserver: user name is empty";

/// How long a server may take until it answers, or ends after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What tables call it.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Program {
    /// The real etcd: `path`, or the one that comes with the crate `etcd-bin-vendored`.
    pub(crate) fn reference(path: Option<PathBuf>) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => {
                etcd_bin_vendored_linux_amd64::etcd_bin_path().context("the vendored etcd")?.to_path_buf()
            }
        };
        Ok(Self { name: "etcd".into(), path })
    }

    /// Ours: `path`, or a release build of the package `etched`.
    pub(crate) fn ours(path: Option<PathBuf>) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => build_release()?,
        };
        Ok(Self { name: "etched".into(), path })
    }
}

fn build_release() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO")).args(["build", "--release", "-p", "etched"]).status()?;
    ensure!(status.success(), "building etched: {status}");
    let metadata = crate::workspace::metadata()?;
    let target =
        metadata["target_directory"].as_str().context("cargo metadata names the target directory")?;
    Ok(Path::new(target).join("release/etched"))
}

/// The URLs that a member is known by; its id is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Where it really listens.
    Own,
    /// Fixed ones, so that two servers have the same ids.
    Shared,
}

/// A running server with one member. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    directory: PathBuf,
    flags: Vec<String>,
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `program` with its data below `directory` and waits until it serves linearizable reads.
    pub(crate) fn start(program: &Program, directory: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_as(program, directory, flags, Identity::Own)
    }

    /// As [`Server::start`], with the choice of an identity.
    pub(crate) fn start_as(
        program: &Program,
        directory: &Path,
        flags: &[&str],
        identity: Identity,
    ) -> Result<Self> {
        Self::start_at(program, directory, flags, identity, None)
    }

    /// As [`Server::start`], and with TLS at another address, which is told; the certificate is one that the server makes.
    pub(crate) fn start_with_tls(
        program: &Program,
        directory: &Path,
        flags: &[&str],
    ) -> Result<(Self, SocketAddr)> {
        let secure = free_port()?;
        let flags: Vec<&str> = flags.iter().copied().chain(["--auto-tls"]).collect();
        Ok((Self::start_at(program, directory, &flags, Identity::Own, Some(secure))?, secure))
    }

    fn start_at(
        program: &Program,
        directory: &Path,
        flags: &[&str],
        identity: Identity,
        secure: Option<SocketAddr>,
    ) -> Result<Self> {
        let (address, peer) = (free_port()?, free_port()?);
        let (client_url, peer_url) = match identity {
            Identity::Own => (format!("http://{address}"), format!("http://{peer}")),
            Identity::Shared => ("http://localhost:2379".to_owned(), "http://localhost:2380".to_owned()),
        };
        let secure = secure.map(|secure| format!(",https://{secure}")).unwrap_or_default();
        let mut all = vec![
            "--name=one".to_owned(),
            format!("--data-dir={}", directory.join("data").display()),
            format!("--listen-client-urls=http://{address}{secure}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=one={peer_url}"),
            "--log-level=warn".to_owned(),
        ];
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        let mut server = Self::launch(program, directory, address, all)?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Starts a member of a cluster, whose flags say that it listens at `address`, without waiting for it.
    pub(crate) fn launch(
        program: &Program,
        directory: &Path,
        address: SocketAddr,
        flags: Vec<String>,
    ) -> Result<Self> {
        let child = spawn(program, directory, &flags)?;
        Ok(Self { program: program.clone(), directory: directory.to_path_buf(), flags, child, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn name(&self) -> &str {
        &self.program.name
    }

    pub(crate) fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The end of what the server wrote to its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }

    /// Ends the process at once, as a power cut would, and reaps it.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Starts the killed server again on its data and ports, without waiting for it.
    pub(crate) fn respawn(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "the server still runs");
        self.child = spawn(&self.program, &self.directory, &self.flags)?;
        Ok(())
    }

    /// Waits until a linearizable read is answered, or refused because nobody asks; returns when it was.
    pub(crate) fn wait_until_ready(&mut self) -> Result<Instant> {
        let request = RangeRequest { key: "\0".into(), ..Default::default() }.encode_to_vec();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer =
                http2::unary(self.address, "/etcdserverpb.KV/Range", &request, Duration::from_secs(10));
            let now = Instant::now();
            match answer {
                Ok(_) => return Ok(now),
                // With authentication on.
                Err(error) if format!("{error:#}").contains(USER_EMPTY) => return Ok(now),
                Err(error) if now > deadline => {
                    return Err(error.context(format!("{} is not ready:\n{}", self.name(), self.log_tail())));
                }
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the process as an operator would, with SIGTERM, and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{} does not end after SIGTERM", self.name());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Program, directory: &Path, flags: &[String]) -> Result<Child> {
    std::fs::create_dir_all(directory)?;
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    Command::new(&program.path)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", program.path.display()))
}

/// An address of the loopback interface that nobody listens on.
///
/// The port is below those that the system gives to outgoing connections, so that no client takes it before the
/// server does.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut random = Random::new(u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 32);
    for _ in 0..1000 {
        let port = u16::try_from(10_000 + random.below(20_000))?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port is free");
}

/// A directory in memory, where there is one: there a disk's moods play no part.
pub(crate) fn shared_memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
