//! `migrate`: marks the database of a stopped member with the version of another etcd.
//!
//! The versions from 3.5 to 3.7 differ in nothing that is stored but this mark, which 3.5 does not have.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use etched_backend::{Backend as _, BackendError, Batch, Durability, Op, ReadView, RedbBackend, Table};
use etched_bolt::{BoltFile, FileView};
use etched_disk::{Disk as _, RealDisk};
use etched_state_machine::Version;
use etched_state_machine::stored::{self, Standing};
use etched_wal::{SnapshotRecord, Wal, WalOptions};

use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::utl::log::say;
use crate::utl::stored::{check_exists, is_redb, lock, of_data_dir, open_redb, text_of_read};
use crate::utl::{copy, failed, patience};

const OLDEST: Version = Version::new(3, 5, 0);
const NEWEST: Version = Version::new(3, 7, 0);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let target = target(args.text("target-version"))?;
    let data_dir = Path::new(args.text("data-dir"));
    let path = of_data_dir(data_dir);
    check_exists(&path)?;
    let wal_dir = wal_dir(args);
    let plan = |standing: &Standing| plan(standing, target, &wal_dir, args.bool("force"));
    if is_redb(&path)? {
        on_redb(&open_redb(&path, patience(args))?, plan)
    } else {
        on_bolt(&path, patience(args), plan)
    }
}

/// Where the log is.
pub(crate) fn wal_dir(args: &Args) -> PathBuf {
    if args.is_given("wal-dir") {
        PathBuf::from(args.text("wal-dir"))
    } else {
        Path::new(args.text("data-dir")).join("member").join("wal")
    }
}

fn target(text: &str) -> Result<Version, Failure> {
    if text.matches('.').count() != 1 {
        let text = format!("wrong target version format, expected \"X.Y\", got {text:?}");
        return Err(Failure::arguments(text));
    }
    let parts = text.split('.').map(|part| crate::text::number::parse_int(part.as_bytes(), 10));
    if let Some(error) = parts.filter_map(Result::err).next() {
        return Err(Failure::arguments(format!("failed to parse target version: {error}")));
    }
    let version = stored::parse_minor(text).map_err(|_| {
        Failure::arguments(format!("failed to parse target version: {text} is not in dotted-tri format"))
    })?;
    if version < OLDEST {
        let text = format!("target version \"{}\" not supported. Minimal \"3.5\"", short(version));
        return Err(Failure::arguments(text));
    }
    Ok(version)
}

