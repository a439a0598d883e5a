//! `etchedutl`, with files that a real etcd has made and goes on with. Output is compared with that of `etcdutl`, if
//! there is a Go to build it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::real::{Etcd, Ports, base64, database};
use crate::tools;

/// Runs `etchedutl` with a line of arguments.
fn utl(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_etchedutl")).args(line.split_whitespace()).output().unwrap()
}

/// As [`utl`], for what has to succeed.
fn ok(line: &str) -> String {
    let output = utl(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The first line of what is said about a mistake, and the exit code.
fn refused(line: &str) -> (String, i32) {
    said(&utl(line))
}

/// Without the lines of the log, which begin with a time.
fn said(output: &Output) -> (String, i32) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = err.lines().find(|line| line.starts_with("Error: ")).unwrap_or_default();
    (first.to_owned(), output.status.code().unwrap())
}

/// A member of etcd that was filled and has stopped.
struct Used {
    folder: TempDir,
    ports: Ports,
}

impl Used {
    /// Keys with history, a compaction, a lease, a user with a role, an alarm.
    fn new() -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
        let etcd = Etcd::start(&folder.path().join("data"), ports);
        for number in 0..60 {
            etcd.put(&format!("key-{}", number % 20), &format!("value-{number}"));
        }
        etcd.call("/v3/kv/deleterange", &format!(r#"{{"key":"{}"}}"#, base64("key-3")));
        etcd.call("/v3/kv/compaction", r#"{"revision":"30","physical":true}"#);
        etcd.call("/v3/lease/grant", r#"{"TTL":"3600","ID":"77"}"#);
        let (key, value) = (base64("leased"), base64("x"));
        etcd.call("/v3/kv/put", &format!(r#"{{"key":"{key}","value":"{value}","lease":"77"}}"#));
        etcd.call("/v3/auth/user/add", r#"{"name":"ann","password":"secret"}"#);
        etcd.call("/v3/auth/role/add", r#"{"name":"reader"}"#);
        etcd.call("/v3/auth/user/grant", r#"{"user":"ann","role":"reader"}"#);
        etcd.stop();
        Self { folder, ports }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A copy of the database, since `etcdutl hashkv` changes what it reads.
    fn copy(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::copy(database(&self.data()), &path).unwrap();
        path
    }

    /// The flags of a restoring to a cluster of one.
    fn restoring(&self, name: &str) -> String {
        let url = self.ports.peer_url();
        format!(
            "--data-dir {} --name m1 --initial-cluster m1={url} --initial-advertise-peer-urls {url}",
            self.path(name)
        )
    }
}

fn hash_kv(etcd: &Etcd) -> String {
    let answer = etcd.call("/v3/maintenance/hashkv", "{}");
    let fields: serde_json::Value = serde_json::from_str(&answer).unwrap();
    format!("{}, {}, {}", fields["hash"], text(&fields["hash_revision"]), text(&fields["compact_revision"]))
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn assert_serves_all(etcd: &Etcd) {
    for number in 40..60 {
        let key = format!("key-{}", number % 20);
        assert_eq!(etcd.has(&key, &format!("value-{number}")), key != "key-3", "{key}");
    }
    let lease = etcd.call("/v3/lease/timetolive", r#"{"ID":"77","keys":true}"#);
    assert!(lease.contains(r#""grantedTTL":"3600""#) && lease.contains(&base64("leased")), "{lease}");
    assert!(etcd.call("/v3/auth/user/get", r#"{"name":"ann"}"#).contains("reader"));
}

#[test]
fn files_of_etcd_are_told_about_as_etcdutl_does() {
    let used = Used::new();
    let file = used.copy("copy");
    if tools::program("etcdutl").is_none() {
        return;
    }
    let theirs =
        |line: &str| tools::program("etcdutl").unwrap().args(line.split_whitespace()).output().unwrap();
    for format in ["simple", "json", "fields", "table"] {
        for command in ["snapshot status", "hashkv"] {
            let line = format!("-w {format} {command} {file}");
            assert_eq!(ok(&line), String::from_utf8(theirs(&line).stdout).unwrap(), "{line}");
        }
    }
    assert_eq!(
        ok(&format!("hashkv {file} --rev 40")),
        String::from_utf8(theirs(&format!("hashkv {file} --rev 40")).stdout).unwrap()
    );
    let url = "http://localhost:2380";
    let mistakes = [
        "snapshot status".to_owned(),
        "snapshot status /nonexistent".to_owned(),
        "snapshot status /etc/passwd".to_owned(),
        "-w protobuf hashkv /nonexistent".to_owned(),
        format!("-w xml snapshot status {file}"),
        format!("hashkv {file} --rev 3"),
        format!("hashkv {file} --rev 3000"),
        "hashkv".to_owned(),
        "hashkv a b".to_owned(),
        "hashkv --rev x".to_owned(),
        "defrag".to_owned(),
        "defrag --data-dir /nonexistent".to_owned(),
        "migrate --data-dir /nonexistent".to_owned(),
        "migrate --data-dir /nonexistent --target-version 3.6.0".to_owned(),
        "migrate --data-dir /nonexistent --target-version 3.x".to_owned(),
        "migrate --data-dir /nonexistent --target-version 3.4".to_owned(),
        "migrate --data-dir /nonexistent --target-version 3.6".to_owned(),
        "snapshot restore".to_owned(),
        "snapshot restore /nonexistent".to_owned(),
        format!("snapshot restore {file} --bump-revision 3"),
        format!("snapshot restore {file} --mark-compacted"),
        format!("snapshot restore {file} --data-dir {}", used.path("refused")),
        format!("snapshot restore {file} --data-dir {}", used.folder.path().display()),
        format!("snapshot restore {file} --wal-dir {}", used.folder.path().display()),
        format!("snapshot restore {file} --name b"),
        format!("snapshot restore {file} --initial-cluster a"),
        format!("snapshot restore {file} --initial-advertise-peer-urls http://a:1/path"),
        format!("snapshot restore {file} --initial-advertise-peer-urls {url},http://localhost:2381"),
        format!("snapshot restore {file} --initial-cluster default={url},default=http://localhost:2381"),
        format!("snapshot restore {file} --initial-cluster default={url},b={url}"),
        "--bogus".to_owned(),
        "completion".to_owned(),
    ];
    for line in mistakes {
        let expected = said(&theirs(&line));
        // etcdutl leaves parts of what it could not restore.
        let _ = std::fs::remove_dir_all(used.path("refused"));
        assert_eq!(refused(&line), expected, "{line}");
    }
}

#[test]
fn a_restored_member_has_everything_but_the_members_and_goes_on_in_etcd() {
    let used = Used::new();
    let file = used.copy("copy");
    let before = ok(&format!("hashkv {file}"));
    ok(&format!("snapshot restore {file} --skip-hash-check {}", used.restoring("restored")));
    let restored = used.path("restored");
    assert_eq!(ok(&format!("hashkv {restored}")), before);
    let refusal =
        refused(&format!("snapshot restore {file} --skip-hash-check {}", used.restoring("restored")));
    assert_eq!(refusal, (format!("Error: data-dir {restored:?} not empty or could not be read"), 1));

    ok(&format!("convert --data-dir {restored}"));
    let etcd = Etcd::start(Path::new(&restored), used.ports);
    assert_eq!(hash_kv(&etcd), before.trim());
    assert_serves_all(&etcd);
    let members = etcd.call("/v3/cluster/member/list", "{}");
    assert_eq!(members.matches("peerURLs").count(), 1);
    assert!(members.contains(&used.ports.peer_url()), "{members}");
    etcd.put("and", "on");
    etcd.stop();
}

/// Copies a directory with all that is below it.
fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn a_conversion_that_was_cut_off_is_done_by_the_next_one() {
    /// How many moments of a conversion are tried.
    const MOMENTS: u32 = 16;
    let used = Used::new();
    let file = used.copy("copy");
    ok(&format!("snapshot restore {file} --skip-hash-check {}", used.restoring("restored")));
    let restored = used.path("restored");
    let before = ok(&format!("hashkv {restored}"));
    let whole = used.path("whole");
    copy_all(Path::new(&restored), Path::new(&whole));
    let start = std::time::Instant::now();
    ok(&format!("convert --data-dir {whole}"));
    let length = start.elapsed();
    let mut cut = 0;
    for moment in 0..MOMENTS {
        let again = used.path(&format!("again-{moment}"));
        copy_all(Path::new(&restored), Path::new(&again));
        let mut command = Command::new(env!("CARGO_BIN_EXE_etchedutl"));
        let mut child = command
            .args(["convert", "--data-dir", &again])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A fault at some moment, whichever it is.
        std::thread::sleep(length * moment / MOMENTS);
        child.kill().unwrap();
        let was_cut = !child.wait().unwrap().success();
        cut += u32::from(was_cut);
        let output = utl(&format!("convert --data-dir {again}"));
        // What was finished before is the database of an etcd by now.
        let is_done = said(&output).0.ends_with("is not the database of an etched");
        assert!(output.status.success() || is_done, "{moment}: {:?}", said(&output));
        assert_eq!(ok(&format!("hashkv {again}")), before, "{moment}");
    }
    assert!(cut > 0, "each conversion was over before it was cut off");

    // The moments between the exchanges of names, which are too short to be met.
    let name = |name: &str| Path::new(&whole).join("member/snap").join(name);
    let rename = |from: &str, to: &str| std::fs::rename(name(from), name(to)).unwrap();
    rename("db", "db.converted");
    ok(&format!("convert --data-dir {whole}"));
    assert_eq!(ok(&format!("hashkv {whole}")), before);
    rename("db", "db.converted");
    rename("db.etched", "db");
    std::fs::write(name("db.converting"), "a part").unwrap();
    ok(&format!("convert --data-dir {whole}"));
    assert_eq!(ok(&format!("hashkv {whole}")), before);
    let etcd = Etcd::start(Path::new(&whole), used.ports);
    assert_serves_all(&etcd);
    etcd.stop();
}

#[test]
fn a_raised_revision_is_compacted_for_watchers() {
    let used = Used::new();
    let file = used.copy("copy");
    let raised = format!(
        "snapshot restore {file} --skip-hash-check --bump-revision 1000000 --mark-compacted {}",
        used.restoring("raised")
    );
    ok(&raised);
    let restored = used.path("raised");
    let hash = ok(&format!("hashkv {restored}"));
    assert!(hash.trim().ends_with(", 1000063, 1000063"), "{hash}");
    ok(&format!("convert --data-dir {restored}"));
    let etcd = Etcd::start(Path::new(&restored), used.ports);
    assert_serves_all(&etcd);
    let past = etcd.call_any("/v3/kv/range", &format!(r#"{{"key":"{}","revision":"60"}}"#, base64("key-1")));
    assert!(past.contains("required revision has been compacted"), "{past}");
    let put = etcd.call("/v3/kv/put", &format!(r#"{{"key":"{0}","value":"{0}"}}"#, base64("a")));
    assert!(put.contains(r#""revision":"1000064""#), "{put}");
    etcd.stop();
}

#[test]
fn a_damaged_snapshot_is_not_restored() {
    let used = Used::new();
    let file = used.path("snapshot");
    let mut bytes = std::fs::read(database(&used.data())).unwrap();
    let hash = [7; 32];
    bytes.extend_from_slice(&hash);
    std::fs::write(&file, &bytes).unwrap();
    let (message, code) = refused(&format!("snapshot restore {file} {}", used.restoring("no")));
    assert!(message.starts_with("Error: expected sha256 [7 7 7 7 7"), "{message}");
    assert_eq!((code, Path::new(&used.path("no")).exists()), (1, false));
}

#[test]
fn a_database_is_rewritten_without_gaps_and_etcd_goes_on() {
    let used = Used::new();
    let before = ok(&format!("hashkv {}", used.copy("before")));
    let data = used.data().display().to_string();
    ok(&format!("defrag --data-dir {data}"));
    assert_eq!(ok(&format!("hashkv {data}")), before);
    let etcd = Etcd::start(&used.data(), used.ports);
    let busy = refused(&format!("defrag --timeout 100ms --data-dir {data}"));
    assert_eq!(busy, (format!("Error: Failed to defragment etcd data[{data}] (timeout)"), 1));
    assert_serves_all(&etcd);
    etcd.stop();
}

#[test]
fn the_version_of_a_database_is_changed_and_changed_back() {
    let used = Used::new();
    let data = used.data().display().to_string();
    let version = || {
        let status = ok(&format!("-w json snapshot status {data}"));
        let fields: serde_json::Value = serde_json::from_str(&status).unwrap();
        text(&fields["version"]).to_owned()
    };
    assert_eq!(version(), "3.7.0");
    for (target, marked) in [("3.7", "3.7.0"), ("3.6", "3.6.0"), ("3.5", ""), ("3.7", "3.7.0")] {
        ok(&format!("migrate --data-dir {data} --target-version {target}"));
        assert_eq!(version(), marked);
    }
    let (message, _) = refused(&format!("migrate --data-dir {data} --target-version 3.8"));
    assert_eq!(message, "Error: cannot create migration plan: version \"3.8.0\" is not supported");
    let etcd = Etcd::start(&used.data(), used.ports);
    assert_serves_all(&etcd);
    etcd.stop();
}

#[test]
fn the_program_explains_itself() {
    assert_eq!(ok("version"), "etcdutl version: 3.7.2\nAPI version: 3.7\n");
    assert!(ok("").contains("Available Commands:") && ok("snapshot").contains("restore"));
    assert!(ok("completion bash").contains("skip-hash-check"));
    assert_eq!(refused("bogus").1, 1);
    assert_eq!(refused("convert --data-dir /nonexistent --to xyz").1, 128);
}
