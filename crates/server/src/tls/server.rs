//! TLS for those who connect: the handshake, and what is checked after it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{Acceptor, NoServerSessionStorage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{Certificate, Identity, Serial, read_revoked};
use super::files::{self, FileError, Watched};
use super::options::TlsOptions;
use super::verify::ClientVerifier;
use super::{reason, remote};

/// How long a handshake may take; a client that says nothing is let go then.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may take to find the names of an address.
const LOOK_UP_TIME_MAX: Duration = Duration::from_secs(10);

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Clients; their addresses are not compared with their certificates.
    Client,
    /// Whoever reads metrics, with the certificates of clients.
    Metrics,
    /// Other members.
    Peer,
}

/// Speaks TLS with those who connect; files that changed are used from the next connection on.
#[derive(Debug)]
pub struct ServerTls {
    endpoint: Endpoint,
    config: Watched<ServerConfig>,
    revoked: Option<Watched<BTreeSet<Serial>>>,
    checks_address: bool,
}

/// A connection on which TLS is spoken.
#[derive(Debug)]
pub struct Secured<I> {
    /// The connection.
    pub stream: TlsStream<I>,
    /// Who the other side is, if it had to show a certificate.
    pub identity: Option<Arc<Identity>>,
}

/// Who is at the other end of a connection; each request carries it in its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// Whether TLS is spoken.
    pub is_secure: bool,
    /// What the certificate says that the other side had to show, if it had to.
    pub identity: Option<Arc<Identity>>,
}

/// A connection that was refused, or given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    endpoint: Endpoint,
    remote: Option<SocketAddr>,
    server_name: String,
    identity: Option<Arc<Identity>>,
    reason: String,
    /// The other side just went away, which happens all the time.
    is_end: bool,
}

impl Rejected {
    /// Writes the line that etcd writes.
    pub fn log(&self) {
        let message = match self.endpoint {
            Endpoint::Client | Endpoint::Metrics => "rejected connection on client endpoint",
            Endpoint::Peer => "rejected connection on peer endpoint",
        };
        let remote = self.remote.map(|remote| remote.to_string()).unwrap_or_default();
        let (name, reason) = (self.server_name.as_str(), self.reason.as_str());
        if self.is_end {
            let (remote, error) = (remote.as_str(), reason);
            crate::log!(Debug, message, "remote-addr" => remote, "server-name" => name, "error" => error);
            return;
        }
        match &self.identity {
            Some(identity) => {
                let addresses: Vec<String> = identity.ip_addresses.iter().map(IpAddr::to_string).collect();
                let names = identity.dns_names.clone();
                crate::log!(
                    Warn, message, "remote-addr" => remote, "server-name" => name,
                    "ip-addresses" => addresses, "dns-names" => names, "error" => reason
                );
            }
            None => crate::log!(
                Warn, message, "remote-addr" => remote, "server-name" => name, "error" => reason
            ),
        }
    }
}

impl ServerTls {
    /// Reads certificate, key and authorities.
    ///
    /// The list of revoked certificates may still be missing: until it is there, certificates are refused.
    ///
    /// # Errors
    ///
    /// When something is not there, or does not fit together.
    pub fn new(options: &TlsOptions, endpoint: Endpoint) -> Result<Self, FileError> {
        let (cert, key) = options.pair()?;
        let (client_cert, client_key) = options.client_pair()?;
        if client_cert != cert {
            // Not shown to those who connect; etcd checks it here nevertheless.
            files::read_pair(&client_cert, &client_key)?;
        }
        options.allowed()?;
        let mut paths = vec![cert, key];
        paths.extend(options.trusted_ca_file.clone());
        let own = options.clone();
        let config = Watched::new(paths, move || server_config(&own));
        config.current()?;
        let revoked = options.crl_file.clone().map(|path| {
            let own = path.clone();
            Watched::new(vec![path], move || {
                let list = files::read_revocations(&own)?;
                read_revoked(&list).ok_or_else(|| FileError("x509: malformed crl".to_owned()))
            })
        });
        let checks_address = match endpoint {
            Endpoint::Client => false,
            Endpoint::Metrics | Endpoint::Peer => !options.skip_client_san_verification,
        };
        Ok(Self { endpoint, config, revoked, checks_address })
    }

