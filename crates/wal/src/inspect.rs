//! Looking at a log without opening it: for start-up and for tools.

use crate::error::WalError;
use crate::reader::{TornTail, Wanted};
use crate::segment::{Listing, SegmentName};
use crate::wal::{Recovered, WalOptions, list_directory, read_directory};
use crate::{HardState, SnapshotRecord};
use bytes::Bytes;
use etched_disk::Disk;
use std::path::Path;

/// What a directory is used for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DirectoryUse {
    /// It does not exist.
    Missing,
    /// There is nothing in it, or only what a crash left before the log came into being.
    Empty,
    /// It holds a log.
    Log,
    /// It holds a log that another process has open.
    InUse,
    /// It holds no log, but something else.
    Foreign,
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What it is used for.
    pub directory_use: DirectoryUse,
    /// The segments, oldest first.
    pub segments: Vec<SegmentName>,
    /// Names that are none of the log's.
    pub foreign: Vec<String>,
}

/// Says what is in a directory, without reading the files.
///
/// # Errors
/// If the disk fails.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspection, WalError> {
    if !disk.exists(dir)? {
        return Ok(Inspection {
            directory_use: DirectoryUse::Missing,
            segments: Vec::new(),
            foreign: Vec::new(),
        });
    }
    let listing = Listing::read(disk, dir)?;
    let in_use = match disk.lock(dir) {
        Ok(_free) => false,
        Err(error) if error.is_in_use() => true,
        Err(error) => return Err(error.into()),
    };
    let directory_use = if in_use {
        DirectoryUse::InUse
    } else if !listing.segments.is_empty() {
        DirectoryUse::Log
    } else if listing.foreign.is_empty() && listing.broken.is_empty() {
        DirectoryUse::Empty
    } else {
        DirectoryUse::Foreign
    };
    Ok(Inspection { directory_use, segments: listing.segments, foreign: listing.foreign })
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who it belongs to.
    pub metadata: Bytes,
    /// The newest hard state.
    pub hard_state: HardState,
    /// All snapshot records, oldest first, whether committed or not.
    pub snapshots: Vec<SnapshotRecord>,
    /// The index of the last entry or snapshot record.
    pub last_index: u64,
    /// What opening the log would cut off.
    pub torn_tail: Option<TornTail>,
}

/// Reads a whole log, every segment of it, and changes nothing.
///
/// # Errors
/// As [`crate::Wal::open`].
pub fn verify(disk: &dyn Disk, dir: &Path, options: WalOptions) -> Result<Verified, WalError> {
    let listing = list_directory(disk, dir)?;
    let log = read_directory(disk, dir, &listing, Wanted::Snapshots, options)?;
    Ok(Verified {
        metadata: log.metadata,
        hard_state: log.state,
        snapshots: log.snapshots,
        last_index: log.last_index,
        torn_tail: log.torn,
    })
}

/// Reads what comes after the snapshot `from`, as [`crate::Wal::open`] would, and changes nothing.
///
/// # Errors
/// As [`crate::Wal::open`].
pub fn read(
    disk: &dyn Disk,
    dir: &Path,
    from: &SnapshotRecord,
    options: WalOptions,
) -> Result<Recovered, WalError> {
    let listing = list_directory(disk, dir)?;
    let log = read_directory(disk, dir, &listing, Wanted::After(from.clone()), options)?;
    Ok(Recovered {
        metadata: log.metadata,
        hard_state: log.state,
        entries: log.entries,
        torn_tail: log.torn,
        foreign: listing.foreign,
    })
}
