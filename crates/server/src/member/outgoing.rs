//! The whole state as a database file of etcd's, made while it is read.
//!
//! First come the lengths, from which the file's length and layout follow; those of the records are in the catalog, so
//! that no value is read for them.
//! Then the view is read for the bytes, on a thread of its own that is never more than a few chunks ahead of whoever
//! takes them.

use std::io;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use etched_backend::ReadView;
use etched_backend::Table;
use etched_bolt::{ExportError, Layout, PageSize, Roots};
use etched_state_machine::record_lengths;

use crate::api::Database;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are made ahead.
const CHUNKS_AHEAD: usize = 4;

/// Plans the file over a view and begins to make it. Takes as long as reading the catalog.
///
/// # Errors
///
/// When the view cannot be read.
pub(crate) fn database<V: ReadView + Send + Sync + 'static>(
    view: Arc<V>,
    version: String,
) -> Result<Database, ExportError> {
    let layout = plan(&*view)?;
    let (bytes, roots) = (layout.file_bytes(), Roots::of(&layout));
    let (sender, receiver) = sync_channel::<io::Result<bytes::Bytes>>(CHUNKS_AHEAD);
    let failed = sender.clone();
    let work = move || {
        let encoded = etched_bolt::encode_tables(&*view, layout, CHUNK_BYTES, |chunk| {
            // Whoever takes the chunks may be gone.
            if sender.send(Ok(chunk)).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if let Err(error) = encoded {
            let _ = sender.send(Err(io::Error::other(error)));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("snapshot-read".into()).spawn(work) {
        // The channel has room for it.
        let _ = failed.send(Err(error));
    }
    Ok(Database { bytes, version, roots, chunks: Box::new(receiver.into_iter()) })
}

/// Plans with the lengths that the catalog tells, or, if it does not tell those of all records, with those of the
/// records themselves.
fn plan(view: &impl ReadView) -> Result<Layout, ExportError> {
    let mut is_told = true;
    let layout = etched_bolt::plan_tables_by(view, PageSize::USUAL, &mut |table, visit| {
        if table != Table::Key {
            return view.scan(table, (Bound::Unbounded, Bound::Unbounded), &mut |key, value| {
                visit(key.len(), value.len())
            });
        }
        is_told = record_lengths(view, visit).ok() == Some(view.count(table)?);
        Ok(())
    })?;
    if is_told { Ok(layout) } else { etched_bolt::plan_tables(view, PageSize::USUAL) }
}
