//! The whole state as a database file of etcd's, made while it is read.
//!
//! The view is gone over twice: once for the lengths, from which the file's length and layout follow, and once for the
//! bytes, on a thread of its own that is never more than a few chunks ahead of whoever takes them.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use etched_backend::ReadView;
use etched_bolt::{ExportError, PageSize};

use crate::api::Database;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are made ahead.
const CHUNKS_AHEAD: usize = 4;

/// Plans the file over a view and begins to make it. Takes as long as reading all of the view.
///
/// # Errors
///
/// When the view cannot be read.
pub(crate) fn database<V: ReadView + Send + Sync + 'static>(
    view: Arc<V>,
    version: String,
) -> Result<Database, ExportError> {
    let layout = etched_bolt::plan_tables(&*view, PageSize::USUAL)?;
    let bytes = layout.file_bytes();
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
    Ok(Database { bytes, version, chunks: Box::new(receiver.into_iter()) })
}
