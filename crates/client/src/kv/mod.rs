//! Reading and writing keys: the requests as values, and the methods that send them.

mod compare;
mod delete;
mod get;
mod put;
mod stream;
mod txn;

pub use compare::{Compare, CompareSubject};
pub use delete::Delete;
pub use get::Get;
pub use put::Put;
pub use stream::RangeChunks;
pub use txn::{Op, Txn};

use etched_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeResponse, PutResponse, RangeResponse, TxnResponse,
};

use crate::error::Effect;
use crate::{Client, Error};

impl Client {
    /// Reads a key or a range of keys.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Compacted`](crate::ErrorKind::Compacted) or
    /// [`ErrorKind::FutureRevision`](crate::ErrorKind::FutureRevision) if the revision cannot be read.
    pub async fn get(&self, get: impl Into<Get>) -> Result<RangeResponse, Error> {
        let mut request = get.into().request;
        self.namespace.enter(&mut request.key, &mut request.range_end)?;
        let response = self
            .call(Effect::Read, request, |mut stubs, request| async move { stubs.kv().range(request).await })
            .await?;
        Ok(self.namespace.leave_range(response))
    }

    /// Reads a large range in chunks, all of one revision.
    ///
    /// It is sent again after a passing failure only as long as no chunk was received.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]; `Unimplemented` from servers before etcd 3.7, and for sort orders and revision bounds.
    pub async fn range_stream(&self, get: impl Into<Get>) -> Result<RangeChunks, Error> {
        let mut request = get.into().request;
        self.namespace.enter(&mut request.key, &mut request.range_end)?;
        stream::open(self, request).await
    }

    /// Writes a key.
    ///
    /// ```no_run
    /// # async fn example(client: etched_client::Client) -> Result<(), etched_client::Error> {
    /// use etched_client::Put;
    ///
    /// client.put(Put::new("greeting", "hello")).await?;
    /// let answer = client.put(Put::new("greeting", "good bye").prev_kv()).await?;
    /// assert_eq!(answer.prev_kv.map(|kv| kv.value), Some("hello".into()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn put(&self, put: Put) -> Result<PutResponse, Error> {
        let mut request = put.request;
        self.namespace.enter_one(&mut request.key)?;
        let response = self
            .call(Effect::Change, request, |mut stubs, request| async move { stubs.kv().put(request).await })
            .await?;
        Ok(self.namespace.leave_put(response))
    }

    /// Deletes a key or a range of keys.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost.
    pub async fn delete(&self, delete: impl Into<Delete>) -> Result<DeleteRangeResponse, Error> {
        let mut request = delete.into().request;
        self.namespace.enter(&mut request.key, &mut request.range_end)?;
        let response = self
            .call(Effect::Change, request, |mut stubs, request| async move {
                stubs.kv().delete_range(request).await
            })
            .await?;
        Ok(self.namespace.leave_delete(response))
    }

    /// Runs a transaction: all of its operations, or none.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the answer was lost and the transaction is not one that only reads.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, Error> {
        let effect = if txn.is_read_only() { Effect::Read } else { Effect::Change };
        let mut request = txn.request;
        self.namespace.enter_txn(&mut request)?;
        let response = self
            .call(effect, request, |mut stubs, request| async move { stubs.kv().txn(request).await })
            .await?;
        Ok(self.namespace.leave_txn(response))
    }

    /// Gives up all history before `revision`; reads and watches of older revisions fail from then on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Compacted`](crate::ErrorKind::Compacted) if it is given up already.
    pub async fn compact(&self, revision: i64) -> Result<CompactionResponse, Error> {
        self.compaction(CompactionRequest { revision, physical: false }).await
    }

    /// As [`Client::compact`], and waits until the history is gone from the member's storage.
    ///
    /// # Errors
    ///
    /// As [`Client::compact`]. A request timeout may have to be longer than usual.
    pub async fn compact_physical(&self, revision: i64) -> Result<CompactionResponse, Error> {
        self.compaction(CompactionRequest { revision, physical: true }).await
    }

    async fn compaction(&self, request: CompactionRequest) -> Result<CompactionResponse, Error> {
        self.call(
            Effect::Change,
            request,
            |mut stubs, request| async move { stubs.kv().compact(request).await },
        )
        .await
    }
}
