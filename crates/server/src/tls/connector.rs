//! TLS for connections that this member makes to others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::{self, FileError, Watched};
use super::options::TlsOptions;
use super::server::{authorities, tls_error};
use super::verify::ServerVerifier;
use super::{files::system_authorities, reason};

/// How long a handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Speaks TLS with members that this one connects to; files that changed are used from the next connection on.
#[derive(Debug)]
pub struct Connector {
    config: Watched<ClientConfig>,
}

impl Connector {
    /// Reads certificate, key and authorities.
    ///
    /// Members are verified against `--peer-trusted-ca-file`, or the authorities of the system; not at all if this
    /// member's own certificate is one that it made itself.
    ///
    /// # Errors
    ///
    /// When something is not there, or does not fit together.
    pub fn new(options: &TlsOptions) -> Result<Self, FileError> {
        Self::with_protocols(options, &[])
    }

    /// The same for servers that are spoken with in HTTP/2, which Go's gRPC wants to be told.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn for_grpc(options: &TlsOptions) -> Result<Self, FileError> {
        Self::with_protocols(options, &[b"h2"])
    }

    fn with_protocols(options: &TlsOptions, protocols: &'static [&'static [u8]]) -> Result<Self, FileError> {
        options.allowed()?;
        let mut paths = Vec::new();
        if options.has_certificate() {
            let (cert, key) = options.client_pair()?;
            paths.extend([cert, key]);
        }
        paths
            .extend(options.trusted_ca_file.clone().or_else(system_authorities).filter(|_| !options.is_made));
        let own = options.clone();
        let config = Watched::new(paths, move || {
            let mut config = client_config(&own)?;
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Ok(config)
        });
        config.current()?;
        Ok(Self { config })
    }

    /// Does the handshake on a connection to this host, within a time limit.
    ///
    /// # Errors
    ///
    /// When the member is not trusted or does not trust this one, and when the connection fails.
    pub async fn connect<I>(&self, host: &str, io: I) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.trim_end_matches('.').to_owned()).map_err(io::Error::other)?;
        let config = self.config.current().map_err(io::Error::other)?;
        let connecting = TlsConnector::from(config).connect(name, io);
        match tokio::time::timeout(HANDSHAKE_TIME_MAX, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), reason::words(&error))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "net/http: TLS handshake timeout")),
        }
    }
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, FileError> {
    let provider = options.protocol.provider();
    let verifier = if options.is_made {
        ServerVerifier::trusting(Arc::clone(&provider))
    } else {
        ServerVerifier::new(authorities(options)?, options.allowed()?, Arc::clone(&provider))?
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(options.protocol.versions())
        .map_err(|error| tls_error(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = if options.has_certificate() {
        let (cert, key) = options.client_pair()?;
        let (chain, key) = files::read_pair(&cert, &key)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| tls_error(&error))?
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}
