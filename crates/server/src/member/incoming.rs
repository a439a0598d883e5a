//! A database that the leader sent: made into a backend, which takes the place of the member's own.
//!
//! ```text
//! snap/<index>.snap.db ──build──▶ snap/db-<index> ──put_in_place──▶ snap/db
//! ```
//!
//! The backend is made before consensus hears of the snapshot, away from the core thread.
//! It takes its place only after the log has a synced record of the snapshot: a crash before leaves the old state, a
//! crash after is finished by the next start, which finds the file that belongs to the log's newest snapshot.

use std::path::{Path, PathBuf};

use etched_backend::{Backend, BackendError, Batch, CreateError, Durability, RedbBackend, RedbOptions};
use etched_bolt::{Batches, BoltFile, ReadError};
use etched_disk::{Disk, DiskError};

use crate::log;

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
    #[error("the received database cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("the backend cannot be made: {0}")]
    Create(#[from] CreateError),
    #[error("the backend cannot be written: {0}")]
    Backend(#[from] BackendError),
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
}

fn pending_name(index: u64) -> String {
    format!("db-{index:016x}")
}

/// Makes a backend of the database that lies at `database`, beside the one that is in use, and removes the database.
///
/// # Errors
///
/// When the database is not sound, or the disk fails; what was made is left for the next start to remove.
pub(crate) fn build(
    disk: &dyn Disk,
    current: &RedbBackend,
    database: &Path,
    index: u64,
    options: RedbOptions,
) -> Result<Incoming, IncomingError> {
    let file = BoltFile::open(disk.open_read_only(database)?)?;
    let path = database.with_file_name(pending_name(index));
    if disk.exists(&path)? {
        // Left behind by a snapshot that was received before and never installed.
        disk.remove(&path)?;
    }
    let backend = current.create_beside(disk, &path, options)?;
    for batch in Batches::new(&file, BATCH_BYTES) {
        backend.commit(&batch?, Durability::Buffered)?;
    }
    backend.commit(&Batch::new(), Durability::Synced)?;
    disk.remove(database)?;
    Ok(Incoming { backend, path })
}

/// Puts a backend that was made into the place of the member's own; the log must have a synced record of its snapshot.
pub(crate) fn put_in_place(disk: &dyn Disk, pending: &Path, database: &Path) -> Result<(), DiskError> {
    disk.rename(pending, database)?;
    let dir = database.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir)
}

/// Finishes what a crash interrupted: the backend of the log's newest snapshot takes its place, and what else other
/// members had sent is removed.
pub(crate) fn adopt(disk: &dyn Disk, database: &Path, index: u64) -> Result<(), DiskError> {
    let pending = database.with_file_name(pending_name(index));
    if index > 0 && disk.exists(&pending)? {
        log!(Info, "a received snapshot takes its place", "snapshot-index" => index);
        put_in_place(disk, &pending, database)?;
    }
    let dir = database.parent().unwrap_or(Path::new("."));
    for entry in disk.list(dir)? {
        if entry.name.starts_with("db-") || entry.name.ends_with(".snap.db") {
            disk.remove(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etched_backend::{MemoryBackend, ReadView as _, Table};
    use etched_disk::RealDisk;

    use super::*;
    use crate::member::outgoing;

    fn options() -> RedbOptions {
        RedbOptions { cache_bytes: 1 << 20, ..RedbOptions::default() }
    }

    /// Writes the state of a member of whom another one hears, as that one receives it.
    fn receive(dir: &Path, name: &str) -> PathBuf {
        let source = MemoryBackend::new();
        let mut batch = Batch::new();
        for number in 0..1000_u32 {
            batch.put(Table::Key, number.to_be_bytes().to_vec(), vec![7; 300]);
        }
        batch.put(Table::Meta, "term", name.to_owned());
        source.commit(&batch, Durability::Buffered).unwrap();
        let database = outgoing::database(Arc::new(source.view().unwrap()), "3.7.0".to_owned()).unwrap();
        let bytes: Vec<u8> = database.chunks.flat_map(|chunk| chunk.unwrap()).collect();
        assert_eq!(bytes.len() as u64, database.bytes);
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn term(backend: &RedbBackend) -> Option<bytes::Bytes> {
        backend.view().unwrap().get(Table::Meta, b"term").unwrap()
    }

    #[test]
    fn what_another_member_sends_becomes_a_backend_and_takes_its_place() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let database = dir.path().join("db");
        let own = RedbBackend::create(&disk, &database, options()).unwrap();
        let first = build(&disk, &own, &receive(dir.path(), "first"), 7, options()).unwrap();
        assert_eq!(first.backend.view().unwrap().count(Table::Key).unwrap(), 1000);
        put_in_place(&disk, &first.path, &database).unwrap();
        drop(own);
        // A second one comes while the first is in use.
        let second = build(&disk, &first.backend, &receive(dir.path(), "second"), 9, options()).unwrap();
        assert_eq!(term(&second.backend).as_deref(), Some(&b"second"[..]));
        drop((first, second));
        adopt(&disk, &database, 7).unwrap();
        assert!(!dir.path().join(pending_name(9)).exists(), "its snapshot is not on record");
        let backend = RedbBackend::open(&disk, &database, options()).unwrap();
        assert_eq!(term(&backend).as_deref(), Some(&b"first"[..]));
    }

    #[test]
    fn a_crash_before_the_file_has_its_name_is_finished_by_the_next_start() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let database = dir.path().join("db");
        let own = RedbBackend::create(&disk, &database, options()).unwrap();
        drop(build(&disk, &own, &receive(dir.path(), "sent"), 7, options()).unwrap());
        drop(own);
        adopt(&disk, &database, 7).unwrap();
        let backend = RedbBackend::open(&disk, &database, options()).unwrap();
        assert_eq!(term(&backend).as_deref(), Some(&b"sent"[..]));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let own = RedbBackend::create(&disk, &dir.path().join("db"), options()).unwrap();
        let path = dir.path().join("received");
        std::fs::write(&path, vec![0xff; 20_000]).unwrap();
        assert!(matches!(build(&disk, &own, &path, 7, options()), Err(IncomingError::Read(_))));
    }
}
