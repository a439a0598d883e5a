//! The data directory: created or recovered, and joined into what the member starts from.
//!
//! ```text
//! <data-dir>/member/          locked while a process uses it
//!   wal/                      the log (or --wal-dir)
//!   snap/db                   the backend (redb)
//!   snap/<term>-<index>.snap  log snapshots: where a restart begins to read the log
//!   snap/<index>.snap.db      a database that another member sends
//!   snap/db-<index>           the backend made of it, until it takes the place of snap/db
//!   snap/db.etcd, etcd/       what etcd has left there, see `adopt`
//! ```
//!
//! Nothing is changed before everything that could refuse the start has been looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use etched_backend::{
    Backend, BackendError, CreateError, OpenError, ReadView, RedbBackend, RedbOptions, Table,
};
use etched_disk::{Disk, DiskError, DiskLock};
use etched_proto::etcdserverpb::Metadata;
use etched_replica::raft::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState, Restored, SnapshotMeta};
use etched_state_machine::BootstrapChange;
use etched_wal::snapshot_file::{self, SnapshotFile};
use etched_wal::{DirectoryUse, SnapshotRecord, Wal, WalError, WalOptions};
use prost::Message;

use crate::log;
use crate::member::adopt::{self, AdoptError};
use crate::member::{convert, incoming};
use crate::peer::PeerInfo;

/// Where the data is, and who the member is if it has none yet.
pub(crate) struct StorageOptions {
    pub(crate) data_dir: PathBuf,
    pub(crate) wal_dir: Option<PathBuf>,
    pub(crate) backend: RedbOptions,
    pub(crate) bootstrap: Bootstrap,
}

/// Who the member is at its first start.
pub(crate) struct Bootstrap {
    pub(crate) member_id: u64,
    pub(crate) cluster_id: u64,
    /// The first entries of a new cluster; none if the member joins a running one, which sends it its log.
    pub(crate) changes: Vec<BootstrapChange>,
    /// All members as known beforehand, to be spoken with until the log says who they are.
    pub(crate) peers: Vec<PeerInfo>,
}

/// An open data directory.
pub(crate) struct Storage {
    pub(crate) member_id: u64,
    pub(crate) cluster_id: u64,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) wal: Wal,
    pub(crate) snapshot_dir: PathBuf,
    pub(crate) backend: RedbBackend,
    pub(crate) restored: Restored,
    pub(crate) lock: Box<dyn DiskLock>,
}

