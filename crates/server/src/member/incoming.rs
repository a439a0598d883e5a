//! A database that the leader sent: made into a backend, which takes the place of the member's own.
//!
//! ```text
//! snap/<index>.snap.db ──build──┬──▶ snap/db-<index>-<number> ──put_in_place──▶ snap/db
//! pieces ──────────build_of_pieces──┘
//! ```
//!
//! The backend is made before consensus hears of the snapshot, away from the core thread.
//! It takes its place only after the log has a synced record of the snapshot: a crash before leaves the old state, a
//! crash after is finished by the next start, which finds the file that belongs to the log's newest snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use etched_backend::{Backend, BackendError, Batch, CreateError, Durability, RedbBackend, RedbOptions};
use etched_bolt::{Batches, BoltFile, Incremental, ReadError, Roots};
use etched_disk::{Disk, DiskError};
use etched_state_machine::{CatalogError, CatalogMaker};

use crate::log;

/// How many backends this process has made.
static BUILT: AtomicU64 = AtomicU64::new(0);

/// Bytes of one batch while a database is read in.
const BATCH_BYTES: usize = 8 << 20;

/// Bytes of one batch while a database comes in: each keeps the pieces that its records came in.
const PIECES_BATCH_BYTES: usize = 1 << 20;

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
    #[error("the database breaks off: {0}")]
    Broken(#[from] io::Error),
    #[error("the received database makes no sense: {0}")]
    Records(#[from] CatalogError),
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
}

/// The beginning of the names of backends that were made of a snapshot.
/// A leader may send the same snapshot twice, so each has a number: the file that is in use must not be replaced.
fn pending_prefix(index: u64) -> String {
    format!("db-{index:016x}-")
}

/// How a backend is named until it is complete.
const UNFINISHED: &str = "db-unfinished-";

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
    let dir = database.parent().unwrap_or(Path::new("."));
    let mut building = Building::begin(disk, current, dir, index, options)?;
    for batch in Batches::new(&file, BATCH_BYTES) {
        building.add(batch?)?;
    }
    let incoming = building.finish(disk)?;
    // Another one that came meanwhile may have removed it.
    if disk.exists(database)? {
        disk.remove(database)?;
    }
    Ok(incoming)
}

/// As [`build`], of a database that comes in piece by piece from a sender that told its roots.
///
/// # Errors
///
/// When the database is not sound or not as was told, it breaks off, or the disk fails; nothing is left.
pub(crate) fn build_of_pieces(
    disk: &dyn Disk,
    current: &RedbBackend,
    dir: &Path,
    index: u64,
    options: RedbOptions,
    roots: Roots,
    pieces: &mut dyn Iterator<Item = io::Result<Bytes>>,
) -> Result<Incoming, IncomingError> {
    let building = Building::begin(disk, current, dir, index, options)?;
    let unfinished = building.unfinished.clone();
    let built = building.read_in(disk, roots, pieces);
    if built.is_err() {
        // What cannot be removed is removed by the next start.
        let _ = disk.remove(&unfinished);
    }
    built
}

