//! Reading and writing protobuf fields by hand.
//!
//! The generated form of `InternalRaftRequest` has thirty optional messages; the hot commands need one of them.
//! So fields are read straight into commands, sharing the entry's buffer, and written back to front: the length of a
//! nested message is then known when its head is written, in one pass.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::DecodeError;

/// The fields of one message, in the order in which they stand.
#[derive(Copy, Clone)]
pub(super) struct Fields<'a> {
    /// The name of the message, for errors.
    message: &'static str,
    whole: &'a Bytes,
    rest: &'a [u8],
}

/// A field, with the message it stands in.
#[derive(Copy, Clone)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    message: &'static str,
    whole: &'a Bytes,
    value: Value<'a>,
}

#[derive(Copy, Clone)]
enum Value<'a> {
    Varint(u64),
    Delimited(&'a [u8]),
    /// Of a fixed width, or a group: no message of the log has such a field.
    Foreign,
}

impl<'a> Fields<'a> {
    /// The fields of a message that is all of `whole`.
    pub(super) fn new(message: &'static str, whole: &'a Bytes) -> Self {
        Self { message, whole, rest: whole }
    }

    /// The next field; none at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| DecodeError::Malformed)?;
        if number == 0 {
            return Err(DecodeError::Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)?;
                let (value, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Malformed)?;
                self.rest = rest;
                Value::Delimited(value)
            }
            _ => Value::Foreign,
        };
        Ok(Some(Field { number, message: self.message, whole: self.whole, value }))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        // Nearly all tags and lengths are one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok((*byte).into());
        }
        let mut value = 0;
        for position in 0..10 {
            let (&byte, rest) = self.rest.split_first().ok_or(DecodeError::Malformed)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if position == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed)
    }
}

impl<'a> Field<'a> {
    /// The error for a field that the message should not have.
    pub(super) fn unknown<T>(self) -> Result<T, DecodeError> {
        Err(DecodeError::UnknownField { message: self.message, field: self.number })
    }

    pub(super) fn u64(self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            Value::Delimited(_) | Value::Foreign => self.unknown(),
        }
    }

    pub(super) fn i64(self) -> Result<i64, DecodeError> {
        Ok(self.u64()?.cast_signed())
    }

    /// A number of 32 bits; the higher ones are dropped, as protobuf demands.
    #[expect(clippy::cast_possible_truncation, reason = "protobuf drops the high bits")]
    pub(super) fn i32(self) -> Result<i32, DecodeError> {
        Ok(self.u64()? as i32)
    }

    pub(super) fn bool(self) -> Result<bool, DecodeError> {
        Ok(self.u64()? != 0)
    }

    pub(super) fn slice(self) -> Result<&'a [u8], DecodeError> {
        match self.value {
            Value::Delimited(value) => Ok(value),
            Value::Varint(_) | Value::Foreign => self.unknown(),
        }
    }

    /// The bytes, sharing the buffer that they stand in.
    pub(super) fn bytes(self) -> Result<Bytes, DecodeError> {
        Ok(self.whole.slice_ref(self.slice()?))
    }

    pub(super) fn string(self) -> Result<String, DecodeError> {
        match core::str::from_utf8(self.slice()?) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(DecodeError::Malformed),
        }
    }

    /// The fields of a nested message.
    pub(super) fn fields(self, message: &'static str) -> Result<Fields<'a>, DecodeError> {
        Ok(Fields { message, whole: self.whole, rest: self.slice()? })
    }
}

/// A message under construction, from its last byte to its first.
pub(super) struct Backward {
    /// What is written so far fills the end.
    buffer: Vec<u8>,
    start: usize,
}

/// A place in a message, measured from its end.
#[derive(Copy, Clone)]
pub(super) struct Mark(usize);

