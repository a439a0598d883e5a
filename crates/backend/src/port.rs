//! The port: how the rest of the program sees a backend.

use alloc::string::String;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;

use crate::{Batch, Table};

/// One consistent state of all tables, which later commits do not change.
///
/// A view is cheap to take and costs space while it lives, since what it sees cannot be given back.
pub trait ReadView {
    /// The value of `key`, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// The record is damaged, or the storage failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError>;

    /// Visits the records within `range` in ascending order of their keys, until there are no more or `visit` breaks.
    ///
    /// A range that ends before it starts holds nothing.
    ///
    /// # Errors
    ///
    /// A record is damaged, or the storage failed; records before it were visited.
    #[expect(clippy::type_complexity, reason = "a closure over two slices says what it is")]
    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// How many records a table holds.
    ///
    /// Unless an implementation knows better, they are counted one by one.
    ///
    /// # Errors
    ///
    /// A record is damaged, or the storage failed.
    fn count(&self, table: Table) -> Result<u64, BackendError> {
        let mut count = 0;
        self.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}

/// Ordered tables that take whole batches.
pub trait Backend {
    /// What it is read through.
    type View: ReadView + Send + 'static;

    /// The state after the last commit.
    ///
    /// # Errors
    ///
    /// The storage failed, now or earlier.
    fn view(&self) -> Result<Self::View, BackendError>;

    /// Applies `batch` as one: views taken before see none of it, views taken after see all of it.
    ///
    /// An empty batch with [`Durability::Synced`] brings to the disk what was buffered.
    ///
    /// # Errors
    ///
    /// The storage failed, now or earlier; nothing of the batch is visible, and every later call fails as well.
    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), BackendError>;

    /// How much space is taken; cheap enough to ask after every commit.
    ///
    /// # Errors
    ///
    /// The storage failed, now or earlier.
    fn sizes(&self) -> Result<Sizes, BackendError>;
}

/// What a commit promises about a crash.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Visible to views, and lost by a crash unless a later commit is synced.
    Buffered,
    /// On the disk, with all commits before it, when the call returns.
    Synced,
}

/// The space a backend takes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the file, free space within it included.
    pub total_bytes: u64,
    /// Bytes of it that hold data of the current state, without tables that are [derived](Table::is_derived).
    pub in_use_bytes: u64,
}

/// Why a backend could not do what it was asked.
///
/// None of these can be tried again: the process has to end, since nobody knows any more what the disk holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A stored record is not what was written.
    #[error("a record of table {table} is damaged: {why} (key {key:?})")]
    Damaged {
        /// The table of the record.
        table: Table,
        /// Its key, as it was found.
        key: Bytes,
        /// What does not fit.
        why: &'static str,
    },
    /// The storage failed; the text is its own.
    #[error("the backend's storage failed: {0}")]
    Storage(String),
    /// The storage failed earlier; the text is that of the first failure.
    #[error("the backend stopped after an earlier failure: {0}")]
    Poisoned(String),
}

/// Whether no key can lie between the two bounds; ordered maps panic at some of these.
#[cfg(feature = "std")]
pub(crate) fn is_empty_range(range: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match range {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
