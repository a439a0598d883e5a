//! An encoded message as JSON: fields in the order of their declaration, under the names of the declaration, and none
//! that is zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::super::schema::{Field, Kind, MessageId, Schema};
use super::text;

/// Whether characters that mean something in HTML are escaped, as they are in the messages of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Nothing but what JSON wants.
    Json,
    /// `<`, `>` and `&` too.
    Html,
}

/// An encoded message is none, or not of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an encoded message cannot be read")]
pub(crate) struct WireError;

impl From<prost::DecodeError> for WireError {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

/// Writes the message at the end of `out`.
///
/// # Errors
///
/// When the bytes are no message; then `out` holds a part of it.
pub(crate) fn to_json(
    schema: &Schema,
    message: MessageId,
    wire: &[u8],
    escape: Escape,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    Writer { schema, escape, out }.message(message, wire)
}

/// A value on the wire.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn is_zero(self) -> bool {
        match self {
            Self::Number(number) => number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

struct Writer<'a, 'o> {
    schema: &'a Schema,
    escape: Escape,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_> {
    fn message(&mut self, id: MessageId, wire: &[u8]) -> Result<(), WireError> {
        let schema = self.schema;
        let described = schema.message(id);
        let mut values = Vec::new();
        let mut rest = wire;
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest)?;
            let Some(position) = described.by_number(number) else {
                skip_field(wire_type, number, &mut rest, DecodeContext::default())?;
                continue;
            };
            read(&described.fields[position], position, wire_type, &mut rest, &mut values)?;
        }
        // Stable: elements of a list stay in their order.
        values.sort_by_key(|(position, _)| *position);
        self.out.push(b'{');
        let mut is_first = true;
        let mut at = 0;
        while let Some((position, first)) = values.get(at).copied() {
            let count = values[at..].iter().take_while(|(other, _)| *other == position).count();
            let field = &described.fields[position];
            let of_field = &values[at..at + count];
            at += count;
            let is_seen =
                field.is_repeated || field.oneof.is_some() || matches!(field.kind, Kind::Message(_));
            if count == 1 && !is_seen && first.is_zero() {
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(field.name.as_bytes());
            self.out.extend_from_slice(b"\":");
            if field.is_repeated {
                self.list(field.kind, of_field)?;
            } else if let Some((_, last)) = of_field.last() {
                self.value(field.kind, *last)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn list(&mut self, kind: Kind, values: &[(usize, Value<'_>)]) -> Result<(), WireError> {
        self.out.push(b'[');
        for (number, (_, value)) in values.iter().enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            self.value(kind, *value)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn value(&mut self, kind: Kind, value: Value<'_>) -> Result<(), WireError> {
        match (kind, value) {
            (Kind::Bool, Value::Number(number)) => self.plain(number != 0),
            #[expect(clippy::cast_possible_truncation, reason = "the wire has 64 bits of any integer")]
            (Kind::Int32, Value::Number(number)) => self.plain(number as i32),
            #[expect(clippy::cast_possible_truncation, reason = "the wire has 64 bits of any integer")]
            (Kind::Uint32, Value::Number(number)) => self.plain(number as u32),
            (Kind::Int64, Value::Number(number)) => self.plain(format_args!("\"{}\"", number.cast_signed())),
            (Kind::Uint64, Value::Number(number)) => self.plain(format_args!("\"{number}\"")),
            (Kind::Enum(id), Value::Number(number)) => {
                #[expect(clippy::cast_possible_truncation, reason = "the wire has 64 bits of any integer")]
                let number = number as i32;
                match self.schema.enumeration(id).value_name(number) {
                    Some(name) => self.plain(format_args!("\"{name}\"")),
                    None => self.plain(number),
                }
            }
            (Kind::String, Value::Bytes(bytes)) => {
                let string = std::str::from_utf8(bytes).map_err(|_| WireError)?;
                text::write(self.out, string, self.escape == Escape::Html);
            }
            (Kind::Bytes, Value::Bytes(bytes)) => self.base64(bytes)?,
            (Kind::Message(id), Value::Bytes(bytes)) => self.message(id, bytes)?,
            (Kind::String | Kind::Bytes | Kind::Message(_), Value::Number(_))
            | (
                Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_),
                Value::Bytes(_),
            ) => return Err(WireError),
        }
        Ok(())
    }

    fn plain(&mut self, value: impl std::fmt::Display) {
        use std::io::Write as _;
        // Writing to memory does not fail.
        let _ = write!(self.out, "{value}");
    }

    fn base64(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.out.push(b'"');
        let start = self.out.len();
        let length = base64::encoded_len(bytes.len(), true).ok_or(WireError)?;
        self.out.resize(start + length, 0);
        STANDARD.encode_slice(bytes, &mut self.out[start..]).map_err(|_| WireError)?;
        self.out.push(b'"');
        Ok(())
    }
}

/// Reads what a key announces: one value, or the many of a packed list.
fn read<'a>(
    field: &Field,
    position: usize,
    wire_type: WireType,
    rest: &mut &'a [u8],
    values: &mut Vec<(usize, Value<'a>)>,
) -> Result<(), WireError> {
    let is_text = match field.kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => true,
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_) => false,
    };
    match wire_type {
        WireType::Varint => values.push((position, Value::Number(decode_varint(rest)?))),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest)?).map_err(|_| WireError)?;
            let (mut bytes, _) = rest.split_at_checked(length).ok_or(WireError)?;
            rest.advance(length);
            if is_text {
                values.push((position, Value::Bytes(bytes)));
            } else {
                while !bytes.is_empty() {
                    values.push((position, Value::Number(decode_varint(&mut bytes)?)));
                }
            }
        }
        WireType::SixtyFourBit | WireType::StartGroup | WireType::EndGroup | WireType::ThirtyTwoBit => {
            return Err(WireError);
        }
    }
    Ok(())
}
