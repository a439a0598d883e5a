//! Bytes from the disk that make no sense.

use etched_backend::{Backend, Batch, Durability, MemoryBackend, Op, Table};
use etched_key_range::KeyRange;
use etched_mvcc::{HashPlan, IndexSource, RangeQuery, Record, RestoreError, Store, StoreOptions};
use proptest::prelude::*;

fn revision_key(main: u64, sub: u64, tail: &[u8]) -> Vec<u8> {
    [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes(), tail].concat()
}

fn record(key: &[u8], main: i64) -> Vec<u8> {
    Record { key, create_revision: main, mod_revision: main, version: 1, value: b"v", lease: 0 }
        .encode()
        .to_vec()
}

fn restore(rows: &[(Table, Vec<u8>, Vec<u8>)]) -> Result<(Store, MemoryBackend), RestoreError> {
    let backend = MemoryBackend::new();
    let mut batch = Batch::new();
    rows.iter().for_each(|(table, key, value)| batch.put(*table, key.clone(), value.clone()));
    backend.commit(&batch, Durability::Synced).unwrap();
    let view = backend.view().unwrap();
    let store = Store::restore(&view, StoreOptions { value_cache_bytes: 0 }, &mut |_, _| {})?;
    Ok((store, backend))
}

/// Uses a store that was restored from anything: nothing of it may panic.
fn exercise(mut store: Store, backend: &MemoryBackend) {
    let mut batch = Batch::new();
    let mut txn = store.begin();
    txn.put("a".into(), "1".into(), 0);
    txn.delete_range(&KeyRange::all());
    txn.put("a".into(), "2".into(), 0);
    txn.finish(&mut batch);
    store.write_catalog(&mut batch);
    backend.commit(&batch, Durability::Synced).unwrap();
    store.on_committed(store.revision());
    let view = backend.view().unwrap();
    let _ = store.range(&view, &RangeQuery::new(KeyRange::all()));
    let oldest = store.compact_revision().max(1);
    let _ = store.range(&view, &RangeQuery { revision: oldest, ..RangeQuery::new(KeyRange::all()) });
    let _ = store.history(&view, oldest, store.revision(), &mut |_| true, 10, 1000);
    if let Ok(HashPlan::Walk(walk)) = store.hash_plan(0) {
        let _ = walk.run(&view);
    }
    let mut batch = Batch::new();
    let _ = store.compact(store.revision(), &mut batch);
    while store.compaction_pending().is_some() {
        store.compaction_step(&view, 3, &mut batch).unwrap();
    }
    store.write_catalog(&mut batch);
    backend.commit(&batch, Durability::Synced).unwrap();
    let view = backend.view().unwrap();
    Store::restore(&view, StoreOptions { value_cache_bytes: 0 }, &mut |_, _| {}).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = (Table::Key, revision_key(2, 0, b""), record(b"a", 2));
    assert!(restore(std::slice::from_ref(&good)).is_ok());
    let refused: [(Table, Vec<u8>, Vec<u8>); 9] = [
        (Table::Key, b"short".to_vec(), record(b"a", 3)),
        (Table::Key, revision_key(3, 0, b"x"), record(b"a", 3)),
        (Table::Key, revision_key(1 << 63, 0, b""), record(b"a", 3)),
        (Table::Key, revision_key(3, 1 << 40, b""), record(b"a", 3)),
        (Table::Key, revision_key(3, 0, b""), record(b"a", 4)),
        (Table::Key, revision_key(3, 0, b""), b"\x0a\x7f".to_vec()),
        (Table::Key, revision_key(2, 0, b"t"), b"\x0a\x01a".to_vec()),
        (Table::Meta, b"finishedCompactRev".to_vec(), b"7".to_vec()),
        (Table::Meta, b"scheduledCompactRev".to_vec(), revision_key(u64::MAX, 0, b"")),
    ];
    for bad in refused {
        let result = restore(&[good.clone(), bad.clone()]);
        assert!(matches!(result, Err(RestoreError::Damaged { .. })), "{bad:?}");
    }
}

/// The tables of a store with some history: records first, then the catalog.
fn stored() -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let mut store = Store::new(StoreOptions { value_cache_bytes: 0 });
    let mut batch = Batch::new();
    for name in ["a", "b", "a", "c", "ab"] {
        let mut txn = store.begin();
        txn.put(name.into(), "v".into(), 0);
        txn.finish(&mut batch);
    }
    let mut txn = store.begin();
    txn.delete_range(&KeyRange::single("b".into()));
    txn.finish(&mut batch);
    store.write_catalog(&mut batch);
    let rows = batch.in_key_order().into_iter().map(|op| match op {
        Op::Put { table, key, value } => (*table, key.to_vec(), value.to_vec()),
        Op::Delete { .. } => panic!("nothing was deleted"),
    });
    rows.collect()
}

