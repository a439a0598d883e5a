//! Receives a snapshot: the message, then the database, which goes to a file of its own.
//!
//! If the sender tells where the trees of the database end, as a member of this program does, nothing is written here:
//! the database is read while it comes in.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use etched_bolt::Roots;
use etched_replica::raft::{DecodeError, Message, MessageKind};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::codec::FRAME_BYTES_MAX;
use super::dial::describe;
use super::head;
use super::snapshot::SNAPSHOT_STALL_MAX;
use super::transport::Core;
use crate::logging::Value;
use crate::metrics::Metrics;

/// Pieces of a body that wait for the disk.
const PIECES_AHEAD: usize = 8;
/// Files that are not complete begin so; etcd removes them, too, when it starts.
const PARTIAL_PREFIX: &str = "db.tmp";

/// The name of a received database.
pub(super) fn file_name(index: u64) -> String {
    format!("{index:016x}.snap.db")
}

/// Receives one snapshot and answers its sender.
pub(super) async fn receive(core: &Core, head: &Parts, body: Incoming) -> Response<Bytes> {
    let begun = Instant::now();
    let mut pieces = Pieces { body, rest: Bytes::new() };
    let local = || Value::hex(core.shared.identity.member_id);
    let refuse = |from: u64, status, text: &str| {
        let numbers = core.numbers_of(from);
        numbers.received_failures.increment();
        numbers.snapshots_received.begin();
        numbers.snapshots_received.fail();
        crate::log!(
            Warn, "rejected a snapshot",
            "local-member-id" => local(), "remote-snapshot-sender-id" => Value::hex(from), "error" => text,
        );
        head::plain(status, text)
    };
    let message = match read_message(&mut pieces).await {
        Ok(Some(message)) => message,
        Ok(None) => return refuse(0, StatusCode::BAD_REQUEST, "wrong raft message type"),
        Err(error) => {
            let text = format!("failed to decode raft message ({error})");
            return refuse(0, StatusCode::BAD_REQUEST, &text);
        }
    };
    let from = message.from();
    if let Err(refusal) = core.check_sender(&message) {
        return refuse(from, refusal.status(), refusal.text());
    }
    let index = message.snapshot().map_or(0, |meta| meta.index);
    let numbers = core.numbers_of(from);
    numbers.snapshots_received.begin();
    crate::log!(
        Info, "receiving database snapshot",
        "local-member-id" => local(), "remote-snapshot-sender-id" => Value::hex(from),
        "incoming-snapshot-index" => index,
    );
    // A text that says nothing is as good as none: the database is then read when it is complete.
    let roots: Option<Roots> = head::text(&head.headers, &head::ROOTS).parse().ok();
    let received = match roots {
        Some(roots) => read_in(core, message, roots, &mut pieces).await.map(|bytes| (bytes, None)),
        None => save(core, index, &mut pieces)
            .await
            .map(|(database, bytes)| (bytes, Some(core.shared.sink.on_snapshot(message, database)))),
    };
    match received {
        Ok((bytes, taken)) => {
            note_received(core, from, index, bytes, begun.elapsed());
            if let Some(taken) = taken
                && let Err(reason) = taken.await
            {
                let text = format!("failed to process raft message ({reason})");
                return head::plain(StatusCode::INTERNAL_SERVER_ERROR, &text);
            }
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => {
            numbers.snapshots_received.fail();
            crate::log!(
                Warn, "failed to save incoming database snapshot",
                "local-member-id" => local(), "remote-snapshot-sender-id" => Value::hex(from),
                "incoming-snapshot-index" => index, "error" => error.to_string(),
            );
            let text = format!("failed to save KV snapshot ({error})");
            head::plain(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    }
}

fn note_received(core: &Core, from: u64, index: u64, bytes: u64, took: Duration) {
    crate::log!(
        Info, "received and saved database snapshot",
        "local-member-id" => Value::hex(core.shared.identity.member_id),
        "remote-snapshot-sender-id" => Value::hex(from),
        "incoming-snapshot-index" => index, "incoming-snapshot-size-bytes" => bytes,
        "download-took" => took,
    );
    let numbers = core.numbers_of(from);
    numbers.received_bytes.add(bytes);
    core.shared.metrics.database_save.record(took);
    numbers.snapshots_received.succeed(took);
}

/// A body in the pieces in which it arrives.
struct Pieces {
    body: Incoming,
    /// What was read too far.
    rest: Bytes,
}

impl Pieces {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        loop {
            match timeout(SNAPSHOT_STALL_MAX, self.body.frame()).await {
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "read: i/o timeout")),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(io::Error::other(describe(&error))),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Ok(Some(bytes)),
                    // Trailers say nothing here.
                    Err(_) => {}
                },
            }
        }
    }
}

