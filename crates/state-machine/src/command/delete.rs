//! Deleting the keys of a range.

use alloc::vec::Vec;

use etched_backend::{Batch, ReadView};
use etched_mvcc::{RangeQuery, WriteTxn};

use super::{DeleteRange, lease};
use crate::applied::{DeleteRangeDone, Operations, Outcome};
use crate::machine::{Progress, State};
use crate::read::ReadError;
use crate::refusal::Refusal;

impl DeleteRange {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.range.start.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
    }

    pub(super) fn execute(
        &self,
        txn: &mut WriteTxn<'_>,
        view: &dyn ReadView,
        operations: &mut Operations,
    ) -> Result<DeleteRangeDone, ReadError> {
        operations.ranges += u64::from(self.prev_kv);
        operations.deletes += 1;
        let previous = if self.prev_kv {
            txn.store().range(view, &RangeQuery::new(self.range.clone()))?.records
        } else {
            Vec::new()
        };
        let deleted = txn.delete_range(&self.range);
        let revision = txn.begin_revision() + i64::from(txn.changed());
        Ok(DeleteRangeDone { revision, deleted, previous })
    }
}

pub(crate) fn apply(
    delete: &DeleteRange,
    state: &mut State,
    view: &dyn ReadView,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, ReadError> {
    let mut txn = state.store.begin();
    let mut operations = Operations::default();
    let done = delete.execute(&mut txn, view, &mut operations)?;
    progress.operations = operations.end();
    progress.changes = txn.finish(batch);
    lease::follow(&progress.changes, &mut state.leases);
    Ok(Outcome::DeleteRange(done))
}
