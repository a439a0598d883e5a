//! Reading the keys of a range: what may be asked.

use etched_mvcc::{RangeQuery, SortOrder, SortTarget, Store};

use super::Range;
use crate::refusal::Refusal;

impl Range {
    /// A linearizable range.
    pub fn new(query: RangeQuery) -> Self {
        Self { query, serializable: false, unknown_sort: None }
    }

    /// Refuses a malformed request.
    ///
    /// # Errors
    ///
    /// [`Refusal::EmptyKey`] or [`Refusal::InvalidSortOption`].
    pub fn check(&self) -> Result<(), Refusal> {
        if self.query.range.start.is_empty() {
            Err(Refusal::EmptyKey)
        } else if self.unknown_sort.is_some() {
            Err(Refusal::InvalidSortOption)
        } else {
            Ok(())
        }
    }

    /// Refuses what cannot be streamed in pieces: a malformed request, another order than that of the keys, filters.
    /// A target without an order passes; the stream is then in key order all the same.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), [`Refusal::StreamSortUnsupported`] or [`Refusal::StreamFilterUnsupported`].
    pub fn check_stream(&self) -> Result<(), Refusal> {
        self.check()?;
        let query = &self.query;
        let in_key_order = match (query.order, query.target) {
            (SortOrder::None, _) | (SortOrder::Ascend, SortTarget::Key) => true,
            (SortOrder::Ascend | SortOrder::Descend, _) => false,
        };
        let bounds = [
            query.mod_revision_min,
            query.mod_revision_max,
            query.create_revision_min,
            query.create_revision_max,
        ];
        if !in_key_order {
            Err(Refusal::StreamSortUnsupported)
        } else if bounds.iter().any(|bound| *bound != 0) {
            Err(Refusal::StreamFilterUnsupported)
        } else {
            Ok(())
        }
    }

    /// Whether a range inside a transaction can be read, before the transaction's first change.
    pub(super) fn admit(&self, store: &Store) -> Result<(), Refusal> {
        let revision = self.query.revision;
        if self.unknown_sort.is_some() {
            Err(Refusal::InvalidSortOption)
        } else if revision > store.revision() {
            Err(Refusal::FutureRevision)
        } else if revision != 0 && revision < store.compact_revision() {
            // Negative ones too are compared, though they would mean the current revision.
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }
}
