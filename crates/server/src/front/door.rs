//! The way in: whether a listener speaks TLS, and the connection behind it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::tls::{Secured, ServerTls, Visitor};

/// Where both is spoken, how long a client may take to show which one it wants.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(10);
/// The first byte of a TLS handshake; no request begins so.
const HANDSHAKE: u8 = 0x16;

/// What is spoken on a listener.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// No TLS.
    Plain,
    /// TLS.
    Secure(Arc<ServerTls>),
    /// Whichever the client begins with: an http and an https URL with the same address.
    Either(Arc<ServerTls>),
}

/// A connection as it was accepted.
#[derive(Debug)]
pub(crate) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that requests are read from.
#[derive(Debug)]
pub(crate) enum Connection {
    Plain(Raw),
    Secure(Box<TlsStream<Raw>>),
}

impl Door {
    /// Lets a connection in, after the handshake if there is one. `None`: it was turned away, and the log says why.
    pub(crate) async fn enter(self, raw: Raw) -> Option<(Connection, Visitor)> {
        let tls = match self {
            Self::Plain => None,
            Self::Secure(tls) => Some(tls),
            Self::Either(tls) => {
                let first = tokio::time::timeout(FIRST_BYTE_TIME_MAX, raw.first_byte());
                // Silence and an early end are turned away without a word, as they are without TLS.
                let first = first.await.ok()?.ok()?;
                (first == HANDSHAKE).then_some(tls)
            }
        };
        let Some(tls) = tls else {
            return Some((Connection::Plain(raw), Visitor { is_secure: false, identity: None }));
        };
        let remote = raw.remote();
        match tls.accept(raw, remote).await {
            Ok(Secured { stream, identity }) => {
                Some((Connection::Secure(Box::new(stream)), Visitor { is_secure: true, identity }))
            }
            Err(rejected) => {
                rejected.log();
                None
            }
        }
    }
}

impl Raw {
    /// Prepares an accepted connection for this runtime.
    pub(super) fn tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        // Without it, small answers would wait for the client's acknowledgements.
        stream.set_nodelay(true)?;
        TcpStream::from_std(stream).map(Self::Tcp)
    }

    /// The same for a Unix socket.
    pub(super) fn unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        UnixStream::from_std(stream).map(Self::Unix)
    }

    fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The first byte, which stays to be read.
    async fn first_byte(&self) -> io::Result<u8> {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0];
        let peek = |socket: rustix::fd::BorrowedFd<'_>, byte: &mut [u8; 1]| {
            recv(socket, &mut byte[..], RecvFlags::PEEK).map(|(_, length)| length).map_err(io::Error::from)
        };
        let length = match self {
            Self::Tcp(stream) => stream.peek(&mut byte).await?,
            Self::Unix(stream) => {
                use std::os::fd::AsFd as _;
                let interest = tokio::io::Interest::READABLE;
                stream.async_io(interest, || peek(stream.as_fd(), &mut byte)).await?
            }
        };
        if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte[0]) }
    }
}

macro_rules! forward {
    ($name:ident: $($variant:ident),+) => {
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner) => Pin::new(inner).poll_read(context, buffer),)+
                }
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(inner) => Pin::new(inner).poll_write(context, bytes),)+
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(inner) => Pin::new(inner).poll_write_vectored(context, slices),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(inner) => inner.is_write_vectored(),)+
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner) => Pin::new(inner).poll_flush(context),)+
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner) => Pin::new(inner).poll_shutdown(context),)+
                }
            }
        }
    };
}

forward!(Raw: Tcp, Unix);
forward!(Connection: Plain, Secure);
