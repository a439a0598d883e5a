//! The catalog: what the index knows of each stored revision, stored in blocks, so that a restart reads no value.
//!
//! ```text
//! revisions  2 ─────────── 350 ─────────── 702 ──────── 1040 ──►
//! blocks     [ start 2    ] [ start 350   ] [ start 702 ] [ open
//! ```
//!
//! Rows stand in the order of revisions, about as many in a block as fit into a page of the backend.
//! New rows go into the open block, which each batch writes again as far as it has come; a block that is full is
//! closed.
//! Compaction takes rows out of closed blocks in the slices in which it deletes records, so that a batch which is
//! committed always leaves exactly one row for each record.
//! A block without rows goes, and one that has become small is joined with a neighbour.
//!
//! In memory is where each block begins and how long it is, and of those blocks that the backend may not have yet
//! what is in them.

mod codec;
mod maker;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use codec::{BlockReader, BlockWriter, decode_start, encode_start};
pub(crate) use codec::{Numbers, PackedRow, Row};
pub use maker::{CatalogMaker, record_lengths};

use crate::RestoreError;
use crate::codec::{Revision32, StoredRevision};

/// Longest block of more than one row; with its key and checksum it fits into a page of 4 KiB.
const BLOCK_BYTES: usize = if cfg!(test) { 200 } else { 4000 };

/// Neighbours that come to no more than this are joined.
const JOINED_BYTES: usize = BLOCK_BYTES * 3 / 4;

/// Where blocks are, and what the backend does not have of them.
pub(crate) struct Catalog {
    /// Length of each closed block, by where it begins: no row of an earlier block is there or above.
    closed: BTreeMap<Revision32, u32>,
    /// Closed blocks that the view of a reader may not have as they are.
    unsettled: BTreeMap<Revision32, Unsettled>,
    open: BlockWriter,
    /// Whether the open block has changed since it was written.
    is_open_changed: bool,
    /// Where blocks began that are to be deleted.
    gone: BTreeSet<Revision32>,
}

