//! What a log needs of a filesystem: a real one, and one that loses power.
//!
//! Durability is decided at the border between a program and its filesystem, so that border is a port here:
//! [`Disk`] (names in directories) and [`DiskFile`] (bytes at offsets).
//! [`RealDisk`] is the machine's filesystem.
//! [`SimDisk`] lives in memory and keeps across a crash only what was synced, plus a random part of the rest:
//! it is how the log, the backend and a whole simulated cluster are shown to lose nothing.
//!
//! The port is narrower than POSIX on purpose, and its rules are the ones that filesystems really keep:
//!
//! - bytes written are safe after [`DiskFile::sync_data`], not before, and a crash may tear them at any
//!   512-byte sector;
//! - a created, renamed or removed *name* is safe after [`Disk::sync_dir`] of its directory, whatever was done
//!   to the file itself; [`Disk::create_dir`] alone is durable when it returns;
//! - a rename stays inside one directory, where it is atomic;
//! - after a failed sync nobody knows what is on the disk: a later sync that succeeds proves nothing.
//!   Callers end the process; [`SimDisk`] drops the unsynced bytes to punish those that do not.
//!
//! All calls block, take `&self` and may be made from any thread.
//! [`create_atomically`] and [`replace`] are the two safe ways to bring a whole file into being.
//! With the feature `conformance` the module `conformance` holds the suite which every implementation passes.
//!
//! ```
//! use etched_disk::{Disk, SimDisk};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), etched_disk::DiskError> {
//! let disk = SimDisk::new(7);
//! let (dir, path) = (Path::new("/data"), Path::new("/data/log"));
//! disk.create_dir(dir)?;
//! let file = disk.create(path)?;
//! file.write_at(b"safe", 0)?;
//! file.sync_data()?;
//! disk.sync_dir(dir)?;
//! file.write_at(b"lost", 0)?;
//!
//! let after = disk.synced_image();
//! assert_eq!(after.contents(path).as_deref(), Some(&b"safe"[..]));
//! # Ok(())
//! # }
//! ```

mod atomic;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod real;
mod sim;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

pub use atomic::{Appender, create_atomically, replace};
pub use error::{DiskError, Operation};
pub use real::RealDisk;
pub use sim::{Faults, SimDisk, Tear};

/// The unit, in bytes, that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Names in directories.
pub trait Disk: Debug + Send + Sync {
    /// Opens an existing file to read and write.
    ///
    /// # Errors
    /// [`DiskError::is_not_found`] if there is no such file.
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Opens an existing file to read only; writing through the handle fails.
    ///
    /// # Errors
    /// [`DiskError::is_not_found`] if there is no such file.
    fn open_read_only(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Creates an empty file that only its owner may read (mode 0600).
    ///
    /// The name is durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`DiskError::is_already_exists`] if the name is taken.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Creates a directory and its missing parents (mode 0700), durably; an existing one is left as it is.
    ///
    /// # Errors
    /// If the filesystem refuses, or a parent is not a directory.
    fn create_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Gives a file another name in the same directory; a file which has that name is replaced, atomically.
    ///
    /// Open handles stay valid. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`DiskError::is_not_found`] if `from` is missing; also if the two names lie in different directories.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`DiskError::is_not_found`] if there is no such file.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// [`DiskError::is_not_found`] if there is no such directory.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError>;

    /// Says whether a file or directory has this name.
    ///
    /// # Errors
    /// If the filesystem cannot tell.
    fn exists(&self, path: &Path) -> Result<bool, DiskError>;

    /// Makes all earlier creations, renames and removals in a directory durable.
    ///
    /// # Errors
    /// If the disk fails; the state of the names is unknown then.
    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;

    /// Takes a directory, or a file, for this process until the lock is dropped; does not wait.
    ///
    /// On a real filesystem it is the `flock` of the kernel, by which other programs take files too.
    ///
    /// # Errors
    /// [`DiskError::is_in_use`] if another holds it.
    fn lock(&self, dir: &Path) -> Result<Box<dyn DiskLock>, DiskError>;
}

/// Bytes at offsets.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`; a gap after the old end reads as zeros.
    ///
    /// # Errors
    /// [`DiskError::is_full`] if there is no room; a part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError>;

    /// Reads into `buffer` from `offset` and returns how many bytes there were: fewer only at the end of the file.
    ///
    /// # Errors
    /// If the disk fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;

    /// Waits until all that was written, and the length needed to read it back, is on the disk.
    ///
    /// # Errors
    /// If the disk fails; what was written since the last sync may be lost, even if a later sync succeeds.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// If the filesystem refuses.
    fn set_len(&self, len: u64) -> Result<(), DiskError>;

    /// Lengthens a shorter file with zeros to `len` bytes, for which room on the disk is set aside.
    ///
    /// A filesystem that cannot set room aside only lengthens it.
    ///
    /// # Errors
    /// [`DiskError::is_full`] if there is no room.
    fn allocate(&self, len: u64) -> Result<(), DiskError>;

    /// The length in bytes.
    ///
    /// # Errors
    /// If the filesystem cannot tell.
    fn len(&self) -> Result<u64, DiskError>;

    /// Says whether the file holds no bytes.
    ///
    /// # Errors
    /// If the filesystem cannot tell.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`DiskError::is_unexpected_end`] if the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let wanted = buffer.len();
        if self.read_at(buffer, offset)? == wanted { Ok(()) } else { Err(self.unexpected_end()) }
    }

    /// The error for a read which passes the end of this file.
    fn unexpected_end(&self) -> DiskError;
}

/// A held lock; dropping it gives the directory free.
pub trait DiskLock: Debug + Send + Sync {}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last part of the path; what is not UTF-8 in it is replaced.
    pub name: String,
    /// What the name stands for.
    pub kind: DirEntryKind,
}

/// What a name in a directory stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirEntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, a socket or the like.
    Other,
}

/// Reads a whole file.
///
/// # Errors
/// [`DiskError::is_not_found`] if there is no such file.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, DiskError> {
    let file = disk.open_read_only(path)?;
    let len = file.len()?;
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| file.unexpected_end())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
