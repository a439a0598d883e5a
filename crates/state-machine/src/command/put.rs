//! Writing a key.

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};
use etched_lease::Leases;
use etched_mvcc::{Store, WriteTxn};

use super::{Put, lease};
use crate::applied::{Operations, Outcome, PutDone};
use crate::machine::{Progress, State};
use crate::read::ReadError;
use crate::refusal::Refusal;
use crate::schema;

/// What a put costs besides its key and value, in bytes.
const QUOTA_OVERHEAD: u64 = 256;

impl Put {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.key.is_empty() {
            Err(Refusal::EmptyKey)
        } else if self.ignore_value && !self.value.is_empty() {
            Err(Refusal::ValueProvided)
        } else if self.ignore_lease && self.lease != 0 {
            Err(Refusal::LeaseProvided)
        } else {
            Ok(())
        }
    }

    pub(super) fn quota_cost(&self) -> u64 {
        QUOTA_OVERHEAD + self.key.len() as u64 + self.value.len() as u64
    }

    /// Whether the key must exist.
    pub(super) fn keeps(&self) -> bool {
        self.ignore_value || self.ignore_lease
    }

    /// Whether the record before it is looked at.
    pub(super) fn looks(&self) -> bool {
        self.keeps() || self.prev_kv
    }

    pub(super) fn admit(&self, store: &Store, leases: &Leases) -> Result<(), Refusal> {
        if self.lease != 0 && !leases.contains(self.lease) {
            Err(Refusal::LeaseNotFound)
        } else if self.keeps() && store.current(&self.key).is_none() {
            Err(Refusal::KeyNotFound)
        } else {
            Ok(())
        }
    }

    /// Writes the key. What it should keep of a key that is gone, deleted before in the same transaction, is empty.
    pub(super) fn execute(
        self,
        txn: &mut WriteTxn<'_>,
        view: &dyn ReadView,
        operations: &mut Operations,
    ) -> Result<PutDone, BackendError> {
        operations.ranges += u64::from(self.looks());
        operations.puts += 1;
        let previous =
            if self.prev_kv || self.ignore_value { txn.store().record(view, &self.key)? } else { None };
        let value = match &previous {
            _ if !self.ignore_value => self.value,
            Some(record) => value_of(&self.key, record)?,
            None => Bytes::new(),
        };
        let lease = if self.ignore_lease {
            txn.store().current(&self.key).map_or(0, |meta| meta.lease)
        } else {
            self.lease
        };
        operations.put_bytes += (self.key.len() + value.len()) as u64;
        txn.put(self.key, value, lease);
        let revision = txn.begin_revision() + 1;
        Ok(PutDone { revision, previous: previous.filter(|_| self.prev_kv) })
    }
}

pub(crate) fn apply(
    put: Put,
    state: &mut State,
    view: &dyn ReadView,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, ReadError> {
    if let Err(refusal) = put.admit(&state.store, &state.leases) {
        progress.operations.ranges = u64::from(refusal == Refusal::KeyNotFound);
        return Err(refusal.into());
    }
    let mut txn = state.store.begin();
    let mut operations = Operations::default();
    let done = put.execute(&mut txn, view, &mut operations)?;
    progress.operations = operations.end();
    progress.changes = txn.finish(batch);
    lease::follow(&progress.changes, &mut state.leases);
    Ok(Outcome::Put(done))
}

/// The value inside a stored record.
pub(super) fn value_of(key: &[u8], record: &Bytes) -> Result<Bytes, BackendError> {
    schema::value_of_record(record).ok_or_else(|| BackendError::Damaged {
        table: Table::Key,
        key: Bytes::copy_from_slice(key),
        why: "the record is no key-value",
    })
}
