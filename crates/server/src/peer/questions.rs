//! What other members ask besides Raft, and how it is answered: etcd's paths, status codes and bodies.

use std::sync::Arc;

use bytes::Bytes;
use etched_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use etched_proto::etcdserverpb::{LeaseTimeToLiveResponse, ResponseHeader};
use etched_proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use prost::Message as _;

use super::service::{BodyError, read_body, too_large};
use super::{PeerQuestions, head};
use crate::api::{ApiError, MemberEntry};
use crate::grpc::status::message_of;
use crate::http::member_json;

/// Bytes of a question; as in etcd.
const QUESTION_BYTES_MAX: usize = 64 << 10;

pub(super) const LEASE_NOT_FOUND: &str = "lease not found";
pub(super) const BEHIND: &str = "waiting for node to catch up its applied index has timed out";
pub(super) const MEMBER_NOT_FOUND: &str = "membership: ID not found";
pub(super) const NOT_LEARNER: &str = "membership: can only promote a learner member";
pub(super) const LEARNER_NOT_READY: &str =
    "etcdserver: can only promote a learner member which is in sync with leader";
pub(super) const COMPACTED: &str = "mvcc: required revision has been compacted";
pub(super) const FUTURE_REVISION: &str = "mvcc: required revision is a future revision";

/// Answers questions.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) questions: Arc<dyn PeerQuestions>,
    pub(super) cluster_id: u64,
}

impl Answers {
    /// Answers a request whose path is not one of Raft's.
    pub(super) async fn answer(&self, head: &Parts, body: Incoming) -> Response<Bytes> {
        let path = head.uri.path();
        let promoted = path.strip_prefix("/members/promote/");
        // etcd does not say which method the leases have.
        let (method, told) = match path {
            "/members" | "/members/hashkv" | "/downgrade/enabled" | "/version" => (Method::GET, Some("GET")),
            "/leases" | "/leases/internal" => (Method::POST, None),
            _ if promoted.is_some() => (Method::POST, Some("POST")),
            _ => return head::not_found(),
        };
        if head.method != method {
            return head::method_not_allowed(told);
        }
        match path {
            "/members" => self.members().await,
            "/members/hashkv" => self.hash_kv(head, body).await,
            "/downgrade/enabled" => self.downgrade_enabled().await,
            "/version" => self.versions(),
            "/leases" => self.lease_renew(body).await,
            "/leases/internal" => self.lease_time_to_live(body).await,
            _ => self.promote(head, promoted.unwrap_or_default()).await,
        }
    }

    fn versions(&self) -> Response<Bytes> {
        let versions = self.questions.versions();
        let or = |version: String, otherwise: &str| {
            if version.is_empty() { otherwise.to_owned() } else { version }
        };
        let body = format!(
            "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{}\",\"storage\":\"{}\"}}",
            versions.server,
            or(versions.cluster, "not_decided"),
            or(versions.storage, "unknown"),
        );
        head::typed(StatusCode::OK, "application/json", body)
    }

    async fn members(&self) -> Response<Bytes> {
        match self.questions.members().await {
            Ok(members) => self.with_cluster_id(members_answer(&members)),
            Err(_) => self.with_cluster_id(internal_error()),
        }
    }

    async fn promote(&self, head: &Parts, id: &str) -> Response<Bytes> {
        // `parse` would take a sign.
        let digits = id.bytes().all(|byte| byte.is_ascii_digit());
        let Some(id) = digits.then(|| id.parse().ok()).flatten() else {
            let text = format!("member {id} not found in cluster");
            return self.with_cluster_id(head::plain(StatusCode::NOT_FOUND, &text));
        };
        let token = head.headers.get(http::header::AUTHORIZATION);
        let token = token.and_then(|token| token.to_str().ok()).map(str::to_owned);
        let answer = match self.questions.promote(id, token).await {
            Ok(members) => members_answer(&members),
            Err(error) => {
                let text = message_of(&error);
                crate::log!(
                    Warn, "failed to promote a member",
                    "member-id" => crate::logging::Value::hex(id), "error" => text.as_str(),
                );
                match text.as_str() {
                    "etcdserver: member not found" => head::plain(StatusCode::NOT_FOUND, MEMBER_NOT_FOUND),
                    "etcdserver: can only promote a learner member" => {
                        head::plain(StatusCode::PRECONDITION_FAILED, NOT_LEARNER)
                    }
                    LEARNER_NOT_READY => head::plain(StatusCode::PRECONDITION_FAILED, LEARNER_NOT_READY),
                    _ => internal_error(),
                }
            }
        };
        self.with_cluster_id(answer)
    }

