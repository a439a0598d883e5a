//! A file seen as the tables of a backend, without being read in.
//!
//! Whatever works on a view works on a file then: taking up a state to look at it, computing a hash, writing another
//! file. A file has no checksums of its records, so what is damaged within a key or value goes unseen here too.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, ReadView, Table};

use crate::error::ReadError;
use crate::reader::{BoltFile, Content};

/// The tables that are buckets of a file; the others are empty. Buckets within buckets are passed over.
#[derive(Clone, Debug)]
pub struct FileView {
    file: BoltFile,
}

impl FileView {
    /// The tables of `file`.
    #[must_use]
    pub fn new(file: BoltFile) -> Self {
        Self { file }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &BoltFile {
        &self.file
    }

    #[expect(clippy::type_complexity, reason = "a closure over two slices says what it is")]
    fn visit(
        &self,
        table: Table,
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let Some(bucket) = bucket(&self.file, table)? else { return Ok(()) };
        let entries = match start {
            Bound::Unbounded => bucket.entries(),
            Bound::Included(start) | Bound::Excluded(start) => bucket.entries_from(start),
        };
        for entry in entries {
            let entry = entry?;
            let is_behind = match end {
                Bound::Unbounded => false,
                Bound::Included(end) => &entry.key[..] > end,
                Bound::Excluded(end) => &entry.key[..] >= end,
            };
            if is_behind {
                return Ok(());
            }
            let is_start = matches!(start, Bound::Excluded(start) if entry.key == start);
            let Content::Value(value) = entry.content else { continue };
            if !is_start && visit(&entry.key, &value).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn bucket(file: &BoltFile, table: Table) -> Result<Option<crate::Bucket<'_>>, ReadError> {
    if Table::BUCKETS.contains(&table) { file.bucket(table.name().as_bytes()) } else { Ok(None) }
}

fn failed(error: ReadError) -> BackendError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    BackendError::Storage(text)
}

impl ReadView for FileView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        let Some(bucket) = bucket(&self.file, table).map_err(failed)? else { return Ok(None) };
        match bucket.get(key).map_err(failed)? {
            Some(Content::Value(value)) => Ok(Some(Bytes::copy_from_slice(&value))),
            Some(Content::Bucket(_)) | None => Ok(None),
        }
    }

    fn scan(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.visit(table, range, visit).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use etched_backend::{Backend as _, Batch, Durability, MemoryBackend};
    use etched_disk::{Disk as _, SimDisk};

    use super::*;
    use crate::format::PageSize;
    use crate::tables::{encode_tables, plan_tables};

    fn bounds() -> Vec<Bound<Vec<u8>>> {
        let keys = [0_u32, 7, 8, 299, 300].map(|at| at.to_be_bytes().to_vec());
        let ends = keys.into_iter().flat_map(|key| [Bound::Included(key.clone()), Bound::Excluded(key)]);
        ends.chain([Bound::Unbounded]).collect()
    }

    fn seen(view: &impl ReadView, start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut seen = Vec::new();
        let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        view.scan(Table::Key, range, &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn a_file_shows_what_the_view_showed_that_it_was_made_of() {
        let source = MemoryBackend::new();
        let mut batch = Batch::new();
        for at in (0..600_u32).step_by(2) {
            batch.put(Table::Key, at.to_be_bytes().to_vec(), vec![7; at as usize % 90]);
        }
        batch.put(Table::Meta, "term", "1");
        source.commit(&batch, Durability::Buffered).unwrap();
        let view = source.view().unwrap();
        let mut bytes = Vec::new();
        let layout = plan_tables(&view, PageSize::USUAL).unwrap();
        encode_tables(&view, layout, 64 << 10, |chunk| {
            bytes.extend_from_slice(&chunk);
            ControlFlow::Continue(())
        })
        .unwrap();
        let (disk, path) = (SimDisk::new(1), Path::new("/db"));
        disk.put_contents(path, &bytes);
        let file = FileView::new(BoltFile::open(disk.open_read_only(path).unwrap()).unwrap());

        assert_eq!(file.count(Table::Key).unwrap(), 300);
        assert_eq!(file.count(Table::Catalog).unwrap(), 0);
        assert_eq!(file.get(Table::Meta, b"term").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(file.get(Table::Meta, b"index").unwrap(), None);
        for start in bounds() {
            for end in bounds() {
                assert_eq!(seen(&file, &start, &end), seen(&view, &start, &end), "{start:?} {end:?}");
            }
        }
    }
}
