//! Connections to other gRPC servers: those of a cluster that the proxy stands before, or of a discovery service.
//!
//! One HTTP/2 connection is kept and shared; when it is gone, the endpoints are tried in turn from the one behind it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::body::Body;

use crate::tls::Connector;

/// HTTP/2 windows: what a server may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamOptions {
    /// `host:port`, or URLs of the schemes http and https.
    pub(crate) endpoints: Vec<String>,
    /// TLS for https URLs, and for endpoints without a scheme if it is there.
    pub(crate) connector: Option<Arc<Connector>>,
    /// The same for HTTP/1.1.
    pub(crate) http_connector: Option<Arc<Connector>>,
    /// How long connecting may take.
    pub(crate) dial_timeout: Duration,
    /// Time without traffic after which the connection is pinged; zero is never.
    pub(crate) keepalive_time: Duration,
    /// Time after which a connection with an unanswered ping is closed.
    pub(crate) keepalive_timeout: Duration,
    /// Whether it is pinged while no request is under way.
    pub(crate) keepalive_while_idle: bool,
}

/// A shared connection to one of several servers; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: UpstreamOptions,
    live: Mutex<Live>,
}

/// The connection of the moment.
#[derive(Debug, Default)]
struct Live {
    sender: Option<SendRequest<Body>>,
    authority: String,
    scheme: &'static str,
    endpoints: Vec<String>,
    /// The endpoint that is tried next.
    next: usize,
}

impl Upstream {
    pub(crate) fn new(options: UpstreamOptions) -> Self {
        let live = Live { endpoints: options.endpoints.clone(), ..Live::default() };
        Self { shared: Arc::new(Shared { options, live: Mutex::new(live) }) }
    }

    /// Exchanges the endpoints; a connection to one that is gone is kept as long as it holds.
    pub(crate) async fn set_endpoints(&self, endpoints: Vec<String>) {
        self.shared.live.lock().await.endpoints = endpoints;
    }

    /// Asks an endpoint for a page over HTTP/1.1, the first one that answers.
    ///
    /// # Errors
    ///
    /// When none does.
    pub(crate) async fn get(&self, path: &str) -> io::Result<Response<Incoming>> {
        let (endpoints, first) = {
            let live = self.shared.live.lock().await;
            (live.endpoints.clone(), live.next)
        };
        let mut failure = io::Error::other("no endpoints");
        for number in 0..endpoints.len() {
            let endpoint = &endpoints[(first + number) % endpoints.len()];
            let target = Target::of(endpoint, self.shared.options.connector.is_some());
            match tokio::time::timeout(self.shared.options.dial_timeout, self.get_from(&target, path)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::Error::new(io::ErrorKind::TimedOut, "context deadline exceeded"),
            }
        }
        Err(failure)
    }

    async fn get_from(&self, target: &Target<'_>, path: &str) -> io::Result<Response<Incoming>> {
        let stream = TcpStream::connect(target.address).await?;
        match (&self.shared.options.http_connector, target.is_secure) {
            (Some(connector), true) => {
                get_over(connector.connect(target.host(), stream).await?, target.address, path).await
            }
            (None, true) => Err(io::Error::other("https without TLS settings")),
            (_, false) => get_over(stream, target.address, path).await,
        }
    }

    /// Sends a request, whose URI needs no more than a path.
    ///
    /// # Errors
    ///
    /// When no endpoint can be connected to, or the connection fails before an answer begins.
    pub(crate) async fn send(&self, request: Request<Body>) -> io::Result<Response<Incoming>> {
        let (mut sender, authority, scheme) = self.sender().await?;
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_str())
            .path_and_query(path)
            .build()
            .map_err(io::Error::other)?;
        sender.ready().await.map_err(io::Error::other)?;
        sender.send_request(Request::from_parts(head, body)).await.map_err(io::Error::other)
    }

    async fn sender(&self) -> io::Result<(SendRequest<Body>, String, &'static str)> {
        let options = &self.shared.options;
        let mut live = self.shared.live.lock().await;
        if let Some(sender) = live.sender.clone().filter(|sender| !sender.is_closed()) {
            return Ok((sender, live.authority.clone(), live.scheme));
        }
        live.sender = None;
        let mut failure = io::Error::other("no endpoints");
        for _ in 0..live.endpoints.len() {
            let endpoint = live.endpoints[live.next % live.endpoints.len()].clone();
            live.next = live.next.wrapping_add(1);
            let target = Target::of(&endpoint, options.connector.is_some());
            let dialling = self.dial(&target);
            match tokio::time::timeout(options.dial_timeout, dialling).await {
                Ok(Ok(sender)) => {
                    live.sender = Some(sender.clone());
                    live.authority = target.address.to_owned();
                    live.scheme = if target.is_secure { "https" } else { "http" };
                    return Ok((sender, live.authority.clone(), live.scheme));
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::Error::new(io::ErrorKind::TimedOut, "context deadline exceeded"),
            }
            crate::log!(Warn, "cannot connect to an endpoint", "endpoint" => endpoint.as_str(), "error" => failure.to_string());
        }
        Err(failure)
    }

    async fn dial(&self, target: &Target<'_>) -> io::Result<SendRequest<Body>> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        match (&self.shared.options.connector, target.is_secure) {
            (Some(connector), true) => self.speak(connector.connect(target.host(), stream).await?).await,
            (None, true) => Err(io::Error::other("https without TLS settings")),
            (_, false) => self.speak(stream).await,
        }
    }

    async fn speak<I>(&self, io: I) -> io::Result<SendRequest<Body>>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let options = &self.shared.options;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        if !options.keepalive_time.is_zero() {
            builder
                .keep_alive_interval(options.keepalive_time)
                .keep_alive_timeout(options.keepalive_timeout)
                .keep_alive_while_idle(options.keepalive_while_idle);
        }
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                crate::log!(Debug, "a connection to an endpoint ended", "error" => error.to_string());
            }
        });
        Ok(sender)
    }
}

/// An endpoint, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    address: &'a str,
    is_secure: bool,
}

impl<'a> Target<'a> {
    fn of(endpoint: &'a str, has_tls: bool) -> Self {
        match endpoint.split_once("://") {
            Some((scheme, address)) => Self { address, is_secure: scheme == "https" },
            None => Self { address: endpoint, is_secure: has_tls },
        }
    }

    fn host(&self) -> &'a str {
        self.address.rsplit_once(':').map_or(self.address, |(host, _)| host)
    }
}

async fn get_over<I>(io: I, address: &str, path: &str) -> io::Result<Response<Incoming>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::get(path).header(http::header::HOST, address);
    let request = request.body(Body::empty()).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

/// The stubs call through this.
impl tonic::codegen::Service<Request<Body>> for Upstream {
    type Response = Response<Incoming>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move { upstream.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_whether_tls_is_spoken() {
        let target = |address, is_secure| Target { address, is_secure };
        assert_eq!(Target::of("a:1", false), target("a:1", false));
        assert_eq!(Target::of("a:1", true), target("a:1", true));
        assert_eq!(Target::of("http://a:1", true), target("a:1", false));
        assert_eq!(Target::of("https://a:1", false), target("a:1", true));
    }
}
