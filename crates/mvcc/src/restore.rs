//! The index from what is stored, in one pass.
//!
//! Revisions come in the order of revisions and the index wants them by key: names and numbers are gathered, sorted
//! if they have to be, and the tree is built from left to right.
//! No value stays in memory.

use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, ReadView, Table};

use crate::cache::RecordCache;
use crate::codec::{LEN_MAX, REVISION_MAX, Record, Revision32, StoredRevision, decode_meta_revision};
use crate::compaction::{FINISHED, SCHEDULED};
use crate::entry::{Entry, KeyHistory, NONE};
use crate::slab::Slab;
use crate::store::Touch;
use crate::tree::{TreeBuilder, shared_len};
use crate::{Store, StoreOptions};

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
    /// The backend failed.
    #[error("what is stored could not be read")]
    Backend(#[from] BackendError),
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
        let mut rows = Rows::default();
        let mut result = Ok(());
        view.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| match rows
            .push_stored(key, value)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                let key = Bytes::copy_from_slice(key);
                result = Err(RestoreError::Damaged { table: Table::Key, key, why });
                ControlFlow::Break(())
            }
        })?;
        result?;
        let finished = meta_revision(view, FINISHED)?;
        let scheduled = meta_revision(view, SCHEDULED)?;
        // Compacting at the newest revision may drop it, if it was a deletion: the revision does not fall back.
        let stored = [rows.last().map(|last| last.main), finished, scheduled];
        let mut store = Self::new(options);
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
                let (of_row, behind) = rest.split_at(row.key_len as usize);
                rest = behind;
                if version.is_some() && of_row == key {
                    version = Some(index.add(&key, version, row.entry()));
                    continue;
                }
                next_key.clear();
                next_key.extend_from_slice(of_row);
                core::mem::swap(&mut key, &mut next_key);
                if let Some(newest) = version {
                    index.close(&next_key, newest, on_key);
                }
                version = Some(index.add(&key, None, row.entry()));
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

/// Stored revisions without their values, in the order of revisions.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    /// All keys, one behind the other.
    keys: Vec<u8>,
    /// Whether keys have come in another order than their own.
    is_unsorted: bool,
}

/// A stored revision.
#[derive(Copy, Clone, Debug)]
struct Row {
    main: i64,
    sub: u32,
    is_deletion: bool,
    key_len: u32,
    key_start: usize,
    create: i64,
    version: i64,
    lease: i64,
    len: usize,
}

/// Where a row stands in the order of keys: the next bytes of its key, and its number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    head: u64,
    row: u32,
}

impl Rows {
    fn last(&self) -> Option<&Row> {
        self.rows.last()
    }

    fn row(&self, place: Place) -> &Row {
        &self.rows[place.row as usize]
    }

    fn key(&self, row: &Row) -> &[u8] {
        &self.keys[row.key_start..row.key_start + row.key_len as usize]
    }

    /// Takes what is stored under a revision, or says what is wrong with it.
    fn push_stored(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let revision = StoredRevision::decode(key)?;
        let record = Record::decode(value).map_err(|error| error.0)?;
        if value.len() >= LEN_MAX {
            return Err("the record is too long");
        }
        if !revision.is_deletion {
            // A snapshot whose revision was raised ends with an empty record that has no fields at all.
            if record.mod_revision != revision.main && !value.is_empty() {
                return Err("the record is of another revision");
            }
            if !(0..=revision.main).contains(&record.create_revision) {
                return Err("the revision of the creation is out of range");
            }
            if !(0..=REVISION_MAX).contains(&record.version) {
                return Err("the version is out of range");
            }
        }
        if self.last().is_some_and(|last| (last.main, last.sub) >= (revision.main, revision.sub)) {
            return Err("the revision is stored twice");
        }
        self.push(revision, &record, value.len())
    }

