//! Single stories, most of them bugs that etcd once had.

use etched_backend::{Backend, Batch, Durability, MemoryBackend, Table};
use etched_key_range::KeyRange;
use etched_model::kv::Write;
use etched_mvcc::{ChangeKind, RangeError, RangeQuery, Record, Store, StoreOptions};

use crate::world::World;

fn world() -> World<MemoryBackend> {
    World::new(MemoryBackend::new(), 1 << 20)
}

#[test]
fn a_watch_from_the_compaction_sees_the_deletion_there() {
    // etcd-io/etcd#19249: a compaction exactly at a deletion dropped it, and a watch from there missed it.
    let mut world = world();
    world.put("a", "1");
    world.delete("a", "");
    world.put("b", "1");
    world.compact(3);
    world.finish_compactions();
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        let history = world.store.history(&world.view(), 3, 4, &mut |_| true, 100, 1000).unwrap();
        let kinds: Vec<_> =
            history.changes.iter().map(|change| (change.kind, change.revision.main)).collect();
        assert_eq!((kinds, history.next), (vec![(ChangeKind::Delete, 3), (ChangeKind::Put, 4)], 5));
        let below = world.store.history(&world.view(), 2, 4, &mut |_| true, 100, 1000);
        assert_eq!(below, Err(RangeError::Compacted));
    }
    world.compact(4);
    world.finish_compactions();
    assert_eq!(world.store.statistics().indexed_keys, 1);
    assert_eq!(world.stored_rows().len(), 1);
}

#[test]
fn the_revision_does_not_fall_back_when_the_newest_one_is_compacted_away() {
    // etcd-io/etcd#17780: delete the newest key, compact at the head, end before it is finished, begin again.
    let mut world = world();
    world.put("a", "1");
    world.delete("a", "");
    world.compact(3);
    world.step(1);
    world.restart();
    assert_eq!((world.store.revision(), world.store.compact_revision()), (3, 3));
    world.finish_compactions();
    world.put("b", "1");
    world.delete("b", "");
    world.put("c", "1");
    world.delete("c", "");
    world.compact(7);
    world.finish_compactions();
    world.restart();
    assert_eq!((world.store.revision(), world.store.compact_revision()), (7, 7));
}

#[test]
fn a_compaction_at_zero_succeeds_once() {
    let mut world = world();
    assert!(world.compact(0));
    assert!(!world.compact(0));
    assert!(!world.compact(2));
    world.finish_compactions();
    world.restart();
    assert_eq!(world.store.compact_revision(), 0);
}

#[test]
fn compactions_are_done_one_after_the_other() {
    let mut world = world();
    for turn in 0..40 {
        world.put("a", &turn.to_string());
        world.put("b", &turn.to_string());
        if turn % 10 == 9 {
            world.compact(world.store.revision() - 3);
        }
    }
    assert_eq!(world.store.compaction_pending(), Some(18));
    world.finish_compactions();
    assert_eq!(world.stored_rows(), world.model.stored_rows());
    // Only the first one made a hash: the others began before the one in front was finished.
    let hash = world.hash(78).unwrap();
    assert_eq!((hash.compact_revision, hash.hash_revision), (78, 78));
}

#[test]
fn a_txn_reads_its_own_writes() {
    let backend = MemoryBackend::new();
    let view = backend.view().unwrap();
    let mut store = Store::new(StoreOptions { value_cache_bytes: 0 });
    let mut batch = Batch::new();
    let mut txn = store.begin();
    assert_eq!((txn.begin_revision(), txn.changed()), (1, false));
    txn.put("a".into(), "1".into(), 5);
    txn.put("b".into(), "2".into(), 0);
    let all = RangeQuery::new(KeyRange::all());
    let answer = txn.store().range(&view, &all).unwrap();
    assert_eq!((answer.count, answer.revision, txn.changed()), (2, 2, true));
    assert_eq!(txn.delete_range(&KeyRange::single("a".into())), 1);
    assert_eq!(txn.delete_range(&KeyRange::single("a".into())), 0);
    assert_eq!(txn.store().current(b"a"), None);
    let record = txn.store().record(&view, b"b").unwrap().unwrap();
    assert_eq!(Record::decode(&record).unwrap().value, b"2");
    let before = txn.store().range(&view, &RangeQuery { revision: 1, ..all }).unwrap();
    assert_eq!((before.count, before.revision), (0, 2));
    let changes = txn.finish(&mut batch);
    let told: Vec<_> = changes.iter().map(|c| (c.revision.sub, c.kind, c.lease, c.lease_before)).collect();
    let put = ChangeKind::Put;
    assert_eq!(told, [(0, put, 5, 0), (1, put, 0, 0), (2, ChangeKind::Delete, 0, 5)]);
    assert_eq!(batch.len(), 3);
}

#[test]
fn a_txn_that_changes_nothing_has_no_revision() {
    let mut store = Store::new(StoreOptions { value_cache_bytes: 0 });
    let mut batch = Batch::new();
    let mut txn = store.begin();
    assert_eq!(txn.delete_range(&KeyRange::all()), 0);
    assert!(txn.finish(&mut batch).is_empty());
    assert!(batch.is_empty());
    assert_eq!((store.revision(), store.statistics().txns), (1, 0));
}