/// A backend in the making.
struct Building {
    backend: RedbBackend,
    /// With a catalog the core thread need not read all records when it takes the backend up.
    catalog: CatalogMaker,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Building {
    fn begin(
        disk: &dyn Disk,
        current: &RedbBackend,
        dir: &Path,
        index: u64,
        options: RedbOptions,
    ) -> Result<Self, IncomingError> {
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let unfinished = dir.join(format!("{UNFINISHED}{number}"));
        let path = dir.join(format!("{}{number}", pending_prefix(index)));
        for left_behind in [&unfinished, &path] {
            if disk.exists(left_behind)? {
                disk.remove(left_behind)?;
            }
        }
        let backend = current.create_beside(disk, &unfinished, options)?;
        Ok(Self { backend, catalog: CatalogMaker::default(), unfinished, path })
    }

    fn read_in(
        mut self,
        disk: &dyn Disk,
        roots: Roots,
        pieces: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> Result<Incoming, IncomingError> {
        let mut reader = Incremental::new(roots);
        let mut batch = Batch::new();
        for piece in pieces {
            reader.push(piece?, &mut batch)?;
            if batch.bytes() >= PIECES_BATCH_BYTES {
                self.add(std::mem::take(&mut batch))?;
            }
        }
        reader.finish()?;
        self.add(batch)?;
        self.finish(disk)
    }

    fn add(&mut self, mut batch: Batch) -> Result<(), IncomingError> {
        self.catalog.add(&mut batch)?;
        Ok(self.backend.commit(&batch, Durability::Buffered)?)
    }

    fn finish(self, disk: &dyn Disk) -> Result<Incoming, IncomingError> {
        let Self { backend, unfinished, path, .. } = self;
        backend.commit(&Batch::new(), Durability::Synced)?;
        put_in_place(disk, &unfinished, &path)?;
        Ok(Incoming { backend, path })
    }
}

impl Incoming {
    /// Gives a backend up that will not be installed.
    pub(crate) fn discard(self, disk: &dyn Disk) {
        // What cannot be removed is removed by the next start.
        let _ = disk.remove(&self.path);
    }
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
    let dir = database.parent().unwrap_or(Path::new("."));
    let prefix = pending_prefix(index);
    let mut names = disk.list(dir)?.into_iter().map(|entry| entry.name);
    if index > 0
        && let Some(name) = names.find(|name| name.starts_with(&prefix))
    {
        log!(Info, "Recovering from snapshot backend", "snapshot-index" => index);
        put_in_place(disk, &dir.join(name), database)?;
    }
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
    use etched_proto::mvccpb::KeyValue;
    use prost::Message as _;

    use super::*;
    use crate::api::Database;
    use crate::member::outgoing;

    fn options() -> RedbOptions {
        RedbOptions { cache_bytes: 1 << 20, ..RedbOptions::default() }
    }

    /// Writes the state of a member of whom another one hears, as that one receives it.
    fn receive(dir: &Path, name: &str) -> PathBuf {
        let database = sent(name);
        let bytes: Vec<u8> = database.chunks.flat_map(|chunk| chunk.unwrap()).collect();
        assert_eq!(bytes.len() as u64, database.bytes);
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The state of that member, as it is sent.
    fn sent(name: &str) -> Database {
        let source = MemoryBackend::new();
        let mut batch = Batch::new();
        for number in 2..1002_i64 {
            let key = [&number.to_be_bytes()[..], b"_", &0_i64.to_be_bytes()].concat();
            let record = KeyValue {
                key: format!("key-{number}").into(),
                create_revision: number,
                mod_revision: number,
                version: 1,
                value: vec![7; 300].into(),
                lease: 0,
            };
            batch.put(Table::Key, key, record.encode_to_vec());
        }
        batch.put(Table::Meta, "term", name.to_owned());
        source.commit(&batch, Durability::Buffered).unwrap();
        outgoing::database(Arc::new(source.view().unwrap()), "3.7.0".to_owned()).unwrap()
    }

    #[test]
    fn what_comes_in_pieces_becomes_the_same_backend_or_none() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let own = RedbBackend::create(&disk, &dir.path().join("db"), options()).unwrap();
        let of_pieces = |roots: &Roots, pieces: &[Bytes]| {
            let mut pieces = pieces.iter().cloned().map(Ok);
            build_of_pieces(&disk, &own, dir.path(), 7, options(), roots.clone(), &mut pieces)
        };
        let database = sent("sent");
        let roots = database.roots.unwrap();
        let pieces: Vec<Bytes> = database.chunks.map(|chunk| chunk.unwrap()).collect();
        let whole = build(&disk, &own, &receive(dir.path(), "sent"), 7, options()).unwrap();
        let built = of_pieces(&roots, &pieces).unwrap();
        let content = |backend: &RedbBackend| {
            let view = backend.view().unwrap();
            let mut all = Vec::new();
            for table in Table::ALL {
                let range = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                view.scan(table, range, &mut |key, value| {
                    all.push((table, key.to_vec(), value.to_vec()));
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            }
            all
        };
        assert!(content(&built.backend) == content(&whole.backend), "with its catalog");
        whole.discard(&disk);
        built.discard(&disk);
        assert!(matches!(of_pieces(&roots, &pieces[..pieces.len() - 1]), Err(IncomingError::Read(_))));
        assert!(of_pieces(&"4096;key=4".parse().unwrap(), &pieces).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the database is left");
    }

    fn term(backend: &RedbBackend) -> Option<Bytes> {
        backend.view().unwrap().get(Table::Meta, b"term").unwrap()
    }

    #[test]
    fn what_another_member_sends_becomes_a_backend_and_takes_its_place() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let database = dir.path().join("db");
        let own = RedbBackend::create(&disk, &database, options()).unwrap();
        let first = build(&disk, &own, &receive(dir.path(), "first"), 7, options()).unwrap();
        assert_eq!(first.backend.view().unwrap().count(Table::Key).unwrap(), 1000);
        let catalogued = etched_state_machine::record_lengths(&first.backend.view().unwrap(), &mut |_, _| {
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(catalogued, Ok(1000), "it comes with a catalog");
        put_in_place(&disk, &first.path, &database).unwrap();
        drop(own);
        // A second one comes while the first is in use.
        let second = build(&disk, &first.backend, &receive(dir.path(), "second"), 9, options()).unwrap();
        assert_eq!(term(&second.backend).as_deref(), Some(&b"second"[..]));
        let left = second.path.clone();
        drop((first, second));
        adopt(&disk, &database, 7).unwrap();
        assert!(!left.exists(), "its snapshot is not on record");
        let backend = RedbBackend::open(&disk, &database, options()).unwrap();
        assert_eq!(term(&backend).as_deref(), Some(&b"first"[..]));
    }

    /// The second one used to take the name of the first, whose installation then failed.
    #[test]
    fn a_snapshot_that_comes_twice_becomes_two_backends() {
        let (disk, dir) = (RealDisk::new(), tempfile::tempdir().unwrap());
        let database = dir.path().join("db");
        let own = RedbBackend::create(&disk, &database, options()).unwrap();
        let first = build(&disk, &own, &receive(dir.path(), "sent"), 7, options()).unwrap();
        let second = build(&disk, &own, &receive(dir.path(), "sent"), 7, options()).unwrap();
        put_in_place(&disk, &first.path, &database).unwrap();
        second.discard(&disk);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the database is left");
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
