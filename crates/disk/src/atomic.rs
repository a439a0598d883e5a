//! Bringing a whole file into being, so that a crash leaves all of it or nothing.

use crate::{Disk, DiskError, DiskFile};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Creates `path` under a temporary name (`.tmp` appended), lets `fill` write it, syncs it, and only then gives
/// it its name, durably. A file that has the name is replaced. Returns the open file.
///
/// A leftover of an earlier crash under the temporary name is removed first.
///
/// # Errors
/// What the disk or `fill` answers; the temporary file may stay behind.
pub fn create_atomically(
    disk: &dyn Disk,
    path: &Path,
    fill: &mut dyn FnMut(&dyn DiskFile) -> Result<(), DiskError>,
) -> Result<Arc<dyn DiskFile>, DiskError> {
    let temporary = temporary_name(path);
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    fill(&*file)?;
    // A planted fault, see `cargo xtask bugs`.
    if !cfg!(bug = "snapshot-file-is-not-synced") {
        file.sync_data()?;
    }
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// Makes `bytes` the whole content of `path`, atomically and durably.
///
/// # Errors
/// What the disk answers; the old content, if any, is untouched then.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    create_atomically(disk, path, &mut |file| file.write_at(bytes, 0)).map(drop)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes one piece after the other.
#[derive(Debug)]
pub struct Appender<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl<'a> Appender<'a> {
    /// Starts at `offset`.
    pub fn new(file: &'a dyn DiskFile, offset: u64) -> Self {
        Self { file, offset }
    }

    /// Where the next piece goes, in bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes `bytes` after the last piece.
    ///
    /// # Errors
    /// What [`DiskFile::write_at`] answers.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
