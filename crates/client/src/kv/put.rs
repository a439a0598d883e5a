//! The write of one key.

use bytes::Bytes;
use etched_proto::etcdserverpb::PutRequest;

/// The write of one key, as [`Client::put`](crate::Client::put) and transactions take it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Put {
    pub(crate) request: PutRequest,
}

impl Put {
    /// Writes this value, attached to no lease.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { request: PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() } }
    }

    /// Attaches the key to this lease, so that it is deleted when the lease ends.
    pub fn lease(mut self, lease_id: i64) -> Self {
        self.request.lease = lease_id;
        self
    }

    /// Answers with the previous value.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }

    /// Keeps the value that the key has; the value given must be empty, and the key must exist.
    pub fn ignore_value(mut self) -> Self {
        self.request.ignore_value = true;
        self
    }

    /// Keeps the lease that the key has; no lease may be given, and the key must exist.
    pub fn ignore_lease(mut self) -> Self {
        self.request.ignore_lease = true;
        self
    }
}

impl From<PutRequest> for Put {
    fn from(request: PutRequest) -> Self {
        Self { request }
    }
}
