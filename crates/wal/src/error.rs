//! Why a log cannot be opened or written.

use etched_disk::DiskError;
use std::path::PathBuf;

/// A failed operation on the log. Cheap to clone: a log that failed once answers the same for ever.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The disk failed. After a write or sync the process must end: nobody knows what is on the disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another process has the log open.
    #[error("log directory {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no log in the directory.
    #[error("no log in {}", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a log already where one was to be created.
    #[error("there is a log in {} already", dir.display())]
    AlreadyExists {
        /// The directory.
        dir: PathBuf,
    },
    /// Records that must be there are damaged. Nothing on the disk was changed.
    #[error("log segment {segment} is damaged at byte {offset}")]
    Damaged {
        /// The file name.
        segment: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        #[source]
        why: Damage,
    },
    /// Two segments that should follow each other do not.
    #[error("no log segment between {before} and {after}")]
    MissingSegment {
        /// The last file name before the gap.
        before: String,
        /// The first file name after the gap.
        after: String,
    },
    /// The log does not know the snapshot from which it was to be read.
    #[error("the log holds no record of a snapshot at index {index}")]
    SnapshotNotFound {
        /// The index asked for.
        index: u64,
    },
    /// The log knows a snapshot of this index, but from another term.
    #[error("the log has the snapshot at index {index} in term {found}, not {wanted}")]
    SnapshotMismatch {
        /// The index asked for.
        index: u64,
        /// The term asked for.
        wanted: u64,
        /// The term in the log.
        found: u64,
    },
    /// The log ends before what it says is committed: entries were lost.
    #[error("the log ends at index {last}, but says that {commit} is committed")]
    CommitBeyondLog {
        /// The committed index.
        commit: u64,
        /// The last entry.
        last: u64,
    },
}

/// What is wrong with a place in a segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The segment does not begin with a checksum and the metadata.
    #[error("the head of the segment is missing")]
    Head,
    /// A length field that no writer writes, or bytes where the log should have ended.
    #[error("not the beginning of a record")]
    Frame,
    /// The log ends within a batch.
    #[error("the last batch is not complete")]
    Incomplete,
    /// The record goes past the end of the file.
    #[error("the record goes past the end of the file")]
    PastEnd,
    /// The record or the message in it does not have the fields it must have.
    #[error("the record is not well formed")]
    Malformed,
    /// The record's checksum is not that of its content and all before it.
    #[error("the checksum is wrong")]
    Checksum,
    /// A crc record does not agree with what stands before it.
    #[error("records before the checksum record are not those it was made for")]
    Chain,
    /// Records are unreadable which were synced, as a later batch proves.
    #[error("records were synced and are not readable: a later batch begins at byte {at}")]
    Synced {
        /// Where the later batch begins, in bytes from the start of the segment.
        at: u64,
    },
    /// A segment that is followed by another does not end cleanly.
    #[error("the segment is followed by another and does not end cleanly")]
    Unfinished,
    /// The newest segment is shorter than every segment is made.
    #[error("the segment is only {len} bytes long, at least {least} were set aside for it")]
    Short {
        /// The length of the file.
        len: u64,
        /// The length that it had at least.
        least: u64,
    },
    /// The segment is longer than any segment can be.
    #[error("the segment is {len} bytes long")]
    TooLong {
        /// The length of the file.
        len: u64,
    },
    /// Two records of metadata differ.
    #[error("the metadata differ from those before")]
    Metadata,
    /// An entry does not follow on the entries before it.
    #[error("entry {found} follows on entry {last}")]
    EntryGap {
        /// The last index before.
        last: u64,
        /// The index found.
        found: u64,
    },
    /// An entry has a smaller term than the one before it.
    #[error("entry {index} has a smaller term than the entry before it")]
    EntryTermWentBack {
        /// The index of the entry.
        index: u64,
    },
    /// An entry has a higher term than the member had seen when the batch was done.
    #[error("entry {index} is of a term which the member had not seen")]
    EntryTermUnseen {
        /// The index of the entry.
        index: u64,
    },
    /// A hard state has a smaller term or commit than the one before it, or another vote in the same term.
    #[error("the hard state contradicts the one before it")]
    StateWentBack,
}
