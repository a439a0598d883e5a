//! The binary `etched`: reads flags, starts the member and its fronts, waits for a signal, drains.

use std::ffi::c_int;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use etched::api::Api;
use etched::auth::Doorman;
use etched::dev::{self, Entered};
use etched::flags::{self, CertificateError, Options};
use etched::front::{BindError, Fronts, Listeners, PeerFront};
use etched::member::{self, DiscoveryError, Readiness, RunningMember, StartError};
use etched::metrics::{Metrics, raise_open_file_limit};
use etched::peer::{PeerIo, Secure};
use etched::tls::Connector;
use etched::trace::Traces;
use etched::{architecture, log, logging, notify, subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long clients are kept waiting for the cluster to know this member; as long as in etcd.
const READY_TIME_MAX: Duration = Duration::from_secs(5);

/// How often the end of the member's threads is looked for.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Why the process ends.
enum End {
    Signal(c_int),
    Member,
}

fn main() -> ExitCode {
    let mut arguments = flags::process_arguments();
    if arguments.first().is_some_and(|first| first == "dev") {
        match dev::enter(arguments.split_off(1)) {
            Entered::Done(code) => return code,
            Entered::Member(flags) => arguments = flags,
        }
    }
    if !architecture::is_supported() {
        return ExitCode::FAILURE;
    }
    if let Some(code) = subcommand::enter(&arguments) {
        return code;
    }
    let loaded = match flags::load_process(&arguments) {
        Ok(loaded) => loaded,
        Err(stop) => return ExitCode::from(stop.report()),
    };
    if let Err(error) = logging::init(&loaded.options.log) {
        log!(Fatal, "cannot open the log outputs", "error" => error.to_string());
        logging::flush();
        return ExitCode::FAILURE;
    }
    loaded.notices.iter().for_each(flags::Notice::emit);
    let result = run(loaded.options);
    match result {
        Ok(End::Signal(signal)) => end_by(signal),
        Ok(End::Member) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<StartError>() {
                Some(StartError::Resolve(reason)) if reason.is_of_service() => warn_of_token(reason),
                Some(_) | None => log!(Fatal, headline(&error), "error" => format!("{error:#}")),
            }
            logging::flush();
            ExitCode::FAILURE
        }
    }
}

/// The service that members find each other by did not help.
fn warn_of_token(reason: &DiscoveryError) {
    let error = format!("failed to join discovery cluster ({reason})");
    log!(Warn, "failed to bootstrap; discovery token was already used", "error" => error);
    log!(Warn, "do not reuse discovery token; generate a new one to bootstrap a cluster");
}

/// The message of the last line: etcd's, where it has one of its own.
fn headline(error: &anyhow::Error) -> &'static str {
    if let Some(error) = error.downcast_ref::<BindError>() {
        return error.headline();
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        let is_bootstrap =
            matches!(error, StartError::Discovery(_) | StartError::Resolve(_) | StartError::Join(_));
        return if is_bootstrap { "discovery failed" } else { "the server cannot go on" };
    }
    error.downcast_ref::<CertificateError>().map_or("the server cannot go on", |error| error.headline)
}

fn run(mut options: Options) -> anyhow::Result<End> {
    raise_open_file_limit();
    options.log_starting();
    options.make_certificates()?;
    let options = &options;
    let doorman = Arc::new(Doorman::new(options)?);
    let mut listeners = Listeners::default();
    listeners.bind_peers(options)?;
    listeners.bind_clients(options)?;
    let mut metrics = Metrics::new(options.http.extensive_metrics);
    metrics.traces = options.tracing.as_ref().map(Traces::start).transpose()?;
    let metrics = Arc::new(metrics);
    let secure = options.peer_connector()?.map(|connector| secure(Arc::new(connector)));
    let member = member::start(options, Arc::clone(&metrics), secure, Arc::clone(&doorman))?;
    let peers = PeerFront::start(listeners.take_peers(), member.peer_service.clone())?;
    if options.checks.at_start {
        member.check_data(options)?;
    }
    match member.wait_until_ready(READY_TIME_MAX) {
        Readiness::Ready => {}
        // Without a quorum there are still local reads.
        Readiness::NotYet => log!(Warn, "timed out waiting for the ready notification"),
        Readiness::Ended => {
            member.join().context("the member ended before it was ready")?;
            anyhow::bail!("the member ended before it was ready");
        }
    }
    let api: Arc<dyn Api> = Arc::<member::MemberHandle>::clone(&member.handle);
    let addresses = listeners.client_addresses();
    let fronts = Fronts::start(listeners, api, options, Arc::clone(&metrics), doorman)?;
    log!(Info, "ready to serve client requests");
    if let Some(address) = addresses.first() {
        log!(
            Info, "try it: etchedctl put greeting hello",
            "endpoint" => address.to_string()
        );
    }
    notify::ready();
    let end = wait_for_end(&member)?;
    for signal in [SIGTERM, SIGINT] {
        // A second signal ends the process at once, whatever it is waiting for.
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
    }
    notify::stopping();
    if let End::Signal(signal) = end {
        let name = if signal == SIGTERM { "terminated" } else { "interrupt" };
        log!(Info, "received signal; shutting down", "signal" => name);
    }
    fronts.stop();
    if let Some(traces) = &metrics.traces {
        traces.stop();
    }
    member.handle.stop();
    member.join()?;
    peers.stop();
    log!(Info, "closed etcd server", "name" => options.member.name.clone());
    logging::flush();
    Ok(end)
}

/// TLS for connections to other members.
fn secure(connector: Arc<Connector>) -> Secure {
    Arc::new(move |host, stream| {
        let connector = Arc::clone(&connector);
        Box::pin(async move {
            let stream = connector.connect(&host, stream).await?;
            Ok(Box::new(stream) as Box<dyn PeerIo>)
        })
    })
}

/// Waits for a signal, or for the member to end by itself.
fn wait_for_end(member: &RunningMember) -> anyhow::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(End::Signal(SIGTERM)),
                _ = interrupt.recv() => return Ok(End::Signal(SIGINT)),
                _ = look.tick() => if member.has_ended() { return Ok(End::Member) },
            }
        }
    })
}

/// Ends the process by the signal that it was told to end with, so that whoever waits for it sees that.
/// The first process of a container cannot be ended so; it exits with success.
fn end_by(signal: c_int) -> ExitCode {
    if std::process::id() != 1 {
        // It returns only if the signal cannot be raised; then a plain exit is as good.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    ExitCode::SUCCESS
}
