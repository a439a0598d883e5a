//! Debian's `etcdctl`: unpacked from its package, without installing it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Session;
use crate::process::Server;

/// Arguments, and what the output must contain.
type Step = (&'static [&'static str], &'static str);

const STEPS: [Step; 20] = [
    (&["put", "a", "1"], "OK"),
    (&["put", "b", "2"], "OK"),
    (&["get", "a"], "a\n1\n"),
    (&["get", "", "--prefix", "--keys-only"], "a\n\nb\n"),
    (&["get", "a", "c", "--write-out=fields"], "\"Count\" : 2"),
    (&["get", "--from-key", "b", "--print-value-only"], "2\n"),
    (&["put", "--prev-kv", "a", "3"], "OK\na\n1\n"),
    (&["del", "b", "--prev-kv"], "1\nb\n2\n"),
    (&["get", "a", "--rev=2"], "a\n1\n"),
    (&["lease", "grant", "600"], "granted with TTL(600s)"),
    (&["lease", "list"], "found 1 leases"),
    (&["member", "list"], ", started, one, http://"),
    (&["endpoint", "health"], "is healthy"),
    (&["endpoint", "status", "--write-out=json"], "\"version\":\"3."),
    (&["endpoint", "hashkv"], ", "),
    (&["alarm", "list"], ""),
    (&["compaction", "3"], "compacted revision 3"),
    (&["defrag"], "Finished defragmenting"),
    (&["watch", "--rev=4", "a"], "PUT\na\n3\n"),
    (&["check", "perf", "--help"], "check"),
];

/// Steps that dial the endpoint by themselves.
const STEPS_WITH_SCHEME: [Step; 3] = [
    (&["get", "a"], "a\n3\n"),
    (&["endpoint", "status", "--write-out=json"], "\"version\":\"3."),
    (&["endpoint", "hashkv"], ", "),
];

/// Runs the steps one after the other.
pub(super) fn session(server: &Server, folder: &Path) -> Result<Session> {
    let Some(etcdctl) = find(folder)? else {
        return Ok(Session::Skipped("neither on the PATH nor in a Debian package".into()));
    };
    let plain = server.address().to_string();
    // With a scheme, old versions put the whole URL into the request's authority.
    let url = format!("http://{plain}");
    let with_scheme = STEPS_WITH_SCHEME.iter().map(|step| (&url, step));
    for (endpoint, (arguments, expected)) in STEPS.iter().map(|step| (&plain, step)).chain(with_scheme) {
        // A watch goes on until it is stopped.
        let limit = if arguments.first() == Some(&"watch") { "2" } else { "30" };
        let output = Command::new("timeout")
            .arg(limit)
            .arg(&etcdctl)
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={endpoint}"))
            .args(*arguments)
            .output()?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let found = stdout.contains(expected) || stderr.contains(expected);
        ensure!(
            found,
            "etcdctl --endpoints={endpoint} {arguments:?} printed\n{stdout}{stderr}\nwithout {expected:?}"
        );
    }
    transaction(server, &etcdctl)?;
    Ok(Session::Done)
}

/// A transaction is read from the standard input: compares, then-part, else-part.
fn transaction(server: &Server, etcdctl: &Path) -> Result<()> {
    let script = "value(\"a\") = \"3\"\n\nput a 4\nget a\n\nget a\n\n";
    let mut child = Command::new(etcdctl)
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://{}", server.address()))
        .arg("txn")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    std::io::Write::write_all(&mut stdin, script.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(stdout.contains("SUCCESS\n\nOK\n\na\n4\n"), "etcdctl txn printed\n{stdout}");
    Ok(())
}

/// The program on the PATH, or out of Debian's package.
fn find(folder: &Path) -> Result<Option<PathBuf>> {
    let works =
        |path: &Path| Command::new(path).arg("version").output().is_ok_and(|output| output.status.success());
    if works(Path::new("etcdctl")) {
        return Ok(Some("etcdctl".into()));
    }
    let downloaded =
        Command::new("apt-get").args(["download", "-q", "etcd-client"]).current_dir(folder).output();
    if !downloaded.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            Command::new("dpkg").arg("-x").arg(&path).arg(folder.join("unpacked")).status()?;
        }
    }
    let etcdctl = folder.join("unpacked/usr/bin/etcdctl");
    Ok(works(&etcdctl).then_some(etcdctl))
}
