//! Runs `etchedctl`.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::etcd::Etcd;

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    /// Without the lines of the log.
    pub(crate) err: String,
}

/// Runs the program with a line of arguments.
pub(crate) async fn run(endpoints: &str, line: &str) -> Said {
    run_with_input(endpoints, line, "").await
}

/// Runs the program with a line of arguments and a standard input.
pub(crate) async fn run_with_input(endpoints: &str, line: &str, input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etchedctl"));
    command.args(["--endpoints", endpoints, "--command-timeout", "30s"]).args(line.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that asks for nothing may be over already.
    let _ended = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = err.lines().filter(|line| !line.starts_with("{\"level\""));
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: said.map(|line| format!("{line}\n")).collect(),
    }
}

/// As [`run`], for what has to succeed.
pub(crate) async fn ok(endpoints: &str, line: &str) -> String {
    let said = run(endpoints, line).await;
    assert_eq!(said.code, 0, "{line}: {said:?}");
    said.out
}

/// The endpoints of members, in the form of the flag.
pub(crate) fn endpoints_of(members: &[Etcd]) -> String {
    members.iter().map(Etcd::endpoint).collect::<Vec<_>>().join(",")
}