#[test]
fn a_pinned_reader_goes_on_while_compaction_waits() {
    let mut world = world();
    for turn in 0..10 {
        world.put(&format!("k{turn}"), "old");
    }
    let pinned = world.store.revision();
    for turn in 0..10 {
        world.put(&format!("k{turn}"), "new");
    }
    world.compact(world.store.revision());
    let chunk = world.store.chunk(&world.view(), &KeyRange::all(), pinned, 100, usize::MAX, false).unwrap();
    assert!(chunk.records.iter().all(|record| Record::decode(record).unwrap().value == b"old"));
    assert_eq!(chunk.records.len(), 10);
    let range = RangeQuery { revision: pinned, ..RangeQuery::new(KeyRange::all()) };
    assert_eq!(world.store.range(&world.view(), &range), Err(RangeError::Compacted));
}

#[test]
fn an_empty_record_raises_the_revision() {
    // `etcdutl snapshot restore --bump-revision` ends the history with a record that has no bytes.
    let backend = MemoryBackend::new();
    let mut store = Store::new(StoreOptions { value_cache_bytes: 0 });
    let mut batch = Batch::new();
    let mut txn = store.begin();
    txn.put("a".into(), "1".into(), 0);
    txn.finish(&mut batch);
    let raised = b"\0\0\0\0\0\x0f\x42\x40_\0\0\0\0\0\0\0\0";
    batch.put(Table::Key, raised.to_vec(), Vec::new());
    batch.put(Table::Meta, "scheduledCompactRev", raised.to_vec());
    backend.commit(&batch, Durability::Synced).unwrap();
    let view = backend.view().unwrap();
    let store = Store::restore(&view, StoreOptions { value_cache_bytes: 0 }, &mut |_, _| {}).unwrap();
    assert_eq!((store.revision(), store.compact_revision()), (1_000_000, 1_000_000));
    let answer = store.range(&view, &RangeQuery::new(KeyRange::all())).unwrap();
    assert_eq!((answer.records.len(), answer.count), (1, 1));
}

#[test]
fn replaced_history_costs_nothing_once_it_is_compacted() {
    let mut world = World::new(MemoryBackend::new(), 1 << 20);
    world.txn(&[Write::put("hot", "0", 0)]);
    let mut sizes = Vec::new();
    for turn in 1..200 {
        world.put("hot", &turn.to_string());
        world.delete("gone", "");
        world.put("gone", "1");
        if turn % 50 == 49 {
            world.compact(world.store.revision());
            world.finish_compactions();
            sizes.push((world.store.index_bytes(), world.store.statistics().resident_records));
        }
    }
    assert_eq!(sizes[1], sizes[3]);
    assert_eq!(sizes[3].1, 2);
}

#[test]
fn counts_at_older_revisions_come_from_the_changes_since() {
    use etched_model::kv::Query;

    let mut world = World::new(MemoryBackend::new(), 1 << 20);
    let name = |at: usize| format!("key/{at:04}");
    let puts: Vec<Write> = (0..1200).map(|at| Write::put(name(at), "value", 0)).collect();
    world.txn(&puts);
    for turn in 0..12 {
        match turn % 4 {
            0 => world.put(&name(turn * 50), "a longer value"),
            1 => world.delete(&name(turn * 40), &name(turn * 40 + 3)),
            2 => world.put(&name(2000 + turn), "new"),
            _ => world.txn(&[
                Write::put(name(3000 + turn), "here", 0),
                Write::delete(name(3000 + turn), ""),
                Write::put(name(40 * (turn - 2)), "again", 0),
                Write::put(name(40 * (turn - 2)), "and again", 0),
            ]),
        }
        if turn == 5 {
            world.commit();
        }
    }
    for revision in 1..=world.store.revision() {
        for (key, end) in [("key/0000", "key/9"), ("key/0041", "key/0900"), ("key/0040", ""), ("key/2", "\0")]
        {
            let all =
                Query { key: key.into(), range_end: end.into(), revision, limit: 1, ..Query::default() };
            world.compare_range(&all);
            world.compare_range(&Query { count_only: true, ..all.clone() });
            world.compare_pieces(&all, 700, usize::MAX);
        }
    }
}

#[test]
fn compactions_may_follow_each_other_before_a_commit() {
    // The second one scans a view in which the records that the first one deleted are still there: they must not get
    // into its hash, which other members compute without them.
    let mut world = world();
    for turn in 0..400 {
        world.put(&format!("{:02}/{}", turn % 40, "k".repeat(150)), "v");
        if turn % 7 == 0 {
            world.delete(&format!("{:02}/{}", turn % 37, "k".repeat(150)), "");
        }
    }
    world.commit();
    let view = world.view();
    for revision in [100, 200, 390, world.store.revision()] {
        assert!(world.compact(revision));
        while !world.step_at(&view, 30) {}
        world.compare_hash_of_compaction(revision);
    }
    world.restart();
    assert_eq!(world.stored_rows(), world.model.stored_rows());
}
