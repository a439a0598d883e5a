//! The connections: one per endpoint, dialled when needed, the preferred one moving on when a member fails.
//!
//! Dialling is done here and not by the transport, because a failed dial means that a request was certainly not
//! sent, and because the next endpoint is to be tried at once.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;

use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::options::KEEPALIVE_INTERVAL_MIN;
use crate::{Error, Options};

/// HTTP/2 windows. A stalled reader of one stream must not use up what all streams share.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// All endpoints with their connections.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Vec<Slot>,
    /// The slot that is tried first. A hint: a lost update only costs a dial.
    preferred: AtomicUsize,
    dials: AtomicU64,
    dial_timeout: Duration,
}

/// One endpoint.
#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    target: tonic::transport::Endpoint,
    current: Mutex<Option<(u64, Channel)>>,
    /// Held while dialling, so that many requests dial once.
    dialling: tokio::sync::Mutex<()>,
}

/// A connection on loan.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    index: usize,
    /// Which of the slot's connections this is, so that only the failed one is thrown away.
    dial: u64,
}

impl Pool {
    /// A pool that has dialled nothing yet.
    pub(crate) fn new(endpoints: &[Endpoint], options: &Options) -> Result<Self, Error> {
        assert!(!endpoints.is_empty(), "a pool needs an endpoint");
        let slots =
            endpoints.iter().map(|endpoint| Slot::new(endpoint, options)).collect::<Result<_, _>>()?;
        Ok(Self {
            slots,
            preferred: AtomicUsize::new(0),
            dials: AtomicU64::new(0),
            dial_timeout: options.dial_timeout,
        })
    }

    /// How many endpoints there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The endpoints as they were given.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.endpoint.given.as_str())
    }

    /// A connection to the preferred endpoint, or to the first one after it that answers.
    ///
    /// Goes round until the deadline; without one, for ever.
    pub(crate) async fn connection(&self, deadline: Option<Instant>) -> Result<Connection, Error> {
        let first = self.preferred.load(Ordering::Relaxed) % self.slots.len();
        if let Some(connection) = self.current(first) {
            return Ok(connection);
        }
        let mut cause = None;
        let dialled = self.dial_any(first, &mut cause);
        let connection = match deadline {
            None => Some(dialled.await),
            Some(deadline) => timeout_at(deadline, dialled).await.ok(),
        };
        connection.ok_or(Error::Unreachable { cause })
    }

    async fn dial_any(
        &self,
        first: usize,
        cause: &mut Option<Arc<dyn StdError + Send + Sync>>,
    ) -> Connection {
        let mut backoff = Backoff::new(self.dials.load(Ordering::Relaxed));
        loop {
            for offset in 0..self.slots.len() {
                let index = (first + offset) % self.slots.len();
                match self.dial(index).await {
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

    async fn dial(&self, index: usize) -> Result<Connection, Arc<dyn StdError + Send + Sync>> {
        let slot = &self.slots[index];
        let _one_at_a_time = slot.dialling.lock().await;
        if let Some(connection) = self.current(index) {
            return Ok(connection);
        }
        let channel = match timeout(self.dial_timeout, slot.target.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Arc::new(error)),
            Err(elapsed) => return Err(Arc::new(elapsed)),
        };
        let dial = self.dials.fetch_add(1, Ordering::Relaxed);
        *slot.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((dial, channel.clone()));
        Ok(Connection { channel, index, dial })
    }

    fn current(&self, index: usize) -> Option<Connection> {
        let current = self.slots[index].current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map(|(dial, channel)| Connection { channel: channel.clone(), index, dial: *dial })
    }

    /// Throws a broken connection away; the next request dials.
    pub(crate) fn discard(&self, connection: &Connection) {
        let mut current = self.slots[connection.index].current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(dial, _)| *dial == connection.dial) {
            *current = None;
        }
    }

    /// Prefers the endpoint after this connection's, unless that was done already.
    pub(crate) fn move_on(&self, connection: &Connection) {
        let next = (connection.index + 1) % self.slots.len();
        let _already_moved =
            self.preferred.compare_exchange(connection.index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Slot {
    fn new(endpoint: &Endpoint, options: &Options) -> Result<Self, Error> {
        let refuse = |error: tonic::transport::Error| Error::Endpoint {
            endpoint: endpoint.given.clone(),
            reason: error.to_string(),
        };
        let target = tonic::transport::Endpoint::new(endpoint.uri.clone())
            .map_err(refuse)?
            .user_agent(concat!("etched-client/", env!("CARGO_PKG_VERSION")))
            .map_err(refuse)?
            .connect_timeout(options.dial_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(options.keepalive_interval.max(KEEPALIVE_INTERVAL_MIN))
            .keep_alive_timeout(options.keepalive_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(Self {
            endpoint: endpoint.clone(),
            target,
            current: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(()),
        })
    }
}
