//! Leases, and keeping them alive.
//!
//! All keep-alives of a client share one stream to one member.
//! `machine` knows which lease is due and what an answer means, without any I/O; `driver` is the task that has the
//! stream.

mod driver;
mod machine;
mod mailbox;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use etched_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use tokio::sync::watch;
use tonic::Status;

use self::mailbox::Command;
pub(crate) use self::mailbox::KeeperMailbox;
use crate::client::within;
use crate::error::Effect;
use crate::{Client, Error};

impl Client {
    /// Creates a lease that ends `ttl` seconds after it was last kept alive; the server chooses its id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseTtlTooLarge`](crate::ErrorKind::LeaseTtlTooLarge);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn lease_grant(&self, ttl: i64) -> Result<LeaseGrantResponse, Error> {
        self.lease_grant_with_id(ttl, 0).await
    }

    /// As [`Client::lease_grant`], with an id; 0 lets the server choose.
    ///
    /// # Errors
    ///
    /// Also [`ErrorKind::LeaseExist`](crate::ErrorKind::LeaseExist).
    pub async fn lease_grant_with_id(&self, ttl: i64, id: i64) -> Result<LeaseGrantResponse, Error> {
        self.call(Effect::Change, LeaseGrantRequest { ttl, id }, |mut stubs, request| async move {
            stubs.lease().lease_grant(request).await
        })
        .await
    }

    /// Ends a lease and deletes its keys. Keep-alives of it through this client end too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseNotFound`](crate::ErrorKind::LeaseNotFound);
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn lease_revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Error> {
        let answer = self
            .call(Effect::Change, LeaseRevokeRequest { id }, |mut stubs, request| async move {
                stubs.lease().lease_revoke(request).await
            })
            .await?;
        self.shared.keeper.push(Command::Revoked { id });
        Ok(answer)
    }

    /// How long a lease has left, in whole seconds; -1 if there is no such lease.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn lease_time_to_live(&self, id: i64) -> Result<LeaseTimeToLiveResponse, Error> {
        self.time_to_live(LeaseTimeToLiveRequest { id, keys: false }).await
    }

    /// As [`Client::lease_time_to_live`], with the keys attached to the lease.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn lease_time_to_live_with_keys(&self, id: i64) -> Result<LeaseTimeToLiveResponse, Error> {
        self.time_to_live(LeaseTimeToLiveRequest { id, keys: true }).await
    }

    async fn time_to_live(&self, request: LeaseTimeToLiveRequest) -> Result<LeaseTimeToLiveResponse, Error> {
        let response = self
            .call(Effect::Read, request, |mut stubs, request| async move {
                stubs.lease().lease_time_to_live(request).await
            })
            .await?;
        Ok(self.namespace.leave_lease(response))
    }

    /// Lists all leases, as the asked member knows them.
    ///
    /// # Errors
    ///
    /// As every read.
    pub async fn lease_leases(&self) -> Result<LeaseLeasesResponse, Error> {
        self.call(Effect::Read, LeaseLeasesRequest {}, |mut stubs, request| async move {
            stubs.lease().lease_leases(request).await
        })
        .await
    }

    /// Renews a lease once; a TTL of 0 or less in the answer means that there is no such lease.
    ///
    /// # Errors
    ///
    /// As every read: a renewal may be sent twice.
    pub async fn lease_keep_alive_once(&self, id: i64) -> Result<LeaseKeepAliveResponse, Error> {
        self.call(Effect::Read, LeaseKeepAliveRequest { id }, |mut stubs, request| async move {
            let outbound = request.map(|request| tokio_stream::iter([request]));
            let mut inbound = stubs.lease().lease_keep_alive(outbound).await?.into_inner();
            let answer = inbound.message().await?;
            answer
                .map(tonic::Response::new)
                .ok_or_else(|| Status::unavailable("the stream ended without an answer"))
        })
        .await
    }

    /// Keeps a lease alive until the [`KeepAlive`] is dropped; returns after the first renewal.
    ///
    /// ```no_run
    /// # async fn example(client: etched_client::Client) -> Result<(), etched_client::Error> {
    /// use etched_client::Put;
    ///
    /// let lease = client.lease_grant(10).await?.id;
    /// let mut keep_alive = client.keep_alive(lease).await?;
    /// client.put(Put::new("members/me", "here").lease(lease)).await?;
    /// keep_alive.gone().await;
    /// eprintln!("the lease is gone, and with it the key");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::LeaseNotFound`](crate::ErrorKind::LeaseNotFound) if there is no such lease,
    /// [`Error::Timeout`] if it could not be renewed in time.
    pub async fn keep_alive(&self, id: i64) -> Result<KeepAlive, Error> {
        let mailbox = Arc::clone(&self.shared.keeper);
        let (sender, receiver) = watch::channel(LeaseState::Unconfirmed);
        let holder = mailbox.new_name();
        let mut keep_alive = KeepAlive { id, holder, state: receiver, mailbox: Arc::clone(&mailbox) };
        if mailbox.push(Command::Keep { id, holder, state: sender }) {
            tokio::spawn(driver::run(self.clone(), mailbox));
        }
        let confirmed = keep_alive.state.wait_for(|state| !matches!(state, LeaseState::Unconfirmed));
        let state = match within(self.deadline(), confirmed).await {
            None => return Err(Error::Timeout),
            Some(Ok(state)) => state.clone(),
            Some(Err(_closed)) => return Err(Error::Protocol { what: "the task of the keep-alives ended" }),
        };
        match state {
            LeaseState::Gone(Gone::Ended) => {
                let text = crate::ErrorKind::LeaseNotFound.text();
                Err(Error::from_server_text(tonic::Code::NotFound, text))
            }
            LeaseState::Gone(Gone::Refused(error)) => Err(error),
            LeaseState::Alive(_) | LeaseState::Unconfirmed | LeaseState::Doubtful => Ok(keep_alive),
        }
    }
}

