//! Writing: one transaction at a time, one main revision each.

use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{Batch, Table};
use etched_key_range::KeyRange;

use crate::catalog::{Numbers, Row};
use crate::codec::{LEN_MAX, Record, Revision32, SUB_MAX, StoredRevision, encode_deletion, encode_put};
use crate::entry::{Entry, KeyHistory, NONE};
use crate::store::Touch;
use crate::tree::Bounds;
use crate::{Revision, Store};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// What happened to it.
    pub kind: ChangeKind,
    /// When.
    pub revision: Revision,
    /// Canonical bytes of the key-value; of a deletion `KeyValue { key, mod_revision }`.
    pub record: Bytes,
    /// The lease that the key is attached to since; 0 is none.
    pub lease: i64,
    /// The lease that it was attached to before; 0 is none.
    /// Known to the transaction that made the change only: always 0 in a [`History`](crate::History).
    pub lease_before: i64,
    /// The put is of the revision that created the key.
    pub created: bool,
}

/// What happened to a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It got a value.
    Put,
    /// It was deleted.
    Delete,
}

/// A transaction that may write.
///
/// Writes take effect at once: reads through [`WriteTxn::store`] see them.
/// There is no way back, so all reasons to refuse come before the first write; a transaction that wrote must be
/// finished.
#[derive(Debug)]
#[must_use = "a transaction that wrote must be finished"]
pub struct WriteTxn<'a> {
    store: &'a mut Store,
    begin_revision: i64,
    changes: Vec<Change>,
    batch: Batch,
}

impl Store {
    /// Begins a transaction.
    ///
    /// # Panics
    ///
    /// The last one wrote and was not finished.
    pub fn begin(&mut self) -> WriteTxn<'_> {
        assert!(!self.is_writing, "the last transaction was finished");
        let begin_revision = self.revision;
        WriteTxn { store: self, begin_revision, changes: Vec::new(), batch: Batch::new() }
    }
}

impl WriteTxn<'_> {
    /// The revision before the transaction.
    #[must_use]
    pub fn begin_revision(&self) -> i64 {
        self.begin_revision
    }

    /// Whether it has changed anything so far; if so, its revision is one above that at its beginning.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The store with the writes of this transaction so far.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Sets a key.
    ///
    /// # Panics
    ///
    /// Key or value has 2^30 bytes or more.
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        assert!(key.len().max(value.len()) < LEN_MAX / 2, "far more than what a request may have");
        let at = self.next_revision();
        let store = &mut *self.store;
        let (cache, histories, touches) = (&mut store.cache, &mut store.histories, &mut store.touches);
        let (batch, catalog) = (&mut self.batch, &mut store.catalog);
        let change = store.tree.update(&key, |old| {
            let live = old.filter(|old| !old.is_deleted());
            let (create_revision, version) = live.map_or((at.main, 1), |old| (old.create, old.version + 1));
            let record =
                Record { key: &key, create_revision, mod_revision: at.main, version, value: &value, lease };
            let (revision_key, record) = encode_put(at, &record);
            batch.put(Table::Key, revision_key, record.clone());
            let mut entry = Entry::put(at, create_revision, version, lease, record.len());
            let numbers = Numbers { create: create_revision, version, lease, len: entry.record_len };
            catalog.push(&Row { revision: stored(at, false), key: &key, numbers });
            entry.slot = match live {
                Some(_) => cache.push_put(at, record.clone()),
                None => cache.push_creation(at, record.clone()),
            };
            if let Some(old) = old {
                let history = history_of(&old, &key, histories);
                histories.get_mut(history).push(old.into_past());
                entry.history = history;
                if !old.is_deleted() {
                    cache.replaced(old.slot, old.revision());
                    touches.push_back(Touch { main: at.main, history });
                }
            }
            let change = Change {
                key: record.slice_ref(Record::decode_key(&record)),
                kind: ChangeKind::Put,
                revision: at.into(),
                record,
                lease,
                lease_before: live.map_or(0, |old| old.lease),
                created: create_revision == at.main,
            };
            (Some(entry), change)
        });
        self.store.statistics.puts += 1;
        self.changes.push(change);
    }

    /// Deletes the live keys within `range`, in order, and returns how many there were.
    pub fn delete_range(&mut self, range: &KeyRange) -> i64 {
        if range.is_single() {
            return i64::from(self.delete(&range.start));
        }
        let bounds = Bounds::of(range);
        let live = self.store.tree.walk(bounds).filter(|(_, entry)| !entry.is_deleted());
        let keys: Vec<Vec<u8>> = live.map(|(key, _)| key.to_vec()).collect();
        for key in &keys {
            let is_deleted = self.delete(key);
            assert!(is_deleted, "the key was live");
        }
        i64::try_from(keys.len()).expect("memory ends long before")
    }

    /// Deletes a key and says whether it was live.
    fn delete(&mut self, key: &[u8]) -> bool {
        if self.store.current(key).is_none() {
            return false;
        }
        let at = self.next_revision();
        let store = &mut *self.store;
        let (cache, histories, touches) = (&mut store.cache, &mut store.histories, &mut store.touches);
        let (batch, catalog) = (&mut self.batch, &mut store.catalog);
        let change = store.tree.update(key, |old| {
            let old = old.expect("the key is live");
            let (revision_key, value, record) = encode_deletion(at, key);
            batch.put(Table::Key, revision_key, value);
            catalog.push(&Row { revision: stored(at, true), key, numbers: Numbers::default() });
            cache.push_deletion(at, record.clone());
            cache.replaced(old.slot, old.revision());
            let history = history_of(&old, key, histories);
            histories.get_mut(history).push(old.into_past());
            touches.push_back(Touch { main: at.main, history });
            let change = Change {
                key: record.slice_ref(Record::decode_key(&record)),
                kind: ChangeKind::Delete,
                revision: at.into(),
                record,
                lease: 0,
                lease_before: old.lease,
                created: false,
            };
            (Some(Entry::deletion(at, history)), change)
        });
        self.store.statistics.deletes += 1;
        self.changes.push(change);
        true
    }

    /// The revision of the next change, which makes it the current one.
    fn next_revision(&mut self) -> Revision32 {
        self.store.is_writing = true;
        self.store.revision = self.begin_revision + 1;
        let sub = u32::try_from(self.changes.len()).ok().filter(|sub| *sub <= SUB_MAX);
        Revision32 {
            main: self.store.revision,
            sub: sub.expect("memory ends long before two billion changes"),
        }
    }

    /// Adds what was written to `batch` and returns it as changes, in order.
    ///
    /// A transaction that changed nothing adds nothing and has no revision.
    pub fn finish(self, batch: &mut Batch) -> Vec<Change> {
        let Self { store, changes, batch: written, begin_revision: _ } = self;
        store.is_writing = false;
        batch.append(written);
        if !changes.is_empty() {
            store.statistics.txns += 1;
            store.count_keys();
            store.count_residents();
        }
        changes
    }
}

fn stored(at: Revision32, is_deletion: bool) -> StoredRevision {
    StoredRevision { main: at.main, sub: at.sub, is_deletion }
}

/// The history of the entry's key, made if there is none.
fn history_of(entry: &Entry, key: &[u8], histories: &mut crate::slab::Slab<KeyHistory>) -> u32 {
    if entry.history == NONE { histories.insert(KeyHistory::new(key)) } else { entry.history }
}
