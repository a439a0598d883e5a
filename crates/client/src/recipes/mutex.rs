//! A lock that at most one session has.

use bytes::Bytes;
use etched_proto::etcdserverpb::ResponseHeader;

use super::Session;
use super::place::Place;
use crate::{Compare, Error};

/// A named lock of the cluster.
///
/// A lock says who may go ahead, not that nobody else does: a holder whose session ended while it was asleep does not
/// know it yet. Let what the lock protects check [`LockHeld::revision`], which grows with each holder, or make changes
/// conditional on [`LockHeld::is_held`].
#[derive(Clone, Debug)]
pub struct Mutex {
    session: Session,
    name: String,
}

/// A lock that is held; made by [`Mutex::lock`]. Dropping it unlocks in the background.
#[derive(Debug)]
#[must_use = "the lock is given up when this is dropped"]
pub struct LockHeld {
    place: Place,
}

/// Why a lock was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The session ended while it stood in line.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// A request failed.
    #[error(transparent)]
    Request(#[from] Error),
}

impl Mutex {
    /// The lock of this name, for a session. Locks of one session do not exclude each other.
    pub fn new(session: &Session, name: impl Into<String>) -> Self {
        Self { session: session.clone(), name: name.into() }
    }

    /// Waits for the lock. Dropping the future gives the place in line up.
    ///
    /// # Errors
    ///
    /// [`LockError::SessionExpired`] if the session ends meanwhile.
    pub async fn lock(&self) -> Result<LockHeld, LockError> {
        let mut place = Place::take(&self.session, &self.name, Bytes::new()).await?;
        if !place.is_first {
            // The lease may have ended while others were waited for, and the place with it.
            if !(place.turn().await? && place.confirm().await?) {
                return Err(LockError::SessionExpired);
            }
        }
        Ok(LockHeld { place })
    }

    /// Takes the lock if nobody has it; `None` otherwise.
    ///
    /// # Errors
    ///
    /// As every change.
    pub async fn try_lock(&self) -> Result<Option<LockHeld>, LockError> {
        let mut place = Place::take(&self.session, &self.name, Bytes::new()).await?;
        if place.is_first {
            return Ok(Some(LockHeld { place }));
        }
        // Another lock of the same session may stand at this place.
        if place.owed {
            place.leave().await?;
        }
        Ok(None)
    }
}

impl LockHeld {
    /// The key that stands for the holder.
    pub fn key(&self) -> &str {
        &self.place.key
    }

    /// The revision at which the key was created: greater than that of every earlier holder.
    pub fn revision(&self) -> i64 {
        self.place.revision
    }

    /// The header of the answer that gave the lock.
    pub fn header(&self) -> &ResponseHeader {
        &self.place.header
    }

    /// The condition that the lock is held, for transactions.
    pub fn is_held(&self) -> Compare {
        Compare::create_revision(self.place.key.clone()).equal_to(self.place.revision)
    }

    /// Gives the lock up.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost; it is tried once more in the background then.
    pub async fn unlock(mut self) -> Result<(), Error> {
        self.place.leave().await.map(drop)
    }
}
