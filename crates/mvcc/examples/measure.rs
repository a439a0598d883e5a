//! How fast, and how large: prints the figures that the goals are about.
//!
//! `cargo run --release -p etched-mvcc --example measure [keys [value bytes]]`

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::unwrap_used, reason = "nothing here can fail")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::ops::{Bound, ControlFlow};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability, MemoryBackend, Op, ReadView, Table};
use etched_key_range::KeyRange;
use etched_mvcc::{CompactionProgress, RangeQuery, Store, StoreOptions};

fn key(at: usize, keys: usize) -> Bytes {
    // Neighbours in time are far apart in the order of keys.
    let scattered = at.wrapping_mul(0x9E37_79B1) % keys;
    format!("/registry/pods/namespace-{:04}/deployment-name-{scattered:018x}", scattered % 7919).into()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Nanoseconds that this thread has run, to a few milliseconds: other work on the machine does not count.
fn cpu_nanos() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn time(name: &str, count: usize, work: impl FnOnce()) -> Duration {
    let (start, cpu_start) = (Instant::now(), cpu_nanos());
    work();
    let (wall, cpu) = (start.elapsed(), Duration::from_nanos(cpu_nanos() - cpu_start));
    let each = cpu.as_nanos() / count.max(1) as u128;
    println!("{name:<52} {wall:>10.2?}, CPU {cpu:>10.2?} {each:>8} ns each");
    cpu
}

/// Puts all keys; the backend gets what is for one of the tables.
fn put_all(store: &mut Store, backend: &MemoryBackend, tables: &[Table], keys: &[Bytes], value: &Bytes) {
    for keys in keys.chunks(2000) {
        let mut batch = Batch::new();
        for key in keys {
            let mut txn = store.begin();
            txn.put(key.clone(), value.clone(), 0);
            black_box(txn.finish(&mut batch));
        }
        store.write_catalog(&mut batch);
        let mut stored = Batch::new();
        for op in batch.iter().filter(|op| tables.contains(&op.table())) {
            match op.clone() {
                Op::Put { table, key, value } => stored.put(table, key, value),
                Op::Delete { table, key } => stored.delete(table, key),
            }
        }
        backend.commit(&stored, Durability::Buffered).unwrap();
        store.on_committed(store.revision());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let count = arguments.next().unwrap_or(1_000_000);
    let value: Bytes = vec![b'v'; arguments.next().unwrap_or(1024)].into();
    let keys: Vec<Bytes> = (0..count).map(|at| key(at, count)).collect();
    println!("{count} keys of {} bytes, values of {} bytes", keys[0].len(), value.len());

    measure_memory(&keys, &value);
    let backend = MemoryBackend::new();
    measure_reads(&backend, &keys, &value);
    measure_restore(&backend, count);
    measure_compaction(&keys);
}

fn measure_memory(keys: &[Bytes], value: &Bytes) {
    let before = resident_kib();
    let backend = MemoryBackend::new();
    let mut store = Store::new(StoreOptions { value_cache_bytes: 0 });
    time("put, new keys, no values kept", keys.len(), || {
        put_all(&mut store, &backend, &[Table::Catalog], keys, value)
    });
    let after = resident_kib();
    println!("index: {} bytes a key by its own count", store.index_bytes() / keys.len());
    println!("memory: {} bytes a key as the system sees it", (after - before) * 1024 / keys.len());
    time("put, keys that are there", keys.len(), || {
        put_all(&mut store, &backend, &[Table::Catalog], keys, value)
    });
    let histories = resident_kib();
    println!(
        "memory: {} bytes a key more with one old version each",
        (histories - after) * 1024 / keys.len()
    );
    let mut batch = Batch::new();
    let view = backend.view().unwrap();
    store.compact(store.revision(), &mut batch).unwrap();
    let mut longest = Duration::ZERO;
    let mut steps = 0_u32;
    time("compaction of the index, 500 a step", keys.len(), || {
        loop {
            batch = Batch::new();
            let start = Instant::now();
            let progress = store.compaction_step(&view, 500, &mut batch).unwrap();
            longest = longest.max(start.elapsed());
            steps += 1;
            if matches!(progress, CompactionProgress::Finished { .. }) {
                return;
            }
        }
    });
    println!("  {steps} steps, longest {longest:?}");
}

fn measure_reads(backend: &MemoryBackend, keys: &[Bytes], value: &Bytes) {
    let count = keys.len();
    let mut store = Store::new(StoreOptions { value_cache_bytes: 16 << 30 });
    time("put, new keys, all values kept (and a backend)", count, || {
        put_all(&mut store, backend, &Table::ALL, keys, value)
    });
    let view = backend.view().unwrap();
    time("get, hot", count, || {
        for key in keys {
            black_box(store.record(&view, key).unwrap());
        }
    });
    time("current", count, || {
        for key in keys {
            black_box(store.current(key));
        }
    });
    let all = RangeQuery::new(KeyRange::all());
    let many = RangeQuery { limit: 100_000, ..all.clone() };
    time("range of 100,000, hot", 100_000, || {
        black_box(store.range(&view, &many).unwrap());
    });
    let page = RangeQuery { limit: 500, range: KeyRange::from_wire(keys[0].clone(), vec![0].into()), ..all };
    time("page of 500 with the exact count, current", 1000, || {
        for _ in 0..1000 {
            black_box(store.range(&view, &page).unwrap());
        }
    });
    let pinned = RangeQuery { revision: store.revision(), ..page };
    put_all(&mut store, backend, &Table::ALL, &keys[..count.min(1000)], value);
    let view = backend.view().unwrap();
    time("the same, 1,000 changes ago", 100, || {
        for _ in 0..100 {
            black_box(store.range(&view, &pinned).unwrap());
        }
    });
    let from = store.revision() - 999;
    time("history of the last 1,000 revisions", 1000, || {
        black_box(store.history(&view, from, store.revision(), &mut |_| true, 10_000, usize::MAX).unwrap());
    });
}

fn measure_restore(backend: &MemoryBackend, count: usize) {
    let view = backend.view().unwrap();
    let mut catalog = (0, 0);
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut visit = |key: &[u8], block: &[u8]| {
        catalog = (catalog.0 + 1, catalog.1 + key.len() + block.len());
        ControlFlow::Continue(())
    };
    view.scan(Table::Catalog, all, &mut visit).unwrap();
    println!("catalog: {} blocks, {} bytes a revision", catalog.0, catalog.1 / count);
    let before = resident_kib();
    let mut restored = None;
    let options = StoreOptions { value_cache_bytes: 64 << 20 };
    time("restore", count, || {
        restored = Some(Store::restore(&view, options, &mut |_, _| {}).unwrap());
    });
    let store = restored.unwrap();
    println!("memory: {} bytes a key after it", resident_kib().saturating_sub(before) * 1024 / count);
    println!("index: {} bytes a key by its own count", store.index_bytes() / count);
    let all = RangeQuery { limit: 100_000, ..RangeQuery::new(KeyRange::all()) };
    time("range of 100,000, cold", 100_000, || {
        black_box(store.range(&view, &all).unwrap());
    });
}

fn measure_compaction(keys: &[Bytes]) {
    let backend = MemoryBackend::new();
    let mut store = Store::new(StoreOptions { value_cache_bytes: 64 << 20 });
    let value: Bytes = vec![b'v'; 256].into();
    let keys = &keys[..keys.len().min(100_000)];
    for _ in 0..6 {
        put_all(&mut store, &backend, &Table::ALL, keys, &value);
    }
    let view = backend.view().unwrap();
    let mut batch = Batch::new();
    store.compact(store.revision(), &mut batch).unwrap();
    let mut longest = Duration::ZERO;
    let mut steps = 0_u32;
    time("compaction of 500,000 revisions with their hash", keys.len() * 5, || {
        loop {
            batch = Batch::new();
            let start = Instant::now();
            let progress = store.compaction_step(&view, 500, &mut batch).unwrap();
            longest = longest.max(start.elapsed());
            steps += 1;
            if matches!(progress, CompactionProgress::Finished { .. }) {
                return;
            }
        }
    });
    println!("  {steps} steps, longest {longest:?}");
}
