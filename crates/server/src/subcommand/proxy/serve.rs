//! Connections of clients, and the pages that the proxy serves itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use etched_proto::etcdserverpb::RangeRequest;
use etched_proto::etcdserverpb::kv_client::KvClient;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::Code;
use tonic::body::Body;

use super::super::spec::Parsed;
use super::{Proxy, forward};
use crate::front::{Door, Raw};
use crate::{grpc, log};

/// Connections that are served at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 32_768;
/// Time for the head of an HTTP/1.1 request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a listener rests when no connection can be accepted, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long the cluster may take to show that it is healthy.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(1);

/// Bytes of the metrics of a member.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Clients.
    Clients,
    /// Metrics and health alone.
    Metrics,
}

/// How connections are spoken on.
#[derive(Clone, Debug)]
pub(super) struct Protocol(auto::Builder<TokioExecutor>);

impl Protocol {
    pub(super) fn new(parsed: &Parsed) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).title_case_headers(true);
        let streams = u32::try_from(parsed.number("max-concurrent-streams")).unwrap_or(u32::MAX);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).max_concurrent_streams(streams);
        let interval = parsed.duration("grpc-keepalive-interval");
        if !interval.is_zero() {
            http2.keep_alive_interval(interval).keep_alive_timeout(parsed.duration("grpc-keepalive-timeout"));
        }
        Self(builder)
    }
}

/// Serves the connections of a listener, for ever.
pub(super) async fn accept(
    listener: TcpListener,
    door: Door,
    role: Role,
    proxy: Arc<Proxy>,
    protocol: Protocol,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => {
                let (door, proxy, protocol) = (door.clone(), Arc::clone(&proxy), protocol.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    let Some((io, _visitor)) = door.enter(Raw::Tcp(stream)).await else { return };
                    let service = service_fn(move |request| {
                        let proxy = Arc::clone(&proxy);
                        async move { Ok::<_, Infallible>(answer(request, role, &proxy).await) }
                    });
                    if let Err(error) = protocol.0.serve_connection(TokioIo::new(io), service).await {
                        log!(Debug, "connection ended", "error" => error.to_string());
                    }
                });
            }
            Err(error) => {
                log!(Warn, "a connection cannot be accepted", "error" => error.to_string());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(request: Request<Incoming>, role: Role, proxy: &Proxy) -> Response<Body> {
    if role == Role::Clients && grpc::is_call(request.headers()) {
        proxy.calls.fetch_add(1, Ordering::Relaxed);
        return forward::call(request, proxy).await;
    }
    match request.uri().path() {
        "/health" | "/proxy/health" => health(request.method(), proxy).await,
        "/metrics" => metrics_of_cluster(proxy).await,
        "/proxy/metrics" => metrics(proxy),
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Whether the cluster answers, seen through the proxy.
async fn health(method: &Method, proxy: &Proxy) -> Response<Body> {
    if method != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let mut client = KvClient::new(proxy.upstream.clone());
    let asking = client.range(RangeRequest { key: b"a".to_vec().into(), ..RangeRequest::default() });
    let failure = match tokio::time::timeout(HEALTH_TIME_MAX, asking).await {
        Ok(Ok(_)) => None,
        // It answers.
        Ok(Err(status)) if status.code() == Code::PermissionDenied => None,
        Ok(Err(status)) => Some(status.message().to_owned()),
        Err(_) => Some("context deadline exceeded".to_owned()),
    };
    match failure {
        None => typed("text/plain; charset=utf-8", "{\"health\":\"true\",\"reason\":\"\"}"),
        Some(error) => {
            let reason = serde_json::Value::from(format!("GET ERROR:{error}"));
            let body = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            plain(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

/// The metrics of a member.
async fn metrics_of_cluster(proxy: &Proxy) -> Response<Body> {
    let page = match proxy.upstream.get("/metrics").await {
        Ok(response) => Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await,
        Err(error) => Err(error.into()),
    };
    match page {
        Ok(page) => typed(crate::metrics::CONTENT_TYPE, page.to_bytes()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The proxy's own.
fn metrics(proxy: &Proxy) -> Response<Body> {
    let calls = proxy.calls.load(Ordering::Relaxed);
    let mut text = String::new();
    for (name, kind, help, value) in [
        ("etcd_grpc_proxy_cache_hits_total", "gauge", "Reads answered without the cluster.", 0),
        ("etcd_grpc_proxy_cache_keys_total", "gauge", "Keys that are kept.", 0),
        ("etcd_grpc_proxy_cache_misses_total", "gauge", "Reads answered by the cluster.", 0),
        ("etcd_grpc_proxy_events_coalescing_total", "counter", "Events that several watches shared.", 0),
        ("etcd_grpc_proxy_watchers_coalescing_total", "gauge", "Watches that share another one.", 0),
        ("etched_grpc_proxy_calls_total", "counter", "Calls of clients.", calls),
    ] {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    }
    typed(crate::metrics::CONTENT_TYPE, text)
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = typed("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
