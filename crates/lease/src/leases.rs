//! The replicated part: which leases exist, and which keys they hold. It knows no time.

mod keys;

#[cfg(test)]
mod tests;

use crate::schema;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::{Bound, ControlFlow};
use etched_backend::{BackendError, Batch, ReadView, Table};
use keys::Keys;

/// The longest time to live that can be asked for, in seconds.
pub const TTL_MAX: i64 = 9_000_000_000;

/// All leases of the cluster, as the applied commands left them.
///
/// Changes go to the batch that is passed, at once and in the order of the calls.
/// Attachments are not stored: after [`Leases::restore`] the caller attaches every live key that names a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    by_id: BTreeMap<i64, Lease>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    ttl: i64,
    remaining: i64,
    keys: Keys,
}

/// Why a lease was not granted; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is a lease with this id.
    #[error("the lease exists")]
    Exists,
    /// The id is 0, which stands for no lease.
    #[error("a lease's id cannot be 0")]
    ZeroId,
    /// The time to live is above [`TTL_MAX`].
    #[error("the lease's time to live is too large")]
    TtlTooLarge,
}

/// There is no lease with this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease does not exist")]
pub struct NotFound;

/// Why the stored leases could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backend failed.
    #[error("the leases could not be read")]
    Backend(#[from] BackendError),
    /// A record is not what this crate writes.
    #[error("the lease record {key:?} is damaged: {why}")]
    Damaged {
        /// The record's key.
        key: Bytes,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Leases {
    /// No leases.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the stored leases, without attachments.
    ///
    /// # Errors
    ///
    /// Fails if the backend fails or holds a record that is not a lease.
    pub fn restore(view: &dyn ReadView) -> Result<Self, RestoreError> {
        let mut stored = Vec::new();
        let mut damage = None;
        view.scan(
            Table::Lease,
            (Bound::Unbounded, Bound::Unbounded),
            &mut |key, value| match schema::decode(key, value) {
                Ok(record) => {
                    let lease = Lease { ttl: record.ttl, remaining: record.remaining, keys: Keys::default() };
                    stored.push((record.id, lease));
                    ControlFlow::Continue(())
                }
                Err(why) => {
                    damage = Some(RestoreError::Damaged { key: Bytes::copy_from_slice(key), why });
                    ControlFlow::Break(())
                }
            },
        )?;
        damage.map_or_else(|| Ok(Self { by_id: stored.into_iter().collect() }), Err)
    }

    /// Whether [`Leases::grant`] would refuse.
    ///
    /// # Errors
    ///
    /// The reason for which it would.
    pub fn check_grant(&self, id: i64, ttl: i64) -> Result<(), GrantError> {
        if id == 0 {
            Err(GrantError::ZeroId)
        } else if ttl > TTL_MAX {
            Err(GrantError::TtlTooLarge)
        } else if self.by_id.contains_key(&id) {
            Err(GrantError::Exists)
        } else {
            Ok(())
        }
    }

    /// Creates a lease that lives for `ttl` seconds; the caller has raised `ttl` to the smallest allowed one.
    ///
    /// # Errors
    ///
    /// Refuses an id that is taken or 0, and a `ttl` above [`TTL_MAX`].
    pub fn grant(&mut self, id: i64, ttl: i64, batch: &mut Batch) -> Result<(), GrantError> {
        self.check_grant(id, ttl)?;
        let lease = Lease { ttl, remaining: 0, keys: Keys::default() };
        lease.store(id, batch);
        self.by_id.insert(id, lease);
        Ok(())
    }

    /// Ends a lease and returns its keys in order; the caller deletes them, which must not be refused any more.
    ///
    /// # Errors
    ///
    /// Refuses an unknown id.
    pub fn revoke(&mut self, id: i64, batch: &mut Batch) -> Result<Vec<Bytes>, NotFound> {
        let lease = self.by_id.remove(&id).ok_or(NotFound)?;
        batch.delete(Table::Lease, schema::key(id));
        Ok(lease.keys.into_sorted())
    }

    /// Whether the lease exists.
    pub fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The lease, if it exists.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Attaches a key, which stays attached until it is detached or the lease ends; `false` if there is no such lease.
    ///
    /// The lease shares the key's bytes, so a key that is a slice of something large keeps that alive.
    pub fn attach(&mut self, id: i64, key: Bytes) -> bool {
        let Some(lease) = self.by_id.get_mut(&id) else { return false };
        lease.keys.insert(key);
        true
    }

    /// Detaches a key; nothing happens if the lease does not exist or does not hold it.
    pub fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Notes the remaining life of a lease in seconds, or that it has its whole life again (0).
    ///
    /// Nothing happens if the lease does not exist: it may have been revoked since the checkpoint was proposed.
    pub fn checkpoint(&mut self, id: i64, remaining: i64, batch: &mut Batch) {
        let Some(lease) = self.by_id.get_mut(&id) else { return };
        let remaining = remaining.clamp(0, lease.ttl.max(0));
        if lease.remaining != remaining {
            lease.remaining = remaining;
            lease.store(id, batch);
        }
    }

    /// All leases, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    /// The number of leases.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no leases.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Lease {
    /// The time to live that was granted, in seconds.
    pub fn ttl(&self) -> i64 {
        self.ttl
    }

    /// The checkpointed remaining life in seconds; 0 if there is no checkpoint, so that the whole life remains.
    pub fn remaining(&self) -> i64 {
        self.remaining
    }

    /// The seconds for which the lease lives when a clock starts over it.
    pub fn life(&self) -> i64 {
        if self.remaining > 0 { self.remaining } else { self.ttl }
    }

    /// The attached keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }

    fn store(&self, id: i64, batch: &mut Batch) {
        let record = schema::LeaseRecord { id, ttl: self.ttl, remaining: self.remaining };
        batch.put(Table::Lease, schema::key(id), schema::encode(&record));
    }
}
