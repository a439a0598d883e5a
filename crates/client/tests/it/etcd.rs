//! Real members of etcd that can be killed, stopped and started again on the same data and ports.
//!
//! The variable `ETCHED_TEST_SERVER` names the binary of another server to run the same tests against.

use std::process::Stdio;
use std::time::Duration;

use etched_client::{Client, Options, Tls};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::ports::Port;

/// How often a cluster is started on other ports, should a stranger have taken one of them.
const ATTEMPTS: usize = 5;
/// How long a member may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// A member. Its process ends with the value.
pub(crate) struct Etcd {
    name: String,
    /// The flag `--initial-cluster`.
    cluster: String,
    setup: Setup,
    directory: TempDir,
    client_port: Port,
    peer_port: Port,
    process: Option<Child>,
}

/// What is special about a cluster.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// Flags beside those that every member gets.
    pub(crate) flags: Vec<String>,
    /// With what clients connect, if the flags have members use TLS.
    pub(crate) tls: Option<Tls>,
}

impl Etcd {
    /// Starts a cluster of one member.
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// Starts a cluster of one member with a setup.
    pub(crate) async fn start_with(setup: Setup) -> Self {
        Self::start_cluster(1, setup).await.remove(0)
    }

    /// Starts a cluster; returns when each member answers.
    pub(crate) async fn start_cluster(count: usize, setup: Setup) -> Vec<Self> {
        'attempt: for _ in 0..ATTEMPTS {
            let mut members: Vec<_> =
                (1..=count).map(|n| Self::new(format!("m{n}"), setup.clone())).collect();
            let all: Vec<_> = members.iter().map(Self::peer).collect();
            for member in &mut members {
                member.cluster = all.join(",");
                member.spawn("new");
            }
            for member in &mut members {
                if !member.is_ready().await {
                    continue 'attempt;
                }
            }
            return members;
        }
        panic!("no cluster comes up");
    }

    /// A member that does not run yet.
    pub(crate) fn new(name: String, setup: Setup) -> Self {
        Self {
            name,
            cluster: String::new(),
            setup,
            directory: tempfile::tempdir().unwrap(),
            client_port: Port::free(),
            peer_port: Port::free(),
            process: None,
        }
    }

    /// Starts a member that was added to a running cluster; `cluster` is its flag `--initial-cluster`.
    pub(crate) fn join(&mut self, cluster: String) {
        self.cluster = cluster;
        self.spawn("existing");
    }

    /// Starts a member as a cluster of its own, without waiting for it.
    pub(crate) fn found(&mut self) {
        self.cluster = self.peer();
        self.spawn("new");
    }

    /// Starts the member that was killed.
    pub(crate) fn restart(&mut self) {
        self.spawn("existing");
    }

    fn spawn(&mut self, state: &str) {
        assert!(self.process.is_none(), "it runs");
        let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
        let binary = std::env::var_os("ETCHED_TEST_SERVER").unwrap_or_else(|| etcd.into());
        let (client_url, peer_url) = (self.endpoint(), self.peer_url());
        let process = Command::new(binary)
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args(["--name", &self.name, "--log-level", "error"])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &self.cluster, "--initial-cluster-state", state])
            .args(&self.setup.flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Waits until the member answers; false if it ends instead.
    async fn is_ready(&mut self) -> bool {
        let client = self.lazy_client(options()).with_timeout(Some(PATIENCE));
        let process = self.process.as_mut().expect("it runs");
        tokio::select! {
            answer = client.get("health") => {
                answer.unwrap();
                true
            }
            _status = process.wait() => false,
        }
    }

    /// Kills the member without a warning.
    pub(crate) async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await.unwrap();
    }

    /// Makes the member hang; when this returns it does.
    pub(crate) async fn halt(&self) {
        let id = self.signal("STOP").await;
        // Threads that run on other processors go on for a moment, long enough for an answer.
        while !is_halted(id) {
            tokio::task::yield_now().await;
        }
    }

    /// Ends what [`Self::halt`] did.
    pub(crate) async fn go_on(&self) {
        self.signal("CONT").await;
    }

    /// Sends a signal to the member, and gives its process id.
    async fn signal(&self, signal: &str) -> u32 {
        let id = self.process.as_ref().and_then(Child::id).expect("it runs");
        let mut command = Command::new("kill");
        let status = command.arg(format!("-{signal}")).arg(id.to_string()).status().await.unwrap();
        assert!(status.success());
        id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.setup.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port.number())
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port.number()
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port.number())
    }

    /// The member's part of the flag `--initial-cluster`.
    pub(crate) fn peer(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(options()).await
    }

    pub(crate) async fn client_with(&self, mut options: Options) -> Client {
        options.tls.clone_from(&self.setup.tls);
        Client::connect([self.endpoint()], options).await.unwrap()
    }

    fn lazy_client(&self, mut options: Options) -> Client {
        options.tls.clone_from(&self.setup.tls);
        Client::connect_lazy([self.endpoint()], options).unwrap()
    }
}

/// The options of tests: slow machines get time.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.request_timeout = Some(Duration::from_secs(30));
    options
}

impl Drop for Etcd {
    /// Waits for the end, so that nobody writes into the directory while it is removed.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ended = process.start_kill();
            while let Ok(None) = process.try_wait() {
                std::thread::yield_now();
            }
        }
    }
}

/// Whether all threads of a process are stopped: `T` behind the name, which is in parentheses.
fn is_halted(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}
