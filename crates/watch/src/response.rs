//! What goes out to a stream, and how large it is on the wire.

use crate::StreamId;
use alloc::borrow::Cow;
use alloc::sync::Arc;
use bytes::Bytes;

/// One response for one stream, in the order in which it must be sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The stream.
    pub stream: StreamId,
    /// What to send.
    pub response: Response,
    /// What the response takes of the stream's budget, to be given back with
    /// [`Hub::on_consumed`](crate::Hub::on_consumed) once it was sent.
    pub bytes: usize,
}

/// A `WatchResponse`, but for the parts of its header that do not concern watching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The watcher; -1 for a refused one, or for all watchers of the stream.
    pub watch_id: i64,
    /// The header's revision; 0 means that it stays 0 on the wire (it is not to be filled in).
    pub revision: i64,
    /// Answers a create request.
    pub created: bool,
    /// The watcher is gone, or was never made.
    pub canceled: bool,
    /// If the watcher asked for history that is gone: the oldest revision that is left.
    pub compact_revision: i64,
    /// Why the watcher is gone, where etcd says it.
    pub cancel_reason: Cow<'static, str>,
    /// More of this response follows.
    pub fragment: bool,
    /// The encoded events, shared with all other receivers.
    pub events: Arc<[Bytes]>,
}

/// The encoded size of a header apart from the revision, at most: two ids of ten bytes, a term of up to four, the tags.
const HEADER_BYTES: usize = 3 + 11 + 11 + 5;

impl Response {
    /// A response that only carries events.
    pub(crate) fn plain(watch_id: i64, revision: i64, events: Arc<[Bytes]>) -> Self {
        Self {
            watch_id,
            revision,
            created: false,
            canceled: false,
            compact_revision: 0,
            cancel_reason: Cow::Borrowed(""),
            fragment: false,
            events,
        }
    }

    /// The size of the encoded response, give or take the few bytes by which the ids in its header vary.
    pub(crate) fn encoded_len(&self) -> usize {
        let events: usize = self.events.iter().map(event_len).sum();
        self.encoded_len_without_events() + events
    }

    pub(crate) fn encoded_len_without_events(&self) -> usize {
        let reason = match self.cancel_reason.len() {
            0 => 0,
            len => 1 + varint_len(len as u64) + len,
        };
        plain_len(self.watch_id, self.revision)
            + field_len(self.compact_revision)
            + 2 * (usize::from(self.created) + usize::from(self.canceled) + usize::from(self.fragment))
            + reason
    }
}

/// The size of a response that carries nothing but its events, without them.
pub(crate) fn plain_len(watch_id: i64, revision: i64) -> usize {
    HEADER_BYTES + field_len(revision) + field_len(watch_id)
}

/// What an event adds to an encoded response: its tag, its length and itself.
pub(crate) fn event_len(event: &Bytes) -> usize {
    1 + varint_len(event.len() as u64) + event.len()
}

/// The encoded size of an integer field, which is absent if it is 0.
fn field_len(value: i64) -> usize {
    match value {
        0 => 0,
        value => 1 + varint_len(value.cast_unsigned()),
    }
}

fn varint_len(value: u64) -> usize {
    let bits = (64 - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_grow_by_a_byte_every_seven_bits() {
        for (value, len) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            assert_eq!(varint_len(value), len, "{value}");
        }
    }

    #[test]
    fn a_response_is_as_large_as_its_fields() {
        let mut response = Response { watch_id: 1, revision: 300, ..Response::default() };
        assert_eq!(response.encoded_len(), HEADER_BYTES + 3 + 2);
        response.events = [Bytes::from_static(b"12345"), Bytes::from(alloc::vec![0; 200])].into();
        assert_eq!(response.encoded_len(), HEADER_BYTES + 3 + 2 + 7 + 203);
        response.fragment = true;
        assert_eq!(response.encoded_len(), HEADER_BYTES + 3 + 2 + 7 + 203 + 2);
        let canceled =
            Response { watch_id: -1, canceled: true, cancel_reason: "why".into(), ..Response::default() };
        assert_eq!(canceled.encoded_len(), HEADER_BYTES + 11 + 2 + 5);
    }
}
