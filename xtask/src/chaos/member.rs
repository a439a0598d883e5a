//! A member's process: how it starts, is paused, ends, and starts again on its data.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::disk::Disk;
use crate::process::{Program, free_port};

/// How long a process may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);

/// One member of a cluster. Its process is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    program: Program,
    pub(super) disk: Disk,
    log: PathBuf,
    /// Where it listens for clients; proxies and administration connect here.
    pub(super) client: SocketAddr,
    /// Where it listens for other members, behind the proxy.
    pub(super) peer: SocketAddr,
    /// Where other members believe it to be.
    pub(super) advertised: SocketAddr,
    child: Option<Child>,
}

impl Member {
    pub(super) fn new(name: String, program: Program, directory: &Path) -> Result<Self> {
        let disk = Disk::new(directory.join(&name))?;
        let log = directory.join(format!("{name}.log"));
        let (client, peer, advertised) = (free_port()?, free_port()?, free_port()?);
        Ok(Self { name, program, disk, log, client, peer, advertised, child: None })
    }

    pub(super) fn program(&self) -> &str {
        &self.program.name
    }

    /// The member's part of `--initial-cluster`.
    pub(super) fn initial(&self) -> String {
        format!("{}=http://{}", self.name, self.advertised)
    }

    /// Starts the process; `initial` is all members, `state` is `new` or `existing`. Returns its id.
    pub(super) fn start(&mut self, initial: &str, state: &str) -> Result<u32> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program.path)
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", self.disk.data().display()))
            .arg(format!("--listen-client-urls=http://{}", self.client))
            .arg(format!("--advertise-client-urls=http://{}", self.client))
            .arg(format!("--listen-peer-urls=http://{}", self.peer))
            .arg(format!("--initial-advertise-peer-urls=http://{}", self.advertised))
            .arg(format!("--initial-cluster={initial}"))
            .arg(format!("--initial-cluster-state={state}"))
            // Often, so that members which fall behind need a snapshot.
            .args(["--snapshot-count=1000", "--snapshot-catchup-entries=200"])
            .args(["--watch-progress-notify-interval=500ms", "--log-level=warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.path.display()))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(pid)
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How the process ended, if it did by itself since it was last asked.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Ends the process at once, as a power cut would, but for the page cache.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the process does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Stops the process where it is.
    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(super) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends the process as an operator would. Its exit code is not judged.
    pub(super) async fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.wait(PATIENCE).await
    }

    /// Waits until the process has ended by itself.
    pub(super) async fn wait(&mut self, patience: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + patience;
        while self.child.is_some() {
            if self.ended()?.is_none() {
                if tokio::time::Instant::now() > deadline {
                    bail!("{} does not end within {} s", self.name, patience.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// The end of what the process wrote to its log.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.kill();
    }
}
