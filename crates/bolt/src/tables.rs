//! Between files and the tables of a backend, whose names are those of etcd's buckets.
//!
//! Only the form is dealt with here: keys and values go over as they are.
//! What a snapshot has to hold, such as which members and which applied index, is for those who make or take it.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{Backend, BackendError, Batch, Durability, ReadView, Table};

use crate::encoder::{EncodeError, Encoder};
use crate::entries::Entries;
use crate::error::ReadError;
use crate::format::PageSize;
use crate::plan::{Layout, Plan, PlanError};
use crate::reader::{BoltFile, Content};

/// The tables that are buckets in etcd's file, in the order in which they stand there: that of their names.
#[must_use]
pub fn etcd_buckets() -> [Table; 10] {
    let mut tables = Table::BUCKETS;
    tables.sort_by_key(|table| table.name());
    tables
}

/// The tables that a view goes into a file with: etcd's, and the tree of the v2 API if there is one.
fn exported(view: &impl ReadView) -> Result<Vec<Table>, BackendError> {
    let mut tables = etcd_buckets().to_vec();
    if view.count(Table::V2)? > 0 {
        tables.push(Table::V2);
    }
    Ok(tables)
}

/// The tables that a file may have buckets for, in the order of their names.
fn imported() -> Vec<Table> {
    let mut tables = etcd_buckets().to_vec();
    tables.push(Table::V2);
    tables
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Why the tables of a view could not be written as a file.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The view could not be read.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A record can be in no file.
    #[error("a record of table {table} does not fit into a bucket")]
    Plan {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        why: PlanError,
    },
    /// The file could not be written as planned.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Plans a file of all [`etcd_buckets`] of a view, and of [`Table::V2`] if it is not empty, by reading it once.
///
/// # Errors
/// The view could not be read, or has a record that is too long.
pub fn plan_tables(view: &impl ReadView, size: PageSize) -> Result<Layout, ExportError> {
    plan_tables_by(view, size, &mut |table, visit| {
        view.scan(table, ALL, &mut |key, value| visit(key.len(), value.len()))
    })
}

/// As [`plan_tables`], with the lengths from wherever they are known: `lengths` visits those of key and value of all
/// records of a table, in their order.
///
/// # Errors
/// `lengths` or the view failed, or a record is too long.
#[expect(clippy::type_complexity, reason = "a closure over two lengths says what it is")]
pub fn plan_tables_by(
    view: &impl ReadView,
    size: PageSize,
    lengths: &mut dyn FnMut(
        Table,
        &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), BackendError>,
) -> Result<Layout, ExportError> {
    let mut plan = Plan::new(size);
    for table in exported(view)? {
        plan.bucket(table.name().as_bytes(), 0).map_err(|why| ExportError::Plan { table, why })?;
        let mut result = Ok(());
        lengths(table, &mut |key_bytes, value_bytes| {
            result = plan.entry(key_bytes, value_bytes);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result.map_err(|why| ExportError::Plan { table, why })?;
    }
    Ok(plan.finish())
}

/// Writes the file that [`plan_tables`] has planned for the same view.
///
/// # Errors
/// The view could not be read, is not the one that was planned, or the sink wants no more.
pub fn encode_tables(
    view: &impl ReadView,
    layout: Layout,
    chunk_bytes: usize,
    sink: impl FnMut(Bytes) -> ControlFlow<()>,
) -> Result<(), ExportError> {
    let mut encoder = Encoder::new(layout, chunk_bytes, sink);
    for table in exported(view)? {
        encoder.bucket(table.name().as_bytes())?;
        let mut result = Ok(());
        view.scan(table, ALL, &mut |key, value| {
            result = encoder.entry(key, value);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result?;
    }
    Ok(encoder.finish()?)
}

/// Why a file could not be read into a backend.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file could not be read.
    #[error("the database cannot be read")]
    Read(#[from] ReadError),
    /// The backend could not be written.
    #[error("the backend cannot be written")]
    Backend(#[from] BackendError),
}

/// Bytes of one batch while a file is read in.
const IMPORT_BATCH_BYTES: usize = 8 << 20;

/// Puts all buckets of a file into the tables of an empty backend, with one synced commit at the end.
/// `on_bytes` hears after each batch how many bytes of keys and values it had.
///
/// # Errors
/// The file is damaged, or the disk or the backend failed; the backend then holds a part.
pub fn import_tables(
    file: &BoltFile,
    backend: &impl Backend,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<(), ImportError> {
    for batch in Batches::new(file, IMPORT_BATCH_BYTES) {
        let batch = batch?;
        backend.commit(&batch, Durability::Buffered)?;
        on_bytes(batch.bytes() as u64);
    }
    Ok(backend.commit(&Batch::new(), Durability::Synced)?)
}

/// The buckets of a file as batches of puts, each of about `batch_bytes`.
///
/// Buckets that have no table (only those of [`etcd_buckets`] have one, and `v2`) are passed over, as etcd does, and so are
/// buckets within buckets.
/// After an error there is nothing more.
#[derive(Debug)]
pub struct Batches<'a> {
    file: &'a BoltFile,
    batch_bytes: usize,
    /// Those that are still to come, last first.
    tables: Vec<Table>,
    open: Option<(Table, Entries<'a>)>,
}

impl<'a> Batches<'a> {
    /// The buckets of `file`.
    #[must_use]
    pub fn new(file: &'a BoltFile, batch_bytes: usize) -> Self {
        let mut tables = imported();
        tables.reverse();
        Self { file, batch_bytes, tables, open: None }
    }

    fn fill(&mut self, batch: &mut Batch) -> Result<(), ReadError> {
        while batch.is_empty() || batch.bytes() < self.batch_bytes {
            if self.open.is_none() {
                let Some(table) = self.tables.pop() else { return Ok(()) };
                let bucket = self.file.bucket(table.name().as_bytes())?;
                self.open = bucket.map(|bucket| (table, bucket.entries()));
            }
            let Some((table, entries)) = &mut self.open else { continue };
            match entries.next().transpose()? {
                None => self.open = None,
                Some(entry) => {
                    if let Content::Value(value) = entry.content {
                        batch.put(*table, entry.key, value);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Batch::new();
        if let Err(error) = self.fill(&mut batch) {
            (self.open, self.tables) = (None, Vec::new());
            return Some(Err(error));
        }
        (!batch.is_empty()).then_some(Ok(batch))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use etched_backend::{Backend as _, Durability, MemoryBackend};
    use etched_disk::{Disk as _, SimDisk};

    use super::*;

    #[test]
    fn the_buckets_stand_in_the_order_of_their_names() {
        let names = etcd_buckets().map(Table::name);
        assert!(names.is_sorted());
        assert_eq!((names[0], names[4], names[9]), ("alarm", "cluster", "meta"));
        assert!(imported().iter().map(|table| table.name()).is_sorted());
    }

    #[test]
    fn tables_become_buckets_and_tables_again() {
        let source = MemoryBackend::new();
        let mut batch = Batch::new();
        for at in 0..3000_u32 {
            batch.put(Table::Key, at.to_be_bytes().to_vec(), vec![7; at as usize % 300]);
        }
        batch.put(Table::Meta, "term", "1");
        batch.put(Table::Catalog, "derived", "and left out");
        batch.put(Table::V2, "n/1/a", "a node");
        source.commit(&batch, Durability::Buffered).unwrap();

        let view = source.view().unwrap();
        let layout = plan_tables(&view, PageSize::USUAL).unwrap();
        let file_bytes = layout.file_bytes();
        let mut bytes = Vec::new();
        encode_tables(&view, layout, 64 << 10, |chunk| {
            bytes.extend_from_slice(&chunk);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(bytes.len() as u64, file_bytes);

        let (disk, path) = (SimDisk::new(1), Path::new("/db"));
        disk.put_contents(path, &bytes);
        let file = BoltFile::open(disk.open_read_only(path).unwrap()).unwrap();
        let target = MemoryBackend::new();
        let mut batches = 0;
        for batch in Batches::new(&file, 10_000) {
            target.commit(&batch.unwrap(), Durability::Buffered).unwrap();
            batches += 1;
        }
        assert!(batches > 10);
        let view = target.view().unwrap();
        assert_eq!(view.count(Table::Key).unwrap(), 3000);
        assert_eq!(view.get(Table::Key, &299_u32.to_be_bytes()).unwrap().unwrap().len(), 299);
        assert_eq!(view.get(Table::Meta, b"term").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(view.count(Table::Catalog).unwrap(), 0);
        assert_eq!(view.get(Table::V2, b"n/1/a").unwrap().as_deref(), Some(&b"a node"[..]));
    }
}