fn short(version: Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// What is to be written; none if there is nothing to do.
fn plan(standing: &Standing, target: Version, wal_dir: &Path, force: bool) -> Result<Option<Batch>, Failure> {
    let Some(current) = standing.version() else {
        say!(
            "error",
            "failed to detect storage version. Please make sure you are using data dir from etcd v3.5 and older"
        );
        return Err(Failure::new(Exit::Request, "missing term information"));
    };
    if current == target {
        say!("info", "storage version up-to-date", "storage-version" => short(current));
        return Ok(None);
    }
    match steps(current, target, wal_dir) {
        Ok(steps) => {
            for step in steps {
                say!("info", "updated storage version", "new-storage-version" => step.to_string());
            }
        }
        Err(failure) if !force => return Err(failure),
        Err(failure) => {
            say!("info", "normal migrate failed, trying with force", "error" => failure.message);
            if target < Version::new(3, 6, 0) {
                say!("warn", "forcefully cleared storage version");
            } else {
                say!("warn", "forcefully set storage version", "storage-version" => short(target));
            }
        }
    }
    Ok(Some(stored::mark_version(target)))
}

/// The versions on the way.
fn steps(current: Version, target: Version, wal_dir: &Path) -> Result<Vec<Version>, Failure> {
    let fail = |text: String| Failure::new(Exit::Request, text);
    if current.major != target.major {
        return Err(fail(
            "cannot create migration plan: changing major storage version is not supported".into(),
        ));
    }
    let minors: Vec<u64> = if current.minor < target.minor {
        (current.minor + 1..=target.minor).collect()
    } else {
        (target.minor..current.minor).rev().collect()
    };
    let unknown =
        minors.iter().chain([&current.minor]).find(|minor| !(OLDEST.minor..=NEWEST.minor).contains(minor));
    if let Some(minor) = unknown {
        let version = Version::new(target.major, *minor, 0);
        return Err(fail(format!("cannot create migration plan: version \"{version}\" is not supported")));
    }
    if target < current
        && let Some(needed) = needed(wal_dir)?
        && target < needed
    {
        return Err(fail(format!(
            "cannot downgrade storage, WAL contains newer entries, as the target version ({target}) is lower than \
             the version ({needed}) detected from WAL logs"
        )));
    }
    Ok(minors.into_iter().map(|minor| Version::new(target.major, minor, 0)).collect())
}

/// The oldest version that understands all entries that a start would read.
fn needed(wal_dir: &Path) -> Result<Option<Version>, Failure> {
    let disk = RealDisk::new();
    let records = Wal::snapshots(&disk, wal_dir).map_err(failed)?;
    let from: SnapshotRecord = records.last().cloned().unwrap_or_default();
    let log = etched_wal::read(&disk, wal_dir, &from, WalOptions::default()).map_err(failed)?;
    Ok(log
        .entries
        .iter()
        .filter(|entry| entry.kind == 0)
        .filter_map(|entry| stored::version_of_entry(&entry.data))
        .max())
}

fn on_redb(
    backend: &RedbBackend,
    plan: impl Fn(&Standing) -> Result<Option<Batch>, Failure>,
) -> Result<(), Failure> {
    let standing = Standing::read(&backend.view().map_err(failed)?).map_err(failed)?;
    match plan(&standing)? {
        Some(batch) => backend.commit(&batch, Durability::Synced).map_err(failed),
        None => Ok(()),
    }
}

/// A file of etcd's form is written anew, since nothing here changes one in place.
fn on_bolt(
    path: &Path,
    patience: Option<Duration>,
    plan: impl Fn(&Standing) -> Result<Option<Batch>, Failure>,
) -> Result<(), Failure> {
    let disk = RealDisk::new();
    let lock = lock(path, patience)?;
    let file = BoltFile::open(disk.open_read_only(path).map_err(failed)?).map_err(text_of_read)?;
    let view = FileView::new(file);
    let Some(batch) = plan(&Standing::read(&view).map_err(failed)?)? else { return Ok(()) };
    let temporary = path.with_file_name("db.migrating");
    copy::remove_leftover(&temporary)?;
    let overlay = Overlay { view: &view, batch: &batch };
    copy::to_bolt(&overlay, &*disk.create(&temporary).map_err(failed)?)?;
    copy::rename(&temporary, path)?;
    drop(lock);
    Ok(())
}

/// A view with a batch on it; the tables that the batch changes are small.
struct Overlay<'a> {
    view: &'a FileView,
    batch: &'a Batch,
}

impl ReadView for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        let changes: Vec<&Op> = self.batch.in_key_order();
        match changes.into_iter().find(|op| op.table() == table && op.key() == key) {
            Some(Op::Put { value, .. }) => Ok(Some(value.clone())),
            Some(Op::Delete { .. }) => Ok(None),
            None => self.view.get(table, key),
        }
    }

    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let mut changes = self.batch.iter().filter(|op| op.table() == table).peekable();
        if changes.peek().is_none() {
            return self.view.scan(table, range, visit);
        }
        let mut records = BTreeMap::new();
        self.view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            records.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            ControlFlow::Continue(())
        })?;
        for op in changes {
            match op {
                Op::Put { key, value, .. } => records.insert(key.clone(), value.clone()),
                Op::Delete { key, .. } => records.remove(key),
            };
        }
        for (key, value) in records.range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}
