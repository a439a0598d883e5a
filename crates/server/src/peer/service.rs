//! Answers requests of other members.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etched_replica::raft::Message;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::codec::{FRAME_BYTES_MAX, StreamKind};
use super::outbox::StreamBody;
use super::questions::Answers;
use super::transport::{Core, Refusal};
use super::{PeerQuestions, clock, head, receive};
use crate::flags::SERVER_VERSION;
use crate::logging::Value;

/// Answers requests that arrive on listeners for other members; cheap to clone.
///
/// Its futures and bodies run on the runtime of whoever serves the connections, which needs tokio's time.
/// A connection should be wrapped into [`super::Timed`], so that a member that is gone without a trace is noticed.
#[derive(Clone)]
pub struct PeerService {
    core: Arc<Core>,
    answers: Answers,
}

impl PeerService {
    pub(super) fn new(core: Arc<Core>, questions: Arc<dyn PeerQuestions>) -> Self {
        let answers = Answers { questions, cluster_id: core.shared.identity.cluster_id };
        Self { core, answers }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<PeerBody> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if path.starts_with("/raft/stream/") {
            return self.stream(&head);
        }
        let response = match path {
            "/raft" => self.message(&head, body).await,
            "/raft/snapshot" => self.snapshot(&head, body).await,
            "/raft/probing" => probing(),
            _ => self.answers.answer(&head, body).await,
        };
        response.map(|bytes| PeerBody(Content::Whole(Some(bytes))))
    }

    /// Opens a stream to the member that asks for it.
    fn stream(&self, head: &Parts) -> Response<PeerBody> {
        let refuse = |status, text| {
            self.with_cluster_id(self.with_version(head::plain(status, text)))
                .map(|bytes| PeerBody(Content::Whole(Some(bytes))))
        };
        if head.method != Method::GET {
            let response = head::method_not_allowed(Some("GET"));
            return response.map(|bytes| PeerBody(Content::Whole(Some(bytes))));
        }
        match self.open_stream(head) {
            Ok(stream) => {
                let response = Response::new(PeerBody(Content::Stream(Box::new(stream))));
                self.with_cluster_id(self.with_version(response))
            }
            Err((status, text)) => refuse(status, text),
        }
    }

    fn open_stream(&self, head: &Parts) -> Result<StreamBody, (StatusCode, &'static str)> {
        let identity = &self.core.shared.identity;
        head::check_request(&head.headers, identity)
            .map_err(|text| (StatusCode::PRECONDITION_FAILED, text))?;
        let (kind, from) = stream_of(head.uri.path())?;
        let warn = |what: &str| {
            crate::log!(
                Warn, what,
                "local-member-id" => Value::hex(identity.member_id),
                "remote-peer-id-from" => Value::hex(from),
                "remote-peer-id-header" => head::text(&head.headers, &head::RAFT_TO),
                "cluster-id" => Value::hex(identity.cluster_id),
            );
        };
        if self.core.is_removed(from) {
            warn("rejected stream from remote peer because it was removed");
            return Err((StatusCode::GONE, "removed member"));
        }
        let not_found = (StatusCode::NOT_FOUND, "error sender not found");
        let Some(peer) = self.core.member(from) else {
            self.add_stranger(from, &head.headers);
            warn("failed to find remote peer in cluster");
            return Err(not_found);
        };
        if head::text(&head.headers, &head::RAFT_TO) != format!("{:x}", identity.member_id) {
            warn("ignored streaming request; ID mismatch");
            return Err((StatusCode::PRECONDITION_FAILED, "to field mismatch"));
        }
        StreamBody::begin(&peer, kind).ok_or(not_found)
    }

    fn add_stranger(&self, id: u64, headers: &HeaderMap) {
        let urls = head::text(headers, &head::PEER_URLS);
        if !urls.is_empty() {
            let urls: Vec<String> = urls.split(',').map(str::to_owned).collect();
            self.core.add_stranger(id, &urls);
        }
    }

    /// What messages and snapshots have in common: whom they come from.
    /// The answer if it is to be refused.
    fn refuse_post(&self, head: &Parts) -> Option<Response<Bytes>> {
        if head.method != Method::POST {
            return Some(head::method_not_allowed(Some("POST")));
        }
        if let Err(text) = head::check_request(&head.headers, &self.core.shared.identity) {
            return Some(self.with_cluster_id(head::plain(StatusCode::PRECONDITION_FAILED, text)));
        }
        if let Some(from) = head::parse_hex(head::text(&head.headers, &head::SERVER_FROM)) {
            self.add_stranger(from, &head.headers);
        }
        None
    }

