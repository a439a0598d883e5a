//! Members of the mixed cluster: processes of either kind, and what an operator asks them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etched_client::proto::etcdserverpb::StatusResponse;
use etched_client::{Client, Error};

use super::users::{ROOT, Users};
use crate::process::{Program, free_port};

/// How long anything may take that an operator waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One member and its process, which is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) program: Program,
    /// 0 until the cluster has said it.
    pub(super) id: u64,
    pub(super) client: SocketAddr,
    pub(super) peer: SocketAddr,
    directory: PathBuf,
    users: Users,
    child: Option<Child>,
}

impl Member {
    /// A member that is not started yet, its data and log below `root`.
    pub(super) fn new(name: String, program: &Program, root: &Path, users: &Users) -> Result<Self> {
        Ok(Self {
            directory: root.join(&name),
            name,
            users: users.clone(),
            program: program.clone(),
            id: 0,
            client: free_port()?,
            peer: free_port()?,
            child: None,
        })
    }

    pub(super) fn peer_url(&self) -> String {
        format!("http://{}", self.peer)
    }

    /// Its part of `--initial-cluster`.
    pub(super) fn entry(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    /// Starts the process; its flags of the first start are those of each later one.
    pub(super) fn start(&mut self, initial_cluster: &str, state: &str) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        std::fs::create_dir_all(&self.directory)?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(&self.program.path)
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", self.directory.join("data").display()))
            .arg(format!("--listen-client-urls=http://{}", self.client))
            .arg(format!("--advertise-client-urls=http://{}", self.client))
            .arg(format!("--listen-peer-urls={}", self.peer_url()))
            .arg(format!("--initial-advertise-peer-urls={}", self.peer_url()))
            .arg(format!("--initial-cluster={initial_cluster}"))
            .arg(format!("--initial-cluster-state={state}"))
            .args(["--snapshot-count=1000", "--snapshot-catchup-entries=100", "--log-level=info"])
            .args(self.users.flags())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.path.display()))?;
        self.child = Some(child);
        Ok(())
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// How many lines of its log have this text.
    pub(super) fn log_count(&self, text: &str) -> Result<usize> {
        let log = std::fs::read(self.log_path())?;
        Ok(String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count())
    }

    /// Ends the process with SIGTERM.
    pub(super) async fn stop(&mut self) -> Result<()> {
        let child = self.child.as_ref().context("the member does not run")?;
        rustix::process::kill_process(
            rustix::process::Pid::from_child(child),
            rustix::process::Signal::TERM,
        )?;
        ensure!(self.ends_within(PATIENCE).await?, "{} does not end after SIGTERM", self.name);
        Ok(())
    }

    /// Whether the process ends by itself in this time; it is reaped then.
    pub(super) async fn ends_within(&mut self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        while let Some(child) = &mut self.child {
            if child.try_wait()?.is_some() {
                self.child = None;
            } else if Instant::now() > deadline {
                return Ok(false);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(true)
    }

    /// A client of this member alone.
    pub(super) fn connect(&self) -> Result<Client> {
        Ok(Client::connect_lazy([self.client.to_string()], self.users.options(ROOT))?)
    }

    pub(super) async fn status(&self) -> Result<StatusResponse> {
        Ok(self.connect()?.status().await?)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only for a process that has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks again until it is answered; refusals are normal while members come and go.
///
/// For a change this is right only if a second execution is refused or does nothing.
pub(super) async fn retry<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => bail!("{what}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
