//! What went wrong, doing what, to which file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failed call on a disk. Cheap to clone, so that a broken log can answer each later call with the first error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct DiskError {
    operation: Operation,
    path: PathBuf,
    #[source]
    source: Arc<io::Error>,
}

/// The call that failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`crate::Disk::open`] or [`crate::Disk::open_read_only`].
    Open,
    /// [`crate::Disk::create`].
    Create,
    /// [`crate::Disk::create_dir`].
    CreateDir,
    /// [`crate::Disk::rename`].
    Rename,
    /// [`crate::Disk::remove`].
    Remove,
    /// [`crate::Disk::list`].
    List,
    /// [`crate::Disk::exists`].
    Exists,
    /// [`crate::Disk::sync_dir`].
    SyncDir,
    /// [`crate::Disk::lock`].
    Lock,
    /// [`crate::DiskFile::write_at`].
    Write,
    /// [`crate::DiskFile::read_at`].
    Read,
    /// [`crate::DiskFile::sync_data`].
    Sync,
    /// [`crate::DiskFile::set_len`].
    SetLen,
    /// [`crate::DiskFile::allocate`].
    Allocate,
    /// [`crate::DiskFile::len`].
    Len,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::CreateDir => "create directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Exists => "look for",
            Self::SyncDir => "sync directory",
            Self::Lock => "lock",
            Self::Write => "write to",
            Self::Read => "read from",
            Self::Sync => "sync",
            Self::SetLen => "set the length of",
            Self::Allocate => "allocate room for",
            Self::Len => "get the length of",
        })
    }
}

impl DiskError {
    /// Puts the call and the path around an I/O error.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        Self { operation, path: path.to_owned(), source: Arc::new(source) }
    }

    /// The call that failed.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The file or directory that was meant.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// No such file or directory.
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.kind() == io::ErrorKind::AlreadyExists
    }

    /// Another holds the lock.
    pub fn is_in_use(&self) -> bool {
        self.operation == Operation::Lock && self.kind() == io::ErrorKind::WouldBlock
    }

    /// The disk, or the share of it that this user may fill, is full.
    pub fn is_full(&self) -> bool {
        self.kind() == io::ErrorKind::StorageFull || self.kind() == io::ErrorKind::QuotaExceeded
    }

    /// The file ended before the read was done.
    pub fn is_unexpected_end(&self) -> bool {
        self.kind() == io::ErrorKind::UnexpectedEof
    }
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        Self::new(error.kind(), error)
    }
}
