//! Forgetting history.

use etched_backend::Batch;
use etched_mvcc::CompactError;

use super::Compact;
use crate::applied::Outcome;
use crate::machine::{Progress, State};
use crate::refusal::Refusal;

/// Compacts logically at once; the space is freed by the shell, step by step.
///
/// A caller who wants to wait for that is told the revision to wait for even if the request is refused as compacted:
/// an earlier compaction may still be at work.
pub(crate) fn apply(
    compact: &Compact,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    let result = state.store.compact(compact.revision, batch);
    if compact.physical && result != Err(CompactError::FutureRevision) {
        progress.effects.wait_for_compaction = Some(state.store.compact_revision());
    }
    match result {
        Ok(()) => {
            progress.effects.compaction_scheduled = Some(compact.revision);
            // etcd reads a key to learn the revision of its answer.
            progress.operations.ranges = 1;
            Ok(Outcome::Compact { revision: state.store.revision() })
        }
        Err(CompactError::Compacted) => Err(Refusal::Compacted),
        Err(CompactError::FutureRevision) => Err(Refusal::FutureRevision),
    }
}