/// Reads the message at the beginning; `None` if it is not one of a snapshot.
async fn read_message(pieces: &mut Pieces) -> Result<Option<Message>, String> {
    let mut buffer = BytesMut::new();
    let mut length = None;
    loop {
        if length.is_none()
            && let Some(bytes) = buffer.first_chunk::<8>()
        {
            let told = u64::from_be_bytes(*bytes);
            match usize::try_from(told) {
                Ok(told) if told <= FRAME_BYTES_MAX => length = Some(told),
                Ok(_) | Err(_) => return Err("rafthttp: error limit exceeded".to_owned()),
            }
        }
        if let Some(length) = length
            && buffer.len() >= 8 + length
        {
            let _ = buffer.split_to(8);
            let message = Bytes::copy_from_slice(&buffer.split_to(length));
            pieces.rest = buffer.freeze();
            return match Message::decode(&message) {
                Ok(message) if message.kind() == MessageKind::Snapshot => Ok(Some(message)),
                Ok(_) | Err(DecodeError::UnsupportedMessage(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            };
        }
        match pieces.next().await.map_err(|error| error.to_string())? {
            Some(piece) => buffer.extend_from_slice(&piece),
            None if buffer.is_empty() => return Err("EOF".to_owned()),
            None => return Err("unexpected EOF".to_owned()),
        }
    }
}

/// What goes to the thread that writes.
enum Piece {
    Bytes(Bytes),
    /// The body is complete.
    End,
}

/// Hands the rest of a body on while it comes in; how long it is, once consensus has the snapshot.
async fn read_in(core: &Core, message: Message, roots: Roots, pieces: &mut Pieces) -> io::Result<u64> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let pieces_in = Box::new(PiecesIn { receiver, is_over: false });
    let taken = core.shared.sink.on_snapshot_body(message, roots, pieces_in);
    let bytes = feed(pieces, &sender).await?;
    taken.await.map_err(io::Error::other)?;
    Ok(bytes)
}

/// The pieces of a body for a thread that may wait for them.
struct PiecesIn {
    receiver: mpsc::Receiver<Piece>,
    is_over: bool,
}

impl Iterator for PiecesIn {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.receiver.blocking_recv() {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                self.is_over = true;
                None
            }
            None => {
                self.is_over = true;
                Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF")))
            }
        }
    }
}

/// Writes the rest of a body into a file and makes it safe; where it lies and how long it is.
async fn save(core: &Core, index: u64, pieces: &mut Pieces) -> io::Result<(PathBuf, u64)> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let (done, result) = oneshot::channel();
    let (dir, metrics) = (core.snapshot_dir.clone(), Arc::clone(&core.shared.metrics));
    std::thread::Builder::new().name("peer-snap-in".to_owned()).spawn(move || {
        // Without a listener the sender of the snapshot has gone, and asks again.
        let _ = done.send(write_file(&dir, index, receiver, &metrics));
    })?;
    let fed = feed(pieces, &sender).await;
    drop(sender);
    let saved = result.await.unwrap_or_else(|_| Err(io::Error::other("the thread that writes is gone")));
    // A body that broke off is the better reason, except that the thread had gone before.
    fed.and(saved)
}

/// Hands a body on; how long it is, as far as it was wanted.
async fn feed(pieces: &mut Pieces, sender: &mpsc::Sender<Piece>) -> io::Result<u64> {
    let mut len = 0;
    while let Some(bytes) = pieces.next().await? {
        len += bytes.len() as u64;
        if sender.send(Piece::Bytes(bytes)).await.is_err() {
            // The thread tells why it does not go on.
            return Ok(len);
        }
    }
    let _ = sender.send(Piece::End).await;
    Ok(len)
}

fn write_file(
    dir: &Path,
    index: u64,
    mut pieces: mpsc::Receiver<Piece>,
    metrics: &Metrics,
) -> io::Result<(PathBuf, u64)> {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let number = RECEIVED.fetch_add(1, Ordering::Relaxed);
    let partial = dir.join(format!("{PARTIAL_PREFIX}.{}.{number}", std::process::id()));
    let written = write_partial(&partial, &mut pieces, metrics);
    let saved = written.and_then(|bytes| {
        let path = dir.join(file_name(index));
        // Equal indices are equal databases; the one that lies there may be in use.
        if path.try_exists()? {
            fs::remove_file(&partial)?;
        } else {
            fs::rename(&partial, &path)?;
            File::open(dir)?.sync_all()?;
        }
        Ok((path, bytes))
    });
    if saved.is_err() {
        // What cannot be removed is removed at the next start.
        let _ = fs::remove_file(&partial);
    }
    saved
}

fn write_partial(path: &Path, pieces: &mut mpsc::Receiver<Piece>, metrics: &Metrics) -> io::Result<u64> {
    let mut file = File::create_new(path)?;
    let mut written = 0;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                file.write_all(&bytes)?;
                written += bytes.len() as u64;
            }
            Some(Piece::End) => break,
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected EOF")),
        }
    }
    let synced = Instant::now();
    file.sync_all()?;
    metrics.database_fsync.record(synced.elapsed());
    Ok(written)
}
