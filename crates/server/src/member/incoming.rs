//! A database that the leader sent: made into a backend, which takes the place of the member's own.
//!
//! ```text
//! snap/<index>.snap.db ──build──▶ incoming-<slot>/db-<index> ──adopt──▶ snap/db
//! ```
//!
//! The backend is made before consensus hears of the snapshot, away from the core thread.
//! It takes its place only after the log has a synced record of the snapshot: a crash before leaves the old state, a
//! crash after is finished by the next start, which finds the file that belongs to the log's newest snapshot.

use std::io;
use std::path::{Path, PathBuf};

use etched_backend::{BackendError, CreateError, RedbBackend, RedbOptions};
use etched_disk::{Disk, DiskError};

use crate::log;

/// A backend holds the lock of its directory for as long as it is open, so the next one is made in the other.
const SLOTS: [&str; 2] = ["incoming-0", "incoming-1"];

/// Bytes of one batch while a database is read in.
const BATCH_BYTES: usize = 8 << 20;

/// A backend made of a received database, not yet in its place.
pub(crate) struct Incoming {
    pub(crate) backend: RedbBackend,
    pub(crate) path: PathBuf,
}

/// Why a received database cannot be used. The member goes on with what it has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    #[error("databases of other members cannot be read yet")]
    Unsupported,
    #[error("the backend cannot be made: {0}")]
    Create(#[from] CreateError),
    #[error("the backend cannot be written: {0}")]
    Backend(#[from] BackendError),
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
}

/// The name of the file that a snapshot's database is received into.
pub(crate) fn received_name(index: u64) -> String {
    format!("{index:016x}.snap.db")
}

fn pending_name(index: u64) -> String {
    format!("db-{index:016x}")
}

/// Makes a backend of the database that lies at `database`, and removes that.
pub(crate) fn build(
    disk: &dyn Disk,
    member_dir: &Path,
    database: &Path,
    index: u64,
    options: RedbOptions,
) -> Result<Incoming, IncomingError> {
    let _ = (database, create(disk, member_dir, index, options)?);
    Err(IncomingError::Unsupported)
}

fn create(
    disk: &dyn Disk,
    member_dir: &Path,
    index: u64,
    options: RedbOptions,
) -> Result<(RedbBackend, PathBuf), IncomingError> {
    let mut refused = None;
    for slot in SLOTS {
        let dir = member_dir.join(slot);
        disk.create_dir(&dir)?;
        let path = dir.join(pending_name(index));
        match RedbBackend::create(disk, &path, options) {
            Err(CreateError::InUse(path)) => refused = Some(CreateError::InUse(path)),
            Err(CreateError::Exists(path)) => {
                // Left behind by a snapshot that was received before and never installed.
                disk.remove(&path)?;
                return Ok((RedbBackend::create(disk, &path, options)?, path));
            }
            created => return Ok((created?, path)),
        }
    }
    Err(refused.map_or_else(|| io_error(member_dir), IncomingError::from))
}

fn io_error(dir: &Path) -> IncomingError {
    IncomingError::Create(CreateError::InUse(dir.to_owned()))
}

/// Puts a backend that was made into the place of the member's own; the log must have a synced record of its snapshot.
pub(crate) fn put_in_place(disk: &dyn Disk, pending: &Path, database: &Path) -> Result<(), DiskError> {
    disk.rename(pending, database)?;
    for path in [database, pending] {
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir)?;
        }
    }
    Ok(())
}

/// Finishes what a crash interrupted: the backend of the log's newest snapshot takes its place, others are removed.
pub(crate) fn adopt(
    disk: &dyn Disk,
    member_dir: &Path,
    database: &Path,
    index: u64,
) -> Result<(), DiskError> {
    for slot in SLOTS {
        let dir = member_dir.join(slot);
        if !disk.exists(&dir)? {
            continue;
        }
        let pending = dir.join(pending_name(index));
        if index > 0 && disk.exists(&pending)? {
            log!(Info, "a received snapshot takes its place", "snapshot-index" => index);
            put_in_place(disk, &pending, database)?;
        }
        for entry in disk.list(&dir)? {
            if entry.name.starts_with("db-") {
                disk.remove(&dir.join(&entry.name))?;
            }
        }
    }
    Ok(())
}

/// Removes what earlier lives of the member received and never used.
pub(crate) fn remove_received(disk: &dyn Disk, snapshot_dir: &Path) -> Result<(), DiskError> {
    for entry in disk.list(snapshot_dir)? {
        if entry.name.ends_with(".snap.db") {
            disk.remove(&snapshot_dir.join(&entry.name))?;
        }
    }
    Ok(())
}

impl From<IncomingError> for io::Error {
    fn from(error: IncomingError) -> Self {
        Self::other(error.to_string())
    }
}
