//! Prints what a redb file costs: a put in batches of several sizes, an open after an unclean stop, growth.
//!
//! `cargo run --release -p etched-backend --example measure_backend -- DIRECTORY [RECORDS]`

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints times")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use etched_backend::{
    Backend, Batch, Durability, Integrity, ReadView, RedbBackend, RedbOptions, ScrubCursor, Table,
};
use etched_disk::RealDisk;

const VALUE_BYTES: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("a directory is missing")?);
    let records = arguments.next().map_or(Ok(1_000_000), |records| records.parse())?;
    std::fs::create_dir_all(&dir)?;
    puts(&dir)?;
    growth(&dir)?;
    opens(&dir, records)?;
    Ok(())
}

fn fresh(dir: &Path) -> Result<RedbBackend, Box<dyn Error>> {
    let path = dir.join("db");
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    Ok(RedbBackend::create(&RealDisk::new(), &path, RedbOptions::default())?)
}

fn batch(from: u64, records: u64, value: &bytes::Bytes) -> Batch {
    let mut batch = Batch::new();
    for number in from..from + records {
        // The keys of revisions: rising, 17 bytes.
        let mut key = [0; 17];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key[8] = b'_';
        batch.put(Table::Key, key.to_vec(), value.clone());
    }
    batch.put(Table::Meta, "consistent_index", from.to_be_bytes().to_vec());
    batch
}

fn puts(dir: &Path) -> Result<(), Box<dyn Error>> {
    let value = bytes::Bytes::from(vec![7; VALUE_BYTES]);
    for durability in [Durability::Buffered, Durability::Synced] {
        for size in [1, 100, 1000, 10_000] {
            let backend = fresh(dir)?;
            let batches: u64 =
                if durability == Durability::Synced && size == 1 { 300 } else { 50_000 / size };
            let batches = batches.min(3000);
            let prepared: Vec<Batch> =
                (0..batches).map(|number| batch(number * size, size, &value)).collect();
            let start = Instant::now();
            for batch in &prepared {
                backend.commit(batch, durability)?;
            }
            let micros = start.elapsed().as_secs_f64() * 1e6;
            let (puts, commits) = (micros / (batches * size) as f64, micros / batches as f64);
            println!(
                "put {VALUE_BYTES} B, batches of {size}, {durability:?}: {puts:.2} us a put, {commits:.0} us a commit"
            );
        }
    }
    Ok(())
}

/// The file after the same 20 MiB were overwritten many times, with and without synced commits between.
fn growth(dir: &Path) -> Result<(), Box<dyn Error>> {
    let value = bytes::Bytes::from(vec![7; VALUE_BYTES]);
    for synced_every in [1, 10, 100, 1000] {
        let backend = fresh(dir)?;
        for round in 0..1000_u64 {
            let durability =
                if round % synced_every == 0 { Durability::Synced } else { Durability::Buffered };
            backend.commit(&batch(round % 20 * 1000, 1000, &value), durability)?;
        }
        let sizes = backend.sizes()?;
        let (total, in_use) = (sizes.total_bytes >> 20, sizes.in_use_bytes >> 20);
        println!(
            "1000 commits of 1 MiB over 20 MiB, each {synced_every}th synced: {total} MiB, {in_use} MiB in use"
        );
    }
    Ok(())
}

fn opens(dir: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let path = dir.join("db");
    let value = bytes::Bytes::from(vec![7; VALUE_BYTES]);
    let backend = fresh(dir)?;
    let start = Instant::now();
    for from in (0..records).step_by(10_000) {
        let synced = from / 10_000 % 10 == 9;
        backend.commit(
            &batch(from, 10_000, &value),
            if synced { Durability::Synced } else { Durability::Buffered },
        )?;
    }
    backend.commit(&Batch::new(), Durability::Synced)?;
    println!(
        "filled with {records} records in {:.1} s: {:?}",
        start.elapsed().as_secs_f64(),
        backend.sizes()?
    );
    // An unclean stop: the file as it is while it is open.
    let copy = dir.join("unclean");
    std::fs::create_dir_all(&copy)?;
    std::fs::copy(&path, copy.join("db"))?;
    std::fs::File::open(copy.join("db"))?.sync_all()?;
    drop(backend);

    for (what, path) in [("clean", path), ("unclean", copy.join("db"))] {
        for integrity in [Integrity::Touched, Integrity::Everything] {
            let start = Instant::now();
            let options = RedbOptions { integrity, ..RedbOptions::default() };
            let backend = RedbBackend::open(&RealDisk::new(), &path, options)?;
            let opened = start.elapsed().as_secs_f64() * 1e3;
            backend.view()?.get(Table::Meta, b"consistent_index")?;
            println!("open after a {what} stop, {integrity:?}: {opened:.1} ms");
        }
    }
    let backend = RedbBackend::open(&RealDisk::new(), &copy.join("db"), RedbOptions::default())?;
    let start = Instant::now();
    let scrub = backend.scrub(ScrubCursor::start(), usize::MAX)?;
    println!("scrub of {} records: {:.1} s", scrub.checked, start.elapsed().as_secs_f64());
    Ok(())
}
