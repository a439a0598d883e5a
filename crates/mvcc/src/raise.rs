//! Raising the revision of a stored key space that is to begin anew from a copy.
//!
//! Clients remember revisions. If the copy went on where it was taken, it would give out revisions again that clients
//! have seen with other content. So the revision is raised over all that can have been seen, and what lies below
//! counts as compacted: a watch that asks for an older revision is told so, and its client reads everything anew.

use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use crate::codec::{REVISION_MAX, StoredRevision, revision_key};
use crate::compaction::SCHEDULED;

/// Why a revision could not be raised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RaiseError {
    /// The backend failed, or a record is damaged.
    #[error("the newest revision could not be read")]
    Backend(#[from] BackendError),
    /// No store can have the revision.
    #[error("a revision {amount} above {newest} is out of range")]
    OutOfRange {
        /// The newest revision that is stored.
        newest: i64,
        /// By how much it was to be raised.
        amount: u64,
    },
}

/// The newest revision of a stored key space; 0 if there is none.
///
/// # Errors
///
/// The backend failed, or a revision is damaged.
pub fn newest_stored_revision(view: &dyn ReadView) -> Result<i64, BackendError> {
    let mut newest = Ok(0);
    view.scan(Table::Key, (Bound::Unbounded, Bound::Unbounded), &mut |key, _| match StoredRevision::decode(
        key,
    ) {
        Ok(revision) => {
            newest = Ok(revision.main);
            ControlFlow::Continue(())
        }
        Err(why) => {
            let key = Bytes::copy_from_slice(key);
            newest = Err(BackendError::Damaged { table: Table::Key, key, why });
            ControlFlow::Break(())
        }
    })?;
    newest
}

/// Raises the newest stored revision by `amount` and marks it as compacted, and returns it.
/// Nothing may use the stored key space meanwhile, and it must not have a catalog.
///
/// As etcd does, it puts a record without content at the new revision, and asks for a compaction there.
///
/// # Errors
///
/// The backend failed, a revision is damaged, or the new one would be out of range.
pub fn raise_revision(view: &dyn ReadView, amount: u64, batch: &mut Batch) -> Result<i64, RaiseError> {
    let newest = newest_stored_revision(view)?;
    let raised = i64::try_from(amount).ok().and_then(|amount| newest.checked_add(amount));
    let raised = raised.filter(|raised| *raised <= REVISION_MAX);
    let raised = raised.ok_or(RaiseError::OutOfRange { newest, amount })?;
    batch.put(Table::Key, revision_key(raised, 0).to_vec(), Bytes::new());
    batch.put(Table::Meta, SCHEDULED, revision_key(raised, 0).to_vec());
    Ok(raised)
}
