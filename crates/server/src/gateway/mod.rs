//! The JSON gateway: every method of the services by HTTP, with JSON for messages, as etcd serves it.
//!
//! A request is transcoded by the descriptors of the messages and goes to the same services as a gRPC call, inside the
//! process; so no rule stands here, and no message has code of its own.
//!
//! ```text
//! POST /v3/kv/range  {"key":"Zm9v"}  ──json::to_wire──▶  /etcdserverpb.KV/Range  ─┐
//!                                                                                  Services
//! 200 {"header":{…},"kvs":[…]}       ◀──json::to_json──  RangeResponse           ◀┘
//! ```
//!
//! Streams are lines of `{"result":…}` that end with `{"error":…}` if they fail.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, TE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method as HttpMethod, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::grpc::Services;

mod call;
mod failure;
mod json;
mod openapi;
mod routes;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod websocket;

use call::{Envelope, Messages};
use json::Escape;
use schema::Method;
pub(crate) use schema::Schema;
use stream::{Lines, LinesBody, Requests};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How the headers of a gRPC answer are seen through the gateway.
const GRPC_CONTENT_TYPE: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// Below it is the gateway.
const ROOT: &str = "/v3/";
/// Where the gateway is described.
const DESCRIPTION: &str = "/openapi.json";
/// What old clients write for [`ROOT`].
const OLD_ROOT: &str = "/v3beta/";

/// Answers requests below `/v3`.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    services: Arc<Services>,
    schema: Arc<Schema>,
    /// Made when it is asked for.
    described: Arc<OnceLock<Bytes>>,
    body_bytes_max: usize,
}

/// A path that was found.
struct Route {
    service: &'static str,
    name: &'static str,
    method: Method,
}

impl Gateway {
    /// A gateway to the services; a body may be as large as the JSON of the largest message.
    pub(crate) fn new(services: Arc<Services>, schema: Arc<Schema>) -> Self {
        // Base64 needs a third more, and names and white space are not free.
        let body_bytes_max = services.received_max().saturating_mul(2).saturating_add(64 * 1024);
        Self { services, schema, described: Arc::default(), body_bytes_max }
    }

