//! `curl`, as README files and scripts use it: the v2 API with forms, the gateway with JSON.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Session;
use crate::process::Server;

/// How long a request that waits may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The path, further arguments, and what the answer must contain.
type Step = (&'static str, &'static [&'static str], &'static str);

/// `foo` and `bar` are `Zm9v` and `YmFy`, `fop` is `Zm9w`.
const JSON: [Step; 17] = [
    ("/version", &[], "\"etcdserver\":\"3."),
    ("/health", &[], "{\"health\":\"true\",\"reason\":\"\"}"),
    ("/v3/kv/put", &["-d", "{\"key\":\"Zm9v\",\"value\":\"YmFy\"}"], "\"revision\":\"2\""),
    ("/v3/kv/range", &["-d", "{\"key\":\"Zm9v\"}"], "\"value\":\"YmFy\"}],\"count\":\"1\"}"),
    (
        "/v3/kv/range",
        &["-d", "{\"key\":\"Zm9v\",\"range_end\":\"Zm9w\",\"keys_only\":true}"],
        "\"key\":\"Zm9v\"",
    ),
    (
        "/v3/kv/txn",
        &[
            "-d",
            "{\"compare\":[{\"target\":\"CREATE\",\"key\":\"Zm9v\",\"createRevision\":\"2\"}],\
             \"success\":[{\"requestPut\":{\"key\":\"Zm9v\",\"value\":\"YmFy\"}}]}",
        ],
        "\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{\"revision\":\"3\"}}}]",
    ),
    (
        "/v3/kv/txn",
        &[
            "-d",
            "{\"compare\":[{\"result\":\"EQUAL\",\"target\":\"VERSION\",\"version\":\"9\",\"key\":\"Zm9v\"}],\
             \"success\":[{\"requestRange\":{\"key\":\"Zm9v\"}}]}",
        ],
        "\"raft_term\":\"",
    ),
    ("/v3/lease/grant", &["-d", "{\"TTL\":\"600\",\"ID\":\"7\"}"], "\"ID\":\"7\",\"TTL\":\"600\""),
    ("/v3/lease/keepalive", &["-d", "{\"ID\":\"7\"}"], "{\"result\":{\"header\":"),
    ("/v3/lease/timetolive", &["-d", "{\"ID\":\"7\",\"keys\":true}"], "\"grantedTTL\":\"600\""),
    ("/v3/cluster/member/list", &["-d", "{}"], "\"name\":\"one\""),
    ("/v3/auth/user/add", &["-d", "{\"name\":\"root\",\"password\":\"pass\"}"], "\"header\":"),
    ("/v3/auth/user/grant", &["-d", "{\"user\":\"root\",\"role\":\"root\"}"], "\"header\":"),
    ("/v3/auth/enable", &["-d", "{}"], "\"header\":"),
    ("/v3/kv/range", &["-d", "{\"key\":\"Zm9v\"}"], "\"message\":\"etcdserver: user name is empty\""),
    (
        "/v3/auth/authenticate",
        &["-d", "{\"name\":\"root\",\"password\":\"no\"}"],
        "\"message\":\"etcdserver: authentication failed, invalid user ID or password\"",
    ),
    ("/v3/nothing", &["-d", "{}"], "\"message\":\"Not Found\""),
];

const V2: [Step; 22] = [
    (
        "/v2/keys/message",
        &["-XPUT", "-d", "value=Hello world"],
        "{\"action\":\"set\",\"node\":{\"key\":\"/message\",\"value\":\"Hello world\"",
    ),
    ("/v2/keys/message", &[], "{\"action\":\"get\",\"node\":{\"key\":\"/message\",\"value\":\"Hello world\""),
    ("/v2/keys/message", &["-i"], "X-Etcd-Index: "),
    (
        "/v2/keys/message",
        &["-XPUT", "-d", "value=Hello etcd"],
        "\"prevNode\":{\"key\":\"/message\",\"value\":\"Hello world\"",
    ),
    (
        "/v2/keys/message",
        &["-XDELETE"],
        "{\"action\":\"delete\",\"node\":{\"key\":\"/message\",\"modifiedIndex\":",
    ),
    ("/v2/keys/foo", &["-XPUT", "-d", "value=bar", "-d", "ttl=100"], "\"ttl\":100"),
    (
        "/v2/keys/foo",
        &["-XPUT", "-d", "value=bar", "-d", "ttl=", "-d", "prevExist=true"],
        "{\"action\":\"update\"",
    ),
    ("/v2/keys/foo", &["-XPUT", "-d", "ttl=50", "-d", "refresh=true", "-d", "prevExist=true"], "\"ttl\":50"),
    (
        "/v2/keys/foo?prevExist=false",
        &["-XPUT", "-d", "value=three"],
        "{\"errorCode\":105,\"message\":\"Key already exists\",\"cause\":\"/foo\"",
    ),
    (
        "/v2/keys/foo?prevValue=two",
        &["-XPUT", "-d", "value=three"],
        "{\"errorCode\":101,\"message\":\"Compare failed\",\"cause\":\"[two != bar]\"",
    ),
    ("/v2/keys/foo?prevValue=bar", &["-XPUT", "-d", "value=two"], "{\"action\":\"compareAndSwap\""),
    ("/v2/keys/foo?prevValue=two", &["-XDELETE"], "{\"action\":\"compareAndDelete\""),
    (
        "/v2/keys/queue",
        &["-XPOST", "-d", "value=Job1"],
        "{\"action\":\"create\",\"node\":{\"key\":\"/queue/000000",
    ),
    ("/v2/keys/queue?recursive=true&sorted=true", &[], "\"dir\":true,\"nodes\":[{\"key\":\"/queue/000000"),
    ("/v2/keys/dir", &["-XPUT", "-d", "dir=true"], "\"key\":\"/dir\",\"dir\":true"),
    (
        "/v2/keys/dir?dir=true",
        &["-XDELETE"],
        "{\"action\":\"delete\",\"node\":{\"key\":\"/dir\",\"dir\":true",
    ),
    ("/v2/keys/none", &[], "{\"errorCode\":100,\"message\":\"Key not found\",\"cause\":\"/none\""),
    ("/v2/keys/afile", &["-XPUT", "--data-urlencode", "value@-"], "\"value\":\"from a file\\n\""),
    ("/v2/machines", &[], "http://"),
    ("/v2/members", &[], "{\"members\":[{\"id\":\""),
    ("/v2/stats/self", &[], "\"state\":\"StateLeader\""),
    ("/v2/stats/store", &[], "\"compareAndSwapSuccess\":1"),
];

/// Runs the steps one after the other.
pub(super) fn session(server: &Server, _: &std::path::Path) -> Result<Session> {
    let works = Command::new("curl").arg("--version").output();
    if !works.is_ok_and(|output| output.status.success()) {
        return Ok(Session::Skipped("it is not on the PATH".into()));
    }
    for (path, arguments, expected) in V2 {
        expect(server, path, arguments, expected)?;
    }
    waits(
        server,
        "/v2/keys/waited?wait=true",
        &[],
        ("/v2/keys/waited", &["-XPUT", "-d", "value=now"]),
        "\"value\":\"now\"",
    )?;
    let watch = ["-N", "-d", "{\"create_request\":{\"key\":\"Zm9v\"}}"];
    let put = ("/v3/kv/put", &["-d", "{\"key\":\"Zm9v\",\"value\":\"eA==\"}"][..]);
    // The next steps count revisions.
    for (path, arguments, expected) in JSON {
        expect(server, path, arguments, expected)?;
    }
    let login = ["-d", "{\"name\":\"root\",\"password\":\"pass\"}"];
    let answer = ask(server, "/v3/auth/authenticate", &login)?;
    let text = String::from_utf8(answer.stdout)?;
    let token = text.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = format!("Authorization: {}", token.context("there is a token")?);
    let with_token = |arguments: &[&'static str]| {
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["-H", &token]);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let put_arguments = with_token(put.1);
    let put_arguments: Vec<&str> = put_arguments.iter().map(String::as_str).collect();
    let watch = with_token(&watch);
    let watch: Vec<&str> = watch.iter().map(String::as_str).collect();
    waits(server, "/v3/watch", &watch, (put.0, &put_arguments), "\"value\":\"eA==\"")?;
    Ok(Session::Done)
}

fn command(server: &Server, path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--location"]).args(arguments);
    command.arg(format!("http://{}{path}", server.address()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ask(server: &Server, path: &str, arguments: &[&str]) -> Result<Output> {
    let mut child = command(server, path, arguments).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    if arguments.contains(&"value@-") {
        std::io::Write::write_all(&mut stdin, b"from a file\n")?;
    }
    drop(stdin);
    Ok(child.wait_with_output()?)
}

fn expect(server: &Server, path: &str, arguments: &[&str], expected: &str) -> Result<()> {
    let output = ask(server, path, arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && text.contains(expected),
        "curl {arguments:?} {path} printed\n{text}{}\nwithout {expected:?}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A request that waits sees what another one does, which is done until it is seen.
fn waits(
    server: &Server,
    path: &str,
    arguments: &[&str],
    (other, other_arguments): (&str, &[&str]),
    expected: &str,
) -> Result<()> {
    let waiting = Waiting(command(server, path, arguments).stdin(Stdio::null()).spawn()?);
    let text = waiting.read_until(expected, || expect(server, other, other_arguments, ""))?;
    ensure!(text.contains(expected), "curl {arguments:?} {path} printed\n{text}\nwithout {expected:?}");
    Ok(())
}

/// A request that goes on; it is ended when it is dropped.
struct Waiting(Child);

impl Waiting {
    fn read_until(mut self, expected: &str, mut again: impl FnMut() -> Result<()>) -> Result<String> {
        let mut stdout = self.0.stdout.take().context("a pipe was asked for")?;
        let (sender, pieces) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = std::io::Read::read(&mut stdout, &mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !String::from_utf8_lossy(&seen).contains(expected) {
            again()?;
            if let Ok(piece) = pieces.recv_timeout(Duration::from_millis(200)) {
                seen.extend(piece);
            }
        }
        drop(self);
        ensure!(reading.join().is_ok(), "what curl printed cannot be read");
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
