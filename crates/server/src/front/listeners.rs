//! The sockets that connections arrive on.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketType};

use super::door::Door;
use crate::flags::{Options, Scheme, Url, texts};
use crate::http::Role;
use crate::tls::{Endpoint, FileError, ServerTls, TlsOptions};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// A URL cannot be listened on; in the words of Go, since etcd logs them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be had.
    #[error("listen tcp {address}: bind: {reason}")]
    Address {
        /// The address of the URL.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A URL asks for TLS, and there is no certificate.
    #[error("cannot listen on TLS for {0}: KeyFile and CertFile are not presented")]
    NoCertificate(String),
    /// The files of TLS for other members cannot be used.
    #[error(transparent)]
    PeerFiles(FileError),
    /// The files of TLS for clients cannot be used.
    #[error(transparent)]
    ClientFiles(FileError),
}

impl BindError {
    /// The message of the fatal line that etcd ends with.
    pub fn headline(&self) -> &'static str {
        match self {
            Self::Address { .. } | Self::NoCertificate(_) | Self::PeerFiles(_) => "discovery failed",
            Self::ClientFiles(_) => "listener failed",
        }
    }

    fn new(url: &Url, error: &io::Error) -> Self {
        let reason = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ADDRINUSE) => "address already in use".to_owned(),
            Some(Errno::ACCESS) => "permission denied".to_owned(),
            Some(Errno::ADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
            Some(_) | None => error.to_string(),
        };
        Self::Address { address: url.address().to_owned(), reason }
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: Socket,
    pub(super) role: Role,
    /// Whether TLS is spoken.
    pub(super) door: Door,
    /// `host:port`, or the path of a Unix socket.
    pub(super) address: String,
    /// The same as the URL has it.
    asked: String,
}

/// All listening sockets; connections wait in the kernel until the fronts run.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) all: Vec<Listener>,
}

impl Listeners {
    /// Listens on the URLs for other members.
    ///
    /// # Errors
    ///
    /// The first URL that cannot be listened on.
    pub fn bind_peers(&mut self, options: &Options) -> Result<(), BindError> {
        let urls = &options.member.listen_peer_urls;
        crate::log!(Info, "configuring peer listeners", "listen-peer-urls" => texts(urls));
        let tls = &options.security.peer;
        if tls.has_certificate() {
            log_starting("starting with peer TLS", tls);
        }
        for url in urls.iter().filter(|url| url.scheme() == Scheme::Http) {
            if tls.has_certificate() {
                let message =
                    "scheme is HTTP while key and cert files are present; ignoring key and cert files";
                crate::log!(Warn, message, "peer-url" => url.as_str());
            }
            if tls.client_cert_auth {
                let message = "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL";
                crate::log!(Warn, message, "peer-url" => url.as_str());
            }
        }
        let bound = open(urls, tls, Endpoint::Peer, BindError::PeerFiles).and_then(|tls| {
            urls.iter()
                .try_for_each(|url| self.bind(url, Role::Peer, tls.as_ref(), options.listen.reuse_port))
        });
        bound.inspect_err(|error| {
            crate::log!(Error, "creating peer listener failed", "error" => error.to_string());
        })
    }

    /// Listens on the URLs for clients and for metrics.
    ///
    /// # Errors
    ///
    /// The first URL that cannot be listened on.
    pub fn bind_clients(&mut self, options: &Options) -> Result<(), BindError> {
        let (listen, tls) = (&options.listen, &options.security.client);
        crate::log!(Info, "configuring client listeners", "listen-client-urls" => texts(&listen.client_urls));
        if tls.has_certificate() {
            log_starting("starting with client TLS", tls);
        }
        for url in listen.client_urls.iter().chain(&listen.client_http_urls) {
            warn_of_plain(url, tls);
        }
        let together = if listen.client_http_urls.is_empty() { Role::Client } else { Role::ClientGrpc };
        for (urls, role, endpoint) in [
            (&listen.client_urls, together, Endpoint::Client),
            (&listen.client_http_urls, Role::ClientHttp, Endpoint::Client),
            (&listen.metrics_urls, Role::Metrics, Endpoint::Metrics),
        ] {
            let tls = open(urls, tls, endpoint, BindError::ClientFiles)?;
            urls.iter().try_for_each(|url| self.bind(url, role, tls.as_ref(), listen.reuse_port))?;
        }
        Ok(())
    }

