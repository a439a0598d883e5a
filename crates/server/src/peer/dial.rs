//! Connections to other members, and single requests on them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::response::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{PeerIo, Secure};
use crate::flags::{Scheme, Url};

/// How long nothing may arrive on a connection, or be accepted by it, before it counts as broken; as in etcd.
pub(super) const STALL_MAX: Duration = Duration::from_millis(STALL_MILLIS);
pub(super) const STALL_MILLIS: u64 = 5000;
/// After this time without data the kernel asks whether the other side is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Bytes of an answer that is not a stream.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection that is being used.
pub(super) type Link = Box<dyn PeerIo>;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) secure: Option<Secure>,
    /// How long opening may take.
    pub(super) within: Duration,
    /// How long a connection may stall.
    pub(super) stall: Stall,
    /// The address that connections are made from, if it matters.
    pub(super) local: Option<IpAddr>,
}

/// How long a connection may stall before it counts as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// While something is expected to arrive (`--raft-read-timeout`).
    pub read: Duration,
    /// While something waits to be taken (`--raft-write-timeout`).
    pub write: Duration,
}

impl Default for Stall {
    fn default() -> Self {
        Self { read: STALL_MAX, write: STALL_MAX }
    }
}

impl Dialer {
    /// Opens a connection to a URL.
    pub(super) async fn dial(&self, url: &Url) -> io::Result<Link> {
        match timeout(self.within, self.open(url)).await {
            Ok(opened) => opened,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("dial {}: i/o timeout", url.address())))
            }
        }
    }

    async fn open(&self, url: &Url) -> io::Result<Link> {
        let context =
            |error: io::Error| io::Error::new(error.kind(), format!("dial {}: {error}", url.address()));
        match url.scheme() {
            Scheme::Http => Ok(Box::new(connect(url, self.local).await.map_err(context)?)),
            Scheme::Https => {
                let Some(secure) = &self.secure else {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "no TLS is set up for other members",
                    ));
                };
                let stream = connect(url, self.local).await.map_err(context)?;
                secure(url.host().to_owned(), stream).await.map_err(context)
            }
            Scheme::Unix => {
                // As in etcd, the part after the scheme is a name in the working directory, or an absolute path.
                Ok(Box::new(UnixStream::connect(url.address()).await.map_err(context)?))
            }
            Scheme::Unixs => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "TLS on Unix sockets is not spoken with other members",
            )),
        }
    }
}

async fn connect(url: &Url, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match local {
        None => TcpStream::connect(url.address()).await?,
        Some(local) => connect_from(local, url).await?,
    };
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE_AFTER)?;
    Ok(stream)
}

/// Connects to the first address of a host that can be reached from this one.
async fn connect_from(local: IpAddr, url: &Url) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of the same family");
    for address in tokio::net::lookup_host(url.address()).await? {
        if address.is_ipv4() != local.is_ipv4() {
            continue;
        }
        let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(local, 0))?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connection whose writes fail when nothing was accepted for some time.
///
/// The other side of a connection may be gone without a trace; without this its stream would be kept for ever.
#[derive(Debug)]
pub struct Timed<I> {
    inner: I,
    within: Duration,
    /// Runs while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<I> Timed<I> {
    /// A connection with the time that etcd gives to writes between members.
    pub fn new(inner: I) -> Self {
        Self::within(inner, STALL_MAX)
    }

    pub(super) fn within(inner: I, within: Duration) -> Self {
        Self { inner, within, alarm: None }
    }

    /// Passes on what came of a write, and watches the time while nothing came of it.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.alarm = None;
            return written;
        }
        let within = self.within;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(within)));
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "write: i/o timeout")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Timed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Timed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A request did not get an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAnswer(pub(super) String);

impl From<hyper::Error> for NoAnswer {
    fn from(error: hyper::Error) -> Self {
        Self(describe(&error))
    }
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// An error with what caused it, on one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Begins to speak HTTP/1.1 on a connection, whose own work the caller drives.
pub(super) async fn speak<B>(
    link: Link,
    stall_max: Duration,
) -> Result<(http1::SendRequest<B>, http1::Connection<TokioIo<Timed<Link>>, B>), hyper::Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(Timed::within(link, stall_max));
    http1::Builder::new().title_case_headers(true).handshake(io).await
}

/// Puts the host into a request, as HTTP/1.1 demands.
pub(super) fn set_host<B>(request: &mut Request<B>, url: &Url) {
    let host = match url.scheme() {
        Scheme::Http | Scheme::Https => url.address(),
        Scheme::Unix | Scheme::Unixs => "localhost",
    };
    // A URL whose host is no header's value is sent without.
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
}

/// A request did not get an answer on one connection.
struct Failed {
    /// The request, if nothing of it was written.
    unsent: Option<Box<Request<Full<Bytes>>>>,
    error: NoAnswer,
}

