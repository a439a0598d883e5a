//! Power is lost at every operation of a short script: what is left restores from its catalog, as from its records.

use std::path::Path;

use etched_backend::{Backend, Batch, Durability, ReadView, RedbBackend, RedbOptions, Table};
use etched_disk::{Disk, Faults, SimDisk};
use etched_key_range::KeyRange;
use etched_mvcc::{CompactionProgress, IndexSource, Store, StoreOptions};

use crate::world::{WithoutCatalog, portrait};

const PATH: &str = "/data/db";
const OPTIONS: StoreOptions = StoreOptions { value_cache_bytes: 1000 };

fn key(at: i64) -> Vec<u8> {
    // They differ from the first byte on and are long, so that blocks fill.
    let mut key = format!("{:02}/", at * 7919 % 97).into_bytes();
    key.resize(200, b'k');
    key
}

/// Writes and compacts, and commits what has gathered every few transactions, until the disk fails.
///
/// Returns the revision that was last synced.
fn run(disk: &SimDisk) -> i64 {
    let Ok(backend) = RedbBackend::create(disk, Path::new(PATH), RedbOptions::default()) else { return 0 };
    let mut store = Store::new(OPTIONS);
    let mut batch = Batch::new();
    let mut synced = 1;
    for turn in 0..160_i64 {
        let mut txn = store.begin();
        txn.put(key(turn).into(), vec![b'v'; 20].into(), turn % 3);
        if turn % 5 == 0 {
            txn.delete_range(&KeyRange::single(key(turn / 2).into()));
        }
        txn.finish(&mut batch);
        if turn % 50 == 49 {
            store.compact(store.revision() - 10, &mut batch).unwrap();
        }
        let Ok(view) = backend.view() else { return synced };
        if store.compaction_pending().is_some_and(|revision| revision <= synced) {
            let Ok(progress) = store.compaction_step(&view, 20, &mut batch) else { return synced };
            assert!(matches!(progress, CompactionProgress::More | CompactionProgress::Finished { .. }));
        }
        if turn % 4 == 3 {
            let durability = if turn % 16 == 15 { Durability::Synced } else { Durability::Buffered };
            store.write_catalog(&mut batch);
            if backend.commit(&batch, durability).is_err() {
                return synced;
            }
            batch = Batch::new();
            store.on_committed(store.revision());
            if durability == Durability::Synced {
                synced = store.revision();
            }
        }
    }
    synced
}

/// Restores twice, compares, and goes on a little.
fn check(backend: &RedbBackend, synced: i64, place: &str) {
    let view = backend.view().unwrap();
    let mut store = Store::restore(&view, OPTIONS, &mut |_, _| {}).unwrap();
    assert_eq!(store.index_source(), IndexSource::Catalog, "{place}");
    assert!(store.revision() >= synced, "{place}");
    let scanned = Store::restore(&WithoutCatalog(backend.view().unwrap()), OPTIONS, &mut |_, _| {}).unwrap();
    assert_eq!(portrait(&store), portrait(&scanned), "{place}");
    let mut batch = Batch::new();
    while store.compaction_pending().is_some() {
        store.compaction_step(&view, 50, &mut batch).unwrap();
    }
    let mut txn = store.begin();
    txn.put("after".into(), "it".into(), 0);
    txn.finish(&mut batch);
    store.write_catalog(&mut batch);
    backend.commit(&batch, Durability::Synced).unwrap();
    let again = Store::restore(&backend.view().unwrap(), OPTIONS, &mut |_, _| {}).unwrap();
    assert_eq!(again.revision(), store.revision(), "{place}");
}

#[test]
fn a_power_loss_at_any_operation_leaves_a_catalog_that_fits() {
    let mut crashes = 0;
    // Every place would be some hundreds.
    for crash_at in (1..).step_by(7) {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        let synced = run(&disk);
        if !disk.is_crashed() {
            break;
        }
        let disk = disk.crash_image(crash_at);
        if disk.exists(Path::new(PATH)).unwrap() {
            crashes += 1;
            let backend = RedbBackend::open(&disk, Path::new(PATH), RedbOptions::default()).unwrap();
            check(&backend, synced, &format!("crash at {crash_at}"));
        } else {
            assert_eq!(synced, 0);
        }
    }
    assert!(crashes > 30, "{crashes} crashes");
}

#[test]
fn the_script_fills_blocks_and_thins_them() {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/data")).unwrap();
    run(&disk);
    let backend = RedbBackend::open(&disk, Path::new(PATH), RedbOptions::default()).unwrap();
    let view = backend.view().unwrap();
    let store = Store::restore(&view, OPTIONS, &mut |_, _| {}).unwrap();
    assert!(store.compact_revision() > 100);
    assert!(view.count(Table::Catalog).unwrap() >= 2);
}
