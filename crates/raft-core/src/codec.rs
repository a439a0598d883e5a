//! The bytes of messages, configurations and configuration changes: etcd's `raftpb`, by hand.
//!
//! Fields and numbers (v = varint, b = length and bytes, m = a nested message in the same form as bytes):
//!
//! ```text
//! Message          1 type v   2 to v      3 from v     4 term v       5 logTerm v   6 index v     7 entries m*
//!                  8 commit v 9 snapshot m 10 reject v 11 rejectHint v 12 context b  13 vote v     14 responses m*
//! Entry            1 type v   2 term v    3 index v    4 data b
//! Snapshot         1 data b   2 metadata m
//! SnapshotMetadata 1 confState m          2 index v    3 term v
//! ConfState        1 voters v* 2 learners v* 3 votersOutgoing v* 4 learnersNext v* 5 autoLeave v
//! ConfChange       1 id v     2 type v    3 nodeID v   4 context b
//! ConfChangeV2     1 transition v         2 changes m* 3 context b
//! ConfChangeSingle 1 type v   2 nodeID v
//! ```
//!
//! A field that is absent is zero, and a field that is zero is not written.
//! Fields of other numbers are skipped, groups are refused, repeated numbers may be packed or not.
//! Fields 13 and 14 of a message are never sent between members and are skipped.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{ConfState, Entry, EntryKind};

/// Why bytes are not what they should be.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end within a field.
    #[error("the bytes end within a field")]
    Truncated,
    /// A number is longer than ten bytes, or larger than fits.
    #[error("a number is out of range")]
    NumberOutOfRange,
    /// A field has a number or a form that cannot be.
    #[error("field {0} has the wrong form")]
    WrongForm(u32),
    /// A kind of entry, message or change that is not known.
    #[error("{what} of type {number} is not known")]
    UnknownType {
        /// What it is a type of.
        what: &'static str,
        /// The number that was found.
        number: u64,
    },
    /// A message of etcd's that members never send to each other, or that this implementation does not have.
    #[error("a message of etcd's type {0} is not for members")]
    UnsupportedMessage(&'static str),
}

/// The value of one field.
pub(crate) enum Value {
    Number(u64),
    Bytes(Bytes),
    /// Four or eight bytes; no field of ours has this form.
    Fixed,
}

/// Reads the fields of one message, in the order in which they stand.
pub(crate) struct Fields {
    rest: Bytes,
}

impl Fields {
    pub(crate) fn new(bytes: &Bytes) -> Self {
        Self { rest: bytes.clone() }
    }

    /// The next field, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| DecodeError::NumberOutOfRange)?;
        if field == 0 {
            return Err(DecodeError::WrongForm(0));
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| DecodeError::Truncated)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(DecodeError::WrongForm(field)),
        };
        Ok(Some((field, value)))
    }

    fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for (position, byte) in self.rest.iter().enumerate() {
            if position == 10 || (position == 9 && *byte > 1) {
                return Err(DecodeError::NumberOutOfRange);
            }
            number |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                self.rest = self.rest.split_off(position + 1);
                return Ok(number);
            }
        }
        Err(DecodeError::Truncated)
    }
}

impl Value {
    pub(crate) fn number(self, field: u32) -> Result<u64, DecodeError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) | Self::Fixed => Err(DecodeError::WrongForm(field)),
        }
    }

    pub(crate) fn bytes(self, field: u32) -> Result<Bytes, DecodeError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(DecodeError::WrongForm(field)),
        }
    }

    /// Adds one number, or the many of a packed field.
    fn numbers(self, field: u32, into: &mut Vec<u64>) -> Result<(), DecodeError> {
        match self {
            Self::Number(number) => into.push(number),
            Self::Bytes(bytes) => {
                let mut packed = Fields { rest: bytes };
                while !packed.rest.is_empty() {
                    into.push(packed.varint()?);
                }
            }
            Self::Fixed => return Err(DecodeError::WrongForm(field)),
        }
        Ok(())
    }
}

/// Writes the fields of a message.
#[derive(Default)]
pub(crate) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes) }
    }

    /// Writes a number, unless it is zero.
    pub(crate) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.repeated_number(field, number);
        }
    }

    /// Writes bytes, unless there are none.
    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.message(field, bytes);
        }
    }

    /// Writes a nested message, even an empty one.
    pub(crate) fn message(&mut self, field: u32, bytes: &[u8]) {
        self.open_message(field, bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Writes the head of a nested message whose `len` bytes of fields follow.
    pub(crate) fn open_message(&mut self, field: u32, len: usize) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(len as u64);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.out.freeze()
    }

    fn repeated_number(&mut self, field: u32, number: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(number);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.put_u8(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.out.put_u8(number.to_le_bytes()[0]);
    }
}

/// How many bytes a number takes.
fn varint_len(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// How many bytes the field of a number takes; none if it is zero. The field's own number is below 16.
fn number_field_len(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number) }
}

