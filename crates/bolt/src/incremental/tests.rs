//! Files that come in whole, in part, damaged, and with other roots than were told.

use std::ops::ControlFlow;

use etched_backend::{Backend as _, Durability, MemoryBackend, ReadView as _};
use proptest::prelude::*;

use super::*;
use crate::tables::{encode_tables, plan_tables};

/// A store whose file has inline buckets, trees of several levels and long entries.
fn store(records: u32, long: usize) -> MemoryBackend {
    let backend = MemoryBackend::new();
    let mut batch = Batch::new();
    for number in 0..records {
        batch.put(Table::Key, number.to_be_bytes().to_vec(), vec![7; number as usize % 900]);
    }
    for number in 0..records / 8 {
        batch.put(Table::Lease, number.to_be_bytes().to_vec(), vec![1; 100]);
    }
    batch.put(Table::Members, "8e9e05c52164694d", vec![b'm'; long]);
    batch.put(Table::Meta, "term", "1");
    backend.commit(&batch, Durability::Buffered).unwrap();
    backend
}

fn file(backend: &MemoryBackend) -> (Roots, Vec<u8>) {
    let view = backend.view().unwrap();
    let layout = plan_tables(&view, PageSize::USUAL).unwrap();
    let roots = Roots::of(&layout).unwrap();
    let mut bytes = Vec::new();
    encode_tables(&view, layout, 64 << 10, |chunk| {
        bytes.extend_from_slice(&chunk);
        ControlFlow::Continue(())
    })
    .unwrap();
    (roots, bytes)
}

fn read(roots: &Roots, bytes: &[u8], piece_bytes: usize) -> Result<Batch, ReadError> {
    let mut reader = Incremental::new(roots.clone());
    let mut batch = Batch::new();
    for piece in bytes.chunks(piece_bytes) {
        reader.push(Bytes::copy_from_slice(piece), &mut batch)?;
    }
    reader.finish()?;
    Ok(batch)
}

fn records(batch: &Batch) -> MemoryBackend {
    let backend = MemoryBackend::new();
    backend.commit(batch, Durability::Buffered).unwrap();
    backend
}

fn content(backend: &MemoryBackend) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    let view = backend.view().unwrap();
    let mut all = Vec::new();
    for table in Table::ALL {
        let range = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        view.scan(table, range, &mut |key, value| {
            all.push((table, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_file_reads_as_it_was_written_however_it_is_cut(
        count in 0..3000_u32, long in 0..20_000_usize, piece_bytes in 1..70_000_usize,
    ) {
        let backend = store(count, long);
        let (roots, bytes) = file(&backend);
        let batch = read(&roots, &bytes, piece_bytes).unwrap();
        prop_assert!(content(&records(&batch)) == content(&backend));
    }

    #[test]
    fn no_damage_panics_and_that_of_a_pages_head_is_found(
        at in any::<prop::sample::Index>(), in_head in any::<bool>(), mask in 1..=255_u8,
        piece_bytes in 100..9000_usize,
    ) {
        // No page goes on behind its end, so each begins with a head.
        let (roots, mut bytes) = file(&store(700, 10));
        let pages = bytes.len() / 4096;
        let place = if in_head { (3 + at.index(pages - 3)) * 4096 + at.index(16) } else { at.index(bytes.len()) };
        bytes[place] ^= mask;
        let outcome = read(&roots, &bytes, piece_bytes);
        prop_assert!(outcome.is_err() || !in_head, "byte {place}");
    }
}

#[test]
fn keys_come_in_their_order() {
    let (roots, bytes) = file(&store(2000, 10));
    let batch = read(&roots, &bytes, 4096).unwrap();
    let keys: Vec<_> = batch
        .iter()
        .filter_map(|op| match op {
            etched_backend::Op::Put { table: Table::Key, key, .. } => Some(key.clone()),
            etched_backend::Op::Put { .. } | etched_backend::Op::Delete { .. } => None,
        })
        .collect();
    assert!(keys.len() == 2000 && keys.is_sorted());
}

#[test]
fn a_file_that_ends_early_or_goes_on_is_refused() {
    let (roots, bytes) = file(&store(700, 3000));
    assert!(read(&roots, &bytes, 5000).is_ok());
    for len in [0, 10, 4096, 3 * 4096, bytes.len() - 4096, bytes.len() - 1] {
        assert!(read(&roots, &bytes[..len], 5000).is_err(), "{len} bytes");
    }
    let longer = [&bytes[..], &bytes[bytes.len() - 4096..]].concat();
    assert!(read(&roots, &longer, 5000).is_err());
    let without_a_page = [&bytes[..8 * 4096], &bytes[9 * 4096..]].concat();
    assert!(read(&roots, &without_a_page, 5000).is_err());
}

#[test]
fn a_file_with_other_roots_than_were_told_is_refused() {
    let (roots, bytes) = file(&store(700, 3000));
    assert!(roots.trees.len() >= 2, "{roots}");
    let mut fewer = roots.clone();
    fewer.trees.remove(0);
    let mut exchanged = roots.clone();
    (exchanged.trees[0].0, exchanged.trees[1].0) = (roots.trees[1].0, roots.trees[0].0);
    let mut moved = roots.clone();
    moved.trees[0].1.0 -= 1;
    let mut more = roots.clone();
    more.trees.push((Table::Alarm, PageId(roots.trees[1].1.0 + 1)));
    for other in [fewer, exchanged, moved, more] {
        assert!(read(&other, &bytes, 5000).is_err(), "{other} instead of {roots}");
    }
}

#[test]
fn roots_are_a_line_of_text() {
    let (roots, _) = file(&store(700, 3000));
    assert_eq!(roots.to_string().parse(), Ok(roots.clone()));
    assert!(roots.to_string().starts_with("4096;"), "{roots}");
    for text in [
        "",
        "4095",
        "4096;",
        "4096;key",
        "4096;key=",
        "4096;nothing=7",
        "4096;key=7;key=8",
        "4096;lease=8;key=7",
    ] {
        assert_eq!(text.parse::<Roots>(), Err(RootsError), "{text}");
    }
}
