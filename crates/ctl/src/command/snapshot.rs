//! `snapshot save`: copies a member's storage to a file, which is there as a whole or not at all.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use etched_client::{Client, Error, ErrorKind};

use super::{Context, write};
use crate::failure::{Exit, Failure, text_of, text_of_io};
use crate::log;
use crate::text::{duration, size};

/// A copy consists of a database of whole sectors and its checksum.
const SECTOR_BYTES: u64 = 512;
const CHECKSUM_BYTES: u64 = 32;

pub(super) async fn save(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [path] = words.as_slice() else {
        return Err(Failure::arguments("snapshot save expects one argument <filename>"));
    };
    let path = Path::new(OsStr::from_bytes(path));
    let [endpoint] = context.endpoints.as_slice() else {
        let given = context.endpoints.join(" ");
        let text = format!("snapshot must be requested to one selected node, not multiple [{given}]");
        return Err(failed(text));
    };
    // A large storage takes its time, so there is a limit only if somebody asks for one.
    let limit = context.options.request_timeout.filter(|_| context.args.is_given("command-timeout"));
    let client = context.client().await?.with_timeout(limit);
    let mut part_path = path.as_os_str().to_owned();
    part_path.push(".part");
    let saving = fetch(&client, endpoint, Part::create(part_path.into())?, path);
    let version = match limit {
        None => interruptible(saving).await?,
        Some(limit) => match tokio::time::timeout(limit, interruptible(saving)).await {
            Ok(saved) => saved?,
            Err(_elapsed) => return Err(failed("context deadline exceeded")),
        },
    };
    write(format!("Snapshot saved at {}\n", path.display()).as_bytes())?;
    if version.is_empty() { Ok(()) } else { write(format!("Server version {version}\n").as_bytes()) }
}

fn failed(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Interrupted, text)
}

/// Waits for a future until the user interrupts; what was begun is then dropped, and cleans up.
async fn interruptible<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        output = future => output,
        _signal = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
    }
}

/// Fetches the copy and puts it in its place; the answer is the version of the storage.
async fn fetch(client: &Client, endpoint: &str, mut part: Part, path: &Path) -> Result<String, Failure> {
    let start = Instant::now();
    let mut snapshot = client.snapshot().await.map_err(|error| failed(text_of_refusal(&error)))?;
    say("fetching snapshot", &[("endpoint", endpoint)]);
    let mut bytes = 0;
    let mut version = String::new();
    loop {
        let piece = snapshot.next().await.map_err(|error| failed(text_of_broken(&error, bytes)))?;
        let Some(piece) = piece else { break };
        part.write(&piece.blob)?;
        bytes += piece.blob.len() as u64;
        if version.is_empty() {
            version = piece.version;
        }
    }
    if bytes % SECTOR_BYTES != CHECKSUM_BYTES {
        return Err(failed(format!("sha256 checksum not found [bytes: {bytes}]")));
    }
    let took = duration::format(start.elapsed());
    let fields = [
        ("endpoint", endpoint),
        ("size", &size::humanize(bytes)),
        ("took", &took),
        ("etcd-version", &version),
    ];
    say("fetched snapshot", &fields);
    part.publish(path)?;
    say("saved", &[("path", &path.to_string_lossy())]);
    Ok(version)
}

fn say(message: &str, fields: &[(&str, &str)]) {
    eprintln!("{}", log::line("info", message, fields));
}

/// etcdctl prints the refusals of this request, and only of this one, with their codes.
fn text_of_refusal(error: &Error) -> String {
    if let Error::Server { kind, code, message } = error
        && *kind != ErrorKind::Other
    {
        return format!("rpc error: code = {code:?} desc = {message}");
    }
    text_of(error)
}

fn text_of_broken(error: &Error, bytes: u64) -> String {
    if matches!(error, Error::Protocol { .. }) && bytes % SECTOR_BYTES != CHECKSUM_BYTES {
        format!("sha256 checksum not found [bytes: {bytes}]")
    } else {
        format!("could not write snapshot: {}", text_of(error))
    }
}

/// The file while it is incomplete; it is removed unless it is published.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        // It holds everything that the cluster holds: nobody else is to read it.
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|error| {
            failed(format!("could not open {} ({})", path.display(), text_of_io("open", &path, &error)))
        })?;
        say("created temporary db file", &[("path", &path.to_string_lossy())]);
        Ok(Self { path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| {
            failed(format!("could not write snapshot: {}", text_of_io("write", &self.path, &error)))
        })
    }

    /// Gives the file its name, once all of it is on the disk.
    fn publish(self, path: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| {
            failed(format!("could not fsync snapshot: {}", text_of_io("sync", &self.path, &error)))
        })?;
        std::fs::rename(&self.path, path).map_err(|error| {
            let (from, to) = (self.path.display(), path.display());
            let text = text_of_io(&format!("rename {from}"), path, &error);
            failed(format!("could not rename {from} to {to} ({text})"))
        })?;
        // The name is on the disk when the directory is.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| {
            failed(format!("could not fsync snapshot: {}", text_of_io("sync", directory, &error)))
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After its publication there is no such file any longer.
        let _gone = std::fs::remove_file(&self.path);
    }
}
