//! What happened: the changes from one revision to another, for watchers that are behind.

use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, ReadView, Table};

use crate::codec::{Record, Revision32, StoredRevision, deletion_record, revision_key};
use crate::{Change, ChangeKind, RangeError, Store};

/// A stretch of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The changes that passed the filter, in order; whole revisions only.
    pub changes: Vec<Change>,
    /// The first revision that is not covered.
    pub next: i64,
}

/// For each revision that the answer may have, so many changes are looked at.
///
/// A filter that lets nothing pass would else make one call as long as history is.
const LOOKED_AT_PER_REVISION: usize = 64;

impl Store {
    /// The changes of revisions `from..=to` whose keys pass `filter`, as far as they fit.
    ///
    /// The answer ends early, at the end of a revision, as soon as it has changes of `revisions_max` revisions,
    /// or records of `bytes_max` bytes, or when very many changes were looked at; [`History::next`] says where to go
    /// on, and is `to + 1` when nothing is left.
    /// At least one revision is covered, unless there is none.
    /// A `to` above the current revision is taken for the current one.
    ///
    /// Recent changes come from memory, older ones from the backend.
    ///
    /// # Errors
    ///
    /// `from` is compacted; the backend failed, or a record is damaged.
    pub fn history(
        &self,
        view: &dyn ReadView,
        from: i64,
        to: i64,
        filter: &mut dyn FnMut(&[u8]) -> bool,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Result<History, RangeError> {
        if from < self.compact_revision {
            return Err(RangeError::Compacted);
        }
        let (from, to) = (from.max(0), to.min(self.revision));
        let mut collector = Collector {
            history: History { changes: Vec::new(), next: from },
            filter,
            revisions_left: revisions_max.max(1),
            bytes_left: bytes_max.max(1),
            looks_left: revisions_max.saturating_mul(LOOKED_AT_PER_REVISION).max(1),
        };
        let stored_to = to.min(self.cache.recent_above());
        let mut flow = ControlFlow::Continue(());
        if from <= stored_to {
            flow = collector.collect_stored(view, from, stored_to)?;
        }
        if flow.is_continue() && stored_to < to {
            flow = collector.collect_recent(self, from.max(stored_to + 1), to)?;
        }
        let mut history = collector.history;
        if flow.is_continue() {
            history.next = history.next.max(to.saturating_add(1));
        }
        Ok(history)
    }
}

/// Gathers changes until there are enough.
struct Collector<'a> {
    /// `next` is the revision of the change that was looked at last.
    history: History,
    filter: &'a mut dyn FnMut(&[u8]) -> bool,
    revisions_left: usize,
    bytes_left: usize,
    looks_left: usize,
}

impl Collector<'_> {
    fn collect_stored(
        &mut self,
        view: &dyn ReadView,
        from: i64,
        to: i64,
    ) -> Result<ControlFlow<()>, BackendError> {
        let (first, end) = (revision_key(from, 0), revision_key(to + 1, 0));
        let mut result = Ok(ControlFlow::Continue(()));
        view.scan(Table::Key, (Bound::Included(&first), Bound::Excluded(&end)), &mut |key, value| {
            result = self.take_stored(key, value);
            match result {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        result
    }

    fn take_stored(&mut self, key: &[u8], value: &[u8]) -> Result<ControlFlow<()>, BackendError> {
        let damaged =
            |why| BackendError::Damaged { table: Table::Key, key: Bytes::copy_from_slice(key), why };
        let stored = StoredRevision::decode(key).map_err(damaged)?;
        if self.has_enough(stored.main) {
            return Ok(ControlFlow::Break(()));
        }
        let record = Record::decode(value).map_err(|error| damaged(error.0))?;
        if (self.filter)(record.key) {
            let bytes = if stored.is_deletion {
                deletion_record(stored.main, record.key)
            } else {
                Bytes::copy_from_slice(value)
            };
            let revision = Revision32 { main: stored.main, sub: stored.sub };
            self.push(revision, stored.is_deletion, bytes).map_err(damaged)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn collect_recent(&mut self, store: &Store, from: i64, to: i64) -> Result<ControlFlow<()>, BackendError> {
        for change in store.cache.changes_above(from - 1) {
            if change.revision.main > to {
                break;
            }
            if self.has_enough(change.revision.main) {
                return Ok(ControlFlow::Break(()));
            }
            // What a compaction has dropped is not stored any more either.
            let Some(record) = change.record else { continue };
            if (self.filter)(Record::decode_key(record)) {
                self.push(change.revision, change.is_deletion, record.clone())
                    .expect("records in memory were encoded here");
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Called with the revision of each change: whether the answer ends in front of it.
    fn has_enough(&mut self, main: i64) -> bool {
        let is_full = self.revisions_left == 0 || self.bytes_left == 0 || self.looks_left == 0;
        if main > self.history.next && is_full {
            self.history.next = main;
            return true;
        }
        self.history.next = main;
        self.looks_left = self.looks_left.saturating_sub(1);
        false
    }

    fn push(&mut self, revision: Revision32, is_deletion: bool, record: Bytes) -> Result<(), &'static str> {
        let fields = Record::decode(&record).map_err(|error| error.0)?;
        let changes = &mut self.history.changes;
        if changes.last().is_none_or(|last| last.revision.main < revision.main) {
            self.revisions_left = self.revisions_left.saturating_sub(1);
        }
        self.bytes_left = self.bytes_left.saturating_sub(record.len());
        changes.push(Change {
            key: record.slice_ref(fields.key),
            kind: if is_deletion { ChangeKind::Delete } else { ChangeKind::Put },
            revision: revision.into(),
            lease: fields.lease,
            lease_before: 0,
            created: !is_deletion && fields.create_revision == revision.main,
            record,
        });
        Ok(())
    }
}