    /// The addresses that clients connect to, with the ports that were chosen where a URL says 0.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(|role| role == Role::Client || role == Role::ClientGrpc)
    }

    /// The addresses of listeners for metrics.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(|role| role == Role::Metrics)
    }

    /// The addresses of listeners for other members.
    pub fn peer_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(|role| role == Role::Peer)
    }

    /// Logs what each listener serves, as the fronts begin to accept.
    pub(super) fn log_serving(&self) {
        for Listener { role, door, address, .. } in &self.all {
            let address = address.as_str();
            let traffic = match role {
                Role::Peer => {
                    crate::log!(Info, "serving peer traffic", "address" => address);
                    continue;
                }
                Role::Metrics => {
                    crate::log!(Info, "serving metrics", "address" => address);
                    continue;
                }
                Role::Client => "grpc+http",
                Role::ClientGrpc => "grpc",
                Role::ClientHttp => "http",
            };
            let insecurely = "serving client traffic insecurely; this is strongly discouraged!";
            let securely = "serving client traffic securely";
            let messages = match door {
                Door::Plain => &[insecurely][..],
                Door::Secure(_) => &[securely],
                Door::Either(_) => &[insecurely, securely],
            };
            for message in messages {
                crate::log!(Info, message, "traffic" => traffic, "address" => address);
            }
        }
    }

    fn addresses(&self, wanted: impl Fn(Role) -> bool) -> Vec<SocketAddr> {
        let chosen = self.all.iter().filter(|listener| wanted(listener.role));
        chosen
            .filter_map(|listener| match &listener.socket {
                Socket::Tcp(socket) => socket.local_addr().ok(),
                Socket::Unix(_) => None,
            })
            .collect()
    }

    fn bind(
        &mut self,
        url: &Url,
        role: Role,
        tls: Option<&Arc<ServerTls>>,
        reuse_port: bool,
    ) -> Result<(), BindError> {
        let failed = |error: io::Error| BindError::new(url, &error);
        let door = match tls {
            Some(tls) if url.scheme().is_secure() => Door::Secure(Arc::clone(tls)),
            Some(_) | None => Door::Plain,
        };
        if self.share(url, role, &door) {
            return Ok(());
        }
        let asked = url.address().to_owned();
        match url.scheme() {
            Scheme::Unix | Scheme::Unixs => {
                remove_stale(url.address());
                let socket = UnixListener::bind(url.address()).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                self.all.push(Listener {
                    socket: Socket::Unix(socket),
                    role,
                    door,
                    address: url.address().to_owned(),
                    asked,
                });
            }
            Scheme::Http | Scheme::Https => {
                let address = resolve(url).map_err(failed)?;
                let socket = listen(address, reuse_port).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?.to_string();
                self.all.push(Listener { socket: Socket::Tcp(socket), role, door, address, asked });
            }
        }
        Ok(())
    }

    /// Two URLs of clients with one address, one with TLS and one without, share a socket.
    fn share(&mut self, url: &Url, role: Role, door: &Door) -> bool {
        if url.port() == Some(0) || role == Role::Metrics || role == Role::Peer {
            return false;
        }
        let shared = self.all.iter_mut().find(|other| other.role == role && other.asked == url.address());
        let Some(shared) = shared else { return false };
        shared.door = match (&shared.door, door) {
            (Door::Plain, Door::Secure(tls)) | (Door::Secure(tls), Door::Plain) => {
                Door::Either(Arc::clone(tls))
            }
            (Door::Plain | Door::Secure(_) | Door::Either(_), _) => shared.door.clone(),
        };
        true
    }
}

/// Reads the files of TLS if one of the URLs wants it.
fn open(
    urls: &[Url],
    tls: &TlsOptions,
    endpoint: Endpoint,
    failed: impl Fn(FileError) -> BindError,
) -> Result<Option<Arc<ServerTls>>, BindError> {
    let Some(url) = urls.iter().find(|url| url.scheme().is_secure()) else { return Ok(None) };
    if !tls.has_certificate() {
        return Err(BindError::NoCertificate(url.address().to_owned()));
    }
    ServerTls::new(tls, endpoint).map(|tls| Some(Arc::new(tls))).map_err(failed)
}

fn log_starting(message: &str, tls: &TlsOptions) {
    let suites = tls.protocol.cipher_suites.clone().unwrap_or_default();
    crate::log!(Info, message, "tls-info" => tls.to_string(), "cipher-suites" => suites);
}

fn warn_of_plain(url: &Url, tls: &TlsOptions) {
    if url.scheme().is_secure() {
        return;
    }
    if tls.has_certificate() {
        let message =
            "scheme is http or unix while key and cert files are present; ignoring key and cert files";
        crate::log!(Warn, message, "client-url" => url.as_str());
    }
    if tls.client_cert_auth {
        let message = "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL";
        crate::log!(Warn, message, "client-url" => url.as_str());
    }
}

/// The address of a URL: `localhost` is its first IPv4 address if it has one, no host is every address.
fn resolve(url: &Url) -> io::Result<SocketAddr> {
    let host = if url.host().is_empty() { "::" } else { url.host() };
    let all: Vec<SocketAddr> = (host, url.port().unwrap_or(0)).to_socket_addrs()?.collect();
    let first = all.iter().find(|address| address.is_ipv4()).or_else(|| all.first());
    first.copied().ok_or_else(|| io::Error::other("no address"))
}

fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    if reuse_port {
        set_socket_reuseport(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Removes the socket of a process that is gone, so that its path can be bound again.
fn remove_stale(path: &str) {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        // If it cannot be removed, binding says why.
        let _ = std::fs::remove_file(path);
    }
}
