//! One connection: HTTP/1.1 or HTTP/2, gRPC or not, on one port.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::body::Body;

use super::http2::{self, Http2};
use super::opening::{Opening, Replayed};
use crate::flags::{LimitOptions, ListenOptions};
use crate::grpc::{self, AnswerBody, Services};
use crate::http::{Role, Site};
use crate::http2::PREFACE;
use crate::tls::Visitor;

/// Time for the head of an HTTP/1.1 request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// HTTP/2 windows: what a client may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Names and values of a request's headers together.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// What a stream may have ready to be sent.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Answers requests of the connections of one front.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) services: Arc<Services>,
    pub(super) site: Arc<Site>,
}

/// How connections are spoken on.
#[derive(Clone, Debug)]
pub(super) struct Protocol {
    /// HTTP/1.1, and HTTP/2 where `own` is not there.
    library: auto::Builder<TokioExecutor>,
    /// HTTP/2.
    own: Option<Http2>,
}

impl Protocol {
    pub(super) fn new(limits: &LimitOptions, listen: &ListenOptions) -> Self {
        Self { library: library(limits, listen), own: Some(Http2::new(limits, listen)) }
    }
}

fn library(limits: &LimitOptions, listen: &ListenOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Go writes them so, and some scripts look for them so.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).title_case_headers(true);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        // No gRPC client reads it, and it costs bytes in each answer.
        .auto_date_header(false);
    if !listen.keepalive_interval.is_zero() {
        http2.keep_alive_interval(listen.keepalive_interval);
        // "Never" is not known to HTTP/2's keep-alive; a day is as good.
        let never = Duration::from_secs(86_400);
        let timeout = if listen.keepalive_timeout.is_zero() { never } else { listen.keepalive_timeout };
        http2.keep_alive_timeout(timeout);
    }
    builder
}

/// Serves a connection until it is closed, or until what it is doing is done after the server was told to stop.
///
/// Who connected goes into the extensions of each request, as a [`Visitor`].
pub(super) async fn serve<I>(
    io: I,
    role: Role,
    visitor: Visitor,
    responder: Arc<Responder>,
    protocol: Protocol,
    mut stop: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Protocol { library, own } = protocol;
    let ended = match own {
        None => serve_by_library(io, Answerer { role, visitor, responder }, library, stop).await,
        Some(own) => {
            let opening = tokio::select! {
                biased;
                opening = Opening::read(io) => opening,
                // It has not asked for anything.
                () = told_to_stop(&mut stop) => return,
            };
            match opening {
                Ok(Opening { io, bytes, speaks_http2: true }) => {
                    let behind = bytes[PREFACE.len()..].to_vec();
                    http2::serve(io, behind, Answerer { role, visitor, responder }, own, stop)
                        .await
                        .map_err(Into::into)
                }
                Ok(Opening { io, bytes, speaks_http2: false }) => {
                    serve_by_library(
                        Replayed::new(bytes, io),
                        Answerer { role, visitor, responder },
                        library,
                        stop,
                    )
                    .await
                }
                Err(error) => Err(error.into()),
            }
        }
    };
    if let Err(error) = ended {
        crate::log!(Debug, "connection ended", "error" => error.to_string());
    }
}

async fn serve_by_library<I>(
    io: I,
    answerer: Answerer,
    library: auto::Builder<TokioExecutor>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = library.serve_connection_with_upgrades(TokioIo::new(io), answerer);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Returns when the server is to stop.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could tell is gone: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The service of one connection.
#[derive(Clone, Debug)]
pub(super) struct Answerer {
    pub(super) role: Role,
    pub(super) visitor: Visitor,
    pub(super) responder: Arc<Responder>,
}

impl Service<Request<Incoming>> for Answerer {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        request.extensions_mut().insert(self.visitor.clone());
        let speaks_grpc = match self.role {
            Role::Client | Role::ClientGrpc => true,
            Role::ClientHttp | Role::Metrics | Role::Peer => false,
        };
        if speaks_grpc && request.version() == Version::HTTP_2 && grpc::is_call(request.headers()) {
            return Answering::Grpc(self.responder.services.call(request));
        }
        let (role, site) = (self.role, Arc::clone(&self.responder.site));
        Answering::Http(Box::pin(async move { site.answer(role, request.map(Body::new)).await }))
    }
}

/// A response on its way.
pub(super) enum Answering {
    Grpc(grpc::Call),
    Http(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Grpc(call) => Pin::new(call).poll(context).map(Ok),
            Self::Http(answer) => {
                answer.as_mut().poll(context).map(|response| Ok(response.map(AnswerBody::Library)))
            }
        }
    }
}
