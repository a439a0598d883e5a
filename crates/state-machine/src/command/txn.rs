//! Transactions: conditions first, then one of two lists of operations, all or nothing.
//!
//! Every condition, those of nested transactions on the taken path too, is evaluated against the state before the
//! transaction. So the path is known before the first change, and so are all reasons to refuse.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::ControlFlow;

use etched_backend::{BackendError, Batch, ReadView};
use etched_lease::Leases;
use etched_mvcc::{KeyMeta, RangeOutput, Store, WriteTxn};

use super::{Compare, CompareTarget, Limits, Range, Txn, TxnOp, lease, put, txn_duplicates};
use crate::applied::{Operations, Outcome, TxnDone, TxnOpDone};
use crate::machine::{Progress, State};
use crate::read::ReadError;
use crate::refusal::Refusal;

/// How many transactions may be nested into each other, the outermost included: deeper ones are never proposed, and
/// no entry that holds one is understood. The walks below are recursive, and this bounds their stack.
pub(crate) const DEPTH_MAX: usize = 256;

/// The branches that a transaction takes, decided before its first change: one entry per transaction on the taken
/// path, the outermost first, then those nested in its taken branch in order, each followed by its own.
struct Path(Vec<bool>);

impl Txn {
    /// Whether it can be answered without the log: every operation of both branches is a range.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) | TxnOp::Absent => false,
        })
    }

    /// Whether a read-only transaction may be answered from an older state: every range of both branches may. One
    /// without ranges may, too.
    pub fn is_serializable(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(range) => range.serializable,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) | TxnOp::Absent => false,
        })
    }

    /// Refuses a malformed transaction: too many operations, malformed ones, keys changed twice; in this order.
    ///
    /// # Errors
    ///
    /// The first fault.
    pub fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        self.check_ops(limits.txn_ops_max, DEPTH_MAX)?;
        txn_duplicates::check(self)
    }

    /// The larger cost of the two branches.
    pub(super) fn quota_cost(&self) -> u64 {
        let cost = |ops: &[TxnOp]| -> u64 {
            ops.iter()
                .map(|op| match op {
                    TxnOp::Put(put) => put.quota_cost(),
                    TxnOp::Txn(txn) => txn.quota_cost(),
                    TxnOp::Range(_) | TxnOp::DeleteRange(_) | TxnOp::Absent => 0,
                })
                .sum()
        };
        cost(&self.success).max(cost(&self.failure))
    }

    /// `ops_max` is what the transactions around this one have left over.
    fn check_ops(&self, ops_max: usize, depth: usize) -> Result<(), Refusal> {
        let ops = self.compares.len().max(self.success.len()).max(self.failure.len());
        let ops_left = ops_max.checked_sub(ops).ok_or(Refusal::TooManyOps)?;
        let depth_left = depth.checked_sub(1).ok_or(Refusal::TooManyOps)?;
        if self.compares.iter().any(|compare| compare.range.start.is_empty()) {
            return Err(Refusal::EmptyKey);
        }
        self.success.iter().chain(&self.failure).try_for_each(|op| match op {
            TxnOp::Range(range) => range.check(),
            TxnOp::Put(put) => put.check(),
            TxnOp::DeleteRange(delete) => delete.check(),
            TxnOp::Txn(txn) => txn.check_ops(ops_left, depth_left),
            TxnOp::Absent => Err(Refusal::KeyNotFound),
        })
    }

    fn branch(&self, succeeded: bool) -> &[TxnOp] {
        if succeeded { &self.success } else { &self.failure }
    }

    fn into_branch(self, succeeded: bool) -> Vec<TxnOp> {
        if succeeded { self.success } else { self.failure }
    }
}

pub(crate) fn apply(
    txn: Txn,
    state: &mut State,
    view: &dyn ReadView,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, ReadError> {
    let mut asked = Operations::default();
    let path = admit(&txn, &state.store, &state.leases, view, &mut asked);
    progress.operations = asked.end();
    let path = path?;
    let mut write = state.store.begin();
    let mut taken = path.0.into_iter();
    let mut operations = Operations::default();
    let mut done = execute(txn, &mut taken, &mut write, view, &mut operations)?;
    progress.operations.add(operations.end());
    assert!(taken.next().is_none(), "the path leads through every transaction that is done");
    done.revision = write.begin_revision() + i64::from(write.changed());
    progress.changes = write.finish(batch);
    lease::follow(&progress.changes, &mut state.leases);
    Ok(Outcome::Txn(done))
}

/// Answers a transaction that only reads, at the current state.
pub(crate) fn read(
    txn: &Txn,
    store: &Store,
    leases: &Leases,
    view: &dyn ReadView,
    operations: &mut Operations,
) -> Result<TxnDone, ReadError> {
    let path = admit(txn, store, leases, view, operations)?;
    let succeeded = path.0[0];
    let revision = store.revision();
    let mut responses = Vec::with_capacity(txn.branch(succeeded).len());
    for op in txn.branch(succeeded) {
        match op {
            TxnOp::Range(range) => {
                operations.ranges += 1;
                let output = store.range(view, &range.query)?;
                responses.push(TxnOpDone::Range { revision, output });
            }
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) | TxnOp::Absent => {
                unreachable!("a transaction that only reads has no other operation")
            }
        }
    }
    Ok(TxnDone { revision, succeeded, responses })
}

/// Chooses the path, and asks along it for every reason to refuse.
fn admit(
    txn: &Txn,
    store: &Store,
    leases: &Leases,
    view: &dyn ReadView,
    asked: &mut Operations,
) -> Result<Path, ReadError> {
    let mut path = Vec::new();
    choose(txn, store, view, &mut path, asked)?;
    admit_ops(txn, &mut path.iter().copied(), store, leases, asked)?;
    Ok(Path(path))
}

