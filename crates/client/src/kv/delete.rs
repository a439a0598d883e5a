//! The deletion of one key or a range.

use bytes::Bytes;
use etched_proto::etcdserverpb::DeleteRangeRequest;

use crate::Keys;

/// The deletion of one key or a range, as [`Client::delete`](crate::Client::delete) and transactions take it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Delete {
    pub(crate) request: DeleteRangeRequest,
}

impl Delete {
    /// Deletes these keys.
    pub fn new(keys: impl Into<Keys>) -> Self {
        let Keys { key, range_end } = keys.into();
        Self { request: DeleteRangeRequest { key, range_end, prev_kv: false } }
    }

    /// Answers with the deleted keys and their values.
    pub fn prev_kv(mut self) -> Self {
        self.request.prev_kv = true;
        self
    }
}

impl From<DeleteRangeRequest> for Delete {
    fn from(request: DeleteRangeRequest) -> Self {
        Self { request }
    }
}

macro_rules! convert {
    ($($from:ty),*) => {$(
        impl From<$from> for Delete {
            fn from(keys: $from) -> Self {
                Self::new(keys)
            }
        }
    )*};
}

convert!(Keys, &'static str, &'static [u8], String, Vec<u8>, Bytes);
