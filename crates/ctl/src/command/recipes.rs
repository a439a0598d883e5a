//! `lock` and `elect`: hold a lock or an office until a signal, or until a command has run.

use std::process::{ExitStatus, Stdio};

use etched_client::{
    Client, Election, ElectionError, LockError, LockHeld, Mutex, Observer, SESSION_TTL_SECONDS, Session,
};
use etched_proto::etcdserverpb::RangeResponse;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use super::child::{not_started, os_words, status_text};
use crate::failure::{Exit, Failure};
use crate::output::Answer;

/// The lease of a lock, in seconds.
const LOCK_TTL_SECONDS: i64 = 10;
/// The exit status that stands for a child without one, which a signal ended.
const STATUS_OF_SIGNAL: u8 = 255;

/// The signals that end a command which waits: an interruption, or a request to terminate.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Request, error.to_string()));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn canceled() -> Failure {
    Failure::new(Exit::Request, "context canceled")
}

fn of_lock(error: LockError) -> Failure {
    match error {
        LockError::Request(error) => error.into(),
        LockError::SessionExpired | _ => Failure::new(Exit::Request, error.to_string()),
    }
}

fn of_election(error: ElectionError) -> Failure {
    match error {
        ElectionError::Request(error) => error.into(),
        ElectionError::NotLeader | ElectionError::NoLeader | ElectionError::SessionExpired | _ => {
            Failure::new(Exit::Request, error.to_string())
        }
    }
}

async fn unlimited(context: &Context) -> Result<Client, Failure> {
    Ok(context.client().await?.with_timeout(None))
}

pub(super) async fn lock(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let [name, command @ ..] = words.as_slice() else {
        let usage = "lock takes a lock name argument and an optional command to execute";
        return Err(Failure::arguments(usage));
    };
    let client = unlimited(context).await?;
    let ttl = if context.args.is_given("ttl") { context.args.int("ttl") } else { LOCK_TTL_SECONDS };
    let ttl = if ttl > 0 { ttl } else { LOCK_TTL_SECONDS };
    let session = Session::new(&client, ttl).await?;
    let mut signals = Signals::listen()?;
    let mutex = Mutex::new(&session, String::from_utf8_lossy(name));
    let held = tokio::select! {
        held = mutex.lock() => held.map_err(of_lock)?,
        () = signals.any() => {
            // Ends the wait, and with the lease the place in line.
            session.close().await?;
            return Err(canceled());
        }
    };
    if !command.is_empty() {
        return run_locked(held, command).await;
    }
    let response = client.get(held.key().to_owned()).await?;
    if response.kvs.is_empty() {
        return Err(Failure::new(Exit::Request, "lock lost on init"));
    }
    context.print(&Answer::Get { response, values_only: false })?;
    tokio::select! {
        () = signals.any() => Ok(held.unlock().await?),
        () = session.over() => Err(Failure::new(Exit::Request, "session expired")),
    }
}

/// Runs a command while the lock is held; its exit status becomes that of the program.
///
/// The signals of a terminal reach the command too, so it is waited for whatever comes.
async fn run_locked(held: LockHeld, command: &[Vec<u8>]) -> Result<(), Failure> {
    let words = os_words(command);
    let status = Command::new(&words[0])
        .args(&words[1..])
        .env("ETCD_LOCK_KEY", held.key())
        .env("ETCD_LOCK_REV", held.header().revision.to_string())
        .stdin(Stdio::null())
        .status()
        .await;
    let unlocked = held.unlock().await;
    match status {
        Err(error) => Err(Failure::new(Exit::Request, not_started(&command[0], &error))),
        Ok(status) if status.success() => Ok(unlocked?),
        Ok(status) => Err(failed(status)),
    }
}

fn failed(status: ExitStatus) -> Failure {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Failure::with_status(code.unwrap_or(STATUS_OF_SIGNAL), status_text(status))
}

pub(super) async fn elect(context: &Context) -> Result<(), Failure> {
    let words = context.args.all();
    let listens = context.args.bool("listen");
    match words.as_slice() {
        [name] if listens => listen(context, &String::from_utf8_lossy(name)).await,
        [_] => Err(Failure::arguments("no proposal argument but -l not set")),
        [_, _] if listens => Err(Failure::arguments("proposal given but -l is set")),
        [name, proposal] => campaign(context, &String::from_utf8_lossy(name), proposal.clone()).await,
        [..] => Err(Failure::arguments(
            "elect takes one election name argument and an optional proposal argument",
        )),
    }
}

async fn listen(context: &Context, name: &str) -> Result<(), Failure> {
    let client = unlimited(context).await?;
    let mut signals = Signals::listen()?;
    let mut observer = Observer::new(&client, name);
    loop {
        let leader = tokio::select! {
            leader = observer.next() => leader,
            () = signals.any() => return Ok(()),
        };
        let Ok(leader) = leader else {
            return Err(Failure::new(Exit::Request, "elect: observer lost"));
        };
        let response =
            RangeResponse { header: Some(leader.header), kvs: vec![leader.kv], ..RangeResponse::default() };
        context.print(&Answer::Get { response, values_only: false })?;
    }
}

async fn campaign(context: &Context, name: &str, proposal: Vec<u8>) -> Result<(), Failure> {
    let client = unlimited(context).await?;
    let session = Session::new(&client, SESSION_TTL_SECONDS).await?;
    let mut signals = Signals::listen()?;
    let election = Election::new(&session, name);
    let leadership = tokio::select! {
        leadership = election.campaign(proposal) => leadership.map_err(of_election)?,
        () = signals.any() => {
            session.close().await?;
            return Err(canceled());
        }
    };
    let response = client.get(leadership.key().to_owned()).await?;
    context.print(&Answer::Get { response, values_only: false })?;
    tokio::select! {
        () = signals.any() => Ok(leadership.resign().await?),
        () = session.over() => Err(Failure::new(Exit::Request, "elect: session expired")),
    }
}