impl From<NoAnswer> for Failed {
    fn from(error: NoAnswer) -> Self {
        Self { unsent: None, error }
    }
}

/// Sends requests one after another, on one connection as long as it holds.
pub(super) struct Requester {
    dialer: Dialer,
    kept: Option<(Url, http1::SendRequest<Full<Bytes>>)>,
}

impl Requester {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self { dialer, kept: None }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// A kept connection that turns out to be closed before anything of the request was written is replaced once.
    /// What may have arrived is never sent again: a proposal that arrived twice would be two.
    pub(super) async fn ask(
        &mut self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<(Parts, Bytes), NoAnswer> {
        set_host(&mut request, url);
        let kept = self.kept.take().filter(|(kept, sender)| kept == url && sender.is_ready());
        if let Some((_, sender)) = kept {
            match self.ask_on(url, sender, request, within).await {
                Ok(answer) => return Ok(answer),
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failed { unsent: None, error }) => return Err(error),
            }
        }
        let link = self.dialer.dial(url).await?;
        let (sender, connection) = speak(link, self.dialer.stall.write).await?;
        tokio::spawn(async move {
            // How a connection ends is told by the request on it.
            let _ = connection.await;
        });
        self.ask_on(url, sender, request, within).await.map_err(|failed| failed.error)
    }

    async fn ask_on(
        &mut self,
        url: &Url,
        mut sender: http1::SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<(Parts, Bytes), Failed> {
        let deadline = Instant::now() + within;
        let asked = async {
            let response = sender.try_send_request(request).await.map_err(|mut error| Failed {
                unsent: error.take_message().map(Box::new),
                error: error.into_error().into(),
            })?;
            read_whole(response).await.map_err(Failed::from)
        };
        let answer = match tokio::time::timeout_at(deadline, asked).await {
            Ok(answer) => answer?,
            Err(_) => return Err(NoAnswer(format!("no answer within {within:?}")).into()),
        };
        self.kept = Some((url.clone(), sender));
        Ok(answer)
    }
}

/// Reads an answer that is not a stream.
pub(super) async fn read_whole(response: Response<Incoming>) -> Result<(Parts, Bytes), NoAnswer> {
    let (head, body) = response.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => Ok((head, collected.to_bytes())),
        Err(error) => Err(NoAnswer(describe(error.as_ref()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// What a server does with a connection when a request has arrived.
    #[derive(Clone, Copy)]
    enum Then {
        Answer,
        AnswerAndClose,
        Close,
    }

    /// A server that tells of each request that arrived.
    async fn server(mut script: VecDeque<Then>) -> (Url, mpsc::UnboundedReceiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while !script.is_empty() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                    if !seen.ends_with(b"body") {
                        continue;
                    }
                    seen.clear();
                    arrived.send(()).unwrap();
                    let then = script.pop_front().expect("no request is beyond the script");
                    if matches!(then, Then::Answer | Then::AnswerAndClose) {
                        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    }
                    if matches!(then, Then::Close | Then::AnswerAndClose) {
                        break;
                    }
                }
            }
        });
        (url, arrivals)
    }

    async fn ask(requester: &mut Requester, url: &Url) -> Result<(Parts, Bytes), NoAnswer> {
        let request = Request::post("/raft").body(Full::new(Bytes::from_static(b"body"))).unwrap();
        requester.ask(url, request, Duration::from_secs(10)).await
    }

    /// Found by `xtask chaos`: a put whose proposal was posted when the connection broke was made twice.
    #[tokio::test]
    async fn what_may_have_arrived_is_not_sent_again() {
        let (url, mut arrivals) = server([Then::Answer, Then::Close, Then::Answer].into()).await;
        let dialer =
            Dialer { secure: None, within: Duration::from_secs(10), stall: Stall::default(), local: None };
        let mut requester = Requester::new(dialer);
        ask(&mut requester, &url).await.unwrap();
        ask(&mut requester, &url).await.unwrap_err();
        ask(&mut requester, &url).await.unwrap();
        let mut count = 0;
        while arrivals.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 3, "each request arrived once");
    }

    #[tokio::test]
    async fn a_kept_connection_that_is_closed_is_replaced() {
        let (url, mut arrivals) = server([Then::AnswerAndClose, Then::Answer].into()).await;
        let dialer =
            Dialer { secure: None, within: Duration::from_secs(10), stall: Stall::default(), local: None };
        let mut requester = Requester::new(dialer);
        ask(&mut requester, &url).await.unwrap();
        arrivals.recv().await.unwrap();
        while requester.kept.as_ref().is_some_and(|(_, sender)| !sender.is_closed()) {
            tokio::task::yield_now().await;
        }
        ask(&mut requester, &url).await.unwrap();
        arrivals.recv().await.unwrap();
    }
}
