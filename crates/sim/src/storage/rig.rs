//! A data directory, opened as a member opens it.

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use etched_backend::{
    Backend, BackendError, CreateError, Integrity, OpenError, ReadView, RedbBackend, RedbOptions, Table,
};
use etched_disk::{DirEntryKind, Disk, DiskError, SimDisk};
use etched_wal::snapshot_file::{self, SnapshotFile};
use etched_wal::{DirectoryUse, Recovered, SnapshotRecord, Wal, WalError, WalOptions};

use super::model::{APPLIED_KEY, Content};

const METADATA: &[u8] = b"\x08\x01\x10\x02";
const WAL_DIR: &str = "/member/wal";
const SNAP_DIR: &str = "/member/snap";
pub(super) const DB: &str = "/member/snap/db";

/// An open directory.
pub(super) struct Rig {
    pub(super) wal: Wal,
    pub(super) backend: RedbBackend,
    pub(super) recovered: Recovered,
    /// Where the log begins.
    pub(super) from: SnapshotRecord,
    /// What the backend shows.
    pub(super) applied: u64,
    /// There was nothing, and it was made.
    pub(super) was_made: bool,
}

/// Why it does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFailure {
    #[error("disk: {0}")]
    Disk(#[from] DiskError),
    #[error("log: {0}")]
    Wal(#[from] WalError),
    #[error("opening the backend: {0}")]
    Open(#[from] OpenError),
    #[error("creating the backend: {0}")]
    Create(#[from] CreateError),
    #[error("reading the backend: {0}")]
    Backend(#[from] BackendError),
    #[error("there is no log where one was acknowledged")]
    LogMissing,
    #[error("there is a backend and no log")]
    BackendAlone,
    #[error("the log begins after a snapshot, and there is no backend")]
    BackendMissing,
    #[error("the directory of the log holds something else")]
    Foreign,
}

impl OpenFailure {
    /// Whether the disk is to blame.
    pub(super) fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Disk(_)
            | Self::Wal(WalError::Disk(_))
            | Self::Open(OpenError::Disk(_) | OpenError::Storage(_))
            | Self::Create(CreateError::Disk(_) | CreateError::Storage(_))
            | Self::Backend(BackendError::Storage(_) | BackendError::Poisoned(_)) => true,
            Self::Wal(_)
            | Self::Open(_)
            | Self::Create(_)
            | Self::Backend(_)
            | Self::LogMissing
            | Self::BackendAlone
            | Self::BackendMissing
            | Self::Foreign => false,
        }
    }

    /// Whether it says that something stored is not what was written.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Wal(
                WalError::Damaged { .. }
                | WalError::MissingSegment { .. }
                | WalError::SnapshotNotFound { .. }
                | WalError::SnapshotMismatch { .. }
                | WalError::CommitBeyondLog { .. },
            )
            | Self::Open(
                OpenError::Damaged { .. }
                | OpenError::Foreign { .. }
                | OpenError::Format { .. }
                | OpenError::Empty(_)
                | OpenError::Storage(_),
            )
            | Self::Backend(BackendError::Damaged { .. } | BackendError::Storage(_)) => true,
            Self::Disk(_)
            | Self::Wal(_)
            | Self::Open(_)
            | Self::Create(_)
            | Self::Backend(_)
            | Self::LogMissing
            | Self::BackendAlone
            | Self::BackendMissing
            | Self::Foreign => false,
        }
    }
}