struct Unsettled {
    block: Bytes,
    /// The revision up to which a commit has to come that holds the block; none if no batch has it.
    written: Option<i64>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            closed: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            open: BlockWriter::new(Revision32 { main: 0, sub: 0 }),
            is_open_changed: false,
            gone: BTreeSet::new(),
        }
    }

    /// Reads the whole catalog; `visit` gets the rows of a block before those of the next.
    ///
    /// # Errors
    ///
    /// The backend failed, or a block makes no sense.
    pub(crate) fn restore(
        view: &dyn ReadView,
        visit: &mut dyn FnMut(PackedRow<'_>, IsFirst) -> Result<(), &'static str>,
    ) -> Result<Self, RestoreError> {
        let mut catalog = Self::new();
        let mut last: Option<(Revision32, Bytes)> = None;
        let mut behind = None;
        let mut result = Ok(());
        view.scan(Table::Catalog, (Bound::Unbounded, Bound::Unbounded), &mut |key, block| match read_block(
            key,
            block,
            &mut behind,
            visit,
        ) {
            Ok(start) => {
                catalog.closed.insert(start, length(block));
                last = Some((start, Bytes::copy_from_slice(block)));
                ControlFlow::Continue(())
            }
            Err(why) => {
                let key = Bytes::copy_from_slice(key);
                result = Err(RestoreError::Damaged { table: Table::Catalog, key, why });
                ControlFlow::Break(())
            }
        })?;
        result?;
        if let Some((start, block)) = last {
            catalog.closed.remove(&start);
            catalog.open = BlockWriter::resume(start, &block).expect("it was read a moment ago");
        }
        Ok(catalog)
    }

    /// Adds the row of a new revision, which is above all others.
    pub(crate) fn push(&mut self, row: &Row<'_>) {
        let StoredRevision { main, sub, is_deletion: _ } = row.revision;
        if self.open.rows == 0 || self.open.is_full_for(row.key, BLOCK_BYTES) {
            let full = core::mem::replace(&mut self.open, BlockWriter::new(Revision32 { main, sub }));
            if full.rows > 0 {
                self.put(full);
            }
            self.open.bytes.reserve_exact(BLOCK_BYTES);
        }
        self.open.push(row);
        self.is_open_changed = true;
    }

    /// Adds to the batch what has changed since the last call; the store is at `revision`.
    pub(crate) fn write(&mut self, revision: i64, batch: &mut Batch) {
        for start in core::mem::take(&mut self.gone) {
            batch.delete(Table::Catalog, encode_start(start).to_vec());
        }
        for (start, unsettled) in &mut self.unsettled {
            if unsettled.written.is_none() {
                batch.put(Table::Catalog, encode_start(*start).to_vec(), unsettled.block.clone());
                unsettled.written = Some(revision);
            }
        }
        if self.is_open_changed {
            if self.open.rows > 0 {
                let block = Bytes::copy_from_slice(&self.open.bytes);
                batch.put(Table::Catalog, encode_start(self.open.start).to_vec(), block);
            }
            self.is_open_changed = false;
        }
    }

    /// All batches that were written at or below `revision` are in the views from here on.
    pub(crate) fn on_committed(&mut self, revision: i64) {
        self.unsettled.retain(|_, unsettled| unsettled.written.is_none_or(|written| written > revision));
    }

    /// Takes out the rows of these revisions, which rise.
    ///
    /// # Errors
    ///
    /// The backend failed, or what it holds does not fit what was written.
    pub(crate) fn remove(
        &mut self,
        view: &dyn ReadView,
        revisions: &[StoredRevision],
    ) -> Result<(), BackendError> {
        let mut rest = revisions;
        while let Some(first) = rest.first() {
            let start = self.block_of(first);
            let next = self.start_behind(start);
            let is_here = |revision: &StoredRevision| next.is_none_or(|next| place(revision) < next);
            let (here, behind) = rest.split_at(rest.iter().take_while(|revision| is_here(revision)).count());
            self.remove_from_block(view, start, here)?;
            rest = behind;
        }
        Ok(())
    }

    /// Where the block begins that has the row of a revision.
    pub(crate) fn block_of(&self, revision: &StoredRevision) -> Revision32 {
        if self.open.rows > 0 && place(revision) >= self.open.start {
            return self.open.start;
        }
        let block = self.closed.range(..=place(revision)).next_back();
        block.map_or(self.open.start, |(start, _)| *start)
    }

    /// Where the block behind this one begins.
    fn start_behind(&self, start: Revision32) -> Option<Revision32> {
        let closed = self.closed.range((Bound::Excluded(start), Bound::Unbounded)).next();
        let open = Some(self.open.start).filter(|open| self.open.rows > 0 && *open > start);
        closed.map(|(start, _)| *start).or(open)
    }

    fn remove_from_block(
        &mut self,
        view: &dyn ReadView,
        start: Revision32,
        revisions: &[StoredRevision],
    ) -> Result<(), BackendError> {
        let mut left = BlockWriter::new(start);
        if start == self.open.start {
            left.bytes.reserve_exact(BLOCK_BYTES);
            copy_rows(start, &self.open.bytes, revisions, &mut left)?;
            self.open = left;
            self.is_open_changed = true;
            if self.open.rows == 0 {
                self.gone.insert(start);
            }
            return Ok(());
        }
        copy_rows(start, &self.block(view, start)?, revisions, &mut left)?;
        let is_empty = left.rows == 0;
        self.put(left);
        if is_empty {
            return Ok(());
        }
        let before = self.closed.range(..start).next_back().map(|(start, _)| *start);
        let start = match before {
            Some(before) if self.join(view, before, start)? => before,
            Some(_) | None => start,
        };
        let behind = self.closed.range((Bound::Excluded(start), Bound::Unbounded)).next();
        if let Some(behind) = behind.map(|(start, _)| *start) {
            self.join(view, start, behind)?;
        }
        Ok(())
    }

    /// Makes one of two closed neighbours if they are small enough, and says whether they were.
    fn join(
        &mut self,
        view: &dyn ReadView,
        left: Revision32,
        right: Revision32,
    ) -> Result<bool, BackendError> {
        let len = |start| self.closed.get(start).map_or(0, |len| *len as usize);
        if len(&left) + len(&right) > JOINED_BYTES {
            return Ok(false);
        }
        let mut joined = BlockWriter::new(left);
        for start in [left, right] {
            copy_rows(start, &self.block(view, start)?, &[], &mut joined)?;
        }
        self.put(joined);
        self.put(BlockWriter::new(right));
        Ok(true)
    }

    /// What is in a closed block.
    fn block(&self, view: &dyn ReadView, start: Revision32) -> Result<Bytes, BackendError> {
        if let Some(unsettled) = self.unsettled.get(&start) {
            return Ok(unsettled.block.clone());
        }
        let block = view.get(Table::Catalog, &encode_start(start))?;
        block.ok_or_else(|| damaged(start, "a block is not stored"))
    }

    /// Puts a block in the place of the one that began where it does; without rows it is none.
    fn put(&mut self, block: BlockWriter) {
        let BlockWriter { start, bytes, rows, .. } = block;
        if rows == 0 {
            self.closed.remove(&start);
            self.unsettled.remove(&start);
            self.gone.insert(start);
            return;
        }
        self.closed.insert(start, length(&bytes));
        self.gone.remove(&start);
        self.unsettled.insert(start, Unsettled { block: bytes.into(), written: None });
    }
}