    /// The path that an old client means.
    pub(crate) fn path(path: &str) -> Option<Cow<'_, str>> {
        path.strip_prefix(OLD_ROOT).map(|rest| Cow::Owned(format!("{ROOT}{rest}")))
    }

    /// Whether a path is the gateway's.
    pub(crate) fn serves(path: &str) -> bool {
        path.starts_with(ROOT) || path == DESCRIPTION
    }

    /// Answers a request for a path that the gateway [serves](Self::serves).
    pub(crate) async fn answer(&self, path: &str, head: Parts, body: Body) -> Response<Body> {
        if path == DESCRIPTION {
            return self.description(&head);
        }
        if websocket::is_wanted(&head.headers) {
            return websocket::accept(self.clone(), path.to_owned(), head);
        }
        self.answer_call(path, head, body).await
    }

    /// The description of the gateway.
    fn description(&self, head: &Parts) -> Response<Body> {
        if !matches!(head.method, HttpMethod::GET | HttpMethod::HEAD) {
            let mut response = text_page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return response;
        }
        let made = || Bytes::from(openapi::description(&self.schema));
        whole(StatusCode::OK, self.described.get_or_init(made).clone())
    }

    /// Answers a call.
    async fn answer_call(&self, path: &str, head: Parts, body: Body) -> Response<Body> {
        let Some(route) = self.route(path) else {
            return failure::response(&Status::not_found("Not Found"));
        };
        if head.method != HttpMethod::POST || overrides_method(&head) {
            return failure::response(&Status::unimplemented("Method Not Allowed"));
        }
        let envelope = match Envelope::new(route.service, route.name, &head) {
            Ok(envelope) => envelope,
            Err(status) => return failure::response(&status),
        };
        let takes_trailers = takes_trailers(&head);
        let answered = if route.method.streams_requests {
            let requests =
                Requests::new(Arc::clone(&self.schema), route.method.input, body, self.body_bytes_max);
            self.stream(&route, envelope, Body::new(requests)).await
        } else if route.method.streams_responses {
            match self.read(&route, body).await.and_then(|message| call::framed(&message)) {
                Ok(message) => self.stream(&route, envelope, Body::new(Full::new(message))).await,
                Err(status) => Err(status),
            }
        } else {
            self.unary(&route, envelope, body, takes_trailers).await
        };
        answered.unwrap_or_else(|status| failure::response(&status))
    }

    fn route(&self, path: &str) -> Option<Route> {
        let (service, name) = routes::find(path)?;
        let method = self.schema.method(service, name)?;
        Some(Route { service, name, method })
    }

    /// Reads the one message of a body; what comes after the first value is not looked at.
    async fn read(&self, route: &Route, body: Body) -> Result<Vec<u8>, Status> {
        let value = call::first_value(body, self.body_bytes_max).await?;
        let Some(value) = &value else { return Ok(Vec::new()) };
        let value = value.trim_ascii();
        json::to_wire(&self.schema, route.method.input, value).map_err(Status::invalid_argument)
    }

    async fn unary(
        &self,
        route: &Route,
        envelope: Envelope,
        body: Body,
        takes_trailers: bool,
    ) -> Result<Response<Body>, Status> {
        let message = self.read(route, body).await?;
        let answer = match call::unary(&self.services, envelope, &message).await {
            Ok(answer) => answer,
            // The end of a call that was cut off here has nothing to pass on.
            Err(status) if takes_trailers && status.code() != Code::DeadlineExceeded => {
                return Ok(failure::response_with_trailers(&status));
            }
            Err(status) => return Err(status),
        };
        let mut json = Vec::with_capacity(answer.len() * 2 + 64);
        json::to_json(&self.schema, route.method.output, &answer, Escape::Json, &mut json)
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut response = whole(StatusCode::OK, json.into());
        response.headers_mut().insert(GRPC_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(response)
    }

    /// The head of the response waits for the first message, whose kind it tells.
    async fn stream(&self, route: &Route, envelope: Envelope, body: Body) -> Result<Response<Body>, Status> {
        let timeout = envelope.timeout;
        let calling = async { Messages::new(self.services.call(envelope.request(body)).await) };
        let messages = match call::within(timeout, calling).await {
            Ok(messages) => messages,
            Err(status) => return Ok(stream_failure(&status)),
        };
        let mut lines = Lines::new(Arc::clone(&self.schema), route.method.output, messages, timeout);
        Ok(match lines.next().await {
            None => Response::new(Body::new(LinesBody::new(None, None))),
            Some(Err(status)) => stream_failure(&status),
            Some(Ok(first)) => {
                let mut response = Response::new(Body::new(LinesBody::new(Some(first), Some(lines))));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, JSON);
                headers.insert(GRPC_CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                response
            }
        })
    }
}

/// Whether a client wants to see how a refused call ended.
fn takes_trailers(head: &Parts) -> bool {
    let text = head.headers.get(TE).and_then(|value| value.to_str().ok());
    text.is_some_and(|text| text.to_ascii_lowercase().contains("trailers"))
}

/// Whether a form asks to be taken for another method than the one that it was sent with.
fn overrides_method(head: &Parts) -> bool {
    let text = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes);
    text("content-type") == Some(b"application/x-www-form-urlencoded")
        && text("x-http-method-override")
            .is_some_and(|method| !method.is_empty() && !method.eq_ignore_ascii_case(b"POST"))
}

/// A stream that failed before its first message.
fn stream_failure(status: &Status) -> Response<Body> {
    debug_assert_ne!(status.code(), Code::Ok, "a failure has a code");
    let body = LinesBody::new(Some(failure::line(status)), None);
    failure::stream_head(status, Body::new(body))
}

/// A whole answer in JSON.
fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A text, with the headers that Go's error helper sets.
fn text_page(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