#[test]
fn a_catalog_that_does_not_fit_the_records_is_refused() {
    let good = stored();
    let (store, _) = restore(&good).unwrap();
    assert_eq!(store.index_source(), IndexSource::Catalog);
    let catalog = good.len() - 1;
    assert_eq!(good[catalog].0, Table::Catalog);
    // A record too few in front, in the middle, at the end; then one too many.
    for missing in 0..catalog {
        let mut rows = good.clone();
        rows.remove(missing);
        assert!(matches!(restore(&rows), Err(RestoreError::Catalog { .. })), "{missing}");
    }
    let mut rows = good.clone();
    rows.push((Table::Key, revision_key(8, 0, b""), record(b"a", 8)));
    assert!(matches!(restore(&rows), Err(RestoreError::Catalog { .. })));
    // As many, but others.
    rows.remove(0);
    assert!(matches!(restore(&rows), Err(RestoreError::Catalog { .. })));
    let mut rows = good.clone();
    rows[catalog - 1].1 = revision_key(7, 0, b"");
    assert!(matches!(restore(&rows), Err(RestoreError::Catalog { .. })));

    let (key, block) = (good[catalog].1.clone(), good[catalog].2.clone());
    let twice = vec![(key.clone(), block.clone()), (vec![0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0], block.clone())];
    let bad = [
        vec![(key.clone(), Vec::new())],
        vec![(key.clone(), block[..5].to_vec())],
        vec![(key.clone(), vec![0xff; 9])],
        vec![(key[1..].to_vec(), block.clone())],
        vec![(vec![0xff; 12], block.clone())],
        twice,
    ];
    for blocks in bad {
        let mut rows = good[..catalog].to_vec();
        rows.extend(blocks.into_iter().map(|(key, block)| (Table::Catalog, key, block)));
        assert!(
            matches!(restore(&rows), Err(RestoreError::Damaged { table: Table::Catalog, .. })),
            "{rows:?}"
        );
    }
}

#[test]
fn a_catalog_that_is_missing_is_made_from_the_records() {
    let mut rows = stored();
    let catalog = rows.pop().unwrap();
    let (mut store, backend) = restore(&rows).unwrap();
    assert_eq!(store.index_source(), IndexSource::Records);
    let mut batch = Batch::new();
    store.write_catalog(&mut batch);
    let mut expected = Batch::new();
    expected.put(catalog.0, catalog.1, catalog.2);
    assert_eq!(batch, expected);
    backend.commit(&batch, Durability::Synced).unwrap();
    let view = backend.view().unwrap();
    let again = Store::restore(&view, StoreOptions { value_cache_bytes: 0 }, &mut |_, _| {}).unwrap();
    assert_eq!(again.index_source(), IndexSource::Catalog);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn arbitrary_stored_bytes_are_restored_or_refused(
        rows in prop::collection::vec(
            (
                prop_oneof![
                    9 => (2..12_u64, 0..3_u64, prop::sample::select(vec![&b""[..], b"t"]))
                        .prop_map(|(main, sub, tail)| revision_key(main, sub, tail)),
                    1 => prop::collection::vec(any::<u8>(), 0..20),
                ],
                prop::sample::select(vec!["a", "b", ""]),
                (0..12_i64, 0..4_i64),
                prop::option::weighted(0.05, prop::collection::vec(any::<u8>(), 0..20)),
            ),
            0..12,
        ),
        metas in prop::collection::vec((prop::sample::select(vec!["finishedCompactRev", "scheduledCompactRev"]), 0..14_u64), 0..3),
    ) {
        let mut all = Vec::new();
        for (key, name, (create_revision, version), noise) in rows {
            let main = key.get(..8).map_or(0, |main| i64::from_be_bytes(main.try_into().unwrap()));
            let name = name.as_bytes();
            let value = Record { key: name, create_revision, mod_revision: main, version, value: b"v", lease: 0 };
            all.push((Table::Key, key, noise.unwrap_or_else(|| value.encode().to_vec())));
        }
        for (name, main) in metas {
            all.push((Table::Meta, name.into(), revision_key(main, 0, b"")));
        }
        if let Ok((store, backend)) = restore(&all) {
            exercise(store, &backend);
        }
    }

    #[test]
    fn an_arbitrary_catalog_is_restored_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        is_cut in any::<bool>(),
    ) {
        let mut rows = stored();
        let block = &mut rows.last_mut().unwrap().2;
        for (at, byte) in changes {
            let at = at.index(block.len());
            block[at] = byte;
            if is_cut {
                block.truncate(at.max(1));
            }
        }
        let _ = restore(&rows);
    }
}
