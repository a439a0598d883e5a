//! The index from what is stored, in one pass.
//!
//! It is made from the catalog, which reads no value.
//! A store without one (an older program's, or one that was put together from etcd's tables) is scanned instead, and
//! gets its catalog with the next batch.
//!
//! A catalog is believed if it has as many rows as there are records, and if the first and the last of them are the
//! same: records and rows change in the same batches, each with a checksum, so nothing but a program that changed one
//! of the two tables alone can make them differ.
//!
//! Revisions come in the order of revisions and the index wants them by key: names and numbers are gathered, sorted
//! if they have to be, and the tree is built from left to right.
//! No value stays in memory.

mod rows;

use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, ReadView, Table};

use crate::cache::RecordCache;
use crate::catalog::Catalog;
use crate::codec::{StoredRevision, decode_meta_revision, revision_key};
use crate::compaction::{FINISHED, SCHEDULED};
use crate::entry::{Entry, KeyHistory, NONE};
use crate::slab::Slab;
use crate::store::Touch;
use crate::tree::TreeBuilder;
use crate::{Store, StoreOptions};
use rows::Rows;

/// Why a store could not be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// What is stored makes no sense.
    #[error("what is stored under {key:?} in table {table} is damaged: {why}")]
    Damaged {
        /// The table of the record.
        table: Table,
        /// Its key.
        key: Bytes,
        /// What does not fit.
        why: &'static str,
    },
    /// The catalog is not that of the records.
    #[error("the catalog does not fit the stored revisions: {why}")]
    Catalog {
        /// What does not fit.
        why: &'static str,
    },
    /// The backend failed.
    #[error("what is stored could not be read")]
    Backend(#[from] BackendError),
}

/// What the index of a restored store was made from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum IndexSource {
    /// The catalog; or there was nothing to read.
    Catalog,
    /// All records, since there was no catalog. The next batch brings one.
    Records,
}

impl Store {
    /// The store that a backend holds; `on_key` gets every live key that is attached to a lease, and its lease.
    ///
    /// A compaction that was not finished is pending again; its revision counts as compacted.
    /// An empty view makes an empty store.
    ///
    /// # Errors
    ///
    /// The backend failed, or what it holds is damaged.
    pub fn restore(
        view: &dyn ReadView,
        options: StoreOptions,
        on_key: &mut dyn FnMut(&Bytes, i64),
    ) -> Result<Self, RestoreError> {
        let Stored { rows, catalog, source } = Stored::read(view)?;
        let finished = meta_revision(view, FINISHED)?;
        let scheduled = meta_revision(view, SCHEDULED)?;
        // Compacting at the newest revision may drop it, if it was a deletion: the revision does not fall back.
        let stored = [rows.last().map(|last| last.main), finished, scheduled];
        let mut store = Self::new(options);
        store.catalog = catalog;
        store.index_source = source;
        store.revision = stored.into_iter().flatten().fold(1, i64::max);
        store.cache = RecordCache::new(options.value_cache_bytes, store.revision);
        store.compact_revision = finished.unwrap_or(-1);
        if let Some(scheduled) = scheduled.filter(|scheduled| *scheduled > store.compact_revision) {
            store.compactions.push(scheduled, store.compact_revision, true);
            store.compact_revision = scheduled;
        }
        store.build_index(&rows, on_key);
        store.count_keys();
        Ok(store)
    }

    /// What the index was made from when the store was restored.
    #[must_use]
    pub fn index_source(&self) -> IndexSource {
        self.index_source
    }

    fn build_index(&mut self, rows: &Rows, on_key: &mut dyn FnMut(&Bytes, i64)) {
        let mut index =
            Index { histories: &mut self.histories, touches: Vec::new(), builder: TreeBuilder::default() };
        let mut version = None;
        let (mut key, mut next_key) = (Vec::new(), Vec::new());
        let (mut gathered, mut gathered_keys) = (Vec::new(), Vec::new());
        for places in rows.order().chunks(GATHERED) {
            // The rows of neighbours are all over memory: copied in one go, one access does not wait for the other.
            gathered.clear();
            gathered.extend(places.iter().map(|place| *rows.row(*place)));
            gathered_keys.clear();
            gathered.iter().for_each(|row| gathered_keys.extend_from_slice(rows.key(row)));
            let mut rest = &gathered_keys[..];
            for row in &gathered {
                let (of_row, behind) = rest.split_at(row.key_len());
                rest = behind;
                if version.is_some() && of_row == key {
                    version = Some(index.add(&key, version, row.entry));
                    continue;
                }
                next_key.clear();
                next_key.extend_from_slice(of_row);
                core::mem::swap(&mut key, &mut next_key);
                if let Some(newest) = version {
                    index.close(&next_key, newest, on_key);
                }
                version = Some(index.add(&key, None, row.entry));
            }
        }
        if let Some(newest) = version {
            index.close(&key, newest, on_key);
        }
        let Index { histories: _, mut touches, builder } = index;
        self.tree = builder.finish();
        touches.sort_by_key(|touch| touch.main);
        touches.into_iter().for_each(|touch| self.touches.push_back(touch));
    }
}