impl Backward {
    /// `capacity` is a guess at the message's size, in bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { buffer: alloc::vec![0; capacity], start: capacity }
    }

    /// The finished message.
    pub(super) fn finish(self) -> Bytes {
        let len = self.len();
        // Entries live as long as the log needs them: a bad guess must not cost memory all that time.
        if self.start > 128 + len / 4 {
            return Bytes::copy_from_slice(&self.buffer[self.start..]);
        }
        let mut message = Bytes::from(self.buffer);
        message.advance(self.start);
        message
    }

    fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn prepend(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            let added = self.buffer.len().max(bytes.len());
            let mut larger = alloc::vec![0; self.buffer.len() + added];
            larger[added + self.start..].copy_from_slice(&self.buffer[self.start..]);
            self.start += added;
            self.buffer = larger;
        }
        let end = self.start;
        self.start -= bytes.len();
        self.buffer[self.start..end].copy_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        let mut bytes = [0; 10];
        let mut len = 0;
        loop {
            let low = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            bytes[len] = if value == 0 { low } else { low | 0x80 };
            len += 1;
            if value == 0 {
                break;
            }
        }
        self.prepend(&bytes[..len]);
    }

    fn head(&mut self, number: u32, wire_type: u64) {
        self.varint(u64::from(number) << 3 | wire_type);
    }

    /// Where the end of a nested message will be: what is written from here belongs to it.
    pub(super) fn open(&self) -> Mark {
        Mark(self.len())
    }

    /// Closes the nested message opened at `mark`, as field `number`.
    pub(super) fn close(&mut self, number: u32, mark: Mark) {
        let len = self.len() - mark.0;
        self.varint(len as u64);
        self.head(number, 2);
    }

    /// A number that is left out when it is zero.
    pub(super) fn u64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.u64_present(number, value);
        }
    }

    /// A number that is written even if it is zero: a member of a oneof.
    pub(super) fn u64_present(&mut self, number: u32, value: u64) {
        self.varint(value);
        self.head(number, 0);
    }

    pub(super) fn i64(&mut self, number: u32, value: i64) {
        self.u64(number, value.cast_unsigned());
    }

    /// Negative numbers are widened to 64 bits, as protobuf demands.
    pub(super) fn i32(&mut self, number: u32, value: i32) {
        self.i64(number, value.into());
    }

    pub(super) fn bool(&mut self, number: u32, value: bool) {
        self.u64(number, value.into());
    }

    /// Bytes or a text, left out when empty.
    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_present(number, value);
        }
    }

    /// Bytes or a text that are written even if empty: a member of a oneof, or of a list.
    pub(super) fn bytes_present(&mut self, number: u32, value: &[u8]) {
        self.prepend(value);
        self.varint(value.len() as u64);
        self.head(number, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_backward_is_read_forward() {
        for capacity in [0, 7, 1000] {
            let mut writer = Backward::with_capacity(capacity);
            writer.bool(9, true);
            let outer = writer.open();
            writer.i64(2, -1);
            writer.bytes(1, b"key");
            writer.close(4, outer);
            writer.u64(3, 0);
            writer.i32(2, -2);
            writer.u64_present(1, 0);
            let bytes = writer.finish();

            let mut fields = Fields::new("Test", &bytes);
            let field = fields.next().unwrap().unwrap();
            assert_eq!((field.number, field.u64().unwrap()), (1, 0));
            let field = fields.next().unwrap().unwrap();
            assert_eq!((field.number, field.i32().unwrap()), (2, -2));
            let mut nested = fields.next().unwrap().unwrap().fields("Nested").unwrap();
            assert_eq!(nested.next().unwrap().unwrap().bytes().unwrap(), "key");
            assert_eq!(nested.next().unwrap().unwrap().i64().unwrap(), -1);
            assert!(nested.next().unwrap().is_none());
            assert!(fields.next().unwrap().unwrap().bool().unwrap());
            assert!(fields.next().unwrap().is_none());
        }
    }

    #[test]
    fn broken_fields_are_errors() {
        let broken: [&'static [u8]; 6] = [
            &[0x80],
            &[0x00],
            &[0x08],
            &[0x0a, 5, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        for bytes in broken {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(Fields::new("Test", &bytes).next().err(), Some(DecodeError::Malformed), "{bytes:?}");
        }
        let fixed = Bytes::from_static(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0]);
        let field = Fields::new("Test", &fixed).next().unwrap().unwrap();
        assert_eq!(field.u64(), Err(DecodeError::UnknownField { message: "Test", field: 1 }));
    }
}
