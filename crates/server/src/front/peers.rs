//! The listeners for other members: HTTP/1.1 of their own, served before clients are.
//!
//! Other members are spoken with from the start, or the first leader would never be elected; clients come later.
//! One thread accepts and serves all of them: what arrives is handed on in batches.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::told_to_stop;
use super::door::{Door, Raw};
use super::listeners::{Listener, Listeners, Socket};
use super::run::pause;
use crate::http::Role;
use crate::peer::{PeerService, Timed};

/// Time for the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections of other members at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 1024;

/// The thread that serves other members.
#[derive(Debug)]
pub struct PeerFront {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Listeners {
    /// Takes the listeners for other members out.
    #[must_use]
    pub fn take_peers(&mut self) -> Self {
        let all = std::mem::take(&mut self.all);
        let (peers, rest) = all.into_iter().partition(|listener| listener.role == Role::Peer);
        self.all = rest;
        Self { all: peers }
    }
}

impl PeerFront {
    /// Serves other members from now on.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(listeners: Listeners, service: PeerService) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        listeners.log_serving();
        let thread = std::thread::Builder::new()
            .name("peers-in".to_owned())
            .spawn(move || runtime.block_on(serve_all(listeners, service, stopped)))?;
        Ok(Self { stop, thread })
    }

    /// Closes all connections and returns when the thread has ended.
    pub fn stop(self) {
        // Without a receiver the thread has ended already.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            crate::log!(Error, "the thread that serves other members panicked");
        }
    }
}

async fn serve_all(listeners: Listeners, service: PeerService, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = JoinSet::new();
    for listener in listeners.all {
        accepting.spawn(accept(listener, service.clone(), Arc::clone(&room)));
    }
    told_to_stop(&mut stop).await;
    // The connections are tasks of this runtime and end with it.
    accepting.shutdown().await;
}

async fn accept(listener: Listener, service: PeerService, room: Arc<tokio::sync::Semaphore>) {
    let Listener { socket, door, address, .. } = listener;
    let failed = |error: &io::Error| {
        crate::log!(Error, "a listener failed", "address" => address.as_str(), "error" => error.to_string());
    };
    let mut serving = JoinSet::new();
    match socket {
        Socket::Tcp(socket) => match TcpListener::from_std(socket) {
            Ok(socket) => loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                match socket.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream))
                {
                    Ok(stream) => {
                        let (service, door) = (service.clone(), door.clone());
                        serving.spawn(async move {
                            let _permit = permit;
                            serve(Raw::Tcp(stream), door, service).await;
                        });
                    }
                    Err(error) => pause(&error).await,
                }
                while serving.try_join_next().is_some() {}
            },
            Err(error) => failed(&error),
        },
        Socket::Unix(socket) => match UnixListener::from_std(socket) {
            Ok(socket) => loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                match socket.accept().await {
                    Ok((stream, _)) => {
                        let (service, door) = (service.clone(), door.clone());
                        serving.spawn(async move {
                            let _permit = permit;
                            serve(Raw::Unix(stream), door, service).await;
                        });
                    }
                    Err(error) => pause(&error).await,
                }
                while serving.try_join_next().is_some() {}
            },
            Err(error) => failed(&error),
        },
    }
}

async fn serve(raw: Raw, door: Door, service: PeerService) {
    let Some((io, visitor)) = door.enter(raw).await else { return };
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visitor.clone());
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).title_case_headers(true);
    if let Err(error) = builder.serve_connection(TokioIo::new(Timed::new(io)), answer).await {
        crate::log!(Debug, "connection of another member ended", "error" => error.to_string());
    }
}
