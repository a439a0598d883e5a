//! The streams that this member opens: dial, read, hand on, and open again when they end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use etched_replica::raft::{Message, MessageKind};
use http::response::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout};

use super::codec::{Decoded, Decoder, FrameError, StreamKind};
use super::dial::{Link, NoAnswer, Stall, Timed, describe, read_whole, set_host, speak};
use super::head;
use super::pipeline::request;
use super::remote::Peer;
use crate::flags::Url;
use crate::logging::Value;

/// Time between two attempts, as in etcd.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// An attempt that fails within this time was refused; a member that is only slow, or cut off, takes longer.
const REFUSED_WITHIN: Duration = Duration::from_millis(500);
/// Bytes that are taken from a connection before their messages are handed on.
const BATCH_BYTES: usize = 4 << 20;

type Connection = http1::Connection<TokioIo<Timed<Link>>, Empty<Bytes>>;

/// Keeps a stream from a member open until the task is ended.
pub(super) async fn run(peer: Arc<Peer>, kind: StreamKind) {
    let mut was_open = false;
    loop {
        let begun = Instant::now();
        match open(&peer, kind).await {
            Ok(mut stream) => {
                was_open = true;
                peer.status.activate();
                crate::log!(
                    Info, "established TCP streaming connection with remote peer",
                    "stream-reader-type" => kind.name(),
                    "local-member-id" => Value::hex(peer.shared.identity.member_id),
                    "remote-peer-id" => Value::hex(peer.id),
                );
                let ending = stream.read(&peer).await;
                crate::log!(
                    Warn, "lost TCP streaming connection with remote peer",
                    "stream-reader-type" => kind.name(),
                    "local-member-id" => Value::hex(peer.shared.identity.member_id),
                    "remote-peer-id" => Value::hex(peer.id),
                    "error" => ending.text(),
                );
                match &ending {
                    // The next attempt shows whether the member is there.
                    Ending::Over => {}
                    Ending::Failed(reason) => peer.status.deactivate("read", kind.name(), reason),
                }
            }
            Err(error) => {
                peer.status.deactivate("dial", kind.name(), &error);
                let was_refused = matches!(error, OpenError::NoAnswer(_)) && begun.elapsed() < REFUSED_WITHIN;
                if std::mem::take(&mut was_open) && was_refused {
                    peer.shared.sink.on_gone(peer.id);
                }
            }
        }
        sleep_until(begun + RETRY_AFTER).await;
    }
}

/// A stream could not be opened.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the member has no URL")]
    NoUrl,
    #[error("{0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("unsupported stream type")]
    Unsupported,
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    #[error("peer {remote:x} failed to find local node {local:x}")]
    NotFound { remote: u64, local: u64 },
    #[error("{}", head::INCOMPATIBLE)]
    Incompatible,
    #[error("{}", head::CLUSTER_MISMATCH)]
    ClusterMismatch,
    #[error("unhandled error {0:?} when precondition failed")]
    Precondition(String),
    #[error("unhandled http status {0}")]
    Status(StatusCode),
}

/// Opens a stream; the URL that does not work is not used the next time.
async fn open(peer: &Peer, kind: StreamKind) -> Result<Stream, OpenError> {
    let url = peer.picker.pick().ok_or(OpenError::NoUrl)?;
    let opened = open_at(peer, kind, &url).await;
    if let Err(error) = &opened {
        peer.picker.on_unreachable(&url);
        if matches!(error, OpenError::Removed) {
            peer.shared.on_removed();
        }
    }
    opened
}

async fn open_at(peer: &Peer, kind: StreamKind, url: &Url) -> Result<Stream, OpenError> {
    let local = peer.shared.identity.member_id;
    let path = format!("/raft/stream/{}/{local:x}", kind.path());
    let mut request = request(peer, Method::GET, &path, Empty::new());
    request.headers_mut().insert(head::RAFT_TO, head::hex(peer.id));
    set_host(&mut request, url);
    let stall = peer.shared.dialer.stall;
    let link = peer.shared.dialer.dial(url).await.map_err(NoAnswer::from)?;
    let (mut sender, connection) = speak(link, stall.write).await.map_err(NoAnswer::from)?;
    let mut connection = Box::pin(connection);
    let response = drive(&mut connection, stall, async { Ok(sender.send_request(request).await?) }).await?;
    if !head::speaks_streams(response.headers()) {
        return Err(OpenError::Unsupported);
    }
    if response.status() == StatusCode::OK {
        return Ok(Stream {
            decoder: Decoder::new(kind, local, peer.id),
            body: response.into_body(),
            connection: Some(connection),
            _sender: sender,
            ending: None,
        });
    }
    let (answer, body) = drive(&mut connection, stall, read_whole(response)).await?;
    Err(refused(peer, &answer, &body))
}

/// Waits for something on a connection while the connection does its work.
async fn drive<T>(
    connection: &mut Pin<Box<Connection>>,
    stall: Stall,
    wanted: impl Future<Output = Result<T, NoAnswer>>,
) -> Result<T, NoAnswer> {
    let mut wanted = std::pin::pin!(wanted);
    let mut is_over = false;
    let both = poll_fn(|context| {
        if !is_over {
            is_over = connection.as_mut().poll(context).is_ready();
        }
        match wanted.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending if is_over => Poll::Ready(Err(NoAnswer("unexpected EOF".to_owned()))),
            Poll::Pending => Poll::Pending,
        }
    });
    match timeout(stall.read, both).await {
        Ok(done) => done,
        Err(_) => Err(NoAnswer("read: i/o timeout".to_owned())),
    }
}

