//! What is kept of etcd's files, and under which names.
//!
//! ```text
//! member/etcd/wal/*.wal    the segments from the one that holds the newest snapshot on, as etcd has left them
//! member/etcd/snap/*.snap  its files of log snapshots
//! member/snap/db.etcd      its database
//! ```
//!
//! With the last as `member/etcd/snap/db`, the directory `member/etcd` is what etcd needs to go back to that moment.
//! A further adoption takes `etcd.1` and so on.

use std::path::Path;

use etched_disk::{Appender, Disk, DiskError, DiskFile};
use etched_wal::WalError;

use crate::member::storage::Paths;

/// How what is kept is called, unless that is taken.
const NAME: &str = "etcd";
/// Bytes copied at once.
const STEP_BYTES: usize = 1 << 20;

/// A name that is free: no database has been put aside under it.
pub(super) fn name(disk: &dyn Disk, paths: &Paths) -> Result<String, DiskError> {
    let mut name = NAME.to_owned();
    let mut number = 0;
    while disk.exists(&paths.snap.join(database(&name)))? {
        number += 1;
        name = format!("{NAME}.{number}");
    }
    Ok(name)
}

/// The name of the database in the directory of snapshots.
pub(super) fn database(name: &str) -> String {
    format!("db.{name}")
}

/// Copies what a start from the snapshot at `log_start` reads of the log.
pub(super) fn copy_log(disk: &dyn Disk, paths: &Paths, name: &str, log_start: u64) -> Result<(), WalError> {
    let target = paths.member.join(name);
    let (wal, snap) = (target.join("wal"), target.join("snap"));
    for dir in [&wal, &snap] {
        disk.create_dir(dir)?;
        // Of an attempt that a crash has ended.
        for entry in disk.list(dir)? {
            disk.remove(&dir.join(&entry.name))?;
        }
    }
    let segments = etched_wal::inspect(disk, &paths.wal)?.segments;
    let first = segments.iter().rposition(|segment| segment.index <= log_start).unwrap_or(0);
    for segment in &segments[first..] {
        copy(disk, &paths.wal, &wal, &segment.to_string())?;
    }
    for entry in disk.list(&paths.snap)? {
        if entry.name.ends_with(".snap") {
            copy(disk, &paths.snap, &snap, &entry.name)?;
        }
    }
    for dir in [&wal, &snap, &target] {
        disk.sync_dir(dir)?;
    }
    Ok(())
}

fn copy(disk: &dyn Disk, source: &Path, target: &Path, name: &str) -> Result<(), DiskError> {
    let from = disk.open_read_only(&source.join(name))?;
    let to = disk.create(&target.join(name))?;
    copy_bytes(&*from, &*to)?;
    to.sync_data()
}

fn copy_bytes(from: &dyn DiskFile, to: &dyn DiskFile) -> Result<(), DiskError> {
    let mut appender = Appender::new(to, 0);
    let mut buffer = vec![0; STEP_BYTES];
    let len = from.len()?;
    while appender.offset() < len {
        let step = usize::try_from(len - appender.offset()).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        from.read_exact_at(&mut buffer[..step], appender.offset())?;
        let has_content = buffer[..step].iter().any(|byte| *byte != 0);
        if has_content {
            appender.append(&buffer[..step])?;
        } else {
            // Most of a segment is zeros.
            let end = appender.offset() + step as u64;
            to.set_len(end)?;
            appender = Appender::new(to, end);
        }
    }
    Ok(())
}

/// Gives databases that etcd has received from others, and that a start of ours would remove, another name.
pub(super) fn keep_received(disk: &dyn Disk, snap: &Path) -> Result<(), DiskError> {
    for entry in disk.list(snap)? {
        if entry.name.ends_with(".snap.db") {
            disk.rename(&snap.join(&entry.name), &snap.join(format!("{}.etcd", entry.name)))?;
        }
    }
    Ok(())
}
