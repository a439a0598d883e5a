//! Leases, and the keys attached to them.

use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::Batch;
use etched_key_range::KeyRange;
use etched_lease::{GrantError, Leases, NotFound};
use etched_mvcc::Change;

use crate::applied::{Operations, Outcome};
use crate::machine::{Progress, State};
use crate::refusal::Refusal;

/// What a lease costs, in bytes.
pub(super) const QUOTA_COST: u64 = 64;

/// Creates a lease; `ttl` is the effective one.
pub(crate) fn grant(
    id: i64,
    ttl: i64,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    state.leases.grant(id, ttl, batch).map_err(|error| match error {
        GrantError::Exists => Refusal::LeaseExists,
        GrantError::ZeroId => Refusal::LeaseNotFound,
        GrantError::TtlTooLarge => Refusal::LeaseTtlTooLarge,
    })?;
    progress.effects.lease_granted = Some((id, ttl));
    Ok(Outcome::LeaseGrant { revision: state.store.revision(), id, ttl })
}

/// Ends a lease and deletes its keys, in order, in one revision.
pub(crate) fn revoke(
    id: i64,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let keys = state.leases.revoke(id, batch).map_err(|NotFound| Refusal::LeaseNotFound)?;
    let mut txn = state.store.begin();
    progress.operations = Operations { deletes: keys.len() as u64, ..Operations::default() }.end();
    for key in keys {
        let deleted = txn.delete_range(&KeyRange::single(key));
        assert_eq!(deleted, 1, "a lease holds keys that exist");
    }
    progress.changes = txn.finish(batch);
    progress.effects.lease_revoked = Some(id);
    Ok(Outcome::LeaseRevoke { revision: state.store.revision() })
}

/// Notes remaining lives, up to the first lease that does not exist: so does etcd, and members of both kinds must end
/// with the same leases.
pub(crate) fn checkpoint(
    notes: Vec<(i64, i64)>,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let known = notes.iter().take_while(|(id, _)| state.leases.contains(*id)).count();
    let is_complete = known == notes.len();
    let mut noted = notes;
    noted.truncate(known);
    for (id, remaining) in &noted {
        state.leases.checkpoint(*id, *remaining, batch);
    }
    progress.effects.leases_checkpointed = noted;
    if is_complete {
        Ok(Outcome::LeaseCheckpoint { revision: state.store.revision() })
    } else {
        Err(Refusal::LeaseNotFound)
    }
}

/// Moves attachments as the changes say.
pub(crate) fn follow(changes: &[Change], leases: &mut Leases) {
    for change in changes {
        if change.lease_before == change.lease {
            continue;
        }
        if change.lease_before != 0 {
            leases.detach(change.lease_before, &change.key);
        }
        if change.lease != 0 {
            // Copied, since the key of a change shares its buffer with the value.
            let attached = leases.attach(change.lease, Bytes::copy_from_slice(&change.key));
            assert!(attached, "a put is admitted only if its lease exists");
        }
    }
}
