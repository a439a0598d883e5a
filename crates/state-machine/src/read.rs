//! Reading without the log: ranges and read-only transactions at the state that is applied.

use etched_backend::{BackendError, ReadView};
use etched_mvcc::{RangeError, RangeOutput};

use crate::StateMachine;
use crate::applied::{Operations, TxnDone};
use crate::command::{Range, Txn, txn};
use crate::refusal::Refusal;

/// Why a read gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The request is refused.
    #[error("the read is refused: {0:?}")]
    Refused(Refusal),
    /// The store failed: the member must stop.
    #[error("the store could not be read")]
    Backend(#[from] BackendError),
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RangeError> for ReadError {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::Compacted => Self::Refused(Refusal::Compacted),
            RangeError::FutureRevision => Self::Refused(Refusal::FutureRevision),
            RangeError::Backend(error) => Self::Backend(error),
        }
    }
}

impl StateMachine {
    /// Reads a range. The range must have passed [`Range::check`], else it is checked here.
    ///
    /// # Errors
    ///
    /// A refusal, or the failure of the store.
    pub fn range(&self, view: &dyn ReadView, range: &Range) -> Result<RangeOutput, ReadError> {
        range.check()?;
        Ok(self.store().range(view, &range.query)?)
    }

    /// Evaluates a transaction that only reads.
    ///
    /// # Errors
    ///
    /// A refusal, or the failure of the store.
    ///
    /// # Panics
    ///
    /// If the transaction is not [read-only](Txn::is_read_only).
    pub fn read_txn(&self, view: &dyn ReadView, txn: &Txn) -> Result<TxnDone, ReadError> {
        self.read_txn_counted(view, txn).0
    }

    /// As [`read_txn`](Self::read_txn), and tells what was asked of the keys, also by a transaction that is refused.
    ///
    /// # Panics
    ///
    /// If the transaction is not [read-only](Txn::is_read_only).
    pub fn read_txn_counted(
        &self,
        view: &dyn ReadView,
        txn: &Txn,
    ) -> (Result<TxnDone, ReadError>, Operations) {
        assert!(txn.is_read_only(), "a transaction that may write goes through the log");
        let mut operations = Operations::default();
        let result = txn::read(txn, self.store(), self.leases(), view, &mut operations);
        (result, operations.end())
    }
}
