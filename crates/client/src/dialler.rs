//! Makes one connection to one endpoint: TCP or a Unix socket, with TLS or without.
//!
//! What comes out speaks HTTP/2; TLS is done here rather than by tonic, so that a client can trust what tonic cannot
//! be told to trust, and so that sockets can have it too.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::transport::{self, Channel};

use crate::endpoint::{Address, Endpoint, Security};
use crate::options::KEEPALIVE_INTERVAL_MIN;
use crate::{Error, Options, Tls};

/// HTTP/2 windows. A stalled reader of one stream must not use up what all streams share.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Knows how to reach one endpoint.
#[derive(Debug)]
pub(crate) struct Dialler {
    address: Arc<Address>,
    tls: Option<(Tls, ServerName<'static>)>,
    target: transport::Endpoint,
    authority: String,
}

/// A stream of bytes to a member.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Dialler {
    /// Prepares to dial an endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] if its host cannot be the name of a server.
    pub(crate) fn new(endpoint: &Endpoint, options: &Options) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Endpoint { endpoint: endpoint.given.clone(), reason };
        let tls = match (endpoint.security, &options.tls) {
            (Security::Plain, _) | (Security::AsConfigured, None) => None,
            (Security::Tls, None) => Some(Tls::of_the_system()),
            (Security::Tls | Security::AsConfigured, Some(tls)) => Some(tls.clone()),
        };
        let tls = match tls {
            None => None,
            Some(tls) => {
                let name = match tls.server_name() {
                    Some(name) => name.clone(),
                    None => ServerName::try_from(endpoint.server_name())
                        .map_err(|_invalid| refuse("the host is no name of a server".to_owned()))?,
                };
                Some((tls, name))
            }
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin: Uri = format!("{scheme}://{}", endpoint.authority())
            .parse()
            .map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
        // The address that is dialled is ours; the URI only becomes part of each request.
        let target = transport::Endpoint::from(Uri::from_static("http://etched.invalid"))
            .origin(origin)
            .user_agent(concat!("etched-client/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| refuse(error.to_string()))?
            .connect_timeout(options.dial_timeout)
            .http2_keep_alive_interval(options.keepalive_interval.max(KEEPALIVE_INTERVAL_MIN))
            .keep_alive_timeout(options.keepalive_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let authority = endpoint.authority();
        Ok(Self { address: Arc::new(endpoint.address.clone()), tls, target, authority })
    }

    /// A plain connection for HTTP/1, and what requests say that they are sent to.
    pub(crate) async fn wire(&self) -> io::Result<(Box<dyn Wire>, &str)> {
        let tls = self.tls.as_ref().map(|(tls, name)| (tls.for_http1(), name.clone()));
        Ok((connect(&self.address, tls).await?, &self.authority))
    }

    /// Connects, and waits until the server has said something.
    ///
    /// A server that does not like the client's certificate closes a connection that to the client looked open.
    ///
    /// # Errors
    ///
    /// Those of connecting, and of the connection until the server's first byte.
    pub(crate) async fn dial(&self) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let (address, tls) = (Arc::clone(&self.address), self.tls.clone());
        let (first, heard) = oneshot::channel();
        let first = Arc::new(Mutex::new(Some(first)));
        let connector = tower::service_fn(move |_origin: Uri| {
            let (address, tls, first) = (Arc::clone(&address), tls.clone(), Arc::clone(&first));
            async move {
                let wire = connect(&address, tls).await?;
                let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                io::Result::Ok(TokioIo::new(Listened { wire, first }))
            }
        });
        let channel = self.target.connect_with_connector(connector).await?;
        heard.await.unwrap_or_else(|_gone| Err(io::ErrorKind::ConnectionAborted.into()))?;
        Ok(channel)
    }
}

/// A stream of bytes that tells how its first read went.
struct Listened {
    wire: Box<dyn Wire>,
    first: Option<oneshot::Sender<io::Result<()>>>,
}

impl AsyncRead for Listened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = ready!(Pin::new(&mut self.wire).poll_read(cx, into));
        if let Some(first) = self.first.take() {
            let told = match &outcome {
                Ok(()) if into.filled().len() == before => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let _nobody_dials_any_longer = first.send(told);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Listened {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
}

async fn connect(address: &Address, tls: Option<(Tls, ServerName<'static>)>) -> io::Result<Box<dyn Wire>> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            secure(stream, tls).await
        }
        Address::Unix(path) => secure(UnixStream::connect(path).await?, tls).await,
    }
}

async fn secure(
    stream: impl Wire + 'static,
    tls: Option<(Tls, ServerName<'static>)>,
) -> io::Result<Box<dyn Wire>> {
    match tls {
        None => Ok(Box::new(stream)),
        Some((tls, name)) => {
            let connector = TlsConnector::from(Arc::clone(tls.config()));
            Ok(Box::new(connector.connect(name, stream).await?))
        }
    }
}
