//! A part of the key space as if it were all of it.

use bytes::{Bytes, BytesMut};
use etched_proto::etcdserverpb::request_op::Request;
use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{
    DeleteRangeResponse, LeaseTimeToLiveResponse, PutResponse, RangeResponse, TxnRequest, TxnResponse,
};
use etched_proto::mvccpb::KeyValue;
use tonic::Code;

use crate::keys::prefix_end;
use crate::{Client, Error, ErrorKind};

/// The end of a range without an end.
const NUL: &[u8] = b"\0";

/// A prefix that all keys of a client get on their way to the server, and lose on the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Empty for the whole key space.
    prefix: Bytes,
}

impl Client {
    /// The same client, for whom the keys below a prefix are all the keys there are.
    ///
    /// Reads, writes, transactions, watches, and the keys of leases are meant within the namespace; what is about
    /// members, users and roles is not. Namespaces nest.
    ///
    /// ```no_run
    /// # async fn example(client: etched_client::Client) -> Result<(), etched_client::Error> {
    /// use etched_client::{Keys, Put};
    ///
    /// let tenant = client.namespaced("tenants/7/");
    /// tenant.put(Put::new("greeting", "hello")).await?;
    /// assert_eq!(client.get("tenants/7/greeting").await?.count, 1);
    /// assert_eq!(tenant.get(Keys::all()).await?.kvs[0].key, "greeting");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn namespaced(&self, prefix: impl AsRef<[u8]>) -> Self {
        let prefix = [&self.namespace.prefix, prefix.as_ref()].concat().into();
        Self { namespace: Namespace { prefix }, ..self.clone() }
    }
}

impl Namespace {
    fn is_all(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Moves a single key or a range into the namespace.
    ///
    /// # Errors
    ///
    /// The empty key is none, and would be the prefix itself.
    pub(crate) fn enter(&self, key: &mut Bytes, range_end: &mut Bytes) -> Result<(), Error> {
        if self.is_all() {
            return Ok(());
        }
        if key.is_empty() && range_end.is_empty() {
            return Err(Error::from_server_text(Code::InvalidArgument, ErrorKind::EmptyKey.text()));
        }
        *key = self.within(key);
        if *range_end == NUL {
            *range_end = prefix_end(&self.prefix);
        } else if !range_end.is_empty() {
            *range_end = self.within(range_end);
        }
        Ok(())
    }

    /// As [`Namespace::enter`], for a single key.
    pub(crate) fn enter_one(&self, key: &mut Bytes) -> Result<(), Error> {
        self.enter(key, &mut Bytes::new())
    }

    fn within(&self, key: &Bytes) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.prefix.len() + key.len());
        whole.extend_from_slice(&self.prefix);
        whole.extend_from_slice(key);
        whole.freeze()
    }

    /// As [`Namespace::enter`], for all conditions and operations of a transaction.
    pub(crate) fn enter_txn(&self, txn: &mut TxnRequest) -> Result<(), Error> {
        for compare in &mut txn.compare {
            self.enter(&mut compare.key, &mut compare.range_end)?;
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(Request::RequestRange(range)) => self.enter(&mut range.key, &mut range.range_end)?,
                Some(Request::RequestPut(put)) => self.enter_one(&mut put.key)?,
                Some(Request::RequestDeleteRange(delete)) => {
                    self.enter(&mut delete.key, &mut delete.range_end)?;
                }
                Some(Request::RequestTxn(inner)) => self.enter_txn(inner)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Takes the prefix off a key.
    pub(crate) fn leave(&self, kv: &mut KeyValue) {
        if kv.key.starts_with(&self.prefix) {
            let _prefix = kv.key.split_to(self.prefix.len());
        }
    }

    pub(crate) fn leave_range(&self, mut response: RangeResponse) -> RangeResponse {
        response.kvs.iter_mut().for_each(|kv| self.leave(kv));
        response
    }

    pub(crate) fn leave_put(&self, mut response: PutResponse) -> PutResponse {
        response.prev_kv.iter_mut().for_each(|kv| self.leave(kv));
        response
    }

    pub(crate) fn leave_delete(&self, mut response: DeleteRangeResponse) -> DeleteRangeResponse {
        response.prev_kvs.iter_mut().for_each(|kv| self.leave(kv));
        response
    }

    pub(crate) fn leave_txn(&self, mut response: TxnResponse) -> TxnResponse {
        for op in &mut response.responses {
            op.response = op.response.take().map(|response| match response {
                Response::ResponseRange(range) => Response::ResponseRange(self.leave_range(range)),
                Response::ResponsePut(put) => Response::ResponsePut(self.leave_put(put)),
                Response::ResponseDeleteRange(delete) => {
                    Response::ResponseDeleteRange(self.leave_delete(delete))
                }
                Response::ResponseTxn(inner) => Response::ResponseTxn(self.leave_txn(inner)),
            });
        }
        response
    }

    /// Takes the prefix off the keys of a lease, and leaves out those that are elsewhere.
    pub(crate) fn leave_lease(&self, mut response: LeaseTimeToLiveResponse) -> LeaseTimeToLiveResponse {
        response.keys.retain(|key| key.starts_with(&self.prefix));
        for key in &mut response.keys {
            let _prefix = key.split_to(self.prefix.len());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(prefix: &'static [u8], key: &'static [u8], range_end: &'static [u8]) -> (Bytes, Bytes) {
        let (mut key, mut range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
        let namespace = Namespace { prefix: Bytes::from_static(prefix) };
        namespace.enter(&mut key, &mut range_end).unwrap();
        (key, range_end)
    }

    #[test]
    fn ranges_stay_within_the_namespace() {
        assert_eq!(entered(b"p/", b"a", b""), ("p/a".into(), "".into()));
        assert_eq!(entered(b"p/", b"a", b"c"), ("p/a".into(), "p/c".into()));
        assert_eq!(entered(b"p/", b"a", b"\0"), ("p/a".into(), "p0".into()));
        assert_eq!(entered(b"p/", b"", b"\0"), ("p/".into(), "p0".into()));
        assert_eq!(entered(b"\xff", b"a", b"\0").1, Bytes::from_static(NUL));
        assert_eq!(entered(b"", b"a", b"\0"), ("a".into(), Bytes::from_static(NUL)));
    }

    #[test]
    fn the_empty_key_is_not_the_namespace_itself() {
        let namespace = Namespace { prefix: Bytes::from_static(b"p/") };
        let error = namespace.enter_one(&mut Bytes::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EmptyKey);
    }
}
