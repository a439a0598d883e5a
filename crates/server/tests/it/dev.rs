//! `etched dev`: a cluster by one command, commanded and ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use etched_client::{Client, Options, Put, Tls};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

/// How long the members of a killed `etched dev` may go on.
const PATIENCE: Duration = Duration::from_secs(30);

struct Dev {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    told: Value,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_etched"))
            .args(["dev", "--port=0", "--json"])
            .args(arguments)
            // The members must not see it.
            .env("ETCD_NAME", "somebody-else")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let input = child.stdin.take().expect("a pipe was asked for");
        let output = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let mut dev = Self { child, input, output, told: Value::Null };
        let line = dev.line();
        dev.told = serde_json::from_str(&line).expect("the first line is JSON");
        dev
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the output can be read");
        assert!(!line.is_empty(), "the output is over");
        line
    }

    fn command(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("commands are read");
    }

    /// Reads lines until one contains the text.
    fn until(&mut self, text: &str) {
        while !self.line().contains(text) {}
    }

    fn endpoints(&self) -> Vec<String> {
        let members = self.told["members"].as_array().expect("members are told");
        members
            .iter()
            .map(|member| member["client_url"].as_str().expect("a URL is told").to_owned())
            .collect()
    }

    fn process_ids(&self) -> Vec<Pid> {
        let members = self.told["members"].as_array().expect("members are told");
        let ids = members.iter().map(|member| member["pid"].as_i64().expect("a process is told"));
        ids.map(|id| Pid::from_raw(i32::try_from(id).unwrap()).unwrap()).collect()
    }

    fn variable(&self, name: &str) -> Vec<u8> {
        let path = self.told["environment"][name].as_str().expect("the variable is told");
        std::fs::read(path).expect("the file can be read")
    }

    fn quit(mut self) -> ExitStatus {
        self.command("quit");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already; its members end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn members_can_be_killed_and_started_and_data_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept = format!("--data-dir={}", dir.path().display());
    let mut dev = Dev::start(&[&kept, "--", "--heartbeat-interval=50"]);
    let endpoints = dev.endpoints();
    assert_eq!(endpoints.len(), 3);
    let client = Client::connect(&endpoints, Options::default()).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
    dev.command("kill m2");
    dev.until("m2 has ended (signal 9)");
    // If it was the leader, there is none for a moment.
    let end = Instant::now() + PATIENCE;
    while let Err(error) = client.put(Put::new("b", "2")).await {
        assert!(Instant::now() < end, "{error}");
    }
    dev.command("start m2");
    dev.until("m2 serves");
    let second = Client::connect([&endpoints[1]], Options::default()).await.unwrap();
    assert_eq!(second.get("b").await.unwrap().count, 1);
    let members = dev.process_ids();
    assert!(dev.quit().success());
    assert!(members.iter().all(|&pid| test_kill_process(pid).is_err()), "members outlive it");

    let dev = Dev::start(&[&kept]);
    assert_eq!(dev.endpoints(), endpoints, "the addresses of a kept cluster stay");
    assert_eq!(client.get("a").await.unwrap().kvs[0].version, 1);
    assert!(dev.quit().success());
}

#[tokio::test]
async fn a_temporary_cluster_with_tls_serves_and_leaves_nothing() {
    let dev = Dev::start(&["--members=1", "--tls"]);
    let tls = Tls::builder()
        .trust(dev.variable("ETCDCTL_CACERT"))
        .identity(dev.variable("ETCDCTL_CERT"), dev.variable("ETCDCTL_KEY"))
        .build()
        .unwrap();
    let mut options = Options::default();
    options.tls = Some(tls);
    let client = Client::connect(&dev.endpoints(), options).await.unwrap();
    client.put(Put::new("a", "1")).await.unwrap();
    let dir = dev.told["data_dir"].as_str().unwrap().to_owned();
    assert!(Path::new(&dir).exists());
    assert!(dev.quit().success());
    assert!(!Path::new(&dir).exists());
}

#[test]
fn members_end_when_their_starter_is_killed() {
    let mut dev = Dev::start(&["--members=1"]);
    let members = dev.process_ids();
    kill_process(Pid::from_child(&dev.child), Signal::KILL).unwrap();
    dev.child.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while members.iter().any(|&pid| test_kill_process(pid).is_ok()) {
        assert!(Instant::now() < end, "members outlive it");
        std::thread::yield_now();
    }
    // What a killed process leaves is for the test to clear away.
    std::fs::remove_dir_all(dev.told["data_dir"].as_str().unwrap()).unwrap();
}

#[test]
fn wrong_arguments_are_refused_with_a_usage() {
    for arguments in [["dev", "--members=0"], ["dev", "--dance"], ["dev", "now"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_etched")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
