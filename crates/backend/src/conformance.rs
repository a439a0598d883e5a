//! What every [`Backend`] has to do, as tests that an implementation runs on itself.

use core::ops::{Bound, ControlFlow};

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{Backend, Batch, Durability, ReadView, Table};

type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);
const ALL: Range<'static> = (Bound::Unbounded, Bound::Unbounded);

/// Runs the whole suite; `fresh` gives an empty backend at each call.
///
/// # Panics
///
/// If the backend does not conform.
pub fn run<B: Backend>(fresh: &mut dyn FnMut() -> B) {
    a_fresh_backend_is_empty(&fresh());
    a_commit_is_visible_to_later_views_only(&fresh());
    tables_do_not_mix(&fresh());
    the_last_write_within_a_batch_wins(&fresh());
    deleting_what_is_not_there_does_nothing(&fresh());
    empty_values_and_odd_keys_are_kept(&fresh());
    scans_ascend_within_their_bounds(&fresh());
    a_scan_stops_when_told(&fresh());
    a_view_outlives_its_backend(fresh());
    sizes_follow_the_data(&fresh());
    a_derived_table_is_not_in_use(&fresh());
    records_are_counted_by_table(&fresh());
    random_batches_agree_with_an_ordered_map(&fresh());
}

fn commit(backend: &impl Backend, durability: Durability, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    backend.commit(&batch, durability).expect("a sound backend commits");
}

fn get(view: &impl ReadView, table: Table, key: &[u8]) -> Option<Bytes> {
    view.get(table, key).expect("a sound backend reads")
}

fn scan(view: &impl ReadView, table: Table, range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    view.scan(table, range, &mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .expect("a sound backend scans");
    records
}

fn keys(view: &impl ReadView, range: Range<'_>) -> String {
    let found = scan(view, Table::Key, range);
    found.iter().map(|(key, _)| String::from_utf8_lossy(key).to_string()).collect::<Vec<_>>().join(" ")
}

fn view<B: Backend>(backend: &B) -> B::View {
    backend.view().expect("a sound backend gives views")
}

fn a_fresh_backend_is_empty(backend: &impl Backend) {
    let view = view(backend);
    for table in Table::ALL {
        assert_eq!(get(&view, table, b""), None);
        assert!(scan(&view, table, ALL).is_empty(), "{table} is not empty");
    }
}

fn a_commit_is_visible_to_later_views_only(backend: &impl Backend) {
    for (round, durability) in [Durability::Buffered, Durability::Synced].into_iter().enumerate() {
        let value = round.to_string();
        let before = view(backend);
        let seen_before = get(&before, Table::Key, b"k");
        commit(backend, durability, |batch| batch.put(Table::Key, "k", value.clone()));
        assert_eq!(get(&before, Table::Key, b"k"), seen_before);
        assert_eq!(get(&view(backend), Table::Key, b"k").as_deref(), Some(value.as_bytes()));
    }
    commit(backend, Durability::Buffered, |batch| batch.delete(Table::Key, "k"));
    commit(backend, Durability::Synced, |_| ());
    assert_eq!(get(&view(backend), Table::Key, b"k"), None);
}

fn tables_do_not_mix(backend: &impl Backend) {
    commit(backend, Durability::Synced, |batch| {
        for table in Table::ALL {
            batch.put(table, "k", table.name());
        }
        batch.delete(Table::Lease, "k");
    });
    let view = view(backend);
    for table in Table::ALL {
        let expected = (table != Table::Lease).then(|| Bytes::from(table.name()));
        assert_eq!(get(&view, table, b"k"), expected);
    }
}

fn the_last_write_within_a_batch_wins(backend: &impl Backend) {
    commit(backend, Durability::Synced, |batch| {
        batch.put(Table::Key, "z", "1");
        batch.put(Table::Key, "a", "1");
        batch.put(Table::Key, "a", "2");
        batch.delete(Table::Key, "z");
        batch.delete(Table::Key, "m");
        batch.put(Table::Key, "m", "3");
    });
    let view = view(backend);
    assert_eq!(keys(&view, ALL), "a m");
    assert_eq!(get(&view, Table::Key, b"a").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&view, Table::Key, b"m").as_deref(), Some(&b"3"[..]));
}

fn deleting_what_is_not_there_does_nothing(backend: &impl Backend) {
    commit(backend, Durability::Synced, |batch| {
        batch.put(Table::Key, "k", "v");
        batch.delete(Table::Key, "kk");
        batch.delete(Table::Auth, "k");
    });
    assert_eq!(keys(&view(backend), ALL), "k");
}

fn empty_values_and_odd_keys_are_kept(backend: &impl Backend) {
    let odd: [&[u8]; 5] = [b"", b"\0", b"\0\0", &[0xff], &[0xff; 300]];
    let big = alloc::vec![7; 3 << 20];
    commit(backend, Durability::Synced, |batch| {
        for key in odd {
            batch.put(Table::Alarm, key.to_vec(), "");
        }
        batch.put(Table::Auth, "big", big.clone());
    });
    let view = view(backend);
    for key in odd {
        assert_eq!(get(&view, Table::Alarm, key).as_deref(), Some(&b""[..]), "key {key:?}");
    }
    assert_eq!(scan(&view, Table::Alarm, ALL).len(), odd.len());
    assert_eq!(get(&view, Table::Auth, b"big").as_deref(), Some(&big[..]));
}