    /// Takes a single message.
    async fn message(&self, head: &Parts, body: Incoming) -> Response<Bytes> {
        if let Some(refused) = self.refuse_post(head) {
            return refused;
        }
        let failed = |from: u64, status, text| {
            self.core.numbers_of(from).received_failures.increment();
            self.with_cluster_id(head::plain(status, text))
        };
        let sender = head::parse_hex(head::text(&head.headers, &head::SERVER_FROM)).unwrap_or_default();
        let bytes = match read_body(body, FRAME_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(BodyError::TooLarge) => return self.with_cluster_id(too_large()),
            Err(BodyError::Broken) => {
                return failed(sender, StatusCode::BAD_REQUEST, "error reading raft message");
            }
        };
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => {
                crate::log!(
                    Warn, "failed to unmarshal Raft message",
                    "local-member-id" => Value::hex(self.core.shared.identity.member_id),
                    "error" => error.to_string(),
                );
                return failed(sender, StatusCode::BAD_REQUEST, "error unmarshalling raft message");
            }
        };
        self.core.numbers_of(message.from()).received_bytes.add(bytes.len() as u64);
        match self.core.check_sender(&message) {
            Ok(()) => {
                self.core.shared.sink.on_messages(vec![message]);
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                self.with_cluster_id(response)
            }
            Err(refusal @ Refusal::Removed) => {
                let body = format!("{{\"message\":\"{}\"}}", refusal.text());
                self.with_cluster_id(head::typed(refusal.status(), "application/json", body))
            }
            Err(refusal @ Refusal::Mismatch) => {
                failed(sender, refusal.status(), "error processing raft message")
            }
        }
    }

    async fn snapshot(&self, head: &Parts, body: Incoming) -> Response<Bytes> {
        let Some(refused) = self.refuse_post(head) else {
            return self.with_cluster_id(receive::receive(&self.core, head, body).await);
        };
        let numbers = self.core.numbers_of(0);
        numbers.snapshots_received.begin();
        numbers.snapshots_received.fail();
        refused
    }

    fn with_cluster_id<B>(&self, mut response: Response<B>) -> Response<B> {
        let id = head::hex(self.core.shared.identity.cluster_id);
        response.headers_mut().insert(head::CLUSTER_ID, id);
        response
    }

    fn with_version<B>(&self, mut response: Response<B>) -> Response<B> {
        response.headers_mut().insert(head::VERSION, HeaderValue::from_static(SERVER_VERSION));
        response
    }
}

/// The stream that a path names, and whose it is.
fn stream_of(path: &str) -> Result<(StreamKind, u64), (StatusCode, &'static str)> {
    let rest = path.strip_prefix("/raft/stream/").unwrap_or_default();
    let (kind, from) = rest.rsplit_once('/').unwrap_or((rest, ""));
    let kind = StreamKind::BOTH.into_iter().find(|known| known.path() == kind);
    let kind = kind.ok_or((StatusCode::NOT_FOUND, "invalid path"))?;
    let from = head::parse_hex(from).ok_or((StatusCode::NOT_FOUND, "invalid from"))?;
    Ok((kind, from))
}

fn probing() -> Response<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let body = format!("{{\"OK\":true,\"Now\":\"{}\"}}\n", clock::format_rfc3339(now));
    head::typed(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// A request's body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than is allowed.
    TooLarge,
    /// It broke off.
    Broken,
}

/// Reads a whole body of limited size.
pub(super) async fn read_body(body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Broken),
    }
}

/// The answer to a body that is too large, after which the connection is closed.
pub(super) fn too_large() -> Response<Bytes> {
    let mut response = head::plain(StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of an answer: whole, or an endless stream.
pub struct PeerBody(Content);

enum Content {
    Whole(Option<Bytes>),
    Stream(Box<StreamBody>),
}

impl std::fmt::Debug for PeerBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match &self.0 {
            Content::Whole(_) => "PeerBody::Whole",
            Content::Stream(_) => "PeerBody::Stream",
        })
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Content::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Content::Stream(stream) => {
                stream.poll_bytes(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
