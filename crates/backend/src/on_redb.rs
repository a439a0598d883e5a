//! A backend that is one redb file on a [`Disk`].
//!
//! Each [`Table`] is a redb table from bytes to bytes, and one more, `etched`, says what file this is and how much is
//! in it; `docs/formats/backend.md` draws the records.
//! redb itself does not verify pages when it reads them, so every record carries a checksum of ours.
//!
//! How the file grows: redb writes changed pages to new places and gives the old ones free when no view and no
//! commit on the disk needs them. Overwriting 20 MiB fifty times over took 34 MiB of file when every commit was
//! synced and when hardly one was, and 68 MiB in between; records of 1 KiB written once take twice their size, since
//! redb's leaves of 4 KiB hold two or three of them. So reckon with a file of two to three times what is in use, keep
//! views short, and let a synced commit follow every few seconds: it is what a crash goes back to.
//!
//! [`Sizes::total_bytes`] is the length of the file, known from the calls that change it.
//! [`Sizes::in_use_bytes`] is what keys and stored values take, without the slack of half-filled pages; it is counted
//! as records come and go, and stored with each commit. Neither walks anything.
//! A derived table is not counted: how full it is depends on when a member commits, and no client wrote it.
//!
//! Opening is quick after a crash too, a few milliseconds for a million records, since a synced commit saves what
//! redb would otherwise have to find by walking the file. Verifying every page ([`Integrity::Everything`]) takes two
//! to four seconds for each GiB, so it is for doubt, not for every start.

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use etched_disk::{Disk, DiskError, DiskLock};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use crate::port::is_empty_range;
use crate::{Backend, BackendError, Batch, Durability, Op, ReadView, Sizes, Table};
use file::File;
use record::Usage;

mod file;
mod open;
mod record;
mod scrub;

pub use open::{CreateError, OpenError};
pub use scrub::{Scrub, ScrubCursor};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Tables in a redb file; clones are handles to the same file.
///
/// The directory of the file is locked while a handle or a view lives.
#[derive(Clone, Debug)]
pub struct RedbBackend {
    shared: Arc<Shared>,
}

/// How a [`RedbBackend`] is opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RedbOptions {
    /// Memory for pages, in bytes.
    pub cache_bytes: usize,
    /// Whether all pages are verified when the file is opened, which reads the whole file.
    pub integrity: Integrity,
    /// Unused bytes from which on the file is made smaller when it is opened, before anything else; `None` is never.
    pub shrink_bytes_min: Option<u64>,
}

/// What is verified when a file is opened.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// What has to be read anyway. Damage elsewhere is found when it is read, or by [`RedbBackend::scrub`].
    Touched,
    /// Every page.
    Everything,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, integrity: Integrity::Touched, shrink_bytes_min: None }
    }
}

/// A state of a [`RedbBackend`].
pub struct RedbView {
    transaction: ReadTransaction,
    tables: [OnceLock<Records>; Table::ALL.len()],
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    file: Arc<File>,
    /// What is in the tables, as of the last commit. Held while a commit is made.
    usage: Mutex<Usage>,
    failed: AtomicBool,
    failure: OnceLock<String>,
    /// Dropped last, when nothing touches the file any more.
    lock: Arc<dyn DiskLock>,
}

impl RedbBackend {
    /// Creates a file at `path`: all of it or nothing is there after a crash.
    ///
    /// # Errors
    ///
    /// There is something at `path`, the directory is in use, or the disk fails.
    pub fn create(disk: &dyn Disk, path: &Path, options: RedbOptions) -> Result<Self, CreateError> {
        open::create(disk, path, options)
    }

    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// What is there is not a sound file of this program, is in use, or the disk fails; nothing was changed.
    pub fn open(disk: &dyn Disk, path: &Path, options: RedbOptions) -> Result<Self, OpenError> {
        open::open(disk, path, options)
    }

    /// Creates a further file at `path`, in the directory of this one, and shares its lock: to be filled and
    /// to take this one's place by a change of names.
    ///
    /// # Errors
    ///
    /// There is a file of that name, or the disk fails.
    pub fn create_beside(
        &self,
        disk: &dyn Disk,
        path: &Path,
        options: RedbOptions,
    ) -> Result<Self, CreateError> {
        open::create_locked(disk, path, options, Arc::clone(&self.shared.lock))
    }

    fn new(database: Database, file: Arc<File>, usage: Usage, lock: Arc<dyn DiskLock>) -> Self {
        let shared = Shared {
            database,
            file,
            usage: Mutex::new(usage),
            failed: AtomicBool::new(false),
            failure: OnceLock::new(),
            lock,
        };
        Self { shared: Arc::new(shared) }
    }

    /// As [`Backend::commit`]; tells when the changes are made and their commit begins.
    ///
    /// # Errors
    ///
    /// As [`Backend::commit`].
    pub fn commit_noting(
        &self,
        batch: &Batch,
        durability: Durability,
        on_changed: &mut dyn FnMut(),
    ) -> Result<(), BackendError> {
        let mut usage = self.shared.usage();
        self.shared.check()?;
        if batch.is_empty() && durability == Durability::Buffered {
            return Ok(());
        }
        let mut after = *usage;
        let written = self.shared.write(batch, durability, &mut after, on_changed);
        written.map_err(|error| self.shared.fail(error))?;
        *usage = after;
        Ok(())
    }
}

impl Backend for RedbBackend {
    type View = RedbView;