fn scans_ascend_within_their_bounds(backend: &impl Backend) {
    use Bound::{Excluded, Included, Unbounded};
    commit(backend, Durability::Synced, |batch| {
        for key in ["d", "b", "a", "c", "ba"] {
            batch.put(Table::Key, key, "");
        }
    });
    let view = view(backend);
    let check = |start: Bound<&'static [u8]>, end: Bound<&'static [u8]>, expected: &str| {
        assert_eq!(keys(&view, (start, end)), expected, "{start:?} {end:?}");
    };
    check(Unbounded, Unbounded, "a b ba c d");
    check(Included(b"b"), Excluded(b"c"), "b ba");
    check(Excluded(b"b"), Included(b"c"), "ba c");
    check(Included(b"bb"), Unbounded, "c d");
    check(Unbounded, Excluded(b"b"), "a");
    check(Included(b"b"), Included(b"b"), "b");
    check(Included(b"b"), Excluded(b"b"), "");
    check(Excluded(b"b"), Excluded(b"b"), "");
    check(Included(b"c"), Excluded(b"a"), "");
    check(Excluded(b"d"), Unbounded, "");
}

fn a_scan_stops_when_told(backend: &impl Backend) {
    commit(backend, Durability::Synced, |batch| {
        for key in ["a", "b", "c"] {
            batch.put(Table::Key, key, "");
        }
    });
    let mut visited = 0;
    let visit = &mut |_: &[u8], _: &[u8]| {
        visited += 1;
        if visited == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    view(backend).scan(Table::Key, ALL, visit).expect("a sound backend scans");
    assert_eq!(visited, 2);
}

fn a_view_outlives_its_backend(backend: impl Backend) {
    commit(&backend, Durability::Buffered, |batch| batch.put(Table::Key, "k", "v"));
    let view = view(&backend);
    drop(backend);
    assert_eq!(keys(&view, ALL), "k");
}

fn sizes_follow_the_data(backend: &impl Backend) {
    let sizes = || backend.sizes().expect("a sound backend knows its sizes");
    let empty = sizes();
    let value = alloc::vec![1; 4 << 20];
    commit(backend, Durability::Synced, |batch| batch.put(Table::Key, "k", value));
    let full = sizes();
    assert!(full.in_use_bytes >= empty.in_use_bytes + (4 << 20), "{empty:?} {full:?}");
    assert!(full.total_bytes >= full.in_use_bytes, "{full:?}");

    commit(backend, Durability::Synced, |batch| batch.delete(Table::Key, "k"));
    commit(backend, Durability::Synced, |_| ());
    commit(backend, Durability::Synced, |_| ());
    let freed = sizes();
    assert!(freed.in_use_bytes < full.in_use_bytes - (3 << 20), "{full:?} {freed:?}");
    assert!(freed.total_bytes >= freed.in_use_bytes, "{freed:?}");
}

fn a_derived_table_is_not_in_use(backend: &impl Backend) {
    let in_use = || backend.sizes().expect("a sound backend knows its sizes").in_use_bytes;
    commit(backend, Durability::Synced, |batch| batch.put(Table::Key, "k", "v"));
    let before = in_use();
    commit(backend, Durability::Synced, |batch| batch.put(Table::Catalog, "k", "a longer value"));
    assert_eq!(in_use(), before);
    commit(backend, Durability::Synced, |batch| batch.delete(Table::Catalog, "k"));
    assert_eq!(in_use(), before);
}

fn records_are_counted_by_table(backend: &impl Backend) {
    commit(backend, Durability::Synced, |batch| {
        for key in ["a", "b", "c"] {
            batch.put(Table::Key, key, "");
        }
        batch.put(Table::Catalog, "a", "");
    });
    let before = view(backend);
    commit(backend, Durability::Buffered, |batch| {
        batch.put(Table::Key, "a", "again");
        batch.delete(Table::Key, "b");
        batch.delete(Table::Key, "never there");
    });
    let counted = |view: &dyn ReadView| {
        let count = |table| view.count(table).expect("a sound backend counts");
        (count(Table::Key), count(Table::Catalog), count(Table::Lease))
    };
    assert_eq!(counted(&before), (3, 1, 0));
    assert_eq!(counted(&view(backend)), (2, 1, 0));
}

fn random_batches_agree_with_an_ordered_map(backend: &impl Backend) {
    let mut model: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..200 {
        let mut batch = Batch::new();
        for _ in 0..draw(40) {
            let table = if draw(2) == 0 { Table::Key } else { Table::Meta };
            let key = draw(500).to_be_bytes().to_vec();
            if draw(3) == 0 {
                batch.delete(table, key.clone());
                model.remove(&(table, key));
            } else {
                let value = draw(u64::MAX).to_be_bytes().repeat(usize::try_from(draw(60)).unwrap_or(0));
                batch.put(table, key.clone(), value.clone());
                model.insert((table, key), value);
            }
        }
        let durability = if draw(4) == 0 { Durability::Synced } else { Durability::Buffered };
        backend.commit(&batch, durability).expect("a sound backend commits");
    }
    let view = view(backend);
    for table in [Table::Key, Table::Meta] {
        let expected: Vec<_> = model
            .iter()
            .filter(|((of, _), _)| *of == table)
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(scan(&view, table, ALL), expected, "table {table}");
    }
}
