//! Transactions.

use etched_proto::etcdserverpb::request_op::Request;
use etched_proto::etcdserverpb::{RequestOp, TxnRequest};

use super::{Compare, Delete, Get, Put};

/// A transaction: conditions, what to do when all of them hold, and what to do otherwise.
///
/// ```
/// use etched_client::{Compare, Get, Put, Txn};
///
/// let take = Txn::new()
///     .when([Compare::create_revision("lock").equal_to(0)])
///     .then([Put::new("lock", "me").into()])
///     .or_else([Get::new("lock").into()]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Txn {
    pub(crate) request: TxnRequest,
}

/// One operation of a transaction; made from [`Get`], [`Put`], [`Delete`] or another [`Txn`] with `into()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    request: Request,
}

impl Txn {
    /// A transaction without conditions and without operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds conditions.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.request.compare.extend(compares.into_iter().map(|compare| compare.request));
        self
    }

    /// Adds operations for the case that all conditions hold.
    pub fn then(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.request.success.extend(ops.into_iter().map(Op::into_request));
        self
    }

    /// Adds operations for the case that a condition does not hold.
    pub fn or_else(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.request.failure.extend(ops.into_iter().map(Op::into_request));
        self
    }

    /// Whether no operation, at any depth, has an effect.
    pub fn is_read_only(&self) -> bool {
        reads_only(&self.request)
    }
}

fn reads_only(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) | None => true,
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
        Some(Request::RequestTxn(inner)) => reads_only(inner),
    })
}

impl Op {
    fn into_request(self) -> RequestOp {
        RequestOp { request: Some(self.request) }
    }
}

impl From<TxnRequest> for Txn {
    fn from(request: TxnRequest) -> Self {
        Self { request }
    }
}

impl From<Get> for Op {
    fn from(get: Get) -> Self {
        Self { request: Request::RequestRange(get.request) }
    }
}

impl From<Put> for Op {
    fn from(put: Put) -> Self {
        Self { request: Request::RequestPut(put.request) }
    }
}

impl From<Delete> for Op {
    fn from(delete: Delete) -> Self {
        Self { request: Request::RequestDeleteRange(delete.request) }
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Self { request: Request::RequestTxn(txn.request) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_of_reads_has_no_effects_at_any_depth() {
        let inner = Txn::new().then([Get::new("b").into()]);
        assert!(Txn::new().then([Get::new("a").into(), inner.clone().into()]).is_read_only());
        assert!(Txn::new().is_read_only());
        let writing = inner.or_else([Delete::new("b").into()]);
        assert!(!Txn::new().or_else([writing.into()]).is_read_only());
        assert!(!Txn::new().then([Put::new("a", "1").into()]).is_read_only());
    }
}
