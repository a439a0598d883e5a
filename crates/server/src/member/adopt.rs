//! Takes over the data directory of an etcd that has been stopped.
//!
//! ```text
//! snap/db ──import──▶ snap/db.adopting ──▶ snap/db.adopted
//! wal/, snap/*.snap ──copy──▶ member/etcd/
//! snap/db ──▶ snap/db.etcd,  then snap/db.adopted ──▶ snap/db
//! ```
//!
//! The log goes on where etcd has left it: it is in etcd's format, and so are the files of its snapshots.
//! The database is a bbolt file, and a backend is made of it; the entries behind its index are applied by the start
//! that follows, as after any other stop.
//! So the member keeps its id, its cluster, what it has voted, and every revision.
//!
//! Everything that could be a reason to refuse is looked at before a file of etcd's is touched, the restoring of the
//! state included. Nothing of etcd's is removed: the database keeps its content under another name, and `member/etcd`
//! gets a copy of the log as it was.
//! A crash before the exchange of names lets the next start begin anew; one between the two renames lets it do the
//! second.

mod aside;
mod examine;

use std::path::{Path, PathBuf};

use etched_backend::{Backend as _, BackendError, CreateError, Durability, RedbBackend, RedbOptions};
use etched_bolt::{BoltFile, ImportError, ReadError};
use etched_disk::{Disk, DiskError};
use etched_state_machine::schema::DecodeError;
use etched_state_machine::{RestoreError, StateMachine, Version, stored};
use etched_wal::{WalError, WalOptions};

use crate::log;
use crate::member::storage::Paths;
use examine::Found;

/// The backend while it is made.
const UNFINISHED: &str = "db.adopting";
/// The backend when it is whole.
const WHOLE: &str = "db.adopted";
/// What every bbolt file has at offset 16, unless its first page is damaged.
const BBOLT_MAGIC: [u8; 4] = 0xED0C_DAED_u32.to_le_bytes();
/// Bytes between two lines about how far it has come.
const REPORT_BYTES: u64 = 1 << 30;

