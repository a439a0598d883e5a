//! The task that has the stream of all watches.
//!
//! It lives as long as there are watches.
//! It never waits for a reader; what it waits for is the network, and meanwhile it listens to the watches' holders.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use etched_proto::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::machine::{Machine, Outcome};
use super::mailbox::{Command, WatchKey, WatchMailbox};
use super::queue::{Queue, Room};
use crate::backoff::Backoff;
use crate::error::Failure;
use crate::pool::Connection;
use crate::{Client, Error, ErrorKind};

/// Requests that the stream has not taken yet; more wait in the machine.
const REQUESTS_MAX: usize = 64;
/// How often in a row a stream is opened with a new token, should servers refuse each.
const RENEWALS_MAX: u32 = 10;
/// How long a question for progress may stay unanswered until it is repeated.
const PROGRESS_AGAIN: Duration = Duration::from_millis(500);

/// Runs until there is no watch left.
pub(super) async fn run(client: Client, mailbox: Arc<WatchMailbox>) {
    let mut driver =
        Driver { mailbox, machine: Machine::default(), seats: BTreeMap::new(), signed_off: false };
    let mut backoff = Backoff::new(0);
    let (mut leaderless, mut renewals) = (0, 0);
    while driver.wants_to_run() {
        let dial = client.shared.pool.connection(None);
        let Some(Ok(connection)) = driver.while_listening(dial).await else { continue };
        let Some(signed_in) = driver.while_listening(client.signed_in(&connection)).await else { continue };
        let failure = match signed_in {
            Err(failure) => failure,
            Ok(issue) => {
                let (end, answered) = driver.session(&client, &connection).await;
                driver.machine.on_disconnected();
                if answered {
                    backoff.reset();
                    (leaderless, renewals) = (0, 0);
                }
                let End::Broken(status) = end else { continue };
                let failure = Failure::of(status);
                if client.shared.passport.renews(&failure, issue) && renewals < RENEWALS_MAX {
                    renewals += 1;
                    driver.while_listening(sleep(backoff.next())).await;
                    continue;
                }
                failure
            }
        };
        if failure.error.kind() == ErrorKind::NoLeader {
            leaderless += 1;
        }
        client.learn_from(&failure, &connection);
        if is_final(&failure) || leaderless >= client.shared.pool.len() && client.options.require_leader {
            driver.machine.fail_all(&failure.error);
            driver.settle();
        } else {
            driver.while_listening(sleep(backoff.next())).await;
        }
    }
}

/// Whether another stream would fail in the same way.
fn is_final(failure: &Failure) -> bool {
    match &failure.error {
        Error::Server { code, kind, .. } => {
            *kind != ErrorKind::NotSupportedForLearner
                && matches!(
                    code,
                    Code::InvalidArgument
                        | Code::NotFound
                        | Code::PermissionDenied
                        | Code::FailedPrecondition
                        | Code::Unimplemented
                        | Code::Unauthenticated
                )
        }
        Error::Endpoint { .. }
        | Error::Unreachable { .. }
        | Error::Broken { .. }
        | Error::Timeout
        | Error::OutcomeUnknown { .. }
        | Error::Compacted { .. }
        | Error::WatchCanceled { .. }
        | Error::Protocol { .. } => false,
    }
}

struct Driver {
    mailbox: Arc<WatchMailbox>,
    machine: Machine,
    seats: BTreeMap<WatchKey, Seat>,
    signed_off: bool,
}

/// The reader of a watch.
struct Seat {
    queue: Arc<Queue>,
    reply: Option<oneshot::Sender<Result<ResponseHeader, Error>>>,
}

/// Why a stream ended.
enum End {
    /// Nobody needs it.
    Unused,
    Broken(Status),
}

impl Driver {
    /// Hears the holders; false if there is nothing to do, and the driver has signed off.
    fn wants_to_run(&mut self) -> bool {
        self.listen();
        self.signed_off = self.machine.is_empty() && self.mailbox.stop();
        !self.signed_off
    }

