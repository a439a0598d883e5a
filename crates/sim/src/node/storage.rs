//! The data directory of a simulated member: made or recovered, in the order in which the process does it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etched_backend::{CreateError, OpenError, RedbBackend, RedbOptions};
use etched_disk::{Disk, DiskError, DiskLock, SimDisk};
use etched_replica::raft::{
    ConfChange, ConfChangeKind, ConfState, Entry, EntryKind, HardState, Restored, SnapshotMeta,
};
use etched_state_machine::BootstrapChange;
use etched_wal::snapshot_file::{self, SnapshotFile};
use etched_wal::{DirectoryUse, SnapshotRecord, Wal, WalError, WalOptions};

use super::convert;
use super::snapshot;

/// Memory for the pages of a backend, in bytes.
const CACHE_BYTES: usize = 4 << 20;

/// Where the log is.
pub(super) const WAL_DIR: &str = "/member/wal";
/// Where backend and snapshot files are.
pub(super) const SNAP_DIR: &str = "/member/snap";
/// The backend in use.
pub(super) const DATABASE: &str = "/member/snap/db";

/// An open data directory.
pub(super) struct Storage {
    pub(super) wal: Wal,
    pub(super) backend: RedbBackend,
    pub(super) restored: Restored,
    pub(super) has_torn_tail: bool,
    pub(super) lock: Box<dyn DiskLock>,
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("the disk: {0}")]
    Disk(#[from] DiskError),
    #[error("the log: {0}")]
    Wal(#[from] WalError),
    #[error("the backend: {0}")]
    Open(#[from] OpenError),
    #[error("making the backend: {0}")]
    Create(#[from] CreateError),
    #[error("the log begins after index {0}, but there is no backend")]
    BackendMissing(u64),
    #[error("there is a backend, but no log")]
    LogMissing,
    #[error("the entry at index {0} is of an unknown kind")]
    UnknownEntry(u64),
}

pub(super) fn backend_options() -> RedbOptions {
    RedbOptions { cache_bytes: CACHE_BYTES, ..RedbOptions::default() }
}

/// Opens what is there, or makes it anew with the first entries of a new cluster.
pub(super) fn open(
    disk: &SimDisk,
    bootstrap: &[BootstrapChange],
    options: WalOptions,
) -> Result<Storage, StorageError> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (wal_dir, snap_dir, database) = (Path::new(WAL_DIR), Path::new(SNAP_DIR), Path::new(DATABASE));
    let is_new = match etched_wal::inspect(disk, wal_dir)?.directory_use {
        DirectoryUse::Missing | DirectoryUse::Empty => true,
        DirectoryUse::Log | DirectoryUse::InUse | DirectoryUse::Foreign => false,
    };
    if is_new && disk.exists(database)? {
        return Err(StorageError::LogMissing);
    }
    disk.create_dir(Path::new("/member"))?;
    let lock = disk.lock(Path::new("/member"))?;
    disk.create_dir(snap_dir)?;
    disk.create_dir(wal_dir)?;
    let has_backend = disk.exists(database)?;
    let log = if is_new {
        let mut wal = Wal::create(shared, wal_dir, b"simulated", options)?;
        let restored = write_bootstrap(&mut wal, bootstrap)?;
        Log { wal, restored, has_torn_tail: false }
    } else {
        recover(&shared, has_backend, bootstrap, options)?
    };
    snapshot::adopt(disk, log.restored.snapshot.index)?;
    let backend = if has_backend {
        RedbBackend::open(disk, database, backend_options())?
    } else {
        RedbBackend::create(disk, database, backend_options())?
    };
    let Log { wal, restored, has_torn_tail } = log;
    Ok(Storage { wal, backend, restored, has_torn_tail, lock })
}

struct Log {
    wal: Wal,
    restored: Restored,
    has_torn_tail: bool,
}

/// The first entries add the initial members; they count as committed.
fn write_bootstrap(wal: &mut Wal, bootstrap: &[BootstrapChange]) -> Result<Restored, StorageError> {
    if bootstrap.is_empty() {
        return Ok(Restored::default());
    }
    let add = |change: &BootstrapChange| ConfChange {
        id: 0,
        kind: ConfChangeKind::AddNode,
        node_id: change.member_id,
        context: change.context.clone(),
    };
    let entries: Vec<Entry> = (1..)
        .zip(bootstrap)
        .map(|(index, change)| Entry {
            term: 1,
            index,
            kind: EntryKind::ConfChange,
            data: add(change).encode(),
        })
        .collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    let records: Vec<etched_wal::Entry> = entries.iter().map(convert::entry_to_log).collect();
    wal.append(&records, Some(&convert::hard_state_to_log(&hard_state)));
    wal.sync()?;
    Ok(Restored { hard_state, snapshot: SnapshotMeta::default(), entries })
}

fn recover(
    disk: &Arc<dyn Disk>,
    has_backend: bool,
    bootstrap: &[BootstrapChange],
    options: WalOptions,
) -> Result<Log, StorageError> {
    let from = newest_snapshot(&**disk)?;
    if from.index > 0 && !has_backend {
        return Err(StorageError::BackendMissing(from.index));
    }
    let (mut wal, recovered) = Wal::open(Arc::clone(disk), Path::new(WAL_DIR), &from, options)?;
    let has_torn_tail = recovered.torn_tail.is_some();
    let mut entries = Vec::with_capacity(recovered.entries.len());
    for entry in recovered.entries {
        let index = entry.index;
        entries.push(convert::entry_from_log(entry).ok_or(StorageError::UnknownEntry(index))?);
    }
    let conf_state = from.conf_state.as_ref().and_then(|bytes| ConfState::decode(bytes).ok());
    let hard_state = convert::hard_state_from_log(recovered.hard_state);
    let snapshot =
        SnapshotMeta { index: from.index, term: from.term, conf_state: conf_state.unwrap_or_default() };
    let mut restored = Restored { hard_state, snapshot, entries };
    if from.index == 0 && restored.entries.is_empty() && hard_state == HardState::default() {
        // The process ended between the creation of the log and its first entries.
        restored = write_bootstrap(&mut wal, bootstrap)?;
    }
    Ok(Log { wal, restored, has_torn_tail })
}

/// Where a restart begins to read the log: at the newest snapshot that the log has a record of.
fn newest_snapshot(disk: &dyn Disk) -> Result<SnapshotRecord, WalError> {
    let records = Wal::snapshots(disk, Path::new(WAL_DIR))?;
    let recorded = records.iter().rev().find(|record| record.conf_state.is_some()).cloned();
    let file = snapshot_file::newest_valid(disk, Path::new(SNAP_DIR), &records)?;
    let of_file = file.map(|SnapshotFile { index, term, conf_state, .. }| SnapshotRecord {
        index,
        term,
        conf_state: Some(conf_state),
    });
    Ok(recorded.into_iter().chain(of_file).max_by_key(|record| record.index).unwrap_or_default())
}

/// A path beside the backend in use.
pub(super) fn beside(name: &str) -> PathBuf {
    Path::new(SNAP_DIR).join(name)
}
