//! What is served besides gRPC: health, version, metrics, and the few answers that other members expect.
//!
//! Handlers know nothing of sockets: a request goes in, a response comes out, which for a page is whole.
//! Bodies and headers are those of etcd, byte for byte, since probes and scripts compare them.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etched_state_machine::AlarmKind;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName,
    LOCATION, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tonic::body::Body;

use crate::api::{Answer, Credentials, MemberEntry, Request, StatusReport};
use crate::flags::{Gates, HttpOptions};
use crate::front::{Answered, Link};
use crate::gateway::Gateway;
use crate::grpc::{self, Services};
use crate::metrics::Subject;
use crate::tls::Visitor;
use crate::v2::{self, V2};

mod debug;
mod health;
mod path;
mod query;
#[cfg(test)]
mod tests;

use query::Query;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// How long a page waits for what the member says of itself now.
const REPORT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a client of the gateway is told whose certificate has a name, while authentication is on.
const MISLED: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected\n";

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// gRPC and HTTP for clients.
    Client,
    /// gRPC alone.
    ClientGrpc,
    /// HTTP for clients alone.
    ClientHttp,
    /// Metrics and health alone.
    Metrics,
    /// Other members.
    Peer,
}

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The member.
    pub(crate) link: Arc<Link>,
    /// How HTTP is served.
    pub(crate) options: Arc<HttpOptions>,
    /// For the metrics.
    pub(crate) gates: Arc<Gates>,
    /// For calls of browsers.
    pub(crate) services: Arc<Services>,
    /// `/v3`, if it is served.
    pub(crate) gateway: Option<Gateway>,
    /// The v2 API, if it is served.
    pub(crate) v2: Option<Arc<V2>>,
    /// Whether the common names of certificates say who asks, by gRPC.
    pub(crate) takes_common_names: bool,
}

/// The name of an alarm, as etcd writes it.
pub(crate) fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

impl Site {
    /// Answers one request.
    pub(crate) async fn answer(&self, role: Role, request: http::Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        match role {
            Role::ClientGrpc => whole(not_found()),
            Role::Client | Role::ClientHttp => {
                let Some(path) = path::decoded(head.uri.path()).map(Cow::into_owned) else {
                    return whole(malformed());
                };
                if let Some(host) = self.foreign_host(&head) {
                    let text = "rejecting HTTP request to prevent DNS rebinding attacks";
                    crate::log!(Warn, text, "host" => host.as_str());
                    return whole(misdirected(&host));
                }
                if self.is_misled(&path, &head) {
                    return whole(plain(StatusCode::BAD_REQUEST, MISLED));
                }
                let origin = self.allowed_origin(&head);
                let is_of_browser = asks_for_web_calls(&head);
                let mut response = if head.method == Method::OPTIONS {
                    Response::new(Body::empty())
                } else {
                    self.answer_client(&path, head, body).await
                };
                if let Some(origin) = origin {
                    allow_origin(&mut response, origin, is_of_browser);
                }
                response
            }
            Role::Metrics => whole(self.answer_metrics_listener(&head).await),
            Role::Peer => whole(self.answer_peer(&head).await),
        }
    }

    /// What has a body of its own, or answers with a stream, is found here; the rest are whole pages.
    async fn answer_client(&self, path: &str, head: Parts, body: Body) -> Response<Body> {
        if grpc::is_web_call(&head.headers) {
            return grpc::answer_web_call(&self.services, http::Request::from_parts(head, body)).await;
        }
        let path = Gateway::path(path).unwrap_or(Cow::Borrowed(path));
        let is_root = self.gateway.is_some() && path == "/v3";
        if let Some(other) = path::redirected(&path).or_else(|| is_root.then(|| "/v3/".to_owned())) {
            return whole(moved(&head, &other));
        }
        if let Some(gateway) = self.gateway.as_ref().filter(|_| Gateway::serves(&path)) {
            return gateway.answer(&path, head, body).await;
        }
        if let Some(v2) = self.v2.as_ref().filter(|_| v2::is_path(&path)) {
            return v2.answer(&path, &head, body).await;
        }
        whole(match head.uri.path() {
            "/version" => self.version(&head),
            path if path.starts_with("/debug/") => self.debug(&head),
            _ => self.answer_metrics_listener(&head).await,
        })
    }