    /// Waits for a future while hearing the holders; `None` if no watch is left before it is done.
    async fn while_listening<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut future = pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return Some(output),
                () = mailbox.arrived() => {
                    self.listen();
                    if self.machine.is_empty() {
                        return None;
                    }
                }
            }
        }
    }

    /// One stream from its beginning to its end, and whether it ever got an answer.
    async fn session(&mut self, client: &Client, connection: &Connection) -> (End, bool) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let mut stub = client.stubs(connection).watch();
        // The answer's head comes with the first message only, so requests must flow before the stream is open.
        let mut opening = pin!(stub.watch(client.request(ReceiverStream::new(receiver), None)));
        let mut stream: Option<Streaming<WatchResponse>> = None;
        let mut answered = false;
        let mailbox = Arc::clone(&self.mailbox);
        let mut again = interval(PROGRESS_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.machine.on_connected();
        loop {
            tokio::select! {
                opened = &mut opening, if stream.is_none() => match opened {
                    Ok(response) => stream = Some(response.into_inner()),
                    Err(status) => return (End::Broken(status), answered),
                },
                received = next_message(&mut stream) => {
                    let response = match received {
                        Ok(Some(response)) => response,
                        Ok(None) => return (End::Broken(Status::unavailable("the stream ended")), answered),
                        Err(status) => return (End::Broken(status), answered),
                    };
                    if let Some(status) = mendable_refusal(&response, client) {
                        return (End::Broken(status), answered);
                    }
                    answered = true;
                    if let Err(error) = self.machine.on_response(response) {
                        return (End::Broken(Status::internal(error.to_string())), answered);
                    }
                    self.settle();
                }
                permit = sender.reserve(), if self.machine.has_request() => {
                    let Ok(permit) = permit else {
                        // The stream is going down; its status follows.
                        return (end_of(opening, stream).await, answered);
                    };
                    self.send(permit);
                }
                () = mailbox.arrived() => self.listen(),
                _tick = again.tick(), if self.machine.wants_progress() => self.machine.repeat_progress(),
            }
            if self.machine.is_empty() {
                return (End::Unused, answered);
            }
        }
    }

    fn send(&mut self, permit: mpsc::Permit<'_, WatchRequest>) {
        if let Some(request) = self.machine.poll_request() {
            permit.send(request);
        }
    }

    /// Does what the holders of watches asked for.
    fn listen(&mut self) {
        for command in self.mailbox.take() {
            match command {
                Command::Create { key, request, queue, reply } => {
                    self.seats.insert(key, Seat { queue, reply: Some(reply) });
                    self.machine.create(key, *request);
                }
                Command::Cancel { key } => {
                    self.seats.remove(&key);
                    self.machine.cancel(key);
                }
                Command::Room { key } => self.machine.resume(key),
                Command::Progress { key } => self.machine.ask_progress(key),
            }
        }
        self.settle();
    }

    /// Hands out what became known.
    fn settle(&mut self) {
        while let Some(outcome) = self.machine.poll_outcome() {
            match outcome {
                Outcome::Created { key, header } => {
                    if let Some(reply) = self.seats.get_mut(&key).and_then(|seat| seat.reply.take()) {
                        // A caller who gave up has left a cancel behind.
                        let _gone = reply.send(Ok(header));
                    }
                }
                Outcome::Notice { key, notice } => {
                    let full = self.seats.get(&key).is_some_and(|seat| seat.queue.push(notice) == Room::Full);
                    if full {
                        self.machine.pause(key);
                    }
                }
                Outcome::Ended { key, error } => {
                    let Some(mut seat) = self.seats.remove(&key) else { continue };
                    match seat.reply.take() {
                        Some(reply) => {
                            let _gone = reply.send(Err(error));
                        }
                        None => seat.queue.end(error),
                    }
                }
            }
        }
    }
}

impl Drop for Driver {
    /// The runtime may end before the watches do; their readers must not wait for ever.
    fn drop(&mut self) {
        if !self.signed_off {
            self.mailbox.abandon();
        }
        for seat in self.seats.values() {
            seat.queue.end(Error::Protocol { what: "the runtime of the watch ended" });
        }
    }
}

/// A refusal to create a watch that is about the stream's token, if a stream with a new token does better.
fn mendable_refusal(response: &WatchResponse, client: &Client) -> Option<Status> {
    let kind = ErrorKind::of(&response.cancel_reason);
    let mends = response.created && response.canceled && client.shared.passport.mends(kind);
    mends.then(|| Status::unauthenticated(kind.text()))
}

/// The next message of a stream that may not be open yet.
async fn next_message(
    stream: &mut Option<Streaming<WatchResponse>>,
) -> Result<Option<WatchResponse>, Status> {
    match stream {
        Some(stream) => stream.message().await,
        None => std::future::pending().await,
    }
}

/// Why a stream that takes no more requests is down.
async fn end_of(
    opening: impl Future<Output = Result<tonic::Response<Streaming<WatchResponse>>, Status>>,
    stream: Option<Streaming<WatchResponse>>,
) -> End {
    let status = match stream {
        None => opening.await.err(),
        Some(mut stream) => loop {
            match stream.message().await {
                Ok(Some(_late)) => {}
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        },
    };
    End::Broken(status.unwrap_or_else(|| Status::unavailable("the stream ended")))
}