    /// Does the handshake, within a time limit, and checks who connected.
    /// Without a remote address, as on a Unix socket, addresses are not compared.
    ///
    /// # Errors
    ///
    /// [`Rejected`]: the other side is not spoken with.
    pub async fn accept<I>(&self, io: I, remote: Option<SocketAddr>) -> Result<Secured<I>, Rejected>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut rejected = Rejected {
            endpoint: self.endpoint,
            remote,
            server_name: String::new(),
            identity: None,
            reason: String::new(),
            is_end: false,
        };
        let handshake = self.shake_hands(io, &mut rejected.server_name);
        let stream = match tokio::time::timeout(HANDSHAKE_TIME_MAX, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let (reason, is_end) = (reason::words(&error), reason::is_end(&error));
                return Err(Rejected { reason, is_end, ..rejected });
            }
            Err(_) => return Err(Rejected { reason: "i/o timeout".to_owned(), ..rejected }),
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificates: Option<Vec<Certificate>> =
            shown.iter().map(|certificate| Certificate::read(certificate)).collect();
        let Some(certificates) = certificates else {
            return Err(Rejected { reason: "x509: malformed certificate".to_owned(), ..rejected });
        };
        let identity = certificates.first().map(|first| Arc::new(first.identity.clone()));
        rejected.identity.clone_from(&identity);
        match self.check(&certificates, remote).await {
            Ok(()) => Ok(Secured { stream, identity }),
            Err(reason) => Err(Rejected { reason, ..rejected }),
        }
    }

    async fn shake_hands<I>(&self, io: I, server_name: &mut String) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        // Until a client has said hello, it costs no more than a small buffer.
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        *server_name = start.client_hello().server_name().unwrap_or_default().to_owned();
        let config = self.config.current().map_err(io::Error::other)?;
        Box::pin(start.into_stream(config)).await
    }

    /// Checks what the handshake does not: the address, and whether a certificate is revoked.
    async fn check(&self, certificates: &[Certificate], remote: Option<SocketAddr>) -> Result<(), String> {
        let Some(first) = certificates.first() else { return Ok(()) };
        if let Some(remote) = remote.filter(|_| self.checks_address) {
            // It holds a message of the domain name system, which few handshakes need room for.
            let check = Box::pin(remote::check(&first.identity, remote.ip()));
            let checked = tokio::time::timeout(LOOK_UP_TIME_MAX, check).await;
            checked.map_err(|_| format!("lookup {}: i/o timeout", remote.ip()))??;
        }
        if let Some(revoked) = &self.revoked {
            let revoked = revoked.current().map_err(|error| error.to_string())?;
            if let Some(found) = certificates.iter().find(|shown| revoked.contains(&shown.serial)) {
                return Err(format!("transport: certificate serial {} revoked", found.serial));
            }
        }
        Ok(())
    }
}

fn server_config(options: &TlsOptions) -> Result<ServerConfig, FileError> {
    let (cert, key) = options.pair()?;
    let (chain, key) = files::read_pair(&cert, &key)?;
    let provider = options.protocol.provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(options.protocol.versions())
        .map_err(|error| tls_error(&error))?;
    let wants_certificate = options.client_cert_auth || options.trusted_ca_file.is_some();
    let builder = if wants_certificate {
        let own = options.trusted_ca_file.as_deref();
        let authorities = authorities(options)?;
        let verifier = ClientVerifier::new(authorities, own.is_some(), options.allowed()?, provider)?;
        builder.with_client_cert_verifier(Arc::new(verifier))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| tls_error(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would not show whether the certificate is trusted by now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The authorities that the options name, or those of the system.
pub(super) fn authorities(
    options: &TlsOptions,
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, FileError> {
    match options.trusted_ca_file.clone().or_else(files::system_authorities) {
        Some(path) => files::read_authorities(&path),
        None => Err(FileError("x509: failed to load system roots and no roots provided".to_owned())),
    }
}

/// Why a certificate and its key cannot be used, in the words of Go where it has some.
pub(super) fn tls_error(error: &rustls::Error) -> FileError {
    if let rustls::Error::InconsistentKeys(_) = error {
        return FileError("tls: private key does not match public key".to_owned());
    }
    FileError(format!("tls: {error}"))
}