    fn view(&self) -> Result<RedbView, BackendError> {
        self.shared.check()?;
        let transaction = self.shared.database.begin_read().map_err(|error| self.shared.fail(error))?;
        Ok(RedbView { transaction, tables: Default::default(), shared: Arc::clone(&self.shared) })
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), BackendError> {
        self.commit_noting(batch, durability, &mut || {})
    }

    fn sizes(&self) -> Result<Sizes, BackendError> {
        self.shared.check()?;
        let total_bytes = self.shared.file.len();
        let in_use_bytes = self.shared.usage().file_bytes().min(total_bytes);
        Ok(Sizes { total_bytes, in_use_bytes })
    }
}

impl Shared {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // It is changed in one assignment, after the commit.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), BackendError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(BackendError::Poisoned(self.failure.get().cloned().unwrap_or_default()))
    }

    /// Takes note of a failure, after which nothing works any more.
    fn fail(&self, error: impl Into<redb::Error>) -> BackendError {
        let text = error.into().to_string();
        self.failure.get_or_init(|| text.clone());
        self.failed.store(true, Ordering::Release);
        BackendError::Storage(text)
    }

    fn write(
        &self,
        batch: &Batch,
        durability: Durability,
        usage: &mut Usage,
        on_changed: &mut dyn FnMut(),
    ) -> Result<(), redb::Error> {
        let transaction = begin_write(&self.database, durability)?;
        let ops = batch.in_key_order();
        // A planted fault, see `cargo xtask bugs`: what says how far was applied is committed before the rest.
        if cfg!(bug = "backend-commits-the-index-apart") {
            let first = begin_write(&self.database, durability)?;
            let index: Vec<&Op> = ops.iter().copied().filter(|op| op.table() == Table::Meta).collect();
            write_table(&first, Table::Meta, &index, &mut usage.clone())?;
            first.commit()?;
        }
        let mut rest = &ops[..];
        while let Some(first) = rest.first() {
            let table = first.table();
            let (of_table, others) = rest.split_at(rest.partition_point(|op| op.table() <= table));
            write_table(&transaction, table, of_table, usage)?;
            rest = others;
        }
        write_usage(&transaction, usage)?;
        on_changed();
        transaction.commit()?;
        Ok(())
    }
}

fn begin_write(database: &Database, durability: Durability) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    match durability {
        Durability::Buffered => transaction.set_durability(redb::Durability::None)?,
        // A planted fault, see `cargo xtask bugs`.
        Durability::Synced if cfg!(bug = "backend-does-not-sync") => {
            transaction.set_durability(redb::Durability::None)?;
        }
        Durability::Synced => {
            transaction.set_durability(redb::Durability::Immediate)?;
            // Saves what would have to be found by walking the file after a crash, and commits in two phases.
            transaction.set_quick_repair(true);
        }
    }
    Ok(transaction)
}

fn write_table(
    transaction: &WriteTransaction,
    table: Table,
    ops: &[&Op],
    usage: &mut Usage,
) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(definition(table))?;
    let mut stored = Vec::new();
    let mut of_table = *usage;
    for op in ops {
        let (key, replaced) = match op {
            Op::Put { key, value, .. } => {
                record::seal(table.name(), key, value, &mut stored);
                of_table.add(key.len(), stored.len());
                (key, records.insert(&key[..], &stored[..])?)
            }
            Op::Delete { key, .. } => (key, records.remove(&key[..])?),
        };
        if let Some(before) = replaced {
            of_table.remove(key.len(), before.value().len());
        }
    }
    if !table.is_derived() {
        *usage = of_table;
    }
    Ok(())
}

fn write_usage(transaction: &WriteTransaction, usage: &Usage) -> Result<(), redb::Error> {
    let mut stored = Vec::new();
    record::seal(record::INFO_TABLE, record::USAGE_KEY, &usage.encode(), &mut stored);
    transaction.open_table(INFO)?.insert(record::USAGE_KEY, &stored[..])?;
    Ok(())
}

const INFO: Definition = TableDefinition::new(record::INFO_TABLE);

const fn definition(table: Table) -> Definition {
    TableDefinition::new(table.name())
}

impl RedbView {
    fn records(&self, table: Table) -> Result<&Records, BackendError> {
        self.shared.check()?;
        let cell = &self.tables[table.position()];
        if let Some(records) = cell.get() {
            return Ok(records);
        }
        let records =
            self.transaction.open_table(definition(table)).map_err(|error| self.shared.fail(error))?;
        Ok(cell.get_or_init(|| records))
    }
}

impl ReadView for RedbView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        let stored = self.records(table)?.get(key).map_err(|error| self.shared.fail(error))?;
        let Some(stored) = stored else { return Ok(None) };
        let value = record::open(table, key, stored.value())?;
        Ok(Some(Bytes::copy_from_slice(value)))
    }

    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        if is_empty_range(range) {
            return Ok(());
        }
        let records = self.records(table)?.range::<&[u8]>(range).map_err(|error| self.shared.fail(error))?;
        for stored in records {
            let (key, stored) = stored.map_err(|error| self.shared.fail(error))?;
            let value = record::open(table, key.value(), stored.value())?;
            if visit(key.value(), value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, table: Table) -> Result<u64, BackendError> {
        self.records(table)?.len().map_err(|error| self.shared.fail(error))
    }
}

impl std::fmt::Debug for RedbView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbView").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
