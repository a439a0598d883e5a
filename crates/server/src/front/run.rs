//! The threads: one acceptor, and the fronts that it deals connections to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etched_replica::auth::password;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{self, Protocol, Responder, told_to_stop};
use super::counted::Counted;
use super::door::{Door, Raw};
use super::link::Link;
use super::listeners::{Listener, Listeners, Socket};
use crate::api::Api;
use crate::auth::{Doorman, Passwords};
use crate::flags::Options;
use crate::gateway::{Gateway, Schema};
use crate::grpc::{Gate, GrpcOptions, Services};
use crate::http::{Role, Site};
use crate::metrics::{Metrics, connections_max};
use crate::v2::{Moments, V2};

/// Connections that may be on their way to a front.
const CONNECTIONS_WAITING_MAX: usize = 1024;
/// How long requests may go on after the server was told to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a listener rests when no connection can be accepted, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Election timeouts without a leader after which streams that need one end.
const LEADERLESS_LOOKS_MAX: u32 = 3;

/// A front cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or its runtime cannot be made.
    #[error("a thread for connections cannot be started")]
    Thread(#[source] io::Error),
    /// The gRPC services cannot be made.
    #[error("the gRPC services cannot be made")]
    Services(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The running fronts.
#[derive(Debug)]
pub struct Fronts {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// A connection on its way from the acceptor to its front.
struct Accepted {
    stream: AcceptedStream,
    role: Role,
    door: Door,
    /// Its place among all connections.
    place: OwnedSemaphorePermit,
}

/// A connection that belongs to no runtime yet.
enum AcceptedStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The acceptor's side of a front.
struct Desk {
    connections: mpsc::Sender<Accepted>,
    open: Arc<AtomicUsize>,
}

/// What a front thread runs with.
struct FrontThread {
    link: Arc<Link>,
    metrics: Arc<Metrics>,
    responder: Arc<Responder>,
    moments: Arc<Moments>,
    protocol: Protocol,
    open: Arc<AtomicUsize>,
    election_timeout: Duration,
    stop: watch::Receiver<bool>,
}

impl Fronts {
    /// Starts the threads; from now on connections are served.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started.
    pub fn start(
        listeners: Listeners,
        api: Arc<dyn Api>,
        options: &Options,
        metrics: Arc<Metrics>,
        doorman: Arc<Doorman>,
    ) -> Result<Self, StartError> {
        let gate = Gate { doorman, passwords: Arc::new(Passwords::new(bcrypt_cost(options))) };
        let (stop, stopped) = watch::channel(false);
        let mut threads = Vec::new();
        let mut desks = Vec::new();
        let schema = options.http.gateway.then(Schema::new).transpose();
        let schema = schema.map_err(|error| StartError::Services(error.into()))?.map(Arc::new);
        let moments = Arc::new(Moments::new());
        for number in 0..options.listen.front_threads.max(1) {
            let (sender, connections) = mpsc::channel(CONNECTIONS_WAITING_MAX);
            let open = Arc::new(AtomicUsize::new(0));
            let link = Link::new(Arc::clone(&api), Arc::clone(&metrics));
            let thread = FrontThread {
                responder: Arc::new(responder(&link, &gate, options, schema.clone(), &moments)?),
                moments: Arc::clone(&moments),
                link,
                metrics: Arc::clone(&metrics),
                protocol: Protocol::new(&options.limits, &options.listen),
                open: Arc::clone(&open),
                election_timeout: options.member.election_timeout,
                stop: stopped.clone(),
            };
            desks.push(Desk { connections: sender, open });
            threads.push(spawn(format!("front-{number}"), move |runtime| {
                runtime.block_on(thread.run(connections))
            })?);
        }
        crate::log!(Info, "grpc service status changed", "service" => "", "status" => "SERVING");
        listeners.log_serving();
        threads.push(spawn("acceptor".to_owned(), move |runtime| {
            runtime.block_on(accept_all(listeners, desks, stopped));
        })?);
        Ok(Self { stop, threads })
    }

    /// Stops: no new connections, streams end, requests under way may go on for a short time.
    /// Returns when all threads have ended.
    pub fn stop(self) {
        // Without receivers all threads have ended already.
        let _ = self.stop.send(true);
        for thread in self.threads {
            if thread.join().is_err() {
                crate::log!(Error, "a thread for connections panicked");
            }
        }
    }
}

fn v2(link: &Arc<Link>, options: &Options, moments: &Arc<Moments>) -> V2 {
    let trusts_certificates = options.security.client.client_cert_auth;
    V2::new(Arc::clone(link), Arc::clone(moments), options.limits.max_request_bytes, trusts_certificates)
}

fn responder(
    link: &Arc<Link>,
    gate: &Gate,
    options: &Options,
    schema: Option<Arc<Schema>>,
    moments: &Arc<Moments>,
) -> Result<Responder, StartError> {
    let grpc = GrpcOptions {
        request_bytes_max: options.limits.max_request_bytes,
        progress_interval: options.limits.watch_progress_notify_interval,
        slow_call: options.limits.warning_unary_request_duration,
    };
    let services = Services::new(Arc::clone(link), gate.clone(), grpc);
    let services = Arc::new(services.map_err(|error| StartError::Services(error.into()))?);
    let site = Arc::new(Site {
        link: Arc::clone(link),
        options: Arc::new(options.http.clone()),
        gates: Arc::new(options.gates.clone()),
        services: Arc::clone(&services),
        gateway: schema.map(|schema| Gateway::new(Arc::clone(&services), schema)),
        v2: options.http.serves_v2.then(|| Arc::new(v2(link, options, moments))),
        takes_common_names: options.security.client.client_cert_auth,
    });
    Ok(Responder { services, site })
}

/// The work of a password's hash, as a power of two; what bcrypt does not offer is replaced.
fn bcrypt_cost(options: &Options) -> u32 {
    let given = options.auth.bcrypt_cost;
    let offered = u64::from(password::COST_MIN)..=u64::from(password::COST_MAX);
    match u32::try_from(given) {
        Ok(cost) if offered.contains(&given) => cost,
        Ok(_) | Err(_) => {
            crate::log!(
                Warn, "use default bcrypt cost instead of the invalid given cost",
                "min-cost" => u64::from(password::COST_MIN), "max-cost" => u64::from(password::COST_MAX),
                "default-cost" => u64::from(password::COST_DEFAULT), "given-cost" => given,
            );
            password::COST_DEFAULT
        }
    }
}

fn spawn(name: String, run: impl FnOnce(Runtime) + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    std::thread::Builder::new().name(name).spawn(move || run(runtime)).map_err(StartError::Thread)
}

// === the acceptor ===

async fn accept_all(listeners: Listeners, desks: Vec<Desk>, mut stop: watch::Receiver<bool>) {
    let desks = Arc::new(desks);
    // More wait in the kernel, so that files are left for the member itself.
    let room = Arc::new(Semaphore::new(connections_max().min(Semaphore::MAX_PERMITS)));
    let mut accepting = JoinSet::new();
    for listener in listeners.all {
        accepting.spawn(accept(listener, Arc::clone(&desks), Arc::clone(&room)));
    }
    told_to_stop(&mut stop).await;
    accepting.shutdown().await;
}

async fn accept(listener: Listener, desks: Arc<Vec<Desk>>, room: Arc<Semaphore>) {
    let Listener { socket, role, door, address, .. } = listener;
    let accepted = |stream, place| Accepted { stream, role, door: door.clone(), place };
    let place = || Arc::clone(&room).acquire_owned();
    let failed = |error: io::Error| {
        crate::log!(Error, "a listener failed", "address" => address.as_str(), "error" => error.to_string());
    };
    match socket {
        Socket::Tcp(socket) => match TcpListener::from_std(socket) {
            Ok(socket) => loop {
                let Ok(place) = place().await else { return };
                match socket.accept().await.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => deal(&desks, accepted(AcceptedStream::Tcp(stream), place)).await,
                    Err(error) => pause(&error).await,
                }
            },
            Err(error) => failed(error),
        },
        Socket::Unix(socket) => match UnixListener::from_std(socket) {
            Ok(socket) => loop {
                let Ok(place) = place().await else { return };
                match socket.accept().await.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => deal(&desks, accepted(AcceptedStream::Unix(stream), place)).await,
                    Err(error) => pause(&error).await,
                }
            },
            Err(error) => failed(error),
        },
    }
}

/// Gives a connection to the front with the fewest.
async fn deal(desks: &[Desk], accepted: Accepted) {
    let idlest = desks.iter().min_by_key(|desk| desk.open.load(Ordering::Relaxed));
    if let Some(desk) = idlest {
        desk.open.fetch_add(1, Ordering::Relaxed);
        // A front that has ended takes no more; the connection is closed by being dropped.
        let _ = desk.connections.send(accepted).await;
    }
}

pub(super) async fn pause(error: &io::Error) {
    crate::log!(Warn, "a connection cannot be accepted", "error" => error.to_string());
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

// === a front ===

impl FrontThread {
    async fn run(self, mut connections: mpsc::Receiver<Accepted>) {
        let mut stop = self.stop.clone();
        let link = Arc::clone(&self.link);
        let mailbox = tokio::spawn(async move { link.run().await });
        let looking = tokio::spawn(look_at_leader(
            Arc::clone(&self.link),
            Arc::clone(&self.moments),
            self.election_timeout,
        ));
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connections.recv() => match accepted {
                    Some(accepted) => self.serve(accepted, &mut serving),
                    None => break,
                },
                // Those that are over need not be kept.
                Some(_) = serving.join_next() => {}
                () = told_to_stop(&mut stop) => break,
            }
        }
        self.link.stop_streams();
        let all_ended = async { while serving.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME_MAX, all_ended).await.is_err() {
            crate::log!(Warn, "connections are cut", "count" => serving.len());
        }
        serving.shutdown().await;
        looking.abort();
        mailbox.abort();
    }

    fn serve(&self, accepted: Accepted, serving: &mut JoinSet<()>) {
        let (responder, protocol) = (Arc::clone(&self.responder), self.protocol.clone());
        let (stop, metrics) = (self.stop.clone(), Arc::clone(&self.metrics));
        let open = OpenCount(Arc::clone(&self.open));
        let Accepted { stream, role, door, place } = accepted;
        let raw = match stream {
            AcceptedStream::Tcp(stream) => Raw::tcp(stream),
            AcceptedStream::Unix(stream) => Raw::unix(stream),
        };
        let raw = match raw {
            Ok(raw) => raw,
            Err(error) => {
                crate::log!(Warn, "a connection cannot be served", "error" => error.to_string());
                return;
            }
        };
        serving.spawn(async move {
            let (_open, _place) = (open, place);
            let mut stopping = stop.clone();
            let entered = tokio::select! {
                entered = door.enter(raw) => entered,
                // A handshake that is not over yet is not waited for.
                () = told_to_stop(&mut stopping) => None,
            };
            if let Some((io, visitor)) = entered {
                let io = Counted::new(io, metrics);
                // Room for it is taken only now, so that a client which has not said hello costs little.
                Box::pin(connection::serve(io, role, visitor, responder, protocol, stop)).await;
            }
        });
    }
}

/// Counts a connection as long as it is there.
struct OpenCount(Arc<AtomicUsize>);

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at the member once per election timeout, and ends streams that need a leader when there is none for long.
async fn look_at_leader(link: Arc<Link>, moments: Arc<Moments>, election_timeout: Duration) {
    let mut ticks = tokio::time::interval(election_timeout.max(Duration::from_millis(1)));
    let mut leaderless: u32 = 0;
    loop {
        ticks.tick().await;
        leaderless = if link.api().has_leader() { 0 } else { leaderless.saturating_add(1) };
        moments.look(link.api().report().leader);
        link.look(leaderless >= LEADERLESS_LOOKS_MAX);
    }
}
