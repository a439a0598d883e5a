//! How fast, and in how much memory: plans a file, writes it to nowhere, and reads it back from a real one.
//!
//! `cargo run --release -p etched-bolt --example measure_bolt [entries [value bytes]]`

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::unwrap_used, reason = "nothing here can fail")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use etched_bolt::{BoltFile, Content, Encoder, Layout, PageSize, Plan, Trailer};
use etched_disk::{Disk as _, RealDisk};

const CHUNK_BYTES: usize = 1 << 20;

/// A revision as etcd writes it.
fn key(at: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key[8] = b'_';
    key
}

fn plan(entries: u64, value_bytes: usize) -> Layout {
    let mut plan = Plan::new(PageSize::USUAL);
    plan.bucket(b"key", 0).unwrap();
    for at in 0..entries {
        plan.entry(black_box(&key(at)).len(), black_box(value_bytes)).unwrap();
    }
    plan.finish()
}

fn encode(layout: Layout, entries: u64, value: &[u8], sink: impl FnMut(Bytes) -> ControlFlow<()>) {
    let mut encoder = Encoder::new(layout, CHUNK_BYTES, sink);
    encoder.bucket(b"key").unwrap();
    for at in 0..entries {
        encoder.entry(&key(at), value).unwrap();
    }
    encoder.finish().unwrap();
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn report<T>(name: &str, entries: u64, bytes: impl Fn(&T) -> u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let wall: Duration = start.elapsed();
    let each = wall.as_nanos() / u128::from(entries.max(1));
    let rate = bytes(&result) as f64 / wall.as_secs_f64() / 1e9;
    println!("{name:<28} {wall:>10.2?} {each:>6} ns each {rate:>6.2} GB/s {:>8} KiB", resident_kib());
    result
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (entries, value_bytes): (u64, usize) = (number(1_000_000), usize::try_from(number(1024)).unwrap());
    let value = vec![7; value_bytes];
    println!("{entries} entries of {value_bytes} bytes");
    let layout = report("plan", entries, Layout::file_bytes, || plan(entries, value_bytes));
    for round in ["write", "write again"] {
        let layout = layout.clone();
        let file_bytes = layout.file_bytes();
        report(
            round,
            entries,
            |&bytes| bytes,
            || {
                let mut written = 0;
                encode(layout, entries, &value, |chunk| {
                    written += black_box(&chunk).len() as u64;
                    ControlFlow::Continue(())
                });
                assert_eq!(written, file_bytes);
                written
            },
        );
    }
    let file_bytes = layout.file_bytes();
    report(
        "write with checksum",
        entries,
        |_| file_bytes,
        || {
            let mut trailer = Trailer::new();
            encode(layout.clone(), entries, &value, |chunk| {
                trailer.update(&chunk);
                ControlFlow::Continue(())
            });
            trailer.finish()
        },
    );
    write_and_read(layout, entries, &value);
}

fn write_and_read(layout: Layout, entries: u64, value: &[u8]) {
    let file_bytes = layout.file_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut file = std::fs::File::create(&path).unwrap();
    report(
        "write to a file",
        entries,
        |()| file_bytes,
        || {
            encode(layout, entries, value, |chunk| {
                file.write_all(&chunk).unwrap();
                ControlFlow::Continue(())
            });
        },
    );
    let file = BoltFile::open(RealDisk::new().open_read_only(&path).unwrap()).unwrap();
    report(
        "walk",
        entries,
        |_| file_bytes,
        || {
            let bucket = file.bucket(b"key").unwrap().unwrap();
            let mut read = 0;
            for entry in bucket.entries() {
                match entry.unwrap().content {
                    Content::Value(value) => read += black_box(&value).len(),
                    Content::Bucket(_) => {}
                }
            }
            read
        },
    );
    let checked = report("check", entries, |_| file_bytes, || file.check().unwrap());
    assert!(checked.is_clean());
}
