//! The connections: one per endpoint, dialled when needed.
//!
//! In turn, every endpoint has a connection, and what is broken is dialled again in the background.
//! With a preference, only the preferred endpoint has one, and the preference moves on when a member fails.
//!
//! Dialling is done here and not by the transport, because a failed dial means that a request was certainly not
//! sent, and because the next endpoint is to be tried at once.

use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::dialler::{Dialler, Wire};
use crate::endpoint::Endpoint;
use crate::{Balance, Error, Options};

/// All endpoints with their connections.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Never empty; replaced as a whole.
    slots: RwLock<Slots>,
    balance: Balance,
    /// The slot that is tried first. A hint: a lost update only costs a dial.
    preferred: AtomicUsize,
    /// Whose turn it is, if they take turns.
    turn: AtomicUsize,
    dials: AtomicU64,
    dial_timeout: Duration,
    /// A dial in the background has ended, or there are other endpoints.
    changed: Notify,
}

/// How long an endpoint that failed at a request is passed over while there are others.
const REST: Duration = Duration::from_secs(5);

/// Why a dial failed.
type Cause = Arc<dyn StdError + Send + Sync>;

type Slots = Arc<[Arc<Slot>]>;

/// One endpoint.
#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    dialler: Dialler,
    current: Mutex<Option<(u64, Channel)>>,
    /// Held while dialling, so that many requests dial once.
    dialling: tokio::sync::Mutex<()>,
    /// Whether a task dials it in the background.
    in_background: AtomicBool,
    /// Why the last dial failed, if it did.
    failure: Mutex<Option<Cause>>,
    /// Until when others are preferred.
    rests_until: Mutex<Option<Instant>>,
}

/// A connection on loan.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    slot: Arc<Slot>,
    /// Which of the slot's connections this is, so that only the failed one is thrown away.
    dial: u64,
}

impl Pool {
    /// A pool that has dialled nothing yet.
    pub(crate) fn new(endpoints: &[Endpoint], options: &Options) -> Result<Self, Error> {
        Ok(Self {
            slots: RwLock::new(slots_of(endpoints, &[], options)?),
            balance: options.balance,
            preferred: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            dials: AtomicU64::new(0),
            dial_timeout: options.dial_timeout,
            changed: Notify::new(),
        })
    }

    /// Takes other endpoints; connections to those that were there before stay.
    pub(crate) fn replace(&self, endpoints: &[Endpoint], options: &Options) -> Result<(), Error> {
        let old = self.slots();
        let new = slots_of(endpoints, &old, options)?;
        let preferred = &old[self.preferred.load(Ordering::Relaxed) % old.len()];
        let at = new.iter().position(|slot| Arc::ptr_eq(slot, preferred)).unwrap_or(0);
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.preferred.store(at, Ordering::Relaxed);
        self.changed.notify_waiters();
        Ok(())
    }

