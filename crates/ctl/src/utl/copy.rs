//! Copies of whole databases, and how a copy takes the place of a file.

use std::ops::{Bound, ControlFlow};
use std::path::Path;

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability, ReadView, Table};
use etched_bolt::{BoltFile, Content, EncodeError, Encoder, PageSize, Plan};
use etched_disk::{Appender, Disk as _, DiskFile, RealDisk};

use crate::failure::{Exit, Failure};
use crate::utl::failed;
use crate::utl::stored::text_of_read;

/// Bytes of one batch.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of one write to a file of etcd's form.
const CHUNK_BYTES: usize = 1 << 20;

/// Puts all records of some tables of a view into a backend, with one synced commit at the end.
pub(crate) fn tables(view: &dyn ReadView, tables: &[Table], backend: &impl Backend) -> Result<(), Failure> {
    let mut batch = Batch::new();
    for table in tables {
        let mut result = Ok(());
        view.scan(*table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
            batch.put(*table, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            if batch.bytes() >= BATCH_BYTES {
                result = backend.commit(&std::mem::take(&mut batch), Durability::Buffered);
            }
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .map_err(failed)?;
        result.map_err(failed)?;
    }
    backend.commit(&batch, Durability::Synced).map_err(failed)
}

/// Writes the tables of a view to an empty file, in etcd's form, and syncs it.
pub(crate) fn to_bolt(view: &impl ReadView, file: &dyn DiskFile) -> Result<(), Failure> {
    let layout = etched_bolt::plan_tables(view, PageSize::USUAL).map_err(failed)?;
    let bar = crate::utl::progress::bar("writing", layout.file_bytes());
    let mut appender = Appender::new(file, 0);
    let mut result = Ok(());
    let encoded = etched_bolt::encode_tables(view, layout, CHUNK_BYTES, |chunk| {
        bar.inc(chunk.len() as u64);
        result = appender.append(&chunk);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    bar.finish_and_clear();
    result.map_err(failed)?;
    encoded.map_err(failed)?;
    file.sync_data().map_err(failed)
}

/// Writes all buckets of a file of etcd's form to an empty file, without gaps, and syncs it.
pub(crate) fn bolt_to_bolt(source: &BoltFile, file: &dyn DiskFile) -> Result<(), Failure> {
    let mut plan = Plan::new(source.meta().page_size);
    each(source, &mut |item| match item {
        Item::Bucket { name, sequence } => plan.bucket(name, sequence).map_err(failed),
        Item::Entry { key, value } => plan.entry(key.len(), value.len()).map_err(failed),
    })?;
    let mut appender = Appender::new(file, 0);
    let mut result = Ok(());
    let mut encoder = Encoder::new(plan.finish(), CHUNK_BYTES, |chunk| {
        result = appender.append(&chunk);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let encoded = each(source, &mut |item| match item {
        Item::Bucket { name, .. } => encoder.bucket(name).map_err(failed),
        Item::Entry { key, value } => encoder.entry(key, value).map_err(failed),
    })
    .and_then(|()| encoder.finish().map_err(|error: EncodeError| failed(error)));
    result.map_err(failed)?;
    encoded?;
    file.sync_data().map_err(failed)
}

enum Item<'a> {
    Bucket { name: &'a [u8], sequence: u64 },
    Entry { key: &'a [u8], value: &'a [u8] },
}

fn each(source: &BoltFile, visit: &mut dyn FnMut(Item<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    for bucket in source.buckets() {
        let (name, bucket) = bucket.map_err(text_of_read)?;
        visit(Item::Bucket { name: &name, sequence: bucket.sequence() })?;
        for entry in bucket.entries() {
            let entry = entry.map_err(text_of_read)?;
            let Content::Value(value) = entry.content else {
                let name = name.escape_ascii();
                return Err(Failure::new(
                    Exit::Request,
                    format!("there is a bucket within the bucket \"{name}\""),
                ));
            };
            visit(Item::Entry { key: &entry.key, value: &value })?;
        }
    }
    Ok(())
}

/// Removes a file that an earlier run has left.
pub(crate) fn remove_leftover(path: &Path) -> Result<(), Failure> {
    let disk = RealDisk::new();
    if disk.exists(path).map_err(failed)? {
        disk.remove(path).map_err(failed)?;
    }
    Ok(())
}

/// Gives a file another name, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    let disk = RealDisk::new();
    disk.rename(from, to).map_err(failed)?;
    disk.sync_dir(to.parent().unwrap_or(Path::new("."))).map_err(failed)
}
