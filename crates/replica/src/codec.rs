//! The encoding of a watch event around a record that is already encoded.

use bytes::{BufMut, Bytes, BytesMut};
use etched_mvcc::ChangeKind;

/// `mvccpb.Event`: type = 1 (left out for a put, which is zero), kv = 2, prev_kv = 3.
const TYPE_DELETE: [u8; 2] = [0x08, 1];
const KV_TAG: u8 = 0x12;
const PREV_KV_TAG: u8 = 0x1a;

/// Encodes an event; `record` and `previous` are encoded key-values.
pub(crate) fn encode_event(kind: ChangeKind, record: &Bytes, previous: Option<&Bytes>) -> Bytes {
    let previous_len = previous.map_or(0, |previous| previous.len() + 11);
    let mut buffer = BytesMut::with_capacity(2 + record.len() + 11 + previous_len);
    match kind {
        ChangeKind::Put => {}
        ChangeKind::Delete => buffer.put_slice(&TYPE_DELETE),
    }
    put_message(&mut buffer, KV_TAG, record);
    if let Some(previous) = previous {
        put_message(&mut buffer, PREV_KV_TAG, previous);
    }
    buffer.freeze()
}

fn put_message(buffer: &mut BytesMut, tag: u8, message: &Bytes) {
    buffer.put_u8(tag);
    let mut length = message.len() as u64;
    while length >= 0x80 {
        buffer.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    buffer.put_u8(u8::try_from(length).unwrap_or_default());
    buffer.put_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use etched_proto::mvccpb::{Event, KeyValue, event::EventType};
    use prost::Message;

    #[test]
    fn an_event_reads_back_as_the_message_it_stands_for() {
        let kv =
            KeyValue { key: "k".into(), value: vec![7; 300].into(), mod_revision: 3, ..KeyValue::default() };
        let prev = KeyValue { key: "k".into(), mod_revision: 2, ..KeyValue::default() };
        let (record, previous) = (Bytes::from(kv.encode_to_vec()), Bytes::from(prev.encode_to_vec()));
        for (kind, event_type) in [(ChangeKind::Put, EventType::Put), (ChangeKind::Delete, EventType::Delete)]
        {
            let expected =
                Event { r#type: event_type.into(), kv: Some(kv.clone()), prev_kv: Some(prev.clone()) };
            assert_eq!(encode_event(kind, &record, Some(&previous)), expected.encode_to_vec());
        }
    }
}
