//! A read of one key or a range.

use bytes::Bytes;
use etched_proto::etcdserverpb::RangeRequest;
use etched_proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use crate::Keys;

/// A read of one key or a range, as [`Client::get`](crate::Client::get) and transactions take it.
///
/// ```
/// use etched_client::{Get, Keys};
///
/// let newest = Get::new(Keys::prefix("jobs/")).limit(10).keys_only();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Get {
    pub(crate) request: RangeRequest,
}

impl Get {
    /// Reads these keys at the newest revision.
    pub fn new(keys: impl Into<Keys>) -> Self {
        let Keys { key, range_end } = keys.into();
        Self { request: RangeRequest { key, range_end, ..RangeRequest::default() } }
    }

    /// Answers with at most `limit` keys; 0 means all.
    pub fn limit(mut self, limit: i64) -> Self {
        self.request.limit = limit;
        self
    }

    /// Reads the state at this revision; 0 means the newest.
    pub fn revision(mut self, revision: i64) -> Self {
        self.request.revision = revision;
        self
    }

    /// Sorts the answer.
    pub fn sort(mut self, target: SortTarget, order: SortOrder) -> Self {
        self.request.sort_target = target.into();
        self.request.sort_order = order.into();
        self
    }

    /// Reads what the asked member has, which may be old, instead of asking the cluster first.
    pub fn serializable(mut self) -> Self {
        self.request.serializable = true;
        self
    }

    /// Leaves out the values.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Answers with the number of keys only.
    pub fn count_only(mut self) -> Self {
        self.request.count_only = true;
        self
    }

    /// Leaves out keys that were last changed before this revision; 0 means no bound.
    pub fn mod_revision_min(mut self, revision: i64) -> Self {
        self.request.min_mod_revision = revision;
        self
    }

    /// Leaves out keys that were last changed after this revision; 0 means no bound.
    pub fn mod_revision_max(mut self, revision: i64) -> Self {
        self.request.max_mod_revision = revision;
        self
    }

    /// Leaves out keys that were created before this revision; 0 means no bound.
    pub fn create_revision_min(mut self, revision: i64) -> Self {
        self.request.min_create_revision = revision;
        self
    }

    /// Leaves out keys that were created after this revision; 0 means no bound.
    pub fn create_revision_max(mut self, revision: i64) -> Self {
        self.request.max_create_revision = revision;
        self
    }
}

impl From<RangeRequest> for Get {
    fn from(request: RangeRequest) -> Self {
        Self { request }
    }
}

macro_rules! convert {
    ($($from:ty),*) => {$(
        impl From<$from> for Get {
            fn from(keys: $from) -> Self {
                Self::new(keys)
            }
        }
    )*};
}

convert!(Keys, &'static str, &'static [u8], String, Vec<u8>, Bytes);