/// Keeps a lease alive as long as it exists, across broken connections; dropping it stops that.
#[derive(Debug)]
#[must_use = "the lease is not kept alive any longer when this is dropped"]
pub struct KeepAlive {
    id: i64,
    holder: u64,
    state: watch::Receiver<LeaseState>,
    mailbox: Arc<KeeperMailbox>,
}

/// What is known about a lease that is kept alive.
#[derive(Clone, Debug)]
pub enum LeaseState {
    /// There was no answer yet.
    Unconfirmed,
    /// The server renewed it, with this answer.
    Alive(LeaseKeepAliveResponse),
    /// Its time is over without a renewal: it may be gone, and is to be treated so. Renewal is still tried.
    ///
    /// The time counts from the moment at which the last answered renewal was *sent*.
    Doubtful,
    /// It is gone for ever; nothing follows.
    Gone(Gone),
}

/// Why a lease is not kept alive any longer.
#[derive(Clone, Debug)]
pub enum Gone {
    /// It ran out or was revoked.
    Ended,
    /// The server does not let this client keep it alive.
    Refused(Error),
}

impl KeepAlive {
    /// The lease's id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The states as they change, for other holders of the same lease.
    pub(crate) fn states(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// What is known at the moment.
    pub fn state(&self) -> LeaseState {
        self.state.borrow().clone()
    }

    /// Waits for the next renewal or change; only the newest is kept for a slow caller.
    ///
    /// After [`LeaseState::Gone`] it returns that again, at once.
    pub async fn changed(&mut self) -> LeaseState {
        if matches!(*self.state.borrow(), LeaseState::Gone(_)) {
            return self.state.borrow_and_update().clone();
        }
        match self.state.changed().await {
            Ok(()) => self.state.borrow_and_update().clone(),
            Err(_closed) => {
                LeaseState::Gone(Gone::Refused(Error::Protocol { what: "the task of the keep-alives ended" }))
            }
        }
    }

    /// Waits until the lease is gone.
    pub async fn gone(&mut self) -> Gone {
        loop {
            match self.state.borrow_and_update().clone() {
                LeaseState::Gone(gone) => return gone,
                LeaseState::Unconfirmed | LeaseState::Alive(_) | LeaseState::Doubtful => {}
            }
            if let LeaseState::Gone(gone) = self.changed().await {
                return gone;
            }
        }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.mailbox.push(Command::Drop { id: self.id, holder: self.holder });
    }
}
