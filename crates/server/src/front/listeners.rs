//! The sockets that connections arrive on.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketType};

use crate::flags::{ListenOptions, Scheme, Url, texts};
use crate::http::Role;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// A URL cannot be listened on; in the words of Go, since etcd logs them.
#[derive(Debug, thiserror::Error)]
#[error("listen tcp {address}: bind: {reason}")]
pub struct BindError {
    address: String,
    reason: String,
}

impl BindError {
    fn new(url: &Url, error: &io::Error) -> Self {
        let reason = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ADDRINUSE) => "address already in use".to_owned(),
            Some(Errno::ACCESS) => "permission denied".to_owned(),
            Some(Errno::ADDRNOTAVAIL) => "cannot assign requested address".to_owned(),
            Some(_) | None => error.to_string(),
        };
        Self { address: url.address().to_owned(), reason }
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
    /// `host:port`, or the path of a Unix socket.
    pub(super) address: String,
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
    pub fn bind_peers(&mut self, urls: &[Url], reuse_port: bool) -> Result<(), BindError> {
        crate::log!(Info, "configuring peer listeners", "listen-peer-urls" => texts(urls));
        urls.iter().try_for_each(|url| self.bind(url, Role::Peer, reuse_port))
    }

    /// Listens on the URLs for clients and for metrics.
    ///
    /// # Errors
    ///
    /// The first URL that cannot be listened on.
    pub fn bind_clients(&mut self, options: &ListenOptions) -> Result<(), BindError> {
        crate::log!(Info, "configuring client listeners", "listen-client-urls" => texts(&options.client_urls));
        let together = if options.client_http_urls.is_empty() { Role::Client } else { Role::ClientGrpc };
        for (urls, role) in [
            (&options.client_urls, together),
            (&options.client_http_urls, Role::ClientHttp),
            (&options.metrics_urls, Role::Metrics),
        ] {
            urls.iter().try_for_each(|url| self.bind(url, role, options.reuse_port))?;
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
        for Listener { role, address, .. } in &self.all {
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
            let message = "serving client traffic insecurely; this is strongly discouraged!";
            crate::log!(Info, message, "traffic" => traffic, "address" => address);
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

    fn bind(&mut self, url: &Url, role: Role, reuse_port: bool) -> Result<(), BindError> {
        let failed = |error: io::Error| BindError::new(url, &error);
        match url.scheme() {
            Scheme::Unix | Scheme::Unixs => {
                remove_stale(url.address());
                let socket = UnixListener::bind(url.address()).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                self.all.push(Listener {
                    socket: Socket::Unix(socket),
                    role,
                    address: url.address().to_owned(),
                });
            }
            Scheme::Http | Scheme::Https => {
                let address = resolve(url).map_err(failed)?;
                let socket = listen(address, reuse_port).map_err(failed)?;
                let address = socket.local_addr().map_err(failed)?.to_string();
                self.all.push(Listener { socket: Socket::Tcp(socket), role, address });
            }
        }
        Ok(())
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