/// Why the answer is no stream.
fn refused(peer: &Peer, answer: &Parts, body: &[u8]) -> OpenError {
    let local = peer.shared.identity.member_id;
    let text = String::from_utf8_lossy(body);
    match (answer.status, text.trim_end_matches('\n')) {
        (StatusCode::GONE, _) => OpenError::Removed,
        (StatusCode::NOT_FOUND, _) => OpenError::NotFound { remote: peer.id, local },
        (StatusCode::PRECONDITION_FAILED, head::INCOMPATIBLE) => {
            crate::log!(
                Warn, "request sent was ignored by remote peer due to server version incompatibility",
                "local-member-id" => Value::hex(local),
                "remote-peer-id" => Value::hex(peer.id),
                "error" => head::INCOMPATIBLE,
            );
            OpenError::Incompatible
        }
        (StatusCode::PRECONDITION_FAILED, head::CLUSTER_MISMATCH) => {
            crate::log!(
                Warn, "request sent was ignored by remote peer due to cluster ID mismatch",
                "remote-peer-id" => Value::hex(peer.id),
                "remote-peer-cluster-id" => head::text(&answer.headers, &head::CLUSTER_ID),
                "local-member-id" => Value::hex(local),
                "local-member-cluster-id" => Value::hex(peer.shared.identity.cluster_id),
                "error" => head::CLUSTER_MISMATCH,
            );
            OpenError::ClusterMismatch
        }
        (StatusCode::PRECONDITION_FAILED, text) => OpenError::Precondition(text.to_owned()),
        (status, _) => OpenError::Status(status),
    }
}

/// How a stream ended.
#[derive(Debug)]
enum Ending {
    /// The member closed it.
    Over,
    /// It broke off, or was not understood.
    Failed(String),
}

impl Ending {
    fn text(&self) -> &str {
        match self {
            Self::Over => "EOF",
            Self::Failed(reason) => reason,
        }
    }
}

/// An open stream. The connection's work is done by the task that reads, so that a message wakes one task alone.
struct Stream {
    decoder: Decoder,
    body: Incoming,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Connection>>>,
    _sender: http1::SendRequest<Empty<Bytes>>,
    ending: Option<Ending>,
}

impl Stream {
    /// Reads until the stream ends.
    async fn read(&mut self, peer: &Peer) -> Ending {
        loop {
            match timeout(peer.shared.dialer.stall.read, poll_fn(|context| self.poll_arrivals(context))).await
            {
                Ok(()) => {}
                Err(_) => return Ending::Failed("read: i/o timeout".to_owned()),
            }
            if let Err(error) = self.hand_on(peer) {
                return Ending::Failed(error.to_string());
            }
            if let Some(ending) = self.ending.take() {
                return ending;
            }
        }
    }

    /// Ready when something arrived, or when the stream has ended.
    fn poll_arrivals(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut arrived = self.drain(context);
        // The connection's work brings more, and the body has to be looked at again after it: the work that finds
        // nothing comes last.
        while self.ending.is_none() && arrived < BATCH_BYTES {
            if let Some(connection) = &mut self.connection
                && connection.as_mut().poll(context).is_ready()
            {
                self.connection = None;
            }
            match self.drain(context) {
                0 if self.ending.is_some() || arrived > 0 => break,
                0 => return Poll::Pending,
                bytes => arrived += bytes,
            }
        }
        Poll::Ready(())
    }

    /// Takes what the body has; in bytes.
    fn drain(&mut self, context: &mut Context<'_>) -> usize {
        let mut drained = 0;
        while self.ending.is_none() && drained < BATCH_BYTES {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.decoder.push(bytes);
                        drained += bytes.len();
                    }
                }
                Poll::Ready(Some(Err(error))) => self.ending = Some(Ending::Failed(describe(&error))),
                Poll::Ready(None) => self.ending = Some(Ending::Over),
                Poll::Pending => break,
            }
        }
        drained
    }

    /// Gives all messages that are there to the member.
    fn hand_on(&mut self, peer: &Peer) -> Result<(), FrameError> {
        let mut messages = Vec::new();
        let decoded = self.decode_all(peer, &mut messages);
        if !messages.is_empty() {
            peer.shared.sink.on_messages(messages);
        }
        decoded
    }

    fn decode_all(&mut self, peer: &Peer, messages: &mut Vec<Message>) -> Result<(), FrameError> {
        let local = peer.shared.identity.member_id;
        while let Some(decoded) = self.decoder.next()? {
            match decoded {
                Decoded::Beat => {}
                Decoded::Message { message, bytes } => {
                    peer.numbers.received_bytes.add(bytes as u64);
                    if message.kind() == MessageKind::Append {
                        peer.numbers.appends_received.increment();
                    }
                    if message.to() == local {
                        messages.push(message);
                    } else {
                        peer.numbers.received_failures.increment();
                        crate::log!(
                            Warn, "rejected Raft message to mismatch member",
                            "local-member-id" => Value::hex(local),
                            "mismatch-member-id" => Value::hex(message.to()),
                        );
                    }
                }
                Decoded::Unknown(error) => {
                    peer.numbers.received_failures.increment();
                    crate::log!(
                        Warn, "ignored a message of an unknown kind",
                        "remote-peer-id" => Value::hex(peer.id), "error" => error.to_string(),
                    );
                }
            }
        }
        Ok(())
    }
}