/// Why a data directory cannot be used; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The filesystem refuses.
    #[error("cannot use the data directory: {0}")]
    Disk(#[from] DiskError),
    /// Another process uses it.
    #[error("the data directory {0:?} is in use by another process")]
    InUse(PathBuf),
    /// The log is damaged or cannot be read.
    #[error("cannot recover the write-ahead log: {0}")]
    Wal(#[from] WalError),
    /// The backend is damaged or cannot be read.
    #[error("cannot open the backend: {0}")]
    Backend(#[from] OpenError),
    /// The backend cannot be created.
    #[error("cannot create the backend: {0}")]
    CreateBackend(#[from] CreateError),
    /// The log's metadata is not a member's.
    #[error("the write-ahead log does not say whose it is")]
    Metadata,
    /// The log has a snapshot, but the backend that it stands for is not there.
    #[error("the log begins after index {index}, but there is no backend file {path:?}")]
    BackendMissing {
        /// The index of the log's snapshot.
        index: u64,
        /// Where the backend should be.
        path: PathBuf,
    },
    /// What lies there is not a log.
    #[error("the directory {0:?} holds files, but no write-ahead log")]
    Foreign(PathBuf),
    /// There is a backend, but no log.
    #[error("there is a backend file {0:?}, but no write-ahead log")]
    LogMissing(PathBuf),
    /// It is the data directory of an etcd, and cannot be taken over.
    #[error("cannot take over the data directory of etcd")]
    Adopt(#[from] AdoptError),
    /// An entry of a kind that no version of etcd writes.
    #[error("the entry at index {0} is of an unknown kind")]
    UnknownEntry(u64),
}

/// Where everything is.
pub(super) struct Paths {
    pub(super) member: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) snap: PathBuf,
    pub(super) db: PathBuf,
}

/// Opens the data directory, or makes a new one.
pub(crate) fn open(disk: Arc<dyn Disk>, options: StorageOptions) -> Result<Storage, StorageError> {
    let member = options.data_dir.join("member");
    let snap = member.join("snap");
    let paths = Paths {
        wal: options.wal_dir.clone().unwrap_or_else(|| member.join("wal")),
        db: snap.join("db"),
        member,
        snap,
    };
    let is_new = match etched_wal::inspect(&*disk, &paths.wal)?.directory_use {
        DirectoryUse::Missing | DirectoryUse::Empty => true,
        DirectoryUse::Log => false,
        DirectoryUse::InUse => return Err(StorageError::InUse(options.data_dir)),
        DirectoryUse::Foreign => return Err(StorageError::Foreign(paths.wal)),
    };
    if is_new && disk.exists(&paths.db)? {
        return Err(StorageError::LogMissing(paths.db));
    }
    disk.create_dir(&paths.member)?;
    let lock = disk.lock(&paths.member).map_err(|error| {
        if error.is_in_use() { StorageError::InUse(options.data_dir.clone()) } else { error.into() }
    })?;
    disk.create_dir(&paths.snap)?;
    disk.create_dir(&paths.wal)?;
    let data_dir = options.data_dir.display().to_string();
    if is_new {
        log!(Info, "Initialize and start etcd server", "data-dir" => data_dir, "dir-type" => "empty");
    } else {
        log!(Info, "server has already been initialized", "data-dir" => data_dir, "dir-type" => "member");
    }
    if !is_new {
        adopt::adopt(&*disk, &paths, options.backend, WalOptions::default())?;
    }
    let has_backend = disk.exists(&paths.db)?;
    let log = if is_new {
        create_log(&disk, &paths, &options.bootstrap)?
    } else {
        recover_log(&disk, &paths, has_backend, &options.bootstrap)?
    };
    incoming::adopt(&*disk, &paths.db, log.restored.snapshot.index)?;
    let file_bytes = if has_backend { disk.open_read_only(&paths.db)?.len()? } else { 0 };
    let backend = if has_backend {
        RedbBackend::open(&*disk, &paths.db, options.backend)?
    } else {
        RedbBackend::create(&*disk, &paths.db, options.backend)?
    };
    log!(Info, "opened backend db", "path" => paths.db.display().to_string());
    tell_of_shrinking(&backend, file_bytes, options.backend.shrink_bytes_min);
    if lacks_catalog(&backend).unwrap_or(false) {
        log!(Warn, "the backend has no catalog of its revisions; reading all of them to make one");
    }
    Ok(Storage {
        member_id: log.member_id,
        cluster_id: log.cluster_id,
        disk,
        wal: log.wal,
        snapshot_dir: paths.snap,
        backend,
        restored: log.restored,
        lock,
    })
}

/// Says whether opening the backend made its file smaller; nothing if that was not asked for.
fn tell_of_shrinking(backend: &RedbBackend, bytes_before: u64, bytes_min: Option<u64>) {
    let (Some(bytes_min), Ok(sizes)) = (bytes_min, backend.sizes()) else { return };
    if bytes_before.saturating_sub(sizes.in_use_bytes) < bytes_min {
        log!(
            Info,
            "Skipping defragmentation",
            "current-db-size-bytes" => sizes.total_bytes,
            "current-db-size-in-use-bytes" => sizes.in_use_bytes,
            "bootstrap-defrag-threshold-bytes" => bytes_min,
        );
    } else {
        log!(
            Info,
            "finished defragmenting directory",
            "current-db-size-bytes-diff" => difference(sizes.total_bytes, bytes_before),
            "current-db-size-bytes" => sizes.total_bytes,
            "current-db-size-in-use-bytes" => sizes.in_use_bytes,
        );
    }
}

fn difference(now: u64, before: u64) -> i64 {
    i64::try_from(i128::from(now) - i128::from(before)).expect("sizes of files are below 2^63")
}

/// Whether a start will have to read all records; if the backend cannot tell, whoever reads it next will say so.
fn lacks_catalog(backend: &RedbBackend) -> Result<bool, BackendError> {
    let view = backend.view()?;
    Ok(view.count(Table::Key)? > 0 && view.count(Table::Catalog)? == 0)
}

struct Log {
    member_id: u64,
    cluster_id: u64,
    wal: Wal,
    restored: Restored,
}

fn create_log(disk: &Arc<dyn Disk>, paths: &Paths, bootstrap: &Bootstrap) -> Result<Log, StorageError> {
    let metadata = Metadata { node_id: bootstrap.member_id, cluster_id: bootstrap.cluster_id };
    let wal = Wal::create(Arc::clone(disk), &paths.wal, &metadata.encode_to_vec(), WalOptions::default())?;
    let mut log = Log {
        member_id: bootstrap.member_id,
        cluster_id: bootstrap.cluster_id,
        wal,
        restored: Restored::default(),
    };
    write_bootstrap(&mut log, bootstrap)?;
    Ok(log)
}

/// The first entries add the initial members; they count as committed.
fn write_bootstrap(log: &mut Log, bootstrap: &Bootstrap) -> Result<(), StorageError> {
    let entries: Vec<Entry> = (1..)
        .zip(&bootstrap.changes)
        .map(|(index, change)| Entry {
            term: 1,
            index,
            kind: EntryKind::ConfChange,
            data: add_member(change).encode(),
        })
        .collect();
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    if entries.is_empty() {
        return Ok(());
    }
    let records: Vec<etched_wal::Entry> = entries.iter().map(convert::entry_to_log).collect();
    log.wal.append(&records, Some(&convert::hard_state_to_log(&hard_state)));
    log.wal.sync()?;
    log.restored = Restored { hard_state, snapshot: SnapshotMeta::default(), entries };
    Ok(())
}

fn add_member(change: &BootstrapChange) -> ConfChange {
    ConfChange {
        id: 0,
        kind: ConfChangeKind::AddNode,
        node_id: change.member_id,
        context: change.context.clone(),
    }
}

fn recover_log(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    has_backend: bool,
    bootstrap: &Bootstrap,
) -> Result<Log, StorageError> {
    let from = newest_snapshot(&**disk, paths)?;
    let index = from.index;
    if index > 0 && !has_backend {
        return Err(StorageError::BackendMissing { index, path: paths.db.clone() });
    }
    let (wal, recovered) = Wal::open(Arc::clone(disk), &paths.wal, &from, WalOptions::default())?;
    for name in &recovered.foreign {
        log!(Warn, "found a file that does not belong to the log", "name" => name.clone());
    }
    if let Some(tail) = &recovered.torn_tail {
        log!(Warn, "the log ended in a write that was never finished; cut it off", "tail" => format!("{tail:?}"));
    }
    let metadata = Metadata::decode(Bytes::clone(&recovered.metadata)).map_err(|_| StorageError::Metadata)?;
    let mut entries = Vec::with_capacity(recovered.entries.len());
    for entry in recovered.entries {
        let index = entry.index;
        entries.push(convert::entry_from_log(entry).ok_or(StorageError::UnknownEntry(index))?);
    }
    let conf_state = from.conf_state.as_ref().and_then(convert::conf_state);
    let hard_state = convert::hard_state_from_log(recovered.hard_state);
    let snapshot = SnapshotMeta { index, term: from.term, conf_state: conf_state.unwrap_or_default() };
    let mut log = Log {
        member_id: metadata.node_id,
        cluster_id: metadata.cluster_id,
        wal,
        restored: Restored { hard_state, snapshot, entries },
    };
    let is_founder = (log.member_id, log.cluster_id) == (bootstrap.member_id, bootstrap.cluster_id);
    if is_founder && index == 0 && log.restored.entries.is_empty() && hard_state == HardState::default() {
        // The process ended between the creation of the log and its first entries.
        write_bootstrap(&mut log, bootstrap)?;
    }
    log!(Info, "recovered the log", "snapshot-index" => index, "entries" => log.restored.entries.len() as u64);
    Ok(log)
}

/// Where a restart begins to read the log: at the newest snapshot that the log has a record of.
/// The record itself says who the members were; only one of an older program needs its snapshot file for that.
pub(super) fn newest_snapshot(disk: &dyn Disk, paths: &Paths) -> Result<SnapshotRecord, WalError> {
    let records = Wal::snapshots(disk, &paths.wal)?;
    let recorded = records.iter().rev().find(|record| record.conf_state.is_some()).cloned();
    let file = snapshot_file::newest_valid(disk, &paths.snap, &records)?;
    let of_file = file.map(|SnapshotFile { index, term, conf_state, .. }| SnapshotRecord {
        index,
        term,
        conf_state: Some(conf_state),
    });
    Ok(recorded.into_iter().chain(of_file).max_by_key(|record| record.index).unwrap_or_default())
}

/// The directory that holds the members' directories of this data directory.
pub(crate) fn is_initialized(disk: &dyn Disk, data_dir: &Path) -> Result<bool, DiskError> {
    disk.exists(&data_dir.join("member"))
}
