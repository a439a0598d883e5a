//! Flags beside those of the real etcd: the same help, the same refusals with the same exit codes.

use std::path::Path;
use std::process::Command;

use crate::program::{command, run};

/// Command lines that etcd refuses.
const REFUSED: &[&str] = &[
    "foo",
    "--bogus",
    "--bogus=1",
    "---x",
    "--=x",
    "--snapshot-count=abc",
    "--snapshot-count=-1",
    "--snapshot-count=99999999999999999999",
    "--snapshot-count",
    "--pre-vote=x",
    "--pre-vote false",
    "--quota-backend-bytes=x",
    "--max-concurrent-streams=x",
    "--max-concurrent-streams=99999999999",
    "--max-learners=x",
    "--grpc-keepalive-interval=5",
    "--listen-client-urls=foo",
    "--listen-client-urls=",
    "--listen-client-urls=http://foo:2379",
    "--listen-peer-urls=http://foo:2379",
    "--listen-peer-urls=http://127.0.0.1",
    "--listen-peer-urls=http://127.0.0.1:1/x",
    "--listen-metrics-urls=http://foo:1",
    "--listen-client-http-urls=http://foo:1",
    "--listen-client-urls=http://127.0.0.1:1111",
    "--initial-advertise-peer-urls=http://:2380",
    "--advertise-client-urls=http://:1",
    "--initial-cluster-state=bad",
    "--heartbeat-interval=0",
    "--heartbeat-interval=300",
    "--election-timeout=0",
    "--election-timeout=60000",
    "--auto-compaction-mode=foo",
    "--auto-compaction-mode=",
    "--feature-gates=Foo=true",
    "--feature-gates=LeaseCheckpoint",
    "--feature-gates=LeaseCheckpoint=maybe",
    "--feature-gates=LeaseCheckpointPersist=true",
    "--compact-hash-check-time=0",
    "--compact-hash-check-time=-1s",
    "--discovery-fallback=proxy",
    "--discovery-fallback=foo",
    "--discovery-token=x",
    "--discovery-endpoints=x",
    "--discovery-endpoints= --discovery-token=a",
    "--discovery-srv=x --initial-cluster=default=http://localhost:2380",
    "--discovery-srv=x --discovery-endpoints=a --discovery-token=b",
    "--log-format=x",
    "--log-outputs=a,default",
    "--logger=capnslog",
    "--logger=foo",
    "--log-level=bad",
    "--cors=a",
    "--tls-min-version=x",
    "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
    "--v2-deprecation=foo",
    "--v2-deprecation=not-yet",
    "--config-file=nofile.yaml",
];

fn etcd(arguments: &[&str]) -> Command {
    let Ok(etcd) = etcd_bin_vendored_linux_amd64::etcd_bin_path();
    let mut command = Command::new(etcd);
    command.env_clear().args(arguments);
    command
}

/// How a process ended, and what it says of the reason: the error of its last line, or the first line of plain text.
#[derive(Debug, PartialEq)]
struct Refusal {
    code: Option<i32>,
    message: String,
    error: String,
}

fn refusal(command: Command, dir: &Path) -> Refusal {
    let output = run(command, dir);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().rev().filter(|line| line.starts_with('{')).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| line.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        Some((field("msg")?, field("error").or_else(|| field("environment-variable"))?))
    });
    let plain = text.lines().find(|line| !line.is_empty() && !line.starts_with('{')).unwrap_or_default();
    let (message, error) = match last {
        Some(last) if plain.is_empty() => last,
        Some(_) | None => (String::new(), plain.to_owned()),
    };
    Refusal { code: output.status.code(), message, error }
}

#[test]
fn what_etcd_refuses_is_refused_with_its_words_and_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for text in REFUSED {
        let arguments: Vec<&str> = text.split(' ').collect();
        let theirs = refusal(etcd(&arguments), dir.path());
        let ours = refusal(command(&arguments), dir.path());
        assert!(theirs.code.is_some_and(|code| code != 0), "etcd accepts {text}");
        if ours != theirs {
            differences.push(format!("{text}: {ours:?}, but etcd {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_etcd_refuses_in_a_file_is_refused_with_its_words_and_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for text in [
        "name: 5",
        "auto-compaction-retention: 5",
        "watch-progress-notify-interval: 5s",
        "listen-peer-urls: 5",
        "listen-peer-urls: foo",
        "pre-vote: \"x\"",
        "pre-vote: yes\nheartbeat-interval: 300",
        "snapshot-count: -1",
        "snapshot-count: 1.5",
        "{\"name\": \"a\", \"heartbeat-interval\": 0}",
        "log-outputs: stderr",
        "log-outputs: [5]",
        "client-transport-security: 5",
        "peer-transport-security: 5",
        "peer-transport-security:",
        "client-transport-security: {cert-file: 5}",
        "feature-gates: Foo=true",
        "feature-gates: {Foo: true}",
        "Name: x\nheartbeat-interval: 0",
        "name: y",
        "socket-options: {reuse-port: 5}",
        "discovery-config: {client: {dial-timeout: 5s}}",
        "discovery-config: {client: {endpoints: a}}",
        "discovery-config: {token: 5}",
        "discovery-config: {client: {auth: {username: 5}}}",
        "discovery-config: {client: {secure: {cert: 5}}}",
        "discovery-config: {token: a}",
        "initial-cluster-state: bad",
        "max-concurrent-streams: 4294967296",
        "max-learners: true",
        "quota-backend-bytes: a",
        "log-level: bad",
        "[a]",
        "5",
        "text",
    ] {
        std::fs::write(dir.path().join("c.yaml"), text).unwrap();
        let theirs = refusal(etcd(&["--config-file=c.yaml"]), dir.path());
        let ours = refusal(command(&["--config-file=c.yaml"]), dir.path());
        assert!(theirs.code.is_some_and(|code| code != 0), "etcd accepts {text}");
        if ours != theirs {
            differences.push(format!("{text}: {ours:?}, but etcd {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_help_lists_the_flags_of_etcd_in_its_order_with_its_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let flags = |command: Command| {
        let output = run(command, dir.path());
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_flag =
            |line: &&str| line.starts_with("  --") || (line.ends_with(':') && !line.starts_with(' '));
        text.lines().filter(is_flag).map(str::to_owned).collect::<Vec<_>>()
    };
    let theirs = flags(etcd(&["--help"]));
    let mut ours = flags(command(&["--help"]));
    let own = ours.iter().position(|line| line == "Only in etched:").expect("our own flags have a section");
    ours.truncate(own);
    assert_eq!(ours, theirs);
}

#[test]
fn the_version_has_the_lines_of_etcd_and_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let text = |command: Command| String::from_utf8_lossy(&run(command, dir.path()).stdout).into_owned();
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| line.split_once(": ").map(|(name, _)| name.to_owned()))
            .collect::<Vec<_>>()
    };
    let (theirs, ours) = (text(etcd(&["--version"])), text(command(&["--version"])));
    assert_eq!(ours.lines().next(), theirs.lines().next());
    let mut expected = names(&theirs);
    expected.push("etched Version".to_owned());
    assert_eq!(names(&ours), expected);
}
