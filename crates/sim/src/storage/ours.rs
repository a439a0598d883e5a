//! The database that we ship, as a [`Database`].

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability, ReadView, RedbBackend, RedbOptions, Table};
use etched_disk::SimDisk;

use super::database::{Content, Database};

impl Database for RedbBackend {
    fn create(disk: &SimDisk, path: &Path) -> Result<Self, String> {
        Self::create(disk, path, options()).map_err(|error| error.to_string())
    }

    fn open(disk: &SimDisk, path: &Path) -> Result<Self, String> {
        Self::open(disk, path, options()).map_err(|error| error.to_string())
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), String> {
        Backend::commit(self, batch, durability).map_err(|error| error.to_string())
    }

    fn content(&self) -> Result<Content, String> {
        let view = self.view().map_err(|error| error.to_string())?;
        let mut content = Content::new();
        for table in Table::ALL {
            let scanned = view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
                content.insert((table, Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value));
                ControlFlow::Continue(())
            });
            scanned.map_err(|error| error.to_string())?;
        }
        Ok(content)
    }
}

fn options() -> RedbOptions {
    RedbOptions { cache_bytes: 1 << 20, ..RedbOptions::default() }
}