/// What the tables hold of the key space.
struct Stored {
    rows: Rows,
    catalog: Catalog,
    source: IndexSource,
}

impl Stored {
    fn read(view: &dyn ReadView) -> Result<Self, RestoreError> {
        let count = view.count(Table::Key)?;
        let mut rows = Rows::default();
        rows.reserve(count).map_err(|why| RestoreError::Catalog { why })?;
        if count > 0 && view.count(Table::Catalog)? == 0 {
            return Self::scan(view, rows);
        }
        let catalog = Catalog::restore(view, &mut |row, is_first| rows.push_packed(row, is_first))?;
        if rows.len() as u64 != count {
            return Err(RestoreError::Catalog { why: "it has more rows or fewer" });
        }
        check_ends(view, &rows)?;
        Ok(Self { rows, catalog, source: IndexSource::Catalog })
    }

    /// Reads all records and makes their catalog.
    fn scan(view: &dyn ReadView, mut rows: Rows) -> Result<Self, RestoreError> {
        let mut result = Ok(());
        view.scan(Table::Key, ALL, &mut |key, value| match rows.push_stored(key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                let key = Bytes::copy_from_slice(key);
                result = Err(RestoreError::Damaged { table: Table::Key, key, why });
                ControlFlow::Break(())
            }
        })?;
        result?;
        let mut catalog = Catalog::new();
        rows.iter().for_each(|row| catalog.push(&row));
        Ok(Self { rows, catalog, source: IndexSource::Records })
    }
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

/// Checks that the first and the last row are those of the first and the last record.
fn check_ends(view: &dyn ReadView, rows: &Rows) -> Result<(), RestoreError> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    let last_key = revision_key(last.main, last.sub);
    let ends = [
        (first, first_revision(view, ALL)?),
        (last, first_revision(view, (Bound::Included(&last_key), Bound::Unbounded))?),
    ];
    if ends.into_iter().any(|(row, record)| record != Some(row)) {
        return Err(RestoreError::Catalog { why: "it begins or ends with another revision" });
    }
    Ok(())
}

/// The first stored revision within a range, if it can be read.
fn first_revision(
    view: &dyn ReadView,
    range: (Bound<&[u8]>, Bound<&[u8]>),
) -> Result<Option<StoredRevision>, BackendError> {
    let mut first = None;
    view.scan(Table::Key, range, &mut |key, _| {
        first = StoredRevision::decode(key).ok();
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// So many rows are copied at once; with their keys they stay in the cache of the processor.
const GATHERED: usize = 1024;

/// An index that is being built.
struct Index<'a> {
    histories: &'a mut Slab<KeyHistory>,
    touches: Vec<Touch>,
    builder: TreeBuilder,
}

impl Index<'_> {
    /// Adds a version of a key behind the one before it, and returns it as the newest.
    fn add(&mut self, key: &[u8], before: Option<Entry>, mut entry: Entry) -> Entry {
        entry.history = before.map_or(NONE, |before| before.history);
        let makes_droppable = entry.is_deleted() || before.is_some_and(|before| !before.is_deleted());
        if makes_droppable {
            if entry.history == NONE {
                entry.history = self.histories.insert(KeyHistory::new(key));
            }
            self.touches.push(Touch { main: entry.main, history: entry.history });
        }
        if let Some(before) = before {
            self.histories.get_mut(entry.history).push(before.into_past());
        }
        entry
    }

    /// Puts a key with all its versions into the tree.
    fn close(&mut self, key: &[u8], newest: Entry, on_key: &mut dyn FnMut(&Bytes, i64)) {
        if !newest.is_deleted() && newest.lease != 0 {
            on_key(&Bytes::copy_from_slice(key), newest.lease);
        }
        self.builder.push(key, newest);
    }
}

fn meta_revision(view: &dyn ReadView, key: &'static str) -> Result<Option<i64>, RestoreError> {
    let Some(stored) = view.get(Table::Meta, key.as_bytes())? else { return Ok(None) };
    match decode_meta_revision(&stored) {
        Ok(revision) => Ok(Some(revision)),
        Err(why) => {
            Err(RestoreError::Damaged { table: Table::Meta, key: Bytes::from_static(key.as_bytes()), why })
        }
    }
}
