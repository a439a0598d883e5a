//! `Maintenance.Snapshot`: the database in blobs, then the SHA-256 of them all.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use etched_proto::wire::etcdserverpb as wire;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::api::Database;

/// Bytes of a blob, as etcd has them.
const BLOB_BYTES: usize = 32 << 10;
/// Blobs that are made ahead of what the client takes.
const BLOBS_AHEAD: usize = 64;

type Item = Result<wire::SnapshotResponse, Status>;

/// The responses of one call.
#[derive(Debug)]
pub(super) struct SnapshotStream {
    responses: mpsc::Receiver<Item>,
}

impl Stream for SnapshotStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.responses.poll_recv(context)
    }
}

/// Reads the database on a thread of its own, as fast as the client takes it; the thread ends when the client is gone.
pub(super) fn stream(database: Database) -> Result<SnapshotStream, Status> {
    let (sender, responses) = mpsc::channel(BLOBS_AHEAD);
    let work = move || send_all(database, &sender);
    let spawned = std::thread::Builder::new().name("snapshot-out".into()).spawn(work);
    spawned
        .map_err(|error| Status::resource_exhausted(format!("etched: no thread for a snapshot: {error}")))?;
    Ok(SnapshotStream { responses })
}

fn send_all(database: Database, sender: &mpsc::Sender<Item>) {
    let Database { bytes, version, roots: _, chunks } = database;
    let mut sending = Sending { sender, version, left: bytes, hash: Sha256::new() };
    let mut rest = BytesMut::new();
    for chunk in chunks {
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                // Without a receiver nobody is left to be told.
                let _ = sender.blocking_send(Err(Status::unknown(error.to_string())));
                return;
            }
        };
        while rest.len() + chunk.len() >= BLOB_BYTES {
            let blob = if rest.is_empty() {
                chunk.split_to(BLOB_BYTES)
            } else {
                rest.extend_from_slice(&chunk.split_to(BLOB_BYTES - rest.len()));
                rest.split().freeze()
            };
            if !sending.blob(blob) {
                return;
            }
        }
        rest.extend_from_slice(&chunk);
    }
    if rest.is_empty() || sending.blob(rest.freeze()) {
        sending.finish();
    }
}

struct Sending<'a> {
    sender: &'a mpsc::Sender<Item>,
    version: String,
    left: u64,
    hash: Sha256,
}

impl Sending<'_> {
    /// `false` when the client is gone.
    fn blob(&mut self, blob: Bytes) -> bool {
        self.hash.update(&blob);
        self.left = self.left.saturating_sub(blob.len() as u64);
        self.send(blob)
    }

    fn finish(mut self) {
        let digest = Bytes::copy_from_slice(&std::mem::take(&mut self.hash).finalize());
        self.left = 0;
        self.send(digest);
    }

    fn send(&self, blob: Bytes) -> bool {
        let response = wire::SnapshotResponse {
            header: None,
            remaining_bytes: self.left,
            blob,
            version: self.version.clone(),
        };
        self.sender.blocking_send(Ok(response)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blobs_are_of_one_size_and_the_last_one_is_their_hash() {
        let data: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let chunks: Vec<_> = data.chunks(7000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let database = Database {
            roots: None,
            bytes: data.len() as u64,
            version: "3.7.0".to_owned(),
            chunks: Box::new(chunks.into_iter()),
        };
        let mut stream = stream(database).unwrap();
        let mut got = Vec::new();
        while let Some(response) = stream.responses.recv().await {
            let response = response.unwrap();
            assert_eq!(response.version, "3.7.0");
            got.push((response.blob, response.remaining_bytes));
        }
        let sizes: Vec<usize> = got.iter().map(|(blob, _)| blob.len()).collect();
        assert_eq!(sizes, [32_768, 32_768, 32_768, 1_696, 32]);
        let left: Vec<u64> = got.iter().map(|(_, left)| *left).collect();
        assert_eq!(left, [67_232, 34_464, 1_696, 0, 0]);
        let (hash, _) = got.pop().unwrap();
        assert_eq!(hash, Sha256::digest(&data).as_slice());
        assert_eq!(got.concat_blobs(), data);
    }

    trait Concat {
        fn concat_blobs(&self) -> Vec<u8>;
    }

    impl Concat for Vec<(Bytes, u64)> {
        fn concat_blobs(&self) -> Vec<u8> {
            self.iter().flat_map(|(blob, _)| blob.iter().copied()).collect()
        }
    }
}
