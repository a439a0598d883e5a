//! Makes one connection to one endpoint: TCP or a Unix socket, with TLS or without.
//!
//! What comes out speaks HTTP/2; TLS is done here rather than by tonic, so that a client can trust what tonic cannot
//! be told to trust, and so that sockets can have it too.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
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

    /// Connects.
    pub(crate) async fn dial(&self) -> Result<Channel, transport::Error> {
        let (address, tls) = (Arc::clone(&self.address), self.tls.clone());
        let connector = tower::service_fn(move |_origin: Uri| {
            let (address, tls) = (Arc::clone(&address), tls.clone());
            async move { connect(&address, tls).await.map(TokioIo::new) }
        });
        self.target.connect_with_connector(connector).await
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