fn choose(
    txn: &Txn,
    store: &Store,
    view: &dyn ReadView,
    path: &mut Vec<bool>,
    asked: &mut Operations,
) -> Result<(), BackendError> {
    let mut succeeded = true;
    for compare in &txn.compares {
        asked.ranges += 1;
        if !compare.holds(store, view)? {
            succeeded = false;
            break;
        }
    }
    path.push(succeeded);
    for op in txn.branch(succeeded) {
        if let TxnOp::Txn(nested) = op {
            choose(nested, store, view, path, asked)?;
        }
    }
    Ok(())
}

fn admit_ops(
    txn: &Txn,
    path: &mut dyn Iterator<Item = bool>,
    store: &Store,
    leases: &Leases,
    asked: &mut Operations,
) -> Result<(), Refusal> {
    txn.branch(next(path)).iter().try_for_each(|op| match op {
        TxnOp::Range(range) => range.admit(store),
        TxnOp::Put(put) => {
            let admitted = put.admit(store, leases);
            asked.ranges += u64::from(put.looks() && admitted != Err(Refusal::LeaseNotFound));
            admitted
        }
        TxnOp::DeleteRange(_) => Ok(()),
        TxnOp::Txn(nested) => admit_ops(nested, path, store, leases, asked),
        TxnOp::Absent => Err(Refusal::KeyNotFound),
    })
}

/// Does the taken branch; reads see the writes before them. The revision is left 0, as in nested answers.
fn execute(
    txn: Txn,
    path: &mut dyn Iterator<Item = bool>,
    write: &mut WriteTxn<'_>,
    view: &dyn ReadView,
    operations: &mut Operations,
) -> Result<TxnDone, ReadError> {
    let succeeded = next(path);
    let ops = txn.into_branch(succeeded);
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        responses.push(match op {
            TxnOp::Range(range) => {
                operations.ranges += 1;
                let revision = write.begin_revision() + i64::from(write.changed());
                TxnOpDone::Range { revision, output: range_admitted(&range, write.store(), view)? }
            }
            TxnOp::Put(put) => TxnOpDone::Put(put.execute(write, view, operations)?),
            TxnOp::DeleteRange(delete) => TxnOpDone::DeleteRange(delete.execute(write, view, operations)?),
            TxnOp::Txn(nested) => TxnOpDone::Txn(execute(nested, path, write, view, operations)?),
            TxnOp::Absent => unreachable!("an absent operation is never admitted"),
        });
    }
    Ok(TxnDone { revision: 0, succeeded, responses })
}

fn range_admitted(range: &Range, store: &Store, view: &dyn ReadView) -> Result<RangeOutput, ReadError> {
    let output = store.range(view, &range.query).map_err(ReadError::from);
    let is_refused = matches!(output, Err(ReadError::Refused(_)));
    assert!(!is_refused, "the revision of a range is admitted before the first change");
    output
}

fn next(path: &mut dyn Iterator<Item = bool>) -> bool {
    path.next().expect("the path has a branch for every transaction on it")
}

impl Compare {
    /// Whether all keys of the range meet the condition; a range without keys counts as one missing key.
    fn holds(&self, store: &Store, view: &dyn ReadView) -> Result<bool, BackendError> {
        if self.range.is_single() {
            let key = &self.range.start;
            return match store.current(key) {
                Some(meta) => self.holds_for(key, &meta, store, view),
                None => Ok(self.holds_for_missing()),
            };
        }
        let mut result = Ok(true);
        let mut is_missing = true;
        store.for_each_current(&self.range, &mut |key, meta| {
            is_missing = false;
            result = self.holds_for(key, meta, store, view);
            if result == Ok(true) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if is_missing { Ok(self.holds_for_missing()) } else { result }
    }

    fn holds_for(
        &self,
        key: &[u8],
        meta: &KeyMeta,
        store: &Store,
        view: &dyn ReadView,
    ) -> Result<bool, BackendError> {
        let ordering = match &self.target {
            CompareTarget::Version(given) => meta.version.cmp(given),
            CompareTarget::CreateRevision(given) => meta.create_revision.cmp(given),
            CompareTarget::ModRevision(given) => meta.mod_revision.main.cmp(given),
            CompareTarget::Lease(given) => meta.lease.cmp(given),
            CompareTarget::Value(given) => {
                let record = store.record(view, key)?.expect("a key of the index has a record");
                put::value_of(key, &record)?.cmp(given)
            }
            CompareTarget::Unknown(_) => Ordering::Equal,
        };
        Ok(self.accepts(ordering))
    }

    /// A missing key is zero in every respect, but has no value to compare at all.
    fn holds_for_missing(&self) -> bool {
        match &self.target {
            CompareTarget::Version(given)
            | CompareTarget::CreateRevision(given)
            | CompareTarget::ModRevision(given)
            | CompareTarget::Lease(given) => self.accepts(0.cmp(given)),
            CompareTarget::Value(_) => false,
            CompareTarget::Unknown(_) => self.accepts(Ordering::Equal),
        }
    }

    /// Whether the wanted relation is this one; `ordering` is that of the actual value to the given one.
    fn accepts(&self, ordering: Ordering) -> bool {
        match self.result {
            0 => ordering.is_eq(),
            1 => ordering.is_gt(),
            2 => ordering.is_lt(),
            3 => ordering.is_ne(),
            _ => true,
        }
    }
}