    /// How many endpoints there are.
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// The endpoints as they were given.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.slots().iter().map(|slot| slot.endpoint.given.clone()).collect()
    }

    fn slots(&self) -> Slots {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection to the endpoint whose turn it is, or to the preferred one; to another one if that is not reached.
    ///
    /// Goes round until the deadline; without one, for ever.
    pub(crate) async fn connection(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Connection, Error> {
        let mut cause = None;
        let found = async {
            match self.balance {
                Balance::RoundRobin => self.next_in_turn(&mut cause).await,
                Balance::Preferred => self.preferred(&mut cause).await,
            }
        };
        let connection = match deadline {
            None => Some(found.await),
            Some(deadline) => timeout_at(deadline, found).await.ok(),
        };
        connection.ok_or(Error::Unreachable { cause })
    }

    async fn preferred(&self, cause: &mut Option<Cause>) -> Connection {
        let slots = self.slots();
        let first = self.preferred.load(Ordering::Relaxed) % slots.len();
        match slots[first].current() {
            Some(connection) => connection,
            None => self.dial_any(cause).await,
        }
    }

    async fn next_in_turn(self: &Arc<Self>, cause: &mut Option<Cause>) -> Connection {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let changed = self.changed.notified();
            let slots = self.slots();
            for slot in slots.iter().filter(|slot| slot.current().is_none()) {
                if !slot.in_background.swap(true, Ordering::Relaxed) {
                    tokio::spawn(dial_until_connected(Arc::downgrade(self), InBackground(Arc::clone(slot))));
                }
            }
            let in_turn = || (0..slots.len()).map(|offset| &slots[first.wrapping_add(offset) % slots.len()]);
            let rested = in_turn().filter(|slot| !slot.rests()).find_map(Slot::current);
            if let Some(connection) = rested.or_else(|| in_turn().find_map(Slot::current)) {
                return connection;
            }
            *cause = in_turn().find_map(|slot| slot.last_failure()).or(cause.take());
            changed.await;
        }
    }

    async fn dial_any(&self, cause: &mut Option<Cause>) -> Connection {
        let mut backoff = Backoff::new(self.dials.load(Ordering::Relaxed));
        loop {
            let slots = self.slots();
            let first = self.preferred.load(Ordering::Relaxed) % slots.len();
            for offset in 0..slots.len() {
                let index = (first + offset) % slots.len();
                match self.dial(&slots[index]).await {
                    Ok(connection) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return connection;
                    }
                    Err(error) => *cause = Some(error),
                }
            }
            sleep(backoff.next()).await;
        }
    }

    async fn dial(&self, slot: &Arc<Slot>) -> Result<Connection, Cause> {
        let _one_at_a_time = slot.dialling.lock().await;
        if let Some(connection) = slot.current() {
            return Ok(connection);
        }
        let channel = match timeout(self.dial_timeout, slot.dialler.dial()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(error.into()),
            Err(elapsed) => return Err(Arc::new(elapsed)),
        };
        let dial = self.dials.fetch_add(1, Ordering::Relaxed);
        *slot.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((dial, channel.clone()));
        Ok(Connection { channel, slot: Arc::clone(slot), dial })
    }

    /// A plain connection to the first endpoint that can be reached, and what requests say that they are sent to.
    pub(crate) async fn wire(&self) -> io::Result<(Box<dyn Wire>, String)> {
        let mut failure = io::Error::from(io::ErrorKind::NotConnected);
        for slot in &*self.slots() {
            match timeout(self.dial_timeout, slot.dialler.wire()).await {
                Ok(Ok((wire, authority))) => return Ok((wire, authority.to_owned())),
                Ok(Err(error)) => failure = error,
                Err(elapsed) => failure = elapsed.into(),
            }
        }
        Err(failure)
    }

    /// Throws a broken connection away; the next request dials.
    pub(crate) fn discard(&self, connection: &Connection) {
        let mut current = connection.slot.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(dial, _)| *dial == connection.dial) {
            *current = None;
        }
    }

    /// Passes the endpoint of this connection over for a while, or prefers the one after it unless that was done already.
    pub(crate) fn move_on(&self, connection: &Connection) {
        connection.slot.rest();
        let slots = self.slots();
        let Some(at) = slots.iter().position(|slot| Arc::ptr_eq(slot, &connection.slot)) else { return };
        let next = (at + 1) % slots.len();
        let _already_moved = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The slots of these endpoints, taken from the old ones where they are the same.
fn slots_of(endpoints: &[Endpoint], old: &[Arc<Slot>], options: &Options) -> Result<Slots, Error> {
    assert!(!endpoints.is_empty(), "a pool needs an endpoint");
    let slot_of = |endpoint: &Endpoint| match old.iter().find(|slot| slot.endpoint == *endpoint) {
        Some(slot) => Ok(Arc::clone(slot)),
        None => Slot::new(endpoint, options).map(Arc::new),
    };
    endpoints.iter().map(slot_of).collect()
}

impl Slot {
    fn new(endpoint: &Endpoint, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            endpoint: endpoint.clone(),
            dialler: Dialler::new(endpoint, options)?,
            current: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(()),
            in_background: AtomicBool::new(false),
            failure: Mutex::new(None),
            rests_until: Mutex::new(None),
        })
    }

    fn current(self: &Arc<Self>) -> Option<Connection> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(dial, channel)| Connection {
            channel: channel.clone(),
            slot: Arc::clone(self),
            dial: *dial,
        })
    }

    fn last_failure(&self) -> Option<Cause> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rest(&self) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    }

    fn rests(&self) -> bool {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// A slot that a task dials; however the task ends, another one may follow.
struct InBackground(Arc<Slot>);

impl Drop for InBackground {
    fn drop(&mut self) {
        self.0.in_background.store(false, Ordering::Relaxed);
    }
}

/// Dials a slot until that succeeds, or nobody wants it any longer.
async fn dial_until_connected(pool: Weak<Pool>, slot: InBackground) {
    let mut backoff = None;
    loop {
        let Some(pool) = pool.upgrade() else { return };
        if !pool.slots().iter().any(|wanted| Arc::ptr_eq(wanted, &slot.0)) {
            return;
        }
        let failure = pool.dial(&slot.0).await.err();
        let is_connected = failure.is_none();
        *slot.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        if is_connected {
            drop(slot);
            pool.changed.notify_waiters();
            return;
        }
        pool.changed.notify_waiters();
        let seed = pool.dials.load(Ordering::Relaxed);
        drop(pool);
        sleep(backoff.get_or_insert_with(|| Backoff::new(seed)).next()).await;
    }
}
