//! The machine's filesystem.

use crate::{DirEntry, DirEntryKind, Disk, DiskError, DiskFile, DiskLock, Operation};
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The filesystem of the machine. Holds nothing: each call names its path.
#[derive(Copy, Clone, Debug)]
pub struct RealDisk {
    is_synced: bool,
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl RealDisk {
    /// The filesystem of the machine.
    pub fn new() -> Self {
        Self { is_synced: true }
    }

    /// The same, but nothing is synced: when the power goes, everything that the kernel had not written is lost, in
    /// any order, and what is left may not fit together.
    pub fn without_syncs() -> Self {
        Self { is_synced: false }
    }

    fn open_file(
        &self,
        operation: Operation,
        path: &Path,
        options: &OpenOptions,
    ) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = options.open(path).map_err(|error| DiskError::new(operation, path, error))?;
        Ok(Arc::new(RealFile { file, path: path.to_owned(), is_synced: self.is_synced }))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_file(Operation::Open, path, OpenOptions::new().read(true).write(true))
    }

    fn open_read_only(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open_file(Operation::Open, path, OpenOptions::new().read(true))
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let new = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).clone();
        self.open_file(Operation::Create, path, &new)
    }

    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let fail = |error| DiskError::new(Operation::CreateDir, path, error);
        let mut missing: Vec<&Path> = Vec::new();
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            match std::fs::metadata(dir) {
                Ok(found) if found.is_dir() => break,
                Ok(_) => return Err(fail(io::Error::from(io::ErrorKind::NotADirectory))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(dir),
                Err(error) => return Err(fail(error)),
            }
        }
        for dir in missing.into_iter().rev() {
            match DirBuilder::new().mode(0o700).create(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(error) => return Err(fail(error)),
            }
            self.sync_dir(directory_of(dir))?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let fail = |error| DiskError::new(Operation::Rename, from, error);
        if from.parent() != to.parent() {
            return Err(fail(io::Error::from(io::ErrorKind::CrossesDevices)));
        }
        std::fs::rename(from, to).map_err(fail)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        std::fs::remove_file(path).map_err(|error| DiskError::new(Operation::Remove, path, error))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        let fail = |error| DiskError::new(Operation::List, dir, error);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            let kind = if kind.is_file() {
                DirEntryKind::File
            } else if kind.is_dir() {
                DirEntryKind::Directory
            } else {
                DirEntryKind::Other
            };
            entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        path.try_exists().map_err(|error| DiskError::new(Operation::Exists, path, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        if !self.is_synced {
            return Ok(());
        }
        File::open(dir)
            .and_then(|handle| handle.sync_all())
            .map_err(|error| DiskError::new(Operation::SyncDir, dir, error))
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DiskLock>, DiskError> {
        let fail = |error| DiskError::new(Operation::Lock, dir, error);
        let handle = File::open(dir).map_err(fail)?;
        rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| fail(io::Error::from(errno)))?;
        Ok(Box::new(RealLock { _handle: handle }))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The kernel gives the lock free when the handle is closed.
#[derive(Debug)]
struct RealLock {
    _handle: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// The name under which it was opened: for messages only.
    path: PathBuf,
    is_synced: bool,
}

impl RealFile {
    fn fail(&self, operation: Operation) -> impl Fn(io::Error) -> DiskError + '_ {
        move |error| DiskError::new(operation, &self.path, error)
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.fail(Operation::Write))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(Operation::Read)(error)),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        if !self.is_synced {
            return Ok(());
        }
        self.file.sync_data().map_err(self.fail(Operation::Sync))
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len).map_err(self.fail(Operation::SetLen))
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), old, len - old) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                self.set_len(len)
            }
            Err(errno) => Err(self.fail(Operation::Allocate)(io::Error::from(errno))),
        }
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.fail(Operation::Len))
    }

    fn unexpected_end(&self) -> DiskError {
        self.fail(Operation::Read)(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_disk_conforms() {
        let dir = tempfile::tempdir().unwrap();
        crate::conformance::run(&RealDisk::new(), dir.path());
        let dir = tempfile::tempdir().unwrap();
        crate::conformance::run(&RealDisk::without_syncs(), dir.path());
    }

    #[test]
    fn files_and_directories_belong_to_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        RealDisk::new().create_dir(&dir).unwrap();
        RealDisk::new().create(&dir.join("f")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("f"))), (0o700, 0o600));
    }

    #[test]
    fn an_error_says_what_could_not_be_done_to_which_file() {
        let error = RealDisk::new().open(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "cannot open /nowhere/at/all");
    }
}
