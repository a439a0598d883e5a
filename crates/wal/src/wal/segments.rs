//! The files behind an open log: segments in use, spares to come, and how one becomes the other.

use crate::WalOptions;
use crate::error::WalError;
use crate::segment::{SegmentName, spare_name};
use crate::spare::{Origin, Spare, SpareRequest};
use etched_disk::{Disk, DiskFile};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// Spares kept, prepared or not.
const SPARES_MAX: usize = 1;

#[derive(Debug)]
pub(super) struct Segments {
    pub(super) dir: PathBuf,
    /// Oldest first; the last one is written to.
    pub(super) used: Vec<Segment>,
    pub(super) spares: Vec<Spare>,
    /// Files that were segments, or were left by an earlier life.
    pub(super) released: Vec<PathBuf>,
    pub(super) spare_number_next: u64,
    /// Alive while a request or the spare that it became exists.
    pub(super) in_preparation: Weak<()>,
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
}

/// A segment that was just begun.
pub(super) struct Begun {
    pub(super) file: Arc<dyn DiskFile>,
    /// Up to here the file was filled with something.
    pub(super) filled: u64,
}

impl Segments {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            used: Vec::new(),
            spares: Vec::new(),
            released: Vec::new(),
            spare_number_next: 0,
            in_preparation: Weak::new(),
        }
    }

    /// Brings a segment with this head into being, durably; its name comes last.
    pub(super) fn begin(
        &mut self,
        disk: &dyn Disk,
        head: &[u8],
        index: u64,
        options: WalOptions,
    ) -> Result<Begun, WalError> {
        let sequence = self.used.last().map_or(0, |segment| segment.name.sequence + 1);
        let name = SegmentName { sequence, index: if sequence == 0 { 0 } else { index } };
        let (path, file, filled) = match self.spares.pop() {
            Some(spare) => (spare.path, spare.file, spare.bytes),
            None => {
                let path = self.new_spare_path();
                let file = disk.create(&path)?;
                file.allocate(options.segment_bytes)?;
                (path, file, 0)
            }
        };
        file.write_at(head, 0)?;
        file.sync_data()?;
        disk.rename(&path, &self.dir.join(name.to_string()))?;
        // A planted fault, see `cargo xtask bugs`.
        if !cfg!(bug = "log-leaves-the-name-unsynced") {
            disk.sync_dir(&self.dir)?;
        }
        self.used.push(Segment { name, bytes: options.segment_bytes.max(head.len() as u64) });
        Ok(Begun { file, filled: filled.max(head.len() as u64) })
    }

    fn new_spare_path(&mut self) -> PathBuf {
        let path = self.dir.join(spare_name(self.spare_number_next));
        self.spare_number_next += 1;
        path
    }

    /// Lets all segments go before the one that holds `index`, oldest first, so that a crash leaves no gap.
    pub(super) fn release(&mut self, disk: &dyn Disk, index: u64) -> Result<usize, WalError> {
        let kept = self.used.iter().rposition(|segment| segment.name.index <= index).unwrap_or(0);
        // A planted fault, see `cargo xtask bugs`.
        let kept = if cfg!(bug = "log-releases-what-is-needed") { self.used.len() - 1 } else { kept };
        for _ in 0..kept {
            let path = self.dir.join(self.used[0].name.to_string());
            if self.lacks_spare() && self.released.len() < SPARES_MAX {
                let spare = self.new_spare_path();
                disk.rename(&path, &spare)?;
                self.released.push(spare);
            } else {
                disk.remove(&path)?;
            }
            self.used.remove(0);
        }
        // The second half is a planted fault, see `cargo xtask bugs`.
        if kept > 0 && !cfg!(bug = "log-reuses-what-can-come-back") {
            // Before this, the old content must not be overwritten: the old name could come back.
            disk.sync_dir(&self.dir)?;
        }
        Ok(kept)
    }

    pub(super) fn lacks_spare(&self) -> bool {
        self.spares.is_empty() && self.in_preparation.strong_count() == 0
    }

    pub(super) fn request_spare(&mut self, disk: &Arc<dyn Disk>, options: WalOptions) -> SpareRequest {
        let (path, origin) = match self.released.pop() {
            Some(path) => (path, Origin::Released),
            None => (self.new_spare_path(), Origin::New),
        };
        let token = Arc::new(());
        self.in_preparation = Arc::downgrade(&token);
        SpareRequest { disk: Arc::clone(disk), path, origin, bytes: options.segment_bytes, token }
    }

    pub(super) fn add_spare(&mut self, spare: Spare) {
        assert_eq!(spare.path.parent(), Some(&*self.dir), "a spare is for the log that asked for it");
        self.spares.push(spare);
    }

    pub(super) fn set_newest_bytes(&mut self, end: u64) {
        let newest = self.used.last_mut().expect("a log has a segment");
        newest.bytes = newest.bytes.max(end);
    }

    pub(super) fn newest_bytes(&self) -> u64 {
        self.used.last().expect("a log has a segment").bytes
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.used.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.used.len()
    }
}