    async fn answer_metrics_listener(&self, head: &Parts) -> Response<Bytes> {
        let query = Query::parse(head.uri.query().unwrap_or_default());
        match head.uri.path() {
            "/metrics" => self.metrics(head).await,
            "/health" => self.health(head, &query).await,
            path => match health::Probe::of_path(path) {
                Some((probe, check)) => self.probe(head, &query, probe, check).await,
                None => not_found(),
            },
        }
    }

    async fn answer_peer(&self, head: &Parts) -> Response<Bytes> {
        match head.uri.path() {
            "/version" => self.version(head),
            "/members" => self.members(head).await,
            _ => not_found(),
        }
    }

    fn version(&self, head: &Parts) -> Response<Bytes> {
        if head.method != Method::GET {
            return method_not_allowed();
        }
        let report = self.link.api().report();
        let or = |version: &str, otherwise: &str| -> String {
            if version.is_empty() { otherwise.to_owned() } else { version.to_owned() }
        };
        let body = format!(
            "{{\"etcdserver\":{},\"etcdcluster\":\"{}\",\"storage\":\"{}\"}}",
            serde_json::Value::from(self.link.identity().version.as_str()),
            or(&report.cluster_version, "not_decided"),
            or(&report.storage_version, "unknown"),
        );
        typed(JSON, body)
    }

    /// What the member says of itself now; of one that is too busy to say it, what it said at its last tick.
    async fn report(&self) -> Arc<StatusReport> {
        let asked = self.link.ask(Credentials::Member, Request::Status);
        let answered = tokio::time::timeout(REPORT_WAIT_MAX, asked).await;
        if let Ok(Ok(Answered { answer: Answer::Status(report), .. })) = answered {
            report
        } else {
            self.link.api().report()
        }
    }

    async fn metrics(&self, head: &Parts) -> Response<Bytes> {
        let metrics = self.link.metrics();
        metrics.scrapes_inflight.set(1);
        let report = self.report().await;
        let subject = Subject { identity: self.link.identity(), report: &report, gates: &self.gates };
        let text = metrics.render(&subject);
        metrics.scrapes_inflight.set(0);
        metrics.scrapes.increment();
        let content_type = HeaderValue::from_static(crate::metrics::CONTENT_TYPE);
        let Some(compressed) = takes_gzip(head).then(|| gzip(text.as_bytes())).flatten() else {
            return typed(content_type, text);
        };
        let mut response = typed(content_type, compressed);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    }

    async fn members(&self, head: &Parts) -> Response<Bytes> {
        if head.method != Method::GET {
            return method_not_allowed();
        }
        let answered = self.link.ask(Credentials::Member, Request::Members { linearizable: false }).await;
        let Ok(Answered { answer: Answer::Members(members), .. }) = answered else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n");
        };
        let objects: Vec<String> = members.iter().map(member_json).collect();
        let mut response = typed(JSON, format!("[{}]\n", objects.join(",")));
        let id = format!("{:x}", self.link.identity().cluster_id);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(HeaderName::from_static("x-etcd-cluster-id"), id);
        }
        response
    }

    /// What pages of which origin are told; `None` if this page's origin may not call.
    fn allowed_origin(&self, head: &Parts) -> Option<HeaderValue> {
        match &self.options.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(allowed) => {
                let origin = head.headers.get(ORIGIN)?;
                allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        }
    }

    /// Whether a client of the gateway may believe that the name in its certificate counts: there only tokens do.
    fn is_misled(&self, path: &str, head: &Parts) -> bool {
        let path = Gateway::path(path).unwrap_or(Cow::Borrowed(path));
        if !self.takes_common_names || self.gateway.is_none() || !path.starts_with("/v3/") {
            return false;
        }
        let identity = head.extensions.get::<Visitor>().and_then(|visitor| visitor.identity.as_ref());
        identity.is_some_and(|identity| !identity.common_name.is_empty())
            && self.link.api().report().auth_enabled
    }

    /// The host that the client asked for, if it is none of those that are accepted without TLS.
    fn foreign_host(&self, head: &Parts) -> Option<String> {
        if head.extensions.get::<Visitor>().is_some_and(|visitor| visitor.is_secure) {
            return None;
        }
        let accepted = self.options.hosts.as_ref()?;
        let authority = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = authority.or_else(|| head.uri.authority().map(|authority| authority.as_str()));
        let authority = authority.unwrap_or_default();
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host =
            if has_port { authority.rsplit_once(':').map_or(authority, |(host, _)| host) } else { authority };
        (!accepted.iter().any(|accepted| accepted == host)).then(|| host.to_owned())
    }
}

