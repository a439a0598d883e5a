//! A lease that is kept alive, to which everything is attached that should end with its holder.

use std::sync::Arc;

use tokio::sync::watch;

use crate::lease::{KeepAlive, LeaseState};
use crate::{Client, Error};

/// How long the lease of a session outlives its last renewal unless it is said otherwise, in seconds.
pub const SESSION_TTL_SECONDS: i64 = 60;

/// A lease that is kept alive as long as a clone of the session exists.
///
/// When the last clone is dropped the lease runs out by itself; [`Session::close`] ends it at once.
///
/// ```no_run
/// # async fn example(client: etched_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use etched_client::{Mutex, Session};
///
/// let session = Session::new(&client, 10).await?;
/// let held = Mutex::new(&session, "locks/printer").lock().await?;
/// println!("printing; whoever writes for us may check that {} was created at {}", held.key(), held.revision());
/// held.unlock().await?;
/// session.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    client: Client,
    keep_alive: Arc<KeepAlive>,
}

impl Session {
    /// A session with a lease of its own, which ends `ttl` seconds after its last renewal.
    ///
    /// # Errors
    ///
    /// As [`Client::lease_grant`] and [`Client::keep_alive`].
    pub async fn new(client: &Client, ttl: i64) -> Result<Self, Error> {
        let lease = client.lease_grant(ttl).await?.id;
        Self::with_lease(client, lease).await
    }

    /// A session with a lease that exists already.
    ///
    /// # Errors
    ///
    /// As [`Client::keep_alive`].
    pub async fn with_lease(client: &Client, lease: i64) -> Result<Self, Error> {
        let keep_alive = Arc::new(client.keep_alive(lease).await?);
        Ok(Self { client: client.clone(), keep_alive })
    }

    /// The client that the session uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The session's lease.
    pub fn lease(&self) -> i64 {
        self.keep_alive.id()
    }

    /// Whether the lease is gone, or has to be treated so because it was not renewed in time.
    pub fn is_over(&self) -> bool {
        is_over(&self.keep_alive.state())
    }

    /// Waits until the session is over.
    pub async fn over(&self) {
        let mut states: watch::Receiver<LeaseState> = self.keep_alive.states();
        // A closed channel means that nobody renews the lease any longer.
        let _closed = states.wait_for(is_over).await;
    }

    /// Ends the lease, and with it everything that is attached to it.
    ///
    /// # Errors
    ///
    /// As [`Client::lease_revoke`].
    pub async fn close(self) -> Result<(), Error> {
        self.client.lease_revoke(self.lease()).await.map(drop)
    }
}

fn is_over(state: &LeaseState) -> bool {
    match state {
        LeaseState::Unconfirmed | LeaseState::Alive(_) => false,
        LeaseState::Doubtful | LeaseState::Gone(_) => true,
    }
}
