//! Segments made ready before they are needed.
//!
//! Filling 64 MB with zeros takes longer than a caller can wait, and has to be done before the segment is used:
//! overwriting zeros in place changes no metadata of a file, so that a sync is a write of a few sectors and nothing
//! else. A thread of the server's does it:
//!
//! ```text
//! log thread     Wal::spare_request() ──► background thread     SpareRequest::prepare()
//! log thread     Wal::add_spare(..)   ◄── background thread     Spare
//! ```

use crate::error::WalError;
use etched_disk::{Appender, Disk, DiskError, DiskFile};
use std::path::PathBuf;
use std::sync::Arc;

/// Zeros are written in pieces of this many bytes, each synced by itself, so that the syncs of the log do not have
/// to wait for all of them.
const PIECE_BYTES: usize = 4 << 20;

/// A file that is to be made ready. Dropping the request gives it up; the log will ask again.
#[derive(Debug)]
pub struct SpareRequest {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) bytes: u64,
    pub(crate) token: Arc<()>,
}

/// Where the file of a spare comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It has to be created.
    New,
    /// It was a segment, and its old content has to go.
    Released,
}

/// A file full of zeros, waiting to become a segment.
#[derive(Debug)]
pub struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
    _token: Arc<()>,
}

impl SpareRequest {
    /// Creates the file if need be, fills it with zeros and syncs it. Blocks for long; call it on a thread that
    /// may wait.
    ///
    /// # Errors
    /// If the disk fails or is full. The file is removed then, and the log goes on without a spare.
    pub fn prepare(self) -> Result<Spare, WalError> {
        match self.fill() {
            Ok(file) => Ok(Spare { path: self.path, file, bytes: self.bytes, _token: self.token }),
            Err(error) => {
                // A full disk needs its space back; what is left here if even that fails goes with the next start.
                let _ = self.disk.remove(&self.path);
                Err(error.into())
            }
        }
    }

    fn fill(&self) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = match self.origin {
            Origin::New => self.disk.create(&self.path)?,
            Origin::Released => self.disk.open(&self.path)?,
        };
        if file.len()? > self.bytes {
            file.set_len(self.bytes)?;
        }
        file.allocate(self.bytes)?;
        let zeros = vec![0; PIECE_BYTES];
        let mut appender = Appender::new(&*file, 0);
        while appender.offset() < self.bytes {
            let left = usize::try_from(self.bytes - appender.offset()).unwrap_or(PIECE_BYTES);
            appender.append(&zeros[..left.min(PIECE_BYTES)])?;
            file.sync_data()?;
        }
        Ok(file)
    }
}
