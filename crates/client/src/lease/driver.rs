//! The task that has the stream of all keep-alives; it lives as long as there are leases to keep.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use etched_proto::etcdserverpb::LeaseKeepAliveResponse;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::machine::{Machine, Outcome};
use super::mailbox::{Command, KeeperMailbox};
use super::{Gone, LeaseState};
use crate::backoff::Backoff;
use crate::error::Failure;
use crate::pool::Connection;
use crate::{Client, Error};

/// Questions that the stream has not taken yet; more wait in the machine.
const REQUESTS_MAX: usize = 64;

/// How often in a row a stream is opened with a new token, should servers refuse each.
const RENEWALS_MAX: u32 = 10;

/// Runs until there is no lease left to keep.
pub(super) async fn run(client: Client, mailbox: Arc<KeeperMailbox>) {
    let mut driver = Driver {
        mailbox,
        machine: Machine::default(),
        holders: BTreeMap::new(),
        start: Instant::now(),
        signed_off: false,
    };
    let mut backoff = Backoff::new(1);
    let mut renewals = 0;
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
                    renewals = 0;
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
        client.learn_from(&failure, &connection);
        if is_final(&failure.error) {
            driver.refuse_all(&failure.error);
            continue;
        }
        if !failure.is_of_the_member() {
            // A member that cannot renew, or does not answer, may still hold a good connection.
            client.shared.pool.move_on(&connection);
        }
        driver.while_listening(sleep(backoff.next())).await;
    }
}

/// Whether another stream would fail in the same way.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Server { code, .. } => {
            matches!(
                code,
                Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::InvalidArgument
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
    mailbox: Arc<KeeperMailbox>,
    machine: Machine,
    holders: BTreeMap<i64, BTreeMap<u64, watch::Sender<LeaseState>>>,
    start: Instant,
    signed_off: bool,
}

/// Why a stream ended.
enum End {
    /// Nobody needs it.
    Unused,
    Broken(Status),
}

impl Driver {
    /// Nanoseconds since the driver started.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a client runs for less than 584 years")
    }

    /// Hears the holders; false if there is nothing to do, and the driver has signed off.
    fn wants_to_run(&mut self) -> bool {
        self.listen();
        self.signed_off = self.machine.is_empty() && self.mailbox.stop();
        !self.signed_off
    }

    /// Waits for a future while hearing the holders; `None` if no lease is left before it is done.
    async fn while_listening<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mailbox = Arc::clone(&self.mailbox);
        let mut future = pin!(future);
        loop {
            let timer = self.timer();
            tokio::select! {
                output = &mut future => return Some(output),
                () = mailbox.arrived() => self.listen(),
                () = timer => self.on_time(),
            }
            if self.machine.is_empty() {
                return None;
            }
        }
    }

    /// One stream from its beginning to its end, and whether it ever got an answer.
    async fn session(&mut self, client: &Client, connection: &Connection) -> (End, bool) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let mut stub = client.stubs(connection).lease();
        // The answer's head comes with the first message only, so questions must flow before the stream is open.
        let mut opening = pin!(stub.lease_keep_alive(client.request(ReceiverStream::new(receiver), None)));
        let mut stream: Option<Streaming<LeaseKeepAliveResponse>> = None;
        let mut answered = false;
        let mailbox = Arc::clone(&self.mailbox);
        self.machine.on_connected(self.now());
        loop {
            let timer = self.timer();
            tokio::select! {
                opened = &mut opening, if stream.is_none() => match opened {
                    Ok(response) => stream = Some(response.into_inner()),
                    Err(status) => return (End::Broken(status), answered),
                },
                received = next_message(&mut stream) => match received {
                    Ok(Some(response)) => {
                        answered = true;
                        let now = self.now();
                        self.machine.on_response(response, now);
                        self.settle();
                    }
                    Ok(None) => return (End::Broken(Status::unavailable("the stream ended")), answered),
                    Err(status) => return (End::Broken(status), answered),
                },
                permit = sender.reserve(), if self.machine.has_request() => match permit {
                    Ok(permit) => {
                        if let Some(request) = self.machine.poll_request() {
                            permit.send(request);
                        }
                    }
                    Err(_closed) => return (End::Broken(Status::unavailable("the stream ended")), answered),
                },
                () = mailbox.arrived() => self.listen(),
                () = timer => {
                    self.on_time();
                    if self.machine.is_stuck(self.now()) {
                        return (End::Broken(Status::unavailable("a renewal is not answered")), answered);
                    }
                }
            }
            if self.machine.is_empty() {
                return (End::Unused, answered);
            }
        }
    }

    /// Ends when the machine wants to know the time.
    fn timer(&self) -> impl Future<Output = ()> + use<> {
        let next = self.machine.next_time().map(|next| self.start + Duration::from_nanos(next));
        async move {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    fn on_time(&mut self) {
        let now = self.now();
        self.machine.on_time(now);
        self.settle();
    }

    /// Does what the holders asked for.
    fn listen(&mut self) {
        let now = self.now();
        for command in self.mailbox.take() {
            match command {
                Command::Keep { id, holder, state } => {
                    self.holders.entry(id).or_default().insert(holder, state);
                    self.machine.keep(id, now);
                }
                Command::Drop { id, holder } => {
                    let Some(holders) = self.holders.get_mut(&id) else { continue };
                    holders.remove(&holder);
                    if holders.is_empty() {
                        self.holders.remove(&id);
                        self.machine.forget(id);
                    }
                }
                Command::Revoked { id } => {
                    self.machine.forget(id);
                    self.tell_last(id, &LeaseState::Gone(Gone::Ended));
                }
            }
        }
        self.machine.on_time(now);
        self.settle();
    }

    /// Tells the holders what became known.
    fn settle(&mut self) {
        while let Some((id, outcome)) = self.machine.poll_outcome() {
            match outcome {
                Outcome::Renewed(response) => self.tell(id, &LeaseState::Alive(response)),
                Outcome::Doubtful => self.tell(id, &LeaseState::Doubtful),
                Outcome::Ended => self.tell_last(id, &LeaseState::Gone(Gone::Ended)),
            }
        }
    }

    fn tell(&self, id: i64, state: &LeaseState) {
        for holder in self.holders.get(&id).into_iter().flat_map(BTreeMap::values) {
            // A holder who is not interested any longer has left a command behind.
            let _dropped = holder.send(state.clone());
        }
    }

    fn tell_last(&mut self, id: i64, state: &LeaseState) {
        self.tell(id, state);
        self.holders.remove(&id);
    }

    fn refuse_all(&mut self, error: &Error) {
        for id in self.holders.keys().copied().collect::<Vec<_>>() {
            self.machine.forget(id);
            self.tell_last(id, &LeaseState::Gone(Gone::Refused(error.clone())));
        }
    }
}

impl Drop for Driver {
    /// The runtime may end before the keep-alives do; their holders learn it from the closed channel.
    fn drop(&mut self) {
        if !self.signed_off {
            self.mailbox.abandon();
        }
    }
}

/// The next message of a stream that may not be open yet.
async fn next_message(
    stream: &mut Option<Streaming<LeaseKeepAliveResponse>>,
) -> Result<Option<LeaseKeepAliveResponse>, Status> {
    match stream {
        Some(stream) => stream.message().await,
        None => std::future::pending().await,
    }
}
