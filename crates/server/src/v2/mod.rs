//! The HTTP v2 API of etcd up to 3.5, for clients that speak nothing else.
//!
//! Paths, headers, statuses and bodies are those of etcd; what requests mean is the state machine's
//! (`etched_state_machine::v2store`), and here they are only read and written:
//!
//! - [`keys`]: the tree, and waiting for its changes ([`wait`]),
//! - [`members`], [`stats`]: the cluster,
//! - [`auth`]: users and roles of this API, and the check of who asks ([`guard`]).

use std::sync::Arc;

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::body::Body;

use crate::api::{Answer, ApiError, Credentials, MemberEntry, Request};
use crate::front::{Answered, Link};
use crate::grpc::status;
use crate::http::{not_found, plain, typed};

mod auth;
mod form;
mod guard;
mod keys;
mod members;
mod stats;
mod wait;

pub(crate) use stats::Moments;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");

/// Bytes of a body beyond those of the largest value, for the other parameters.
const BODY_BYTES_EXTRA: usize = 64 << 10;

/// What the handlers of the v2 API answer from.
#[derive(Debug)]
pub(crate) struct V2 {
    link: Arc<Link>,
    moments: Arc<Moments>,
    /// The largest body: a value may stand there with each byte as three.
    body_bytes_max: usize,
    /// Whether a certificate's name stands for a user.
    trusts_certificates: bool,
}

/// A request whose body is still to be read.
struct Asked<'a> {
    head: &'a Parts,
    body: Body,
}

/// An answer about the tree, and where in the log it stands.
struct Told {
    answer: V2Answer,
    raft_index: u64,
    raft_term: u64,
}

/// The path's first part, if it is one of the v2 API.
pub(crate) fn is_path(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// The rest of a path below one of the API's, if it is that one.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl V2 {
    pub(crate) fn new(
        link: Arc<Link>,
        moments: Arc<Moments>,
        value_bytes_max: usize,
        trusts_certificates: bool,
    ) -> Self {
        let body_bytes_max = value_bytes_max.saturating_mul(3).saturating_add(BODY_BYTES_EXTRA);
        Self { link, moments, body_bytes_max, trusts_certificates }
    }

    /// Answers one request; `path` is without escapes.
    pub(crate) async fn answer(&self, path: &str, head: &Parts, body: Body) -> Response<Body> {
        let asked = Asked { head, body };
        if let Some(rest) = below(path, "/v2/keys") {
            return self.keys(asked, rest).await;
        }
        let response = if let Some(rest) = below(path, "/v2/members") {
            self.members(asked, rest).await
        } else if let Some(rest) = below(path, "/v2/auth") {
            self.auth(asked, rest).await
        } else {
            match path {
                "/v2/machines" => self.machines(head).await,
                "/v2/stats/self" => self.stats_self(head).await,
                "/v2/stats/store" => self.stats_store(head).await,
                "/v2/stats/leader" => self.stats_leader(head).await,
                _ => not_found(),
            }
        };
        response.map(|bytes| Body::new(Full::new(bytes)))
    }

    /// The whole body.
    async fn read(&self, body: Body) -> Result<Bytes, Response<Bytes>> {
        let limited = Limited::new(body, self.body_bytes_max);
        match limited.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(message(StatusCode::BAD_REQUEST, &error.to_string())),
        }
    }

    /// Asks in nobody's name: the users of this API are not those that other requests are made by.
    async fn ask(&self, request: Request) -> Result<Answered, ApiError> {
        self.link.ask(Credentials::Anonymous, request).await
    }

    /// Asks about the tree.
    async fn ask_v2(&self, call: V2Call) -> Result<Told, ApiError> {
        let Answered { answer, raft_term, .. } = self.ask(Request::V2(call)).await?;
        let Answer::V2 { raft_index, answer } = answer else { return Err(unexpected()) };
        Ok(Told { answer: *answer, raft_index, raft_term })
    }

    async fn list_members(&self) -> Result<Vec<MemberEntry>, ApiError> {
        let request = Request::Members { linearizable: false };
        let answered = self.link.ask(Credentials::Member, request).await?;
        let Answer::Members(members) = answered.answer else { return Err(unexpected()) };
        Ok(members)
    }

    /// A response with the cluster's name on it.
    fn named(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        response.headers_mut().insert(CLUSTER_ID, self.cluster_id());
        response
    }

    fn cluster_id(&self) -> HeaderValue {
        let id = format!("{:x}", self.link.identity().cluster_id);
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// A JSON body, with the line's end that Go's encoder writes.
fn json(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = typed(JSON, format!("{body}\n"));
    *response.status_mut() = status;
    response
}

/// The form of errors that are not about keys.
fn message(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = typed(JSON, format!("{{\"message\":{}}}", text_json(text)));
    *response.status_mut() = status;
    response
}

fn internal_error() -> Response<Bytes> {
    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

/// What could not be done, for callers that are not told why.
fn failed(error: &ApiError) -> Response<Bytes> {
    crate::log!(Warn, "a request of the v2 API failed", "error" => error_text(error));
    internal_error()
}

/// The text of an error, which is the one that clients of v3 get.
fn error_text(error: &ApiError) -> String {
    status::of(error).message().to_owned()
}

/// An empty response.
fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// The refusal of a method that is not among these.
fn refuse_method(head: &Parts, methods: &'static str) -> Option<Response<Bytes>> {
    if methods.split(',').any(|method| method == head.method.as_str()) {
        return None;
    }
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    Some(response)
}

fn is_read(head: &Parts) -> bool {
    head.method == Method::GET || head.method == Method::HEAD
}

/// Whether a body says that it is of this type.
fn is_of_type(head: &Parts, expected: &str) -> bool {
    content_type(head).split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(expected))
}

fn content_type(head: &Parts) -> &str {
    head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn text_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Only for answers of another kind than was asked for, which the member never gives.
fn unexpected() -> ApiError {
    ApiError::Storage("an answer of another kind than was asked for".to_owned())
}

/// Nanoseconds of the Unix epoch.
pub(crate) fn unix_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
