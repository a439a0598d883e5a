//! `snapshot status`: checks a file and says what is in it.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use crc32c::crc32c_append;
use etched_backend::{Backend as _, ReadView, Table};
use etched_bolt::{BoltFile, Content, etcd_buckets};
use etched_proto::mvccpb::KeyValue;
use etched_state_machine::stored::Standing;
use prost::Message as _;

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::text::size;
use crate::utl::print::{Cell, Format};
use crate::utl::stored::{Stored, check_exists, text_of_read};
use crate::utl::{failed, path_of, patience};

/// The bytes of a revision in a key of the bucket `key`, and behind a deletion's.
const REVISION_BYTES: usize = 17;
const DELETION: u8 = b't';

/// What is in a file.
#[derive(Default)]
struct Status {
    hash: u32,
    revision: i64,
    keys: BTreeSet<Vec<u8>>,
    bytes: u64,
    version: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let words = args.all();
    let [path] = words.as_slice() else {
        return Err(Failure::arguments("snapshot status requires exactly one argument"));
    };
    let path = path_of(path);
    check_exists(&path)?;
    let format = Format::of(args)?;
    let stored = Stored::open(&path, "looking", patience(args))?;
    let mut status = Status::default();
    match &stored {
        Stored::Bolt { view, .. } => {
            check(view.file())?;
            status.add_file(view.file())?;
            status.bytes = view.file().pages_bytes();
        }
        Stored::Redb { backend, view } => {
            status.add_view(&**view)?;
            status.bytes = backend.sizes().map_err(failed)?.total_bytes;
        }
    }
    let version = Standing::read(stored.view()).map_err(failed)?.storage_version;
    status.version = version.map(|version| version.to_string()).unwrap_or_default();
    drop(stored);
    format.print(&status.cells())
}

fn check(file: &BoltFile) -> Result<(), Failure> {
    let report = file.check().map_err(failed)?;
    if report.is_clean() {
        return Ok(());
    }
    let lines: Vec<_> =
        report.findings.iter().map(|found| format!("page {}: {}", found.page, found.problem)).collect();
    let count = report.findings.len() as u64 + report.findings_left_out;
    let text = format!("snapshot file integrity check failed. {count} errors found.\n{}", lines.join("\n"));
    Err(Failure::new(Exit::Request, text))
}

impl Status {
    fn add_file(&mut self, file: &BoltFile) -> Result<(), Failure> {
        for bucket in file.buckets() {
            let (name, bucket) = bucket.map_err(text_of_read)?;
            self.hash = crc32c_append(self.hash, &name);
            for entry in bucket.entries() {
                let entry = entry.map_err(text_of_read)?;
                if let Content::Value(value) = entry.content {
                    self.add(&name, &entry.key, &value)?;
                }
            }
        }
        Ok(())
    }

    fn add_view(&mut self, view: &dyn ReadView) -> Result<(), Failure> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        for table in etcd_buckets() {
            let name = table.name().as_bytes();
            self.hash = crc32c_append(self.hash, name);
            let mut result = Ok(());
            view.scan(table, all, &mut |key, value| {
                result = self.add(name, key, value);
                if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(failed)?;
            result?;
        }
        Ok(())
    }

    fn add(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.hash = crc32c_append(crc32c_append(self.hash, key), value);
        if bucket != Table::Key.name().as_bytes() {
            return Ok(());
        }
        let wrong = |why: String| {
            Failure::new(
                Exit::Request,
                format!("error during bucket key iteration, name: \"key\" err: {why}"),
            )
        };
        let Some((main, rest)) = key.split_first_chunk::<8>().filter(|_| key.len() >= REVISION_BYTES) else {
            return Err(wrong(format!("cannot parse revision key: {:?}", key.escape_ascii().to_string())));
        };
        self.revision = i64::from_be_bytes(*main);
        let record = KeyValue::decode(value).map_err(|error| {
            wrong(format!("cannot unmarshal value, key: {:?} err: {error}", key.escape_ascii().to_string()))
        })?;
        if rest.get(REVISION_BYTES - 8) == Some(&DELETION) {
            self.keys.remove(&record.key[..]);
        } else {
            self.keys.insert(record.key.to_vec());
        }
        Ok(())
    }

    fn cells(&self) -> [Cell; 5] {
        let Self { hash, revision, keys, bytes, version } = self;
        let keys = keys.len();
        [
            Cell {
                heading: "HASH",
                shown: format!("{hash:x}"),
                field: ("Hash", hash.to_string()),
                json: ("hash", hash.to_string()),
            },
            Cell {
                heading: "REVISION",
                shown: revision.to_string(),
                field: ("Revision", revision.to_string()),
                json: ("revision", revision.to_string()),
            },
            Cell {
                heading: "TOTAL KEYS",
                shown: keys.to_string(),
                field: ("Keys", keys.to_string()),
                json: ("totalKey", keys.to_string()),
            },
            Cell {
                heading: "TOTAL SIZE",
                shown: size::humanize(*bytes),
                field: ("Size", bytes.to_string()),
                json: ("totalSize", bytes.to_string()),
            },
            Cell {
                heading: "VERSION",
                shown: version.clone(),
                field: ("Version", version.clone()),
                json: ("version", format!("\"{version}\"")),
            },
        ]
    }
}
