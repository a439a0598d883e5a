//! Messages written field by field, as an enemy would.

use etched_raft_core::{ConfState, Message, MessageKind};

/// The bytes of a message, one field after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forged(pub(crate) Vec<u8>);

impl Forged {
    pub(crate) fn new(kind: MessageKind, from: u64, term: u64) -> Self {
        Self::default().number(1, kind.number()).number(2, 1).number(3, from).number(4, term)
    }

    pub(crate) fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn entry(self, kind: u64, term: u64, index: u64, data: &[u8]) -> Self {
        let entry = Self::default().number(1, kind).number(2, term).number(3, index).bytes(4, data);
        self.bytes(7, &entry.0)
    }

    pub(crate) fn snapshot(self, index: u64, term: u64, conf_state: &ConfState) -> Self {
        let metadata = Self::default().bytes(1, &conf_state.encode()).number(2, index).number(3, term);
        let snapshot = Self::default().bytes(2, &metadata.0);
        self.bytes(9, &snapshot.0)
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(crate) fn message(self) -> Message {
        Message::decode(&self.0.into()).unwrap()
    }
}
