//! A real etcd that can be killed, stopped and started again on the same data and ports.
//!
//! The variable `ETCHED_TEST_SERVER` names the binary of another server to run the same tests against.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etched_client::{Client, Options};
use tempfile::TempDir;

/// A single member. It ends with the value.
pub(crate) struct Etcd {
    directory: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl Etcd {
    /// Starts a new member.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut etcd = Self { directory, client_port: free_port(), peer_port: free_port(), process: None };
        etcd.restart();
        etcd
    }

    /// Starts the member that was killed.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
        let binary = std::env::var_os("ETCHED_TEST_SERVER").unwrap_or_else(|| etcd.into());
        let client_url = format!("http://127.0.0.1:{}", self.client_port);
        let peer_url = format!("http://127.0.0.1:{}", self.peer_port);
        let process = Command::new(binary)
            .arg("--data-dir")
            .arg(self.directory.path())
            .args(["--name", "m1", "--log-level", "error"])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("m1={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// Kills the member without a warning.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Sends a signal to the member: `STOP` makes it hang, `CONT` ends that.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it runs").id();
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(options()).await
    }

    pub(crate) async fn client_with(&self, options: Options) -> Client {
        Client::connect([self.endpoint()], options).await.unwrap()
    }
}

/// The options of tests: slow machines get time.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.request_timeout = Some(Duration::from_secs(15));
    options
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// A port of the loopback that nobody uses at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