/// Whether a row is the first of its block, before which there is no key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum IsFirst {
    Yes,
    No,
}

/// Reads a stored block whose rows must all be at `behind` or above, and moves that behind its last row.
fn read_block(
    key: &[u8],
    block: &[u8],
    behind: &mut Option<Revision32>,
    visit: &mut dyn FnMut(PackedRow<'_>, IsFirst) -> Result<(), &'static str>,
) -> Result<Revision32, &'static str> {
    let start = decode_start(key)?;
    if behind.is_some_and(|behind| start < behind) {
        return Err("a block begins before the one in front of it ends");
    }
    let mut reader = BlockReader::new(start, block);
    let mut is_first = IsFirst::Yes;
    while let Some(row) = reader.next()? {
        let StoredRevision { main, sub, is_deletion: _ } = row.revision;
        visit(row, is_first)?;
        is_first = IsFirst::No;
        *behind = Some(Revision32 { main, sub: sub + 1 });
    }
    if is_first == IsFirst::Yes { Err("a block has no rows") } else { Ok(start) }
}

/// Copies the rows of a block except those of the given revisions, which must all be there.
fn copy_rows(
    start: Revision32,
    block: &[u8],
    except: &[StoredRevision],
    to: &mut BlockWriter,
) -> Result<(), BackendError> {
    let mut reader = BlockReader::new(start, block);
    let mut except = except.iter().peekable();
    let mut key = alloc::vec::Vec::new();
    while let Some(PackedRow { revision, shared, suffix, numbers }) =
        reader.next().map_err(|why| damaged(start, why))?
    {
        key.truncate(shared);
        key.extend_from_slice(suffix);
        if except.next_if_eq(&&revision).is_none() {
            to.push(&Row { revision, key: &key, numbers });
        }
    }
    match except.next() {
        None => Ok(()),
        Some(_) => Err(damaged(start, "a revision that is stored has no row")),
    }
}

fn place(revision: &StoredRevision) -> Revision32 {
    Revision32 { main: revision.main, sub: revision.sub }
}

fn length(block: &[u8]) -> u32 {
    u32::try_from(block.len()).expect("a block is little longer than a key, and keys are below LEN_MAX")
}

fn damaged(start: Revision32, why: &'static str) -> BackendError {
    BackendError::Damaged { table: Table::Catalog, key: encode_start(start).to_vec().into(), why }
}

impl fmt::Debug for Catalog {
    /// Says nothing of the blocks: two stores that differ in them alone look the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}
