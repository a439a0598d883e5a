//! A store, its backend, and the model, side by side.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{Backend, BackendError, Batch, Durability, ReadView, Table};
use etched_key_range::KeyRange;
use etched_model::kv::{Kv, Write};
use etched_mvcc::{
    Change, ChangeKind, CompactionProgress, HashKv, HashPlan, IndexSource, RangeError, Store, StoreOptions,
};

/// A view of a backend in which nobody has written a catalog.
pub(crate) struct WithoutCatalog<V>(pub(crate) V);

impl<V: ReadView> ReadView for WithoutCatalog<V> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        if table == Table::Catalog { Ok(None) } else { self.0.get(table, key) }
    }

    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        if table == Table::Catalog { Ok(()) } else { self.0.scan(table, range, visit) }
    }
}

/// All that a store knows, apart from where its index came from and how its catalog is cut into blocks.
pub(crate) fn portrait(store: &Store) -> String {
    let plans = (store.compact_revision().max(0)..=store.revision()).map(|at| store.hash_plan(at));
    format!("{store:?} {:?}", plans.collect::<Vec<_>>())
        .replace("index_source: Records", "index_source: Catalog")
}

/// Both of them, and what is on its way to the backend.
pub(crate) struct World<B> {
    pub(crate) store: Store,
    pub(crate) model: Kv,
    pub(crate) backend: B,
    pub(crate) batch: Batch,
    options: StoreOptions,
}

impl<B: Backend> World<B> {
    pub(crate) fn new(backend: B, value_cache_bytes: usize) -> Self {
        let options = StoreOptions { value_cache_bytes };
        Self { store: Store::new(options), model: Kv::new(), backend, batch: Batch::new(), options }
    }

    pub(crate) fn view(&self) -> B::View {
        self.backend.view().unwrap()
    }

    /// Executes the writes on both sides and compares the changes.
    pub(crate) fn txn(&mut self, writes: &[Write]) {
        let expected: Vec<_> = self.model.txn(writes);
        let mut txn = self.store.begin();
        let begin = txn.begin_revision();
        for write in writes {
            match write {
                Write::Put { key, value, lease } => txn.put(key.clone().into(), value.clone().into(), *lease),
                Write::Delete { key, range_end } => {
                    txn.delete_range(&range(key, range_end));
                }
            }
            assert_eq!(txn.store().revision(), begin + i64::from(txn.changed()));
        }
        let changes = txn.finish(&mut self.batch);
        assert_eq!(changes.len(), expected.len());
        for (change, event) in changes.iter().zip(&expected) {
            compare_change(change, event);
            assert_eq!(change.lease_before, event.before.as_ref().map_or(0, |before| before.lease));
        }
        assert_eq!(self.store.revision(), self.model.revision());
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.txn(&[Write::put(key, value, 0)]);
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) {
        self.txn(&[Write::delete(key, range_end)]);
    }

    /// Brings everything to the backend.
    pub(crate) fn commit(&mut self) {
        self.store.write_catalog(&mut self.batch);
        self.backend.commit(&self.batch, Durability::Buffered).unwrap();
        self.batch = Batch::new();
        self.store.on_committed(self.store.revision());
    }

    /// One step of the first pending compaction; says whether it was the last.
    pub(crate) fn step(&mut self, keys_max: usize) -> bool {
        self.commit();
        self.step_at(&self.view(), keys_max)
    }

    /// The same on a view that may be older than the last steps.
    pub(crate) fn step_at(&mut self, view: &B::View, keys_max: usize) -> bool {
        let Some(pending) = self.store.compaction_pending() else { return true };
        assert_eq!(self.model.compaction_pending(), Some(pending));
        match self.store.compaction_step(view, keys_max, &mut self.batch).unwrap() {
            CompactionProgress::More => false,
            CompactionProgress::Finished { revision, .. } => {
                assert_eq!(revision, pending);
                self.model.finish_compaction();
                true
            }
        }
    }

    pub(crate) fn compact(&mut self, revision: i64) -> bool {
        let expected = self.model.compact(revision);
        let result = self.store.compact(revision, &mut self.batch);
        assert_eq!(result.is_ok(), expected.is_ok());
        assert_eq!(self.store.compact_revision(), self.model.compact_revision());
        result.is_ok()
    }

    pub(crate) fn finish_compactions(&mut self) {
        while self.store.compaction_pending().is_some() {
            self.step(7);
        }
        self.commit();
    }

    /// Ends the process after a commit and begins anew from the backend.
    pub(crate) fn restart(&mut self) {
        self.commit();
        let mut leased = Vec::new();
        let mut on_key = |key: &Bytes, lease| leased.push((key.to_vec(), lease));
        self.store = Store::restore(&self.view(), self.options, &mut on_key).unwrap();
        assert_eq!(self.store.index_source(), IndexSource::Catalog);
        self.compare_with_scan(&leased);
        self.model.restart();
        assert_eq!(self.store.revision(), self.model.revision());
        assert_eq!(self.store.compact_revision(), self.model.compact_revision());
        assert_eq!(self.store.compaction_pending(), self.model.compaction_pending());
        let state = self.model.state_at(i64::MAX);
        let expected = state.values().filter(|record| record.lease != 0);
        let expected: Vec<_> = expected.map(|record| (record.key.clone(), record.lease)).collect();
        assert_eq!(leased, expected);
    }

    /// Restores from the records, and compares with what was restored from the catalog.
    fn compare_with_scan(&self, leased: &[(Vec<u8>, i64)]) {
        let mut leased_too = Vec::new();
        let mut on_key = |key: &Bytes, lease| leased_too.push((key.to_vec(), lease));
        let view = WithoutCatalog(self.view());
        let scanned = Store::restore(&view, self.options, &mut on_key).unwrap();
        let is_empty = view.count(Table::Key).unwrap() == 0;
        assert_eq!(
            scanned.index_source(),
            if is_empty { IndexSource::Catalog } else { IndexSource::Records }
        );
        assert_eq!(leased_too, leased);
        assert_eq!(portrait(&scanned), portrait(&self.store));
    }

    /// The hash as the API gives it.
    pub(crate) fn hash(&mut self, revision: i64) -> Result<HashKv, RangeError> {
        self.commit();
        match self.store.hash_plan(revision)? {
            HashPlan::Cached(hash) => Ok(hash),
            HashPlan::Walk(walk) => Ok(walk.run(&self.view())?),
        }
    }

    /// What the table holds.
    pub(crate) fn stored_rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut visit = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        self.view().scan(Table::Key, all, &mut visit).unwrap();
        rows
    }
}

pub(crate) fn range(key: &[u8], range_end: &[u8]) -> KeyRange {
    KeyRange::from_wire(key.to_vec().into(), range_end.to_vec().into())
}

pub(crate) fn compare_change(change: &Change, event: &etched_model::kv::Event) {
    let (main, sub) = event.revision;
    assert_eq!((change.revision.main, change.revision.sub), (main, sub));
    assert_eq!(change.key, event.key);
    match &event.after {
        Some(after) => {
            assert_eq!((change.kind, change.lease), (ChangeKind::Put, after.lease));
            assert_eq!(change.record, after.encode());
            assert_eq!(change.created, after.create_revision == after.mod_revision);
        }
        None => {
            assert_eq!((change.kind, change.lease, change.created), (ChangeKind::Delete, 0, false));
            let record = etched_model::kv::KeyValue {
                key: event.key.clone(),
                mod_revision: main,
                ..Default::default()
            };
            assert_eq!(change.record, record.encode());
        }
    }
}