    async fn downgrade_enabled(&self) -> Response<Bytes> {
        self.with_cluster_id(match self.questions.downgrade_enabled().await {
            Ok(enabled) => head::typed(StatusCode::OK, "text/plain", enabled.to_string()),
            Err(error) => {
                let text = format!("failed linearized read: {}", message_of(&error));
                head::plain(StatusCode::INTERNAL_SERVER_ERROR, &text)
            }
        })
    }

    async fn hash_kv(&self, head: &Parts, body: Incoming) -> Response<Bytes> {
        let cluster = head::text(&head.headers, &head::CLUSTER_ID);
        if !cluster.is_empty() && cluster != format!("{:x}", self.cluster_id) {
            return head::plain(StatusCode::PRECONDITION_FAILED, head::CLUSTER_MISMATCH);
        }
        let bytes = match read_question(body).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let Some(revision) = revision_of(&bytes) else {
            return head::plain(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        match self.questions.hash_kv(revision).await {
            Ok(answer) => {
                let mut fields = vec![format!("\"header\":{{\"revision\":{}}}", answer.revision)];
                // Go leaves out zeros.
                for (name, number) in [
                    ("hash", i64::from(answer.hash.hash)),
                    ("compact_revision", answer.hash.compact_revision),
                    ("hash_revision", answer.hash.hash_revision),
                ] {
                    if number != 0 {
                        fields.push(format!("\"{name}\":{number}"));
                    }
                }
                let body = format!("{{{}}}", fields.join(","));
                self.with_cluster_id(head::typed(StatusCode::OK, "application/json", body))
            }
            Err(error) => {
                let text = message_of(&error);
                let text = text.strip_prefix("etcdserver: ").unwrap_or(&text);
                head::plain(StatusCode::BAD_REQUEST, text)
            }
        }
    }

    async fn lease_renew(&self, body: Incoming) -> Response<Bytes> {
        let bytes = match read_question(body).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let Ok(LeaseKeepAliveRequest { id }) = LeaseKeepAliveRequest::decode(bytes) else {
            return head::plain(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        match self.questions.lease_renew(id).await {
            Ok(0) => head::plain(StatusCode::NOT_FOUND, LEASE_NOT_FOUND),
            Ok(ttl) => protobuf(&LeaseKeepAliveResponse { id, ttl, ..Default::default() }),
            Err(error) => refuse_lease(&error, StatusCode::BAD_REQUEST),
        }
    }

    async fn lease_time_to_live(&self, body: Incoming) -> Response<Bytes> {
        let bytes = match read_question(body).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        let asked = LeaseInternalRequest::decode(bytes).ok();
        let Some(asked) = asked.and_then(|request| request.lease_time_to_live_request) else {
            return head::plain(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        match self.questions.lease_time_to_live(asked.id, asked.keys).await {
            Ok(Some(lease)) => protobuf(&LeaseInternalResponse {
                lease_time_to_live_response: Some(LeaseTimeToLiveResponse {
                    header: Some(ResponseHeader::default()),
                    id: asked.id,
                    ttl: lease.remaining,
                    granted_ttl: lease.granted,
                    keys: if asked.keys { lease.keys } else { Vec::new() },
                }),
            }),
            Ok(None) => head::plain(StatusCode::NOT_FOUND, LEASE_NOT_FOUND),
            Err(error) => refuse_lease(&error, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn with_cluster_id(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        response.headers_mut().insert(head::CLUSTER_ID, head::hex(self.cluster_id));
        response
    }
}

/// Why a lease was not looked at; a member that does not lead answers a status that depends on the question.
fn refuse_lease(error: &ApiError, otherwise: StatusCode) -> Response<Bytes> {
    if matches!(error, ApiError::Timeout | ApiError::TimeoutApplied) {
        return head::plain(StatusCode::REQUEST_TIMEOUT, BEHIND);
    }
    // One of the texts is that of a member that does not lead.
    head::plain(otherwise, &message_of(error))
}

async fn read_question(body: Incoming) -> Result<Bytes, Response<Bytes>> {
    read_body(body, QUESTION_BYTES_MAX).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(),
        BodyError::Broken => head::plain(StatusCode::BAD_REQUEST, "error reading body"),
    })
}

/// The revision in a question for a hash; zero if it has none.
fn revision_of(bytes: &[u8]) -> Option<i64> {
    let question: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    match question.as_object()?.get("revision") {
        None | Some(serde_json::Value::Null) => Some(0),
        Some(revision) => revision.as_i64(),
    }
}

fn protobuf(message: &impl prost::Message) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(message.encode_to_vec()));
    let content_type = HeaderValue::from_static("application/protobuf");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

fn members_answer(members: &[MemberEntry]) -> Response<Bytes> {
    let objects: Vec<String> = members.iter().map(member_json).collect();
    head::typed(StatusCode::OK, "application/json", format!("[{}]\n", objects.join(",")))
}

fn internal_error() -> Response<Bytes> {
    let body = "{\"message\":\"Internal Server Error\"}";
    head::typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", body)
}
