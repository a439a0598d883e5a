//! Making a log, and opening one again.

use super::{HeadEnd, Listing, Position, Recovered, Wal, WalOptions, encode_head};
use crate::SnapshotRecord;
use crate::error::WalError;
use crate::frame::Chain;
use crate::reader::{self, Log, Source, Tail, Wanted};
use crate::segment::spare_name;
use crate::wal::segments::{Segment, Segments};
use bytes::Bytes;
use etched_disk::{Disk, DiskError, DiskFile, DiskLock};
use std::path::Path;
use std::sync::Arc;

pub(super) fn create(
    disk: Arc<dyn Disk>,
    dir: &Path,
    metadata: &[u8],
    options: WalOptions,
) -> Result<Wal, WalError> {
    disk.create_dir(dir)?;
    let lock = lock(&*disk, dir)?;
    let listing = Listing::read(&*disk, dir)?;
    if !listing.segments.is_empty() {
        return Err(WalError::AlreadyExists { dir: dir.to_owned() });
    }
    for number in listing.spares {
        disk.remove(&dir.join(spare_name(number)))?;
    }
    let mut segments = Segments::new(dir.to_owned());
    let mut chain = Chain(0);
    let head = encode_head(&mut chain, metadata, HeadEnd::Start);
    let begun = segments.begin(&*disk, &head, 0, options)?;
    let start = Position { chain, state: crate::HardState::default(), last_index: 0, last_term: 0 };
    Ok(Wal {
        disk,
        segments,
        options,
        metadata: Bytes::copy_from_slice(metadata),
        file: begun.file,
        offset: head.len() as u64,
        head_end: head.len() as u64,
        filled: begun.filled,
        synced: start,
        buffer: Vec::new(),
        buffered: start,
        sealed: false,
        failed: None,
        bytes_written: 0,
        _lock: lock,
    })
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    from: &SnapshotRecord,
    options: WalOptions,
) -> Result<(Wal, Recovered), WalError> {
    let lock = lock(&*disk, dir).map_err(|error| or_missing(error, dir))?;
    let listing = list(&*disk, dir)?;
    let log = read(&*disk, dir, &listing, Wanted::After(from.clone()), options)?;
    // Nothing was changed up to here; from here on, nothing is refused.
    let mut segments = Segments::new(dir.to_owned());
    for name in &listing.segments {
        let bytes = disk.open_read_only(&dir.join(name.to_string()))?.len()?;
        segments.used.push(Segment { name: *name, bytes });
    }
    adopt_leftovers(&*disk, &mut segments, &listing.spares)?;
    let newest = listing.segments.last().expect("a log that was read has a segment");
    let file = disk.open(&dir.join(newest.to_string()))?;
    let log_end = settle(&*file, &log.tail)?;
    segments.set_newest_bytes(log_end);
    disk.sync_dir(dir)?;
    let end = Position {
        chain: log.tail.chain,
        state: log.state,
        last_index: log.last_index,
        last_term: log.state.term,
    };
    // The next batch opens with the same crc record, in its place.
    let offset = if log.tail.sealed { log.tail.crc_record as u64 } else { log_end };
    let wal = Wal {
        disk,
        segments,
        options,
        metadata: log.metadata.clone(),
        file,
        offset,
        head_end: 0,
        filled: log_end,
        synced: end,
        buffer: Vec::new(),
        buffered: end,
        sealed: log.tail.sealed,
        failed: None,
        bytes_written: 0,
        _lock: lock,
    };
    let recovered = Recovered {
        metadata: log.metadata,
        hard_state: log.state,
        entries: log.entries,
        torn_tail: log.torn,
        foreign: listing.foreign,
    };
    Ok((wal, recovered))
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, WalError> {
    disk.lock(dir).map_err(|error| {
        if error.is_in_use() { WalError::InUse { dir: dir.to_owned() } } else { WalError::Disk(error) }
    })
}

/// A directory that is not there holds no log.
fn or_missing(error: WalError, dir: &Path) -> WalError {
    let missing = matches!(&error, WalError::Disk(cause) if cause.is_not_found());
    if missing { WalError::Missing { dir: dir.to_owned() } } else { error }
}

pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, WalError> {
    Listing::read(disk, dir).map_err(|error| or_missing(error, dir))
}

pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    listing: &Listing,
    wanted: Wanted,
    options: WalOptions,
) -> Result<Log, WalError> {
    let index = match &wanted {
        Wanted::After(from) => from.index,
        Wanted::Snapshots => listing.segments.first().map_or(0, |segment| segment.index),
    };
    let segments = listing.holding(dir, index)?;
    // etcd shortens a segment when it repairs it, and leaves a copy of what it was.
    let repaired = segments.last().map(|newest| format!("{newest}.broken"));
    let repaired = repaired.is_some_and(|name| listing.broken.contains(&name));
    let segment_bytes_min = if repaired { 0 } else { options.segment_bytes };
    reader::read(&Source { disk, dir, segment_bytes_min }, segments, &wanted)
}

/// Keeps one file that was to become a segment, and removes the others.
fn adopt_leftovers(disk: &dyn Disk, segments: &mut Segments, spares: &[u64]) -> Result<(), DiskError> {
    for (position, number) in spares.iter().enumerate() {
        segments.spare_number_next = segments.spare_number_next.max(number.saturating_add(1));
        let path = segments.dir.join(spare_name(*number));
        if position == 0 {
            segments.released.push(path);
        } else {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// Puts on the disk what was read: the last writer may have died before its sync, or after a failed one, when the
/// kernel takes pages for clean that the disk never got. So the last batch is written again, with a fill if it has
/// none. What stands behind it is zeroed. Returns where the log ends.
fn settle(file: &dyn DiskFile, tail: &Tail) -> Result<u64, DiskError> {
    let used = tail.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut batch = tail.bytes[tail.crc_record..tail.offset].to_vec();
    if !tail.sealed {
        tail.chain.push_fill(&mut batch, tail.offset as u64);
    }
    let end = (tail.crc_record + batch.len()) as u64;
    // Planted faults, see `cargo xtask bugs`.
    if !cfg!(bug = "log-keeps-the-torn-tail") {
        batch.resize(batch.len().max(used.saturating_sub(tail.crc_record)), 0);
    }
    if cfg!(bug = "log-trusts-what-it-reads") {
        return Ok(end);
    }
    if end > tail.bytes.len() as u64 {
        file.allocate(end)?;
        file.sync_data()?;
    }
    file.write_at(&batch, tail.crc_record as u64)?;
    file.sync_data()?;
    Ok(end)
}
