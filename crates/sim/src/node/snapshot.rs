//! Snapshots between simulated members: the backend's view goes out as a bbolt file, and a received one becomes a
//! backend beside the one in use.

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etched_backend::{
    Backend as _, BackendError, Batch, CreateError, Durability, ReadView, RedbBackend, Table,
};
use etched_bolt::{Batches, BoltFile, ExportError, PageSize, ReadError};
use etched_disk::{Disk, DiskError, SimDisk};
use etched_state_machine::{CatalogError, CatalogMaker, record_lengths};

use super::storage::{DATABASE, SNAP_DIR, backend_options, beside};

/// Bytes of one batch while a database is read in, and of one chunk while it is written.
const BATCH_BYTES: usize = 64 << 10;

/// The beginning of the name of a backend that is not complete.
const UNFINISHED: &str = "db-unfinished-";

/// A backend made of a received database, not yet in its place.
pub(super) struct Incoming {
    pub(super) backend: RedbBackend,
    pub(super) path: PathBuf,
}

/// Why a received database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum IncomingError {
    #[error("the received database: {0}")]
    Read(#[from] ReadError),
    #[error("making the backend: {0}")]
    Create(#[from] CreateError),
    #[error("the backend: {0}")]
    Backend(#[from] BackendError),
    #[error("the received records: {0}")]
    Records(#[from] CatalogError),
    #[error("the disk: {0}")]
    Disk(#[from] DiskError),
}

/// The state of a view as the file that travels.
pub(super) fn encode(view: &impl ReadView) -> Result<Vec<u8>, ExportError> {
    let mut is_told = true;
    let planned = etched_bolt::plan_tables_by(view, PageSize::USUAL, &mut |table, visit| {
        if table != Table::Key {
            return view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
                visit(key.len(), value.len())
            });
        }
        is_told = record_lengths(view, visit).ok() == Some(view.count(table)?);
        Ok(())
    })?;
    let layout = if is_told { planned } else { etched_bolt::plan_tables(view, PageSize::USUAL)? };
    let mut file = Vec::new();
    etched_bolt::encode_tables(view, layout, BATCH_BYTES, |chunk: Bytes| {
        file.extend_from_slice(&chunk);
        ControlFlow::Continue(())
    })?;
    Ok(file)
}

/// Makes a backend of a received file, beside the one in use. `number` makes its name unique in a life.
pub(super) fn build(
    disk: &SimDisk,
    current: &RedbBackend,
    received: &[u8],
    index: u64,
    number: u64,
) -> Result<Incoming, IncomingError> {
    let database = beside(&format!("{index:016x}-{number}.snap.db"));
    etched_disk::replace(disk, &database, received)?;
    let file = BoltFile::open(disk.open_read_only(&database)?)?;
    let unfinished = beside(&format!("{UNFINISHED}{number}"));
    let path = beside(&format!("db-{index:016x}-{number}"));
    for left_behind in [&unfinished, &path] {
        if disk.exists(left_behind)? {
            disk.remove(left_behind)?;
        }
    }
    let backend = current.create_beside(disk, &unfinished, backend_options())?;
    let mut catalog = CatalogMaker::default();
    for batch in Batches::new(&file, BATCH_BYTES) {
        let mut batch = batch?;
        catalog.add(&mut batch)?;
        backend.commit(&batch, Durability::Buffered)?;
    }
    backend.commit(&Batch::new(), Durability::Synced)?;
    disk.rename(&unfinished, &path)?;
    disk.sync_dir(Path::new(SNAP_DIR))?;
    if disk.exists(&database)? {
        disk.remove(&database)?;
    }
    Ok(Incoming { backend, path })
}

impl Incoming {
    /// Gives a backend up that will not be installed.
    pub(super) fn discard(self, disk: &SimDisk) {
        // What cannot be removed is removed by the next start.
        let _ = disk.remove(&self.path);
    }
}

/// Puts a backend that was made into the place of the one in use.
pub(super) fn put_in_place(disk: &dyn Disk, pending: &Path) -> Result<(), DiskError> {
    disk.rename(pending, Path::new(DATABASE))?;
    disk.sync_dir(Path::new(SNAP_DIR))
}

/// Finishes what a crash interrupted, and removes what else others had sent.
pub(super) fn adopt(disk: &dyn Disk, index: u64) -> Result<(), DiskError> {
    let dir = Path::new(SNAP_DIR);
    let prefix = format!("db-{index:016x}-");
    let mut names = disk.list(dir)?.into_iter().map(|entry| entry.name);
    if index > 0
        && let Some(name) = names.find(|name| name.starts_with(&prefix))
    {
        put_in_place(disk, &dir.join(name))?;
    }
    for entry in disk.list(dir)? {
        if entry.name.starts_with("db-") || entry.name.ends_with(".snap.db") {
            disk.remove(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}