/// Why a data directory of etcd is not taken over; nothing of it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The filesystem refuses.
    #[error("cannot use the files of etcd")]
    Disk(#[from] DiskError),
    /// An etcd is running on it.
    #[error("the database {0:?} is in use by another process: stop etcd first")]
    InUse(PathBuf),
    /// The log is damaged or cannot be read.
    #[error("cannot read the write-ahead log of etcd")]
    Log(#[from] WalError),
    /// The database is damaged.
    #[error("cannot read the database of etcd")]
    Read(#[from] ReadError),
    /// The database has pages that do not fit together.
    #[error("the database {path:?} of etcd is damaged in {count} places, first in page {page}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How many problems there are.
        count: u64,
        /// Where the first is.
        page: u64,
        /// What it is.
        problem: String,
    },
    /// The database is of a version of etcd that is not known.
    #[error(
        "the database of etcd is of version {0}, which is not known; from 3.4 to 3.7 it could be taken over"
    )]
    Version(Version),
    /// The log begins behind what the database holds.
    #[error(
        "the log of etcd begins after index {log_start}, and its database ends at {applied}; \
         there is no file {database:?} to go on with"
    )]
    Gap {
        /// The index of the log's newest snapshot.
        log_start: u64,
        /// The last entry that the database holds.
        applied: u64,
        /// The database that etcd would have received with that snapshot.
        database: PathBuf,
    },
    /// The log ends before what the database holds.
    #[error("the log of etcd ends at index {log_end}, and its database holds entries up to {applied}")]
    LogTooShort {
        /// The last entry of the log.
        log_end: u64,
        /// The last entry that the database holds.
        applied: u64,
    },
    /// There are keys of the v2 API.
    #[error(
        "the data directory of etcd holds keys of the v2 API ({0}), which would be lost; \
         remove them, or move them to the v3 API, before it is taken over"
    )]
    V2Keys(&'static str),
    /// The data of the log's snapshot is not what etcd writes.
    #[error("the data of the log snapshot at index {0} is no v2 store of etcd")]
    SnapshotData(u64),
    /// An entry that has still to be applied cannot be understood.
    #[error("the entry at index {index} of the log of etcd cannot be understood")]
    Entry {
        /// Where it is.
        index: u64,
        /// What is wrong with it.
        #[source]
        why: DecodeError,
    },
    /// A change of the cluster cannot be understood.
    #[error("the change of the cluster at index {0} of the log of etcd cannot be understood")]
    Change(u64),
    /// Somebody takes part whom the database does not describe.
    #[error("member {0:x} takes part in the cluster, and the database of etcd does not describe it")]
    Member(u64),
    /// The backend cannot be created.
    #[error("cannot create the backend")]
    Create(#[from] CreateError),
    /// The backend cannot be filled.
    #[error("cannot take over the database of etcd")]
    Import(#[from] ImportError),
    /// The database or the backend cannot be used.
    #[error("cannot read or write the tables")]
    Backend(#[from] BackendError),
    /// The state makes no sense.
    #[error("cannot take up the state of etcd")]
    State(#[from] RestoreError),
}

/// Takes the directory over if it is one of etcd's, or finishes what a crash has interrupted.
/// The directory is locked.
pub(super) fn adopt(
    disk: &dyn Disk,
    paths: &Paths,
    options: RedbOptions,
    log: WalOptions,
) -> Result<(), AdoptError> {
    finish(disk, paths)?;
    if !is_of_etcd(disk, &paths.db)? {
        return Ok(());
    }
    // etcd holds the same lock while it has the file open.
    let lock = disk.lock(&paths.db).map_err(|error| {
        if error.is_in_use() { AdoptError::InUse(paths.db.clone()) } else { error.into() }
    })?;
    let file = BoltFile::open(disk.open_read_only(&paths.db)?)?;
    let bytes = file.pages_bytes();
    log!(Info, "found a data directory of etcd; taking it over", "path" => paths.db.display().to_string(), "bytes" => bytes);
    let found = examine::examine(disk, paths, file, log)?;
    let name = aside::name(disk, paths)?;
    aside::copy_log(disk, paths, &name, found.log_start)?;
    let Found { index, term, log_end, .. } = found;
    make_backend(disk, paths, &found, options)?;
    exchange(disk, paths, &name)?;
    drop(lock);
    let kept = paths.snap.join(aside::database(&name));
    log!(
        Info, "took over the data directory of etcd",
        "applied-index" => index, "applied-term" => term, "log-end" => log_end,
        "kept-database" => kept.display().to_string(), "kept-log" => paths.member.join(&name).display().to_string()
    );
    Ok(())
}

/// Whether the file is a bbolt database.
fn is_of_etcd(disk: &dyn Disk, path: &Path) -> Result<bool, DiskError> {
    if !disk.exists(path)? {
        return Ok(false);
    }
    let mut head = [0; 20];
    let file = disk.open_read_only(path)?;
    let len = file.read_at(&mut head, 0)?;
    // The first of the two meta pages may be torn.
    Ok(head[16..] == BBOLT_MAGIC
        || (len == head.len() && head[..4] != *b"redb" && BoltFile::open(file).is_ok()))
}

/// Makes a backend of the database, beside it.
fn make_backend(
    disk: &dyn Disk,
    paths: &Paths,
    found: &Found,
    options: RedbOptions,
) -> Result<(), AdoptError> {
    let unfinished = paths.snap.join(UNFINISHED);
    let whole = paths.snap.join(WHOLE);
    for left_behind in [&unfinished, &whole] {
        if disk.exists(left_behind)? {
            disk.remove(left_behind)?;
        }
    }
    let backend = RedbBackend::create(disk, &unfinished, options)?;
    let (mut bytes, mut reported) = (0, 0);
    etched_bolt::import_tables(&found.database, &backend, &mut |more| {
        bytes += more;
        if bytes - reported >= REPORT_BYTES {
            reported = bytes;
            log!(Info, "taking over the database of etcd", "bytes" => bytes);
        }
    })?;
    let (batch, gone) = stored::complete(&backend.view()?, found.term, &found.conf_state)?;
    for member in gone {
        let id = format!("{:x}", member.id);
        log!(Warn, "left out a member that takes no part in the cluster", "member-id" => id, "name" => member.name);
    }
    backend.commit(&batch, Durability::Buffered)?;
    let view = backend.view()?;
    // What a start would refuse is refused here; and it gets the catalog that a start would have to make.
    let mut machine = StateMachine::restore(&view, etched_state_machine::Options::default())?;
    let conf_state = machine.conf_state();
    let taking_part = conf_state.voters.iter().chain(&conf_state.learners);
    if let Some(unknown) = taking_part.copied().find(|id| machine.members().get(*id).is_none()) {
        return Err(AdoptError::Member(unknown));
    }
    backend.commit(&machine.take_batch(), Durability::Synced)?;
    drop((view, backend));
    disk.rename(&unfinished, &whole)?;
    disk.sync_dir(&paths.snap)?;
    Ok(())
}

/// Gives the database of etcd another name, and the backend its own.
fn exchange(disk: &dyn Disk, paths: &Paths, name: &str) -> Result<(), DiskError> {
    disk.rename(&paths.db, &paths.snap.join(aside::database(name)))?;
    disk.sync_dir(&paths.snap)?;
    finish(disk, paths)
}

/// Does what a crash within [`exchange`] has left undone.
fn finish(disk: &dyn Disk, paths: &Paths) -> Result<(), DiskError> {
    let whole = paths.snap.join(WHOLE);
    if disk.exists(&paths.db)? || !disk.exists(&whole)? {
        return Ok(());
    }
    aside::keep_received(disk, &paths.snap)?;
    disk.rename(&whole, &paths.db)?;
    disk.sync_dir(&paths.snap)
}

#[cfg(test)]
mod tests;
