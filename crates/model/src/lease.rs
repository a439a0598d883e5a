//! The reference for leases: a list of facts, and every answer computed from them anew.

use std::collections::{BTreeMap, BTreeSet};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// All leases of a cluster, with the clock of the member that leads, if one does.
#[derive(Clone, Debug, Default)]
pub struct LeaseModel {
    leases: BTreeMap<i64, ModelLease>,
    primary: bool,
}

/// What is known of one lease.
#[derive(Clone, Debug)]
pub struct ModelLease {
    /// The granted seconds.
    pub ttl: i64,
    /// The checkpointed seconds; 0 for none.
    pub remaining: i64,
    /// The attached keys.
    pub keys: BTreeSet<Vec<u8>>,
    /// When the leader holds it to have run out.
    pub expires_at: Option<i128>,
}

/// What a keep-alive must achieve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRenewal {
    /// The whole life again; `had_checkpoint` if a stored checkpoint says less.
    Renewed {
        /// The granted seconds.
        ttl: i64,
        /// Whether a checkpoint has to be cleared.
        had_checkpoint: bool,
    },
    /// It has run out and still exists.
    Expired,
    /// It does not exist.
    NotFound,
    /// No clock runs here.
    NotPrimary,
}

impl LeaseModel {
    /// No leases, no clock.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a lease; `false` if the id is taken or 0.
    pub fn grant(&mut self, id: i64, ttl: i64, now: u64) -> bool {
        if id == 0 || self.leases.contains_key(&id) {
            return false;
        }
        let expires_at = self.primary.then(|| i128::from(now) + i128::from(ttl) * NANOS_PER_SECOND);
        self.leases.insert(id, ModelLease { ttl, remaining: 0, keys: BTreeSet::new(), expires_at });
        true
    }

    /// Ends a lease and returns its keys in order.
    pub fn revoke(&mut self, id: i64) -> Option<Vec<Vec<u8>>> {
        Some(self.leases.remove(&id)?.keys.into_iter().collect())
    }

    /// Attaches a key; `false` if there is no such lease.
    pub fn attach(&mut self, id: i64, key: &[u8]) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.insert(key.to_vec())).is_some()
    }

    /// Detaches a key.
    pub fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Notes the remaining seconds.
    pub fn checkpoint(&mut self, id: i64, remaining: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.remaining = remaining;
        }
    }

    /// A clock starts: each lease has what it had at its last checkpoint, and `extend` nanoseconds.
    pub fn promote(&mut self, now: u64, extend: u64) {
        self.primary = true;
        for lease in self.leases.values_mut() {
            let life = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            lease.expires_at =
                Some(i128::from(now) + i128::from(extend) + i128::from(life) * NANOS_PER_SECOND);
        }
    }

    /// The clock stops.
    pub fn demote(&mut self) {
        self.primary = false;
        for lease in self.leases.values_mut() {
            lease.expires_at = None;
        }
    }

    /// The owner's keep-alive.
    pub fn renew(&mut self, id: i64, now: u64) -> ModelRenewal {
        if !self.primary {
            return ModelRenewal::NotPrimary;
        }
        let Some(lease) = self.leases.get_mut(&id) else { return ModelRenewal::NotFound };
        if lease.expires_at.is_none_or(|expires_at| expires_at <= i128::from(now)) {
            return ModelRenewal::Expired;
        }
        lease.expires_at = Some(i128::from(now) + i128::from(lease.ttl) * NANOS_PER_SECOND);
        ModelRenewal::Renewed { ttl: lease.ttl, had_checkpoint: lease.remaining > 0 }
    }

    /// All leases that have run out and still exist, by id.
    pub fn expired(&self, now: u64) -> Vec<i64> {
        let due =
            |lease: &ModelLease| lease.expires_at.is_some_and(|expires_at| expires_at <= i128::from(now));
        self.leases.iter().filter(|(_, lease)| due(lease)).map(|(id, _)| *id).collect()
    }

    /// The nanoseconds that a lease has left on the leader's clock.
    pub fn remaining(&self, id: i64, now: u64) -> Option<i128> {
        Some(self.leases.get(&id)?.expires_at? - i128::from(now))
    }

    /// All leases by id.
    pub fn leases(&self) -> &BTreeMap<i64, ModelLease> {
        &self.leases
    }
}
