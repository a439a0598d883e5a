//! The connections: one per endpoint, dialled when needed, the preferred one moving on when a member fails.
//!
//! Dialling is done here and not by the transport, because a failed dial means that a request was certainly not
//! sent, and because the next endpoint is to be tried at once.

use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::dialler::{Dialler, Wire};
use crate::endpoint::Endpoint;
use crate::{Error, Options};

/// All endpoints with their connections.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Never empty; replaced as a whole.
    slots: RwLock<Slots>,
    /// The slot that is tried first. A hint: a lost update only costs a dial.
    preferred: AtomicUsize,
    dials: AtomicU64,
    dial_timeout: Duration,
}

type Slots = Arc<[Arc<Slot>]>;

/// One endpoint.
#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    dialler: Dialler,
    current: Mutex<Option<(u64, Channel)>>,
    /// Held while dialling, so that many requests dial once.
    dialling: tokio::sync::Mutex<()>,
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
            preferred: AtomicUsize::new(0),
            dials: AtomicU64::new(0),
            dial_timeout: options.dial_timeout,
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

    /// A connection to the preferred endpoint, or to the first one after it that answers.
    ///
    /// Goes round until the deadline; without one, for ever.
    pub(crate) async fn connection(&self, deadline: Option<Instant>) -> Result<Connection, Error> {
        let slots = self.slots();
        let first = self.preferred.load(Ordering::Relaxed) % slots.len();
        if let Some(connection) = slots[first].current() {
            return Ok(connection);
        }
        let mut cause = None;
        let dialled = self.dial_any(&mut cause);
        let connection = match deadline {
            None => Some(dialled.await),
            Some(deadline) => timeout_at(deadline, dialled).await.ok(),
        };
        connection.ok_or(Error::Unreachable { cause })
    }

    async fn dial_any(&self, cause: &mut Option<Arc<dyn StdError + Send + Sync>>) -> Connection {
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

    async fn dial(&self, slot: &Arc<Slot>) -> Result<Connection, Arc<dyn StdError + Send + Sync>> {
        let _one_at_a_time = slot.dialling.lock().await;
        if let Some(connection) = slot.current() {
            return Ok(connection);
        }
        let channel = match timeout(self.dial_timeout, slot.dialler.dial()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Arc::new(error)),
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

    /// Prefers the endpoint after this connection's, unless that was done already.
    pub(crate) fn move_on(&self, connection: &Connection) {
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
}