impl Rig {
    /// Opens the directory, or makes one if there is none and none `was_created` before.
    pub(super) fn open(
        disk: &SimDisk,
        options: WalOptions,
        was_created: bool,
        integrity: Integrity,
    ) -> Result<Self, OpenFailure> {
        let (wal_dir, db) = (Path::new(WAL_DIR), Path::new(DB));
        let is_new = match etched_wal::inspect(disk, wal_dir)?.directory_use {
            DirectoryUse::Missing | DirectoryUse::Empty if was_created => {
                return Err(OpenFailure::LogMissing);
            }
            DirectoryUse::Missing | DirectoryUse::Empty => true,
            DirectoryUse::Log | DirectoryUse::InUse => false,
            DirectoryUse::Foreign => return Err(OpenFailure::Foreign),
        };
        let has_backend = disk.exists(db)?;
        if is_new && has_backend {
            return Err(OpenFailure::BackendAlone);
        }
        disk.create_dir(wal_dir)?;
        disk.create_dir(Path::new(SNAP_DIR))?;
        let from = if is_new { SnapshotRecord::default() } else { newest_snapshot(disk)? };
        if from.index > 0 && !has_backend {
            return Err(OpenFailure::BackendMissing);
        }
        let log = Arc::new(disk.clone());
        let (wal, recovered) = if is_new {
            (Wal::create(log, wal_dir, METADATA, options)?, nothing())
        } else {
            Wal::open(log, wal_dir, &from, options)?
        };
        let redb = RedbOptions { cache_bytes: 1 << 20, integrity, ..RedbOptions::default() };
        let backend = if has_backend {
            RedbBackend::open(disk, db, redb)?
        } else {
            RedbBackend::create(disk, db, redb)?
        };
        let applied = applied(&backend)?;
        Ok(Self { wal, backend, recovered, from, applied, was_made: is_new })
    }

    /// Everything that the backend holds.
    pub(super) fn content(&self) -> Result<Content, BackendError> {
        let view = self.backend.view()?;
        let mut content = Content::new();
        for table in Table::ALL {
            view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
                content.insert((table, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value));
                ControlFlow::Continue(())
            })?;
        }
        Ok(content)
    }

    /// Writes the file of a snapshot, for which the log will have a record.
    pub(super) fn write_snapshot(disk: &SimDisk, record: &SnapshotRecord) -> Result<(), WalError> {
        let file = SnapshotFile {
            index: record.index,
            term: record.term,
            conf_state: record.conf_state.clone().unwrap_or_default(),
            data: Bytes::from_static(b"{}"),
        };
        snapshot_file::write(disk, Path::new(SNAP_DIR), &file).map(drop)
    }

    /// Removes old snapshot files.
    pub(super) fn purge_snapshots(disk: &SimDisk) -> Result<(), WalError> {
        snapshot_file::purge(disk, Path::new(SNAP_DIR), 2).map(drop)
    }
}

/// All files of the directory with their lengths.
pub(super) fn files(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for dir in [WAL_DIR, SNAP_DIR] {
        let entries = disk.list(Path::new(dir)).expect("a disk without faults lists");
        for entry in entries.iter().filter(|entry| entry.kind == DirEntryKind::File) {
            let path = Path::new(dir).join(&entry.name);
            let len = disk.open_read_only(&path).and_then(|file| file.len()).expect("it was listed");
            files.push((path, len));
        }
    }
    files
}

/// As a member finds it: the newest record that says who the members were, or the newest sound file.
fn newest_snapshot(disk: &SimDisk) -> Result<SnapshotRecord, WalError> {
    let records = Wal::snapshots(disk, Path::new(WAL_DIR))?;
    let recorded = records.iter().rev().find(|record| record.conf_state.is_some()).cloned();
    let file = snapshot_file::newest_valid(disk, Path::new(SNAP_DIR), &records)?;
    let of_file = file.map(|file| SnapshotRecord {
        index: file.index,
        term: file.term,
        conf_state: Some(file.conf_state),
    });
    Ok(recorded.into_iter().chain(of_file).max_by_key(|record| record.index).unwrap_or_default())
}

fn nothing() -> Recovered {
    Recovered {
        metadata: Bytes::from_static(METADATA),
        hard_state: etched_wal::HardState::default(),
        entries: Vec::new(),
        torn_tail: None,
        foreign: Vec::new(),
    }
}

fn applied(backend: &RedbBackend) -> Result<u64, BackendError> {
    let stored = backend.view()?.get(Table::Meta, APPLIED_KEY)?;
    Ok(stored.and_then(|stored| Some(u64::from_be_bytes(stored[..].try_into().ok()?))).unwrap_or(0))
}