/// How many bytes [`write_entry`] writes.
pub(crate) fn entry_len(kind: EntryKind, term: u64, index: u64, data: &[u8]) -> usize {
    let data_len = if data.is_empty() { 0 } else { 1 + varint_len(data.len() as u64) + data.len() };
    number_field_len(kind.number()) + number_field_len(term) + number_field_len(index) + data_len
}

pub(crate) fn write_entry(writer: &mut Writer, kind: EntryKind, term: u64, index: u64, data: &[u8]) {
    writer.number(1, kind.number());
    writer.number(2, term);
    writer.number(3, index);
    writer.bytes(4, data);
}

pub(crate) fn read_entry(bytes: &Bytes) -> Result<Entry, DecodeError> {
    let mut entry = Entry { term: 0, index: 0, kind: EntryKind::Normal, data: Bytes::new() };
    let mut fields = Fields::new(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => {
                let number = value.number(field)?;
                let kind = EntryKind::from_number(number);
                entry.kind = kind.ok_or(DecodeError::UnknownType { what: "an entry", number })?;
            }
            2 => entry.term = value.number(field)?,
            3 => entry.index = value.number(field)?,
            4 => entry.data = value.bytes(field)?,
            _ => {}
        }
    }
    Ok(entry)
}

impl ConfState {
    /// The bytes of etcd's `raftpb.ConfState`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        for (field, ids) in (1..).zip(lists) {
            for id in ids {
                writer.repeated_number(field, *id);
            }
        }
        // Written even if it is not set, as etcd has always done.
        writer.repeated_number(5, u64::from(self.auto_leave));
        writer.finish()
    }

    /// Reads the bytes of etcd's `raftpb.ConfState`.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut conf_state = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => value.numbers(field, &mut conf_state.voters)?,
                2 => value.numbers(field, &mut conf_state.learners)?,
                3 => value.numbers(field, &mut conf_state.voters_outgoing)?,
                4 => value.numbers(field, &mut conf_state.learners_next)?,
                5 => conf_state.auto_leave = value.number(field)? != 0,
                _ => {}
            }
        }
        Ok(conf_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        for number in [1, 127, 128, 1 << 14, (1 << 21) - 1, u64::MAX >> 1, u64::MAX] {
            let mut writer = Writer::default();
            writer.number(3, number);
            let bytes = writer.finish();
            assert_eq!(bytes.len(), number_field_len(number), "{number}");
            let (field, value) = Fields::new(&bytes).next().unwrap().unwrap();
            assert_eq!((field, value.number(3).unwrap()), (3, number));
        }
    }

    #[test]
    fn broken_bytes_are_told_apart() {
        let check = |bytes: &'static [u8], expected: DecodeError| {
            assert_eq!(read_entry(&Bytes::from_static(bytes)), Err(expected));
        };
        check(&[0x10], DecodeError::Truncated);
        check(&[0x10, 0x80], DecodeError::Truncated);
        check(&[0x22, 5, 1], DecodeError::Truncated);
        check(&[0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], DecodeError::Truncated);
        check(&[0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], DecodeError::NumberOutOfRange);
        check(&[0x02, 0], DecodeError::WrongForm(0));
        check(&[0x13, 0x14], DecodeError::WrongForm(2));
        check(&[0x12, 0], DecodeError::WrongForm(2));
        check(&[0x15, 0, 0, 0, 0], DecodeError::WrongForm(2));
        check(&[0x08, 3], DecodeError::UnknownType { what: "an entry", number: 3 });
    }

    #[test]
    fn fields_of_other_numbers_are_skipped() {
        let bytes =
            Bytes::from_static(&[0x7d, 1, 2, 3, 4, 0x10, 9, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x7a, 1, 0]);
        assert_eq!(read_entry(&bytes).unwrap().term, 9);
    }

    #[test]
    fn a_configuration_is_read_packed_and_unpacked() {
        let conf_state = ConfState {
            voters: vec![1, 0x9999_9999_9999_9999],
            learners: vec![3],
            voters_outgoing: vec![1, 4],
            learners_next: vec![4],
            auto_leave: true,
        };
        assert_eq!(ConfState::decode(&conf_state.encode()).unwrap(), conf_state);

        let packed = Bytes::from_static(&[0x0a, 3, 1, 0x80, 1, 0x28, 0]);
        assert_eq!(ConfState::decode(&packed).unwrap(), ConfState::of_voters([1, 128]));
    }
}
