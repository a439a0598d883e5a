//! The segmented, checksummed log and the snapshot files, in etcd's format.
//!
//! A member's promises are what its log holds: an entry is acknowledged when [`Wal::sync`] has returned.
//! The files are etcd's, byte for byte, so that either program can open what the other has written
//! (`docs/formats/wal.md` draws them). Inside that format this writer keeps a rule of its own:
//!
//! *Every batch opens with a crc record, and is written only after the sync of the batch before it.*
//!
//! So a crc record proves that all before it was on the disk. When [`Wal::open`] meets a record that it cannot
//! read, it looks on: if a crc record follows that stands for other content than was read, acknowledged records
//! are damaged, and it refuses with [`WalError::Damaged`] and changes nothing. Otherwise, and only if a lost
//! sector explains what is there, the record was torn by a crash before its sync returned; the tail is cut off and
//! reported as [`TornTail`]. A prefix of an unsynced batch may so come back: nobody was told of it, and it does
//! no harm.
//!
//! The last batch has no successor to prove it. [`Wal::seal`] (when idle) and [`Wal::close`] write the crc record of
//! the next batch ahead. Until then the loss of a whole sector of the very last batch looks like a tear, and so does
//! any damage to a record of it that holds a sector of zeros: that doubt remains. It is never about more than one
//! batch: each begins in a sector of its own.
//!
//! A sync is one write and one `fdatasync`, into space that was filled with zeros before, so that no metadata of
//! the file changes. Released segments are used again: a thread of the caller's prepares them
//! ([`Wal::spare_request`], [`SpareRequest::prepare`], [`Wal::add_spare`]).
//!
//! A failed write or sync is final: each later call answers with the same error, and the process must end.
//!
//! ```
//! use etched_disk::SimDisk;
//! use etched_wal::{Entry, HardState, SnapshotRecord, Wal, WalOptions};
//! use std::{path::Path, sync::Arc};
//!
//! # fn main() -> Result<(), etched_wal::WalError> {
//! let disk = SimDisk::new(1);
//! let (dir, options) = (Path::new("/member/wal"), WalOptions { segment_bytes: 8192, ..WalOptions::default() });
//! let mut wal = Wal::create(Arc::new(disk.clone()), dir, b"who we are", options)?;
//! let entry = Entry { term: 1, index: 1, kind: 0, data: "put a".into() };
//! wal.append(&[entry.clone()], Some(&HardState { term: 1, vote: 7, commit: 0 }));
//! wal.sync()?;
//!
//! let after_power_loss = Arc::new(disk.synced_image());
//! let (_wal, recovered) = Wal::open(after_power_loss, dir, &SnapshotRecord::default(), options)?;
//! assert_eq!(recovered.entries, [entry]);
//! # Ok(())
//! # }
//! ```

mod damage;
mod error;
mod frame;
mod inspect;
mod message;
mod reader;
mod segment;
pub mod snapshot_file;
mod spare;
mod wal;

use bytes::Bytes;

pub use error::{Damage, WalError};
pub use inspect::{DirectoryUse, Inspection, Verified, inspect, read, verify};
pub use reader::TornTail;
pub use segment::SegmentName;
pub use spare::{Spare, SpareRequest};
pub use wal::{Recovered, Wal, WalOptions};

/// The size of etcd's segments, in bytes.
pub const SEGMENT_BYTES: u64 = 64_000_000;

/// An entry of the Raft log (etcd's `raftpb.Entry`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// The position in the log; the first is 1.
    pub index: u64,
    /// 0: a command, 1: a membership change, 2: a membership change of the second kind.
    pub kind: u64,
    /// The content; empty for a leader's first entry.
    pub data: Bytes,
}

/// What a member must not forget between two elections (etcd's `raftpb.HardState`).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term that the member has seen.
    pub term: u64,
    /// Whom it voted for in that term; 0 for nobody.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// A note in the log that a snapshot stands for all entries up to an index (etcd's `walpb.Snapshot`).
///
/// A new log begins with the default one: index 0, term 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The last entry that the snapshot stands for.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members at that point, as an encoded `raftpb.ConfState`.
    pub conf_state: Option<Bytes>,
}
