//! The file that redb sees: a [`DiskFile`], and while it is being opened a draft over it.
//!
//! redb writes while it opens a file, and only then finds out that it cannot. Writes of that time are kept in memory
//! and carried out, in their order and with their syncs, once the file has turned out to be sound; until then the
//! disk is not touched.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etched_disk::DiskFile;

const BLOCK_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct File {
    file: Arc<dyn DiskFile>,
    len: AtomicU64,
    /// Whether there is a draft; asked without the lock.
    is_draft: AtomicBool,
    draft: Mutex<Option<Draft>>,
}

/// Changes that are not on the disk.
#[derive(Debug, Default)]
struct Draft {
    changes: Vec<Change>,
    /// The blocks that differ from the disk, by their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Len(u64),
    Sync,
}

/// The handle that redb owns.
#[derive(Debug)]
pub(super) struct Storage(pub(super) Arc<File>);

impl File {
    /// A file that is written through.
    pub(super) fn direct(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Self::new(file, None)
    }

    /// A file that is not touched before [`File::carry_out`].
    pub(super) fn draft(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Self::new(file, Some(Draft::default()))
    }

    fn new(file: Arc<dyn DiskFile>, draft: Option<Draft>) -> io::Result<Self> {
        let len = AtomicU64::new(file.len()?);
        Ok(Self { file, len, is_draft: AtomicBool::new(draft.is_some()), draft: Mutex::new(draft) })
    }

    /// The length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Makes the changes of the draft, and from here on writes through.
    pub(super) fn carry_out(&self) -> io::Result<()> {
        let mut draft = self.lock();
        if let Some(made) = draft.take() {
            for change in made.changes {
                match change {
                    Change::Write { offset, bytes } => self.file.write_at(&bytes, offset)?,
                    Change::Len(len) => self.file.set_len(len)?,
                    // A planted fault, see `cargo xtask bugs`.
                    Change::Sync if cfg!(bug = "backend-opens-without-syncs") => {}
                    Change::Sync => self.file.sync_data()?,
                }
            }
        }
        self.is_draft.store(false, Ordering::Release);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Draft>> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` on the draft, if there is one.
    fn with_draft<T>(&self, act: impl FnOnce(&mut Draft) -> io::Result<T>) -> Option<io::Result<T>> {
        if !self.is_draft.load(Ordering::Acquire) {
            return None;
        }
        self.lock().as_mut().map(act)
    }

    /// What is on the disk at `offset`, with zeros behind its end.
    fn read_disk(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.file.read_at(out, offset)?;
        out[read..].fill(0);
        Ok(())
    }
}

impl Draft {
    fn read(&self, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for (number, at, piece) in pieces(offset, out.len()) {
            match self.blocks.get(&number) {
                Some(block) => out[piece.clone()].copy_from_slice(&block[at..at + piece.len()]),
                None => file.read_disk(number * BLOCK_BYTES as u64 + at as u64, &mut out[piece])?,
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.changes.push(Change::Write { offset, bytes: bytes.to_vec() });
        for (number, at, piece) in pieces(offset, bytes.len()) {
            let block = match self.blocks.entry(number) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
                    file.read_disk(number * BLOCK_BYTES as u64, &mut block)?;
                    entry.insert(block)
                }
            };
            block[at..at + piece.len()].copy_from_slice(&bytes[piece]);
        }
        Ok(())
    }

    /// A block that is cut off and comes back later reads as zeros.
    fn set_len(&mut self, file: &File, old: u64, new: u64) -> io::Result<()> {
        self.changes.push(Change::Len(new));
        let block_bytes = BLOCK_BYTES as u64;
        for number in new / block_bytes..old.div_ceil(block_bytes) {
            let start = number * block_bytes;
            let kept = usize::try_from(new.saturating_sub(start)).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
            self.read(file, start, &mut block[..kept])?;
            self.blocks.insert(number, block);
        }
        Ok(())
    }
}

/// Cuts `len` bytes from `offset` on at the borders of blocks: the block, where in it, and which of the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let at = usize::try_from(position % BLOCK_BYTES as u64).unwrap_or(0);
        let piece = done..len.min(done + BLOCK_BYTES - at);
        done = piece.end;
        Some((position / BLOCK_BYTES as u64, at, piece))
    })
}

impl redb::StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.0.len()) {
            return Err(self.0.file.unexpected_end().into());
        }
        match self.0.with_draft(|draft| draft.read(&self.0, offset, out)) {
            Some(result) => result,
            None => Ok(self.0.file.read_exact_at(out, offset)?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let old = self.0.len();
        match self.0.with_draft(|draft| draft.set_len(&self.0, old, len)) {
            Some(result) => result?,
            None => self.0.file.set_len(len)?,
        }
        self.0.len.store(len, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let noted = self.0.with_draft(|draft| {
            draft.changes.push(Change::Sync);
            Ok(())
        });
        match noted {
            Some(result) => result,
            None => Ok(self.0.file.sync_data()?),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.0.with_draft(|draft| draft.write(&self.0, offset, data)) {
            Some(result) => result?,
            None => self.0.file.write_at(data, offset)?,
        }
        self.0.len.fetch_max(offset + data.len() as u64, Ordering::AcqRel);
        Ok(())
    }
}
