//! `lock`, `elect` and `make-mirror`, which run until they are told to end.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::etcd::Etcd;
use crate::program::{ok, run};

/// The program while it runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(endpoint: &str, line: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etchedctl"));
        command.args(["--endpoints", endpoint]).args(line.split_whitespace());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().unwrap()
    }

    /// Ends it with a signal; the answer is its exit code.
    async fn end(mut self, signal: &str) -> i32 {
        let id = self.child.id().unwrap().to_string();
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id).status().await.unwrap();
        assert!(status.success());
        self.child.wait().await.unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn a_lock_is_held_until_a_signal() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let mut first = Running::start(&all, "lock l");
    let key = first.line().await;
    assert!(key.starts_with("l/") && first.line().await.is_empty(), "{key}");
    let mut second = Running::start(&all, "lock l --ttl 20");
    while ok(&all, "get l/ --prefix --keys-only").await.matches("l/").count() < 2 {}
    assert_eq!(first.end("INT").await, 0);
    assert_ne!(second.line().await, key);
    assert_eq!(second.end("TERM").await, 0);
    assert_eq!(ok(&all, "get l/ --prefix").await, "");
}

#[tokio::test]
async fn whoever_waits_for_a_lock_leaves_the_line_on_a_signal() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let mut first = Running::start(&all, "lock l");
    first.line().await;
    let second = Running::start(&all, "lock l");
    while ok(&all, "get l/ --prefix --keys-only").await.matches("l/").count() < 2 {}
    assert_eq!(second.end("INT").await, 1);
    assert_eq!(ok(&all, "get l/ --prefix --keys-only").await.matches("l/").count(), 1);
}

#[tokio::test]
async fn a_command_runs_while_the_lock_is_held_and_its_status_counts() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let shown = ok(&all, "lock l -- sh -c env|grep${IFS}ETCD_LOCK_|sort").await;
    assert!(shown.starts_with("ETCD_LOCK_KEY=l/") && shown.contains("\nETCD_LOCK_REV="), "{shown}");
    let failed = run(&all, "lock l -- sh -c exit${IFS}7").await;
    assert_eq!((failed.code, failed.err.as_str()), (7, "Error: exit status 7\n"));
    let missing = run(&all, "lock l no-such-program").await;
    let text = "Error: exec: \"no-such-program\": executable file not found in $PATH\n";
    assert_eq!((missing.code, missing.err.as_str()), (1, text));
    assert_eq!(ok(&all, "get l/ --prefix").await, "", "the lock is given up however the command ends");
}

#[tokio::test]
async fn an_office_passes_on_and_is_listened_to() {
    let etcd = Etcd::start().await;
    let all = etcd.endpoint();
    let mut listener = Running::start(&all, "elect -l e");
    let mut first = Running::start(&all, "elect e one");
    assert!(first.line().await.starts_with("e/"));
    assert_eq!(first.line().await, "one");
    assert!(listener.line().await.starts_with("e/"));
    assert_eq!(listener.line().await, "one");
    let mut second = Running::start(&all, "elect e two");
    while ok(&all, "get e/ --prefix --keys-only").await.matches("e/").count() < 2 {}
    assert_eq!(first.end("TERM").await, 0);
    assert!(second.line().await.starts_with("e/"));
    assert!(listener.line().await.starts_with("e/"));
    assert_eq!(listener.line().await, "two");
    assert_eq!(listener.end("INT").await, 0);
    let undecided = run(&all, "elect e").await;
    assert_eq!(
        (undecided.code, undecided.err.as_str()),
        (128, "Error: no proposal argument but -l not set\n")
    );
}

#[tokio::test]
async fn a_mirror_has_what_was_there_and_what_comes() {
    let (source, target) = (Etcd::start().await, Etcd::start().await);
    let (from, to) = (source.endpoint(), target.endpoint());
    ok(&from, "put a/1 x").await;
    ok(&from, "put b/1 x").await;
    let mirror = Running::start(&from, &format!("make-mirror --prefix a/ --dest-prefix c/ {to}"));
    while ok(&to, "get c/ --prefix").await != "c/1\nx\n" {}
    ok(&from, "put a/2 y").await;
    ok(&from, "del a/1").await;
    while ok(&to, "get c/ --prefix").await != "c/2\ny\n" {}
    assert_eq!(ok(&to, "get b/ --prefix").await, "");
    drop(mirror);
    let both = run(&from, &format!("make-mirror --dest-prefix c/ --no-dest-prefix {to}")).await;
    let text = "Error: `--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one\n";
    assert_eq!((both.code, both.err.as_str()), (128, text));
}
