//! Single messages by POST, for as long as there is no stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etched_replica::raft::Message;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::dial::{NoAnswer, Requester};
use super::head;
use super::remote::Peer;
use crate::logging::Value;

/// Messages that wait to be posted to one member; more are dropped. As in etcd.
pub(super) const POSTS_MAX: usize = 64;
/// Posts to one member that are under way at once; as in etcd.
const CONNECTIONS: usize = 4;
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

type Queue = Arc<Mutex<mpsc::Receiver<Message>>>;

/// Why a post did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    #[error("{}", head::INCOMPATIBLE)]
    Incompatible,
    #[error("{}", head::CLUSTER_MISMATCH)]
    ClusterMismatch,
    #[error("unexpected http status {status} while posting ({text})")]
    Unexpected { status: StatusCode, text: String },
    #[error("{0}")]
    NoAnswer(#[from] NoAnswer),
    #[error("the member has no URL")]
    NoUrl,
}

/// Starts the tasks that post.
pub(super) fn spawn(peer: &Arc<Peer>, queue: mpsc::Receiver<Message>) -> Vec<AbortHandle> {
    let queue: Queue = Arc::new(Mutex::new(queue));
    let spawn = |_| {
        let task = post_all(Arc::clone(peer), Arc::clone(&queue));
        peer.shared.runtime.spawn(task).abort_handle()
    };
    (0..CONNECTIONS).map(spawn).collect()
}

async fn post_all(peer: Arc<Peer>, queue: Queue) {
    let mut requester = Requester::new(peer.shared.dialer.clone());
    loop {
        let Some(message) = queue.lock().await.recv().await else { return };
        let bytes = message.encode();
        let length = bytes.len();
        match post(&peer, &mut requester, bytes).await {
            Ok(()) => {
                peer.status.activate();
                peer.numbers.sent_bytes.add(length as u64);
            }
            Err(error) => {
                peer.status.deactivate("write", "pipeline", &error);
                peer.numbers.sent_failures.increment();
                peer.shared.sink.on_unreachable(peer.id);
            }
        }
    }
}

async fn post(peer: &Peer, requester: &mut Requester, message: Bytes) -> Result<(), PostError> {
    let url = peer.picker.pick().ok_or(PostError::NoUrl)?;
    let mut request = request(peer, Method::POST, "/raft", Full::new(message));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    let posted = match requester.ask(&url, request, ANSWER_TIME_MAX).await {
        Ok((answer, body)) => check_answer(peer, &answer, &body),
        Err(error) => Err(error.into()),
    };
    if posted.is_err() {
        peer.picker.on_unreachable(&url);
    }
    posted
}

/// A request to another member.
pub(super) fn request<B>(peer: &Peer, method: Method, path: &str, body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("paths of this protocol are well-formed");
    request.headers_mut().clone_from(&peer.shared.headers);
    request
}

/// What the answer to a post says.
pub(super) fn check_answer(peer: &Peer, answer: &Parts, body: &[u8]) -> Result<(), PostError> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_end_matches('\n');
    match answer.status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::PRECONDITION_FAILED if text == head::INCOMPATIBLE => {
            crate::log!(
                Error, "request sent was ignored by peer", "remote-peer-id" => Value::hex(peer.id),
            );
            Err(PostError::Incompatible)
        }
        StatusCode::PRECONDITION_FAILED if text == head::CLUSTER_MISMATCH => {
            crate::log!(
                Error, "request sent was ignored due to cluster ID mismatch",
                "remote-peer-id" => Value::hex(peer.id),
                "remote-peer-cluster-id" => head::text(&answer.headers, &head::CLUSTER_ID),
                "local-member-cluster-id" => Value::hex(peer.shared.identity.cluster_id),
            );
            Err(PostError::ClusterMismatch)
        }
        // Older members answer so, too, when another member is now at the URL; this member is not removed by that.
        StatusCode::FORBIDDEN if !text.contains("mismatch member") => {
            peer.shared.on_removed();
            Err(PostError::Removed)
        }
        status => Err(PostError::Unexpected { status, text: text.to_owned() }),
    }
}
