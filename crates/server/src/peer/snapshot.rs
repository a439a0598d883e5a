//! Sends a snapshot: the message after its length, then the database as it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use etched_replica::raft::{Message, SnapshotDelivery};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::SnapshotBody;
use super::dial::{NoAnswer, describe, read_whole, set_host, speak};
use super::head;
use super::pipeline::{PostError, check_answer, request};
use super::remote::Peer;
use crate::logging::Value;

/// How long a connection may accept nothing while a snapshot is sent: the other side may wait for its disk.
pub(super) const SNAPSHOT_STALL_MAX: Duration = Duration::from_secs(30);
/// How long the other side may take to make the database safe and to answer, beyond the time for the bytes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(600);
/// The slowest rate at which a snapshot is sent at all.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// Chunks that are read ahead of the connection.
const CHUNKS_AHEAD: usize = 2;

/// Sends a snapshot, and tells what became of it.
pub(super) async fn send(peer: Arc<Peer>, message: Message, body: SnapshotBody) {
    let begun = Instant::now();
    let index = message.snapshot().map_or(0, |meta| meta.index);
    let bytes = body.bytes;
    crate::log!(
        Info, "sending database snapshot",
        "snapshot-index" => index, "remote-peer-id" => Value::hex(peer.id), "bytes" => bytes,
    );
    peer.numbers.snapshots_sent.begin();
    match post(&peer, &message, body).await {
        Ok(()) => {
            peer.status.activate();
            peer.numbers.sent_bytes.add(bytes);
            peer.numbers.snapshots_sent.succeed(begun.elapsed());
            peer.shared.sink.on_snapshot_sent(peer.id, SnapshotDelivery::Done);
            crate::log!(
                Info, "sent database snapshot",
                "snapshot-index" => index, "remote-peer-id" => Value::hex(peer.id), "bytes" => bytes,
            );
        }
        Err(error) => {
            crate::log!(
                Warn, "failed to send database snapshot",
                "snapshot-index" => index, "remote-peer-id" => Value::hex(peer.id), "bytes" => bytes,
                "error" => error.to_string(),
            );
            peer.status.deactivate("post", "sendMsgSnap", &error);
            peer.numbers.sent_failures.increment();
            peer.numbers.snapshots_sent.fail();
            peer.shared.sink.on_unreachable(peer.id);
            peer.shared.sink.on_snapshot_sent(peer.id, SnapshotDelivery::Failed);
        }
    }
}

async fn post(peer: &Peer, message: &Message, body: SnapshotBody) -> Result<(), PostError> {
    let url = peer.picker.pick().ok_or(PostError::NoUrl)?;
    let within = ANSWER_TIME_MAX + Duration::from_secs(body.bytes / BYTES_PER_SECOND_MIN);
    let roots = body.roots.as_ref().and_then(|roots| HeaderValue::try_from(roots.to_string()).ok());
    let body = Outgoing::begin(message, body).map_err(NoAnswer::from)?;
    let mut request = request(peer, Method::POST, "/raft/snapshot", body);
    if let Some(roots) = roots {
        request.headers_mut().insert(head::ROOTS, roots);
    }
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    set_host(&mut request, &url);
    let asked = async {
        let link = peer.shared.dialer.dial(&url).await?;
        let (mut sender, connection) = speak(link, SNAPSHOT_STALL_MAX).await?;
        let connection = tokio::spawn(connection);
        let answer = match sender.send_request(request).await {
            Ok(response) => read_whole(response).await,
            Err(error) => Err(NoAnswer(describe(&error))),
        };
        connection.abort();
        answer
    };
    let posted = match timeout(within, asked).await {
        Ok(Ok((answer, body))) => check_answer(peer, &answer, &body),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(NoAnswer(format!("not done within {within:?}")).into()),
    };
    if posted.is_err() {
        peer.picker.on_unreachable(&url);
    }
    posted
}

/// The body of the request. Its length is told beforehand, so that neither side takes a part for the whole.
struct Outgoing {
    head: Option<Bytes>,
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// Bytes of chunks that are to come.
    left: u64,
}

impl Outgoing {
    /// Starts the thread that reads the database.
    fn begin(message: &Message, body: SnapshotBody) -> io::Result<Self> {
        let SnapshotBody { bytes, roots: _, chunks } = body;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        std::thread::Builder::new().name("peer-snap-out".to_owned()).spawn(move || {
            for chunk in chunks {
                let is_last = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || is_last {
                    return;
                }
            }
        })?;
        let message = message.encode();
        let mut head = BytesMut::with_capacity(8 + message.len());
        head.put_u64(message.len() as u64);
        head.put_slice(&message);
        Ok(Self { head: Some(head.freeze()), chunks: receiver, left: bytes })
    }

    fn next(&mut self, chunk: Option<io::Result<Bytes>>) -> Option<io::Result<Frame<Bytes>>> {
        let differs =
            || io::Error::new(io::ErrorKind::InvalidData, "the database has another size than was told");
        match chunk {
            Some(Ok(chunk)) => match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Some(Ok(Frame::data(chunk)))
                }
                None => Some(Err(differs())),
            },
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(differs())),
            None => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let this = self.get_mut();
        this.chunks.poll_recv(context).map(|chunk| this.next(chunk))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.head.as_ref().map_or(0, Bytes::len) as u64 + self.left)
    }
}