/// A member as etcd's JSON has it: the order of the fields is part of it.
pub(crate) fn member_json(member: &MemberEntry) -> String {
    let json = |value: serde_json::Value| value.to_string();
    let mut fields = vec![
        format!("\"id\":{}", member.id),
        format!("\"peerURLs\":{}", json(member.peer_urls.clone().into())),
    ];
    if member.is_learner {
        fields.push("\"isLearner\":true".to_owned());
    }
    if !member.name.is_empty() {
        fields.push(format!("\"name\":{}", json(member.name.clone().into())));
    }
    if !member.client_urls.is_empty() {
        fields.push(format!("\"clientURLs\":{}", json(member.client_urls.clone().into())));
    }
    format!("{{{}}}", fields.join(","))
}

/// A page as the response that it is.
fn whole(page: Response<Bytes>) -> Response<Body> {
    page.map(|bytes| Body::new(Full::new(bytes)))
}

/// Whether a page asks if it may make gRPC-Web calls, which need some more headers.
fn asks_for_web_calls(head: &Parts) -> bool {
    let asked = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| asked.to_ascii_lowercase().contains("x-grpc-web"))
}

fn allow_origin(response: &mut Response<Body>, origin: HeaderValue, is_of_browser: bool) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allowed = if is_of_browser {
        "accept, content-type, authorization, x-grpc-web, x-user-agent, grpc-timeout"
    } else {
        "accept, content-type, authorization"
    };
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
}

/// Whether the client takes a compressed answer.
fn takes_gzip(head: &Parts) -> bool {
    let values = head.headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        name.trim().eq_ignore_ascii_case("gzip")
            && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

fn gzip(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    std::io::Write::write_all(&mut encoder, text).ok()?;
    encoder.finish().ok()
}

/// A whole response with a body of this type.
pub(crate) fn typed(content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A plain text, with the headers that Go's error helper sets.
pub(crate) fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = typed(TEXT, body);
    *response.status_mut() = status;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn not_found() -> Response<Bytes> {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A path whose escapes cannot be read; nothing more is taken from such a client.
fn malformed() -> Response<Bytes> {
    let mut response = typed(TEXT, "400 Bad Request");
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Sends a client to the same request under another path.
fn moved(head: &Parts, path: &str) -> Response<Bytes> {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}{query}", path::escaped(path));
    let is_page = matches!(head.method, Method::GET | Method::HEAD);
    let mut response = if is_page {
        let link = location.replace('&', "&amp;");
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        typed(html, format!("<a href=\"{link}\">Temporary Redirect</a>.\n\n"))
    } else {
        Response::new(Bytes::new())
    };
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn method_not_allowed() -> Response<Bytes> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

fn misdirected(host: &str) -> Response<Bytes> {
    let text = format!(
        "etched does not answer to the host name {host:?}, to protect against DNS rebinding.\n\
         If it should, add the name to --host-whitelist, or serve clients with TLS.\n"
    );
    plain(StatusCode::MISDIRECTED_REQUEST, text)
}
