//! The store: the index, the records in memory, and what is known about single keys.

use core::ops::ControlFlow;

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};
use etched_key_range::KeyRange;

use crate::cache::RecordCache;
use crate::catalog::Catalog;
use crate::codec::revision_key;
use crate::compaction::Compactions;
use crate::entry::{Entry, KeyHistory, NONE, Version};
use crate::queue::Queue;
use crate::slab::Slab;
use crate::tree::{Bounds, Tree};
use crate::{IndexSource, RangeError, Statistics};

/// A point in the history of the store: the transaction, and the change within it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Revision {
    /// Counts transactions that changed something; an empty store is at 1.
    pub main: i64,
    /// Counts changes within the transaction, from 0.
    pub sub: i64,
}

/// How a store is set up.
#[derive(Copy, Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of records that may stay in memory once the backend has them.
    pub value_cache_bytes: usize,
}

/// What is known about the newest version of a live key without reading its record.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Revision of the newest put.
    pub mod_revision: Revision,
    /// How many puts there were since the key was created.
    pub version: i64,
    /// The lease that the key is attached to; 0 is none.
    pub lease: i64,
    /// Length of the record, in bytes.
    pub record_len: usize,
}

/// Keys with history.
///
/// Calls come in this order: [`Store::new`] or [`Store::restore`] once; then any reads (`&self`), and writes by one
/// [`WriteTxn`](crate::WriteTxn) at a time; before a batch is committed, [`Store::write_catalog`]; after it,
/// [`Store::on_committed`].
///
/// A view that is handed to a read must hold everything up to the last `on_committed`; it may hold more, and it need
/// not hold what was written since, which is in memory.
#[derive(Debug)]
pub struct Store {
    pub(crate) tree: Tree,
    pub(crate) histories: Slab<KeyHistory>,
    pub(crate) cache: RecordCache,
    /// Everything that made an older version of a key droppable, in the order of revisions.
    pub(crate) touches: Queue<Touch>,
    pub(crate) compactions: Compactions,
    pub(crate) catalog: Catalog,
    pub(crate) index_source: IndexSource,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    pub(crate) statistics: Statistics,
    /// A transaction has written and is not finished.
    pub(crate) is_writing: bool,
}

/// A change that replaced a version of a key or deleted it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Touch {
    pub(crate) main: i64,
    pub(crate) history: u32,
}

impl Store {
    /// An empty store: revision 1, never compacted.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        Self {
            tree: Tree::new(),
            histories: Slab::new(),
            cache: RecordCache::new(options.value_cache_bytes, 1),
            touches: Queue::new(),
            compactions: Compactions::new(),
            catalog: Catalog::new(),
            index_source: IndexSource::Catalog,
            revision: 1,
            compact_revision: -1,
            statistics: Statistics::default(),
            is_writing: false,
        }
    }

    /// The current main revision; within a transaction, that of its changes as soon as there is one.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision of the last compaction; -1 if there was none.
    ///
    /// Reads below it are refused; at it they are not.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// What has been counted so far.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Bytes that index and history take, without what the allocator adds; walks over all of it.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let histories = self.histories.iter().map(|history| size_of::<KeyHistory>() + history.heap_bytes());
        self.tree.heap_bytes() + histories.sum::<usize>()
    }

    /// What is known about the newest version of a key, if it is live.
    #[must_use]
    pub fn current(&self, key: &[u8]) -> Option<KeyMeta> {
        self.tree.get(key).filter(|entry| !entry.is_deleted()).map(Entry::meta)
    }

    /// The newest record of a key, if it is live.
    ///
    /// # Errors
    ///
    /// The backend failed, or lacks the record.
    pub fn record(&self, view: &dyn ReadView, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        let Some(version) = self.tree.get(key).and_then(Entry::live) else { return Ok(None) };
        self.load(view, &version).map(Some)
    }

    /// The record that a key had at `revision` (current if not positive), if it was live.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future; the backend failed, or lacks the record.
    pub fn record_at(
        &self,
        view: &dyn ReadView,
        key: &[u8],
        revision: i64,
    ) -> Result<Option<Bytes>, RangeError> {
        let revision = self.resolve(revision)?;
        let Some(entry) = self.tree.get(key) else { return Ok(None) };
        let Some(version) = self.live_at(entry, revision) else { return Ok(None) };
        Ok(Some(self.load(view, &version)?))
    }

    /// Visits the live keys within `range` in order, until `visit` breaks.
    pub fn for_each_current(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(&[u8], &KeyMeta) -> ControlFlow<()>,
    ) {
        let mut name = alloc::vec::Vec::new();
        for (key, entry) in self.tree.walk(Bounds::of(range)) {
            if !entry.is_deleted() {
                key.copy_into(&mut name);
                if visit(&name, &entry.meta()).is_break() {
                    return;
                }
            }
        }
    }

    /// Adds to a batch, before it is committed, what its records change in the catalog.
    ///
    /// # Panics
    ///
    /// A transaction has written and is not finished.
    pub fn write_catalog(&mut self, batch: &mut Batch) {
        assert!(!self.is_writing, "the last transaction was finished");
        self.catalog.write(self.revision, batch);
        self.compactions.on_written(self.revision);
    }

    /// All records of main revisions up to `revision` are in the backend: they may leave memory.
    /// So is everything else that was in batches with them or before.
    pub fn on_committed(&mut self, revision: i64) {
        self.cache.on_committed(revision.min(self.revision));
        self.catalog.on_committed(revision);
        self.compactions.on_committed(revision);
        self.count_residents();
    }

    /// Checks a revision that a reader gave, and puts the current one in place of none.
    pub(crate) fn resolve(&self, revision: i64) -> Result<i64, RangeError> {
        let revision = self.resolve_pinned(revision)?;
        if revision < self.compact_revision {
            return Err(RangeError::Compacted);
        }
        Ok(revision)
    }

    /// As `resolve`, for a reader that keeps compactions away from its revision.
    pub(crate) fn resolve_pinned(&self, revision: i64) -> Result<i64, RangeError> {
        match revision {
            revision if revision > self.revision => Err(RangeError::FutureRevision),
            revision if revision <= 0 => Ok(self.revision),
            revision => Ok(revision),
        }
    }

    /// What a key was at a revision.
    pub(crate) fn live_at(&self, entry: &Entry, revision: i64) -> Option<Version> {
        if entry.main <= revision {
            entry.live()
        } else if entry.history == NONE {
            None
        } else {
            self.histories.get(entry.history).live_at(revision)
        }
    }

    /// A record from memory, or else from the backend.
    pub(crate) fn load(&self, view: &dyn ReadView, version: &Version) -> Result<Bytes, BackendError> {
        if let Some(record) = self.cache.get(version.slot, version.revision) {
            return Ok(record.clone());
        }
        let key = revision_key(version.revision.main, version.revision.sub);
        view.get(Table::Key, &key)?.ok_or_else(|| version.missing())
    }

    pub(crate) fn count_residents(&mut self) {
        self.statistics.resident_records = self.cache.len() as u64;
        self.statistics.resident_bytes = self.cache.bytes() as u64;
    }

    pub(crate) fn count_keys(&mut self) {
        let weight = self.tree.weight();
        self.statistics.keys = weight.keys;
        self.statistics.live_bytes = weight.bytes;
        self.statistics.indexed_keys = self.tree.len() as u64;
    }
}