    fn push(
        &mut self,
        revision: StoredRevision,
        record: &Record<'_>,
        len: usize,
    ) -> Result<(), &'static str> {
        let StoredRevision { main, sub, is_deletion } = revision;
        let Ok(key_len) = u32::try_from(record.key.len()) else { return Err("the key is too long") };
        if self.rows.len() >= NONE as usize {
            return Err("there are more revisions than an index can hold");
        }
        self.is_unsorted = self.is_unsorted || self.last().is_some_and(|last| self.key(last) > record.key);
        let key_start = self.keys.len();
        self.keys.extend_from_slice(record.key);
        let Record { create_revision: create, version, lease, .. } = *record;
        self.rows.push(Row { main, sub, is_deletion, key_len, key_start, create, version, lease, len });
        Ok(())
    }

    /// All rows by key, and those of one key by revision.
    fn order(&self) -> Vec<Place> {
        let numbers = 0..u32::try_from(self.rows.len()).expect("checked at each push");
        let mut order: Vec<Place> = numbers.map(|row| Place { head: 0, row }).collect();
        if self.is_unsorted {
            self.sort(&mut order);
        }
        order
    }

    /// Sorts by seven bytes of the keys at a time, and again within groups that these do not tell apart.
    fn sort(&self, order: &mut [Place]) {
        let mut groups = alloc::vec![(0..order.len(), 0)];
        while let Some((group, depth)) = groups.pop() {
            let places = &mut order[group.clone()];
            let depth = depth + self.shared_beyond(places, depth);
            for place in &mut *places {
                place.head = head(&self.key(self.row(*place))[depth..]);
            }
            places.sort_unstable();
            let mut start = group.start;
            for equal in places.chunk_by(|a, b| a.head == b.head) {
                let end = start + equal.len();
                if equal.len() > 1 && goes_on(equal[0].head) {
                    groups.push((start..end, depth + HEAD_BYTES));
                }
                start = end;
            }
        }
    }

    /// How many bytes behind the first `depth` all these keys have in common.
    fn shared_beyond(&self, places: &[Place], depth: usize) -> usize {
        let Some((first, rest)) = places.split_first() else { return 0 };
        let first = &self.key(self.row(*first))[depth..];
        let mut shared = first.len();
        for place in rest {
            if shared == 0 {
                break;
            }
            shared = shared_len(&first[..shared], &self.key(self.row(*place))[depth..]);
        }
        shared
    }
}

impl Row {
    fn entry(&self) -> Entry {
        let at = Revision32 { main: self.main, sub: self.sub };
        if self.is_deletion {
            Entry::deletion(at, NONE)
        } else {
            Entry::put(at, self.create, self.version, self.lease, self.len)
        }
    }
}

/// Bytes of a key that a head holds.
const HEAD_BYTES: usize = 7;

/// The next seven bytes of a key, and in the last place how many there are, at most eight.
///
/// Of two keys that agree in these bytes the one that ends first is the smaller one.
fn head(rest: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = rest.len().min(HEAD_BYTES);
    head[..len].copy_from_slice(&rest[..len]);
    let count = rest.len().min(HEAD_BYTES + 1);
    head[HEAD_BYTES] = u8::try_from(count).expect("at most eight");
    u64::from_be_bytes(head)
}

/// Whether keys with this head go on behind it.
fn goes_on(head: u64) -> bool {
    head & 0xff == 8
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_sorted_by_key_and_then_by_revision(
            keys in prop::collection::vec(prop::collection::vec(prop::sample::select(b"a\0b".to_vec()), 0..24), 0..200),
            prefix in prop::sample::select(vec!["", "registry/pods/"]),
        ) {
            let mut rows = Rows::default();
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| [prefix.as_bytes(), &key[..]].concat()).collect();
            for (main, key) in (2..).zip(&keys) {
                let record = Record { key, mod_revision: main, ..Record::default() };
                rows.push(StoredRevision { main, sub: 0, is_deletion: false }, &record, 0).unwrap();
            }
            let mut expected: Vec<(&[u8], i64)> = keys.iter().map(|key| &key[..]).zip(2..).collect();
            expected.sort();
            let order = rows.order();
            let sorted: Vec<_> = order.iter().map(|place| rows.row(*place)).map(|row| (rows.key(row), row.main)).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
