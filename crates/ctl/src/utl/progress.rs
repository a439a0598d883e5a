//! Bars for long work, on standard error and only if that is a terminal.

use std::sync::Arc;
use std::time::Duration;

use etched_disk::{DiskError, DiskFile};
use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many bytes.
pub(crate) fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    // Nothing is drawn where standard error is no terminal.
    let bar = ProgressBar::new(bytes).with_message(what);
    let style = "{msg:12} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A file that tells a bar what is read of it.
#[derive(Debug)]
pub(crate) struct Watched {
    file: Arc<dyn DiskFile>,
    bar: ProgressBar,
}

impl Watched {
    /// Shows a bar for as long as the file is used.
    pub(crate) fn new(file: Arc<dyn DiskFile>, what: &'static str) -> Result<Arc<Self>, DiskError> {
        let bar = bar(what, file.len()?);
        Ok(Arc::new(Self { file, bar }))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl DiskFile for Watched {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let read = self.file.read_at(buffer, offset)?;
        self.bar.inc(read as u64);
        Ok(read)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.file.allocate(len)
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.file.len()
    }

    fn unexpected_end(&self) -> DiskError {
        self.file.unexpected_end()
    }
}
