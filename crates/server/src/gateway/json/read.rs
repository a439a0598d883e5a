//! A JSON value as an encoded message.
//!
//! The value was found by the scanner, so its form is right; what is left is whether it fits the message.
//! Fields that the message does not have are passed over, as etcd does.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};

use super::super::schema::{Field, Kind, MessageId, Schema};
use super::number;
use super::text::{self, StringError};

/// Nesting of messages; the services accept less.
const DEPTH_MAX: usize = 256;

/// Encodes the JSON object `json` as a message.
///
/// # Errors
///
/// What does not fit, in the words of Go's library.
pub(crate) fn to_wire(schema: &Schema, message: MessageId, json: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader { schema, json, at: 0, depth: 0 };
    let mut out = Vec::with_capacity(json.len());
    reader.message(message, &mut out)?;
    Ok(out)
}

/// One value before it is converted.
#[derive(Debug)]
enum Token<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    Open,
}

/// A value as it goes to the wire.
enum Value<'a> {
    Number(u64),
    Bytes(Cow<'a, [u8]>),
    Nothing,
}

struct Reader<'a> {
    schema: &'a Schema,
    json: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn message(&mut self, id: MessageId, out: &mut Vec<u8>) -> Result<(), String> {
        let start = self.peek_at();
        if self.json.get(start) != Some(&b'{') {
            return Err(self.unexpected(start));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("proto: exceeded maximum recursion depth".to_owned());
        }
        self.at = start + 1;
        let described = self.schema.message(id);
        let mut seen = vec![false; described.fields.len()];
        let mut seen_groups = vec![false; described.oneofs.len()];
        while !self.skip_if(b'}') {
            self.skip_if(b',');
            let name_at = self.peek_at();
            let name = self.string()?;
            let raw_name = &self.json[name_at..self.at];
            self.skip_if(b':');
            let Some(position) = described.by_name(&name) else {
                self.pass_over()?;
                continue;
            };
            if std::mem::replace(&mut seen[position], true) {
                return Err(self.error(name_at, &format!("duplicate field {}", lossy(raw_name))));
            }
            if self.skip_null() {
                continue;
            }
            let field = &described.fields[position];
            if field.is_repeated {
                self.list(field, out)?;
                continue;
            }
            if let Some(group) = field.oneof
                && std::mem::replace(&mut seen_groups[group], true)
            {
                let group = format!("{}.{}", described.name, described.oneofs[group]);
                let text = format!("error parsing {}, oneof {group} is already set", lossy(raw_name));
                return Err(self.error(name_at, &text));
            }
            self.single(field, out)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn list(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<(), String> {
        let start = self.peek_at();
        if self.json.get(start) != Some(&b'[') {
            return Err(self.unexpected(start));
        }
        self.at = start + 1;
        while !self.skip_if(b']') {
            self.skip_if(b',');
            self.single(field, out)?;
        }
        Ok(())
    }

    /// One value of a field.
    fn single(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<(), String> {
        let number = field.number;
        if let Kind::Message(id) = field.kind {
            let mut inner = Vec::new();
            self.message(id, &mut inner)?;
            encode_bytes(number, &inner, out);
            return Ok(());
        }
        let start = self.peek_at();
        let token = self.token()?;
        // Zeros count only where it is seen whether a field is set.
        let is_kept = |is_zero: bool| !is_zero || field.oneof.is_some() || field.is_repeated;
        match convert(self.schema, field.kind, &token) {
            Some(Value::Number(value)) => {
                if is_kept(value == 0) {
                    encode_key(number, WireType::Varint, out);
                    encode_varint(value, out);
                }
                return Ok(());
            }
            Some(Value::Bytes(value)) => {
                if is_kept(value.is_empty()) {
                    encode_bytes(number, &value, out);
                }
                return Ok(());
            }
            Some(Value::Nothing) => return Ok(()),
            None => {}
        }
        let raw = match token {
            Token::Open => lossy(&self.json[start..=start]),
            Token::Null | Token::Bool(_) | Token::Number(_) | Token::String(_) => {
                lossy(&self.json[start..self.at])
            }
        };
        let text = format!("invalid value for {} field {}: {raw}", kind_name(field.kind), field.json_name);
        Err(self.error(start, &text))
    }

    // === values ===

    /// Reads a value that is neither object nor list; of those, nothing but the beginning.
    fn token(&mut self) -> Result<Token<'a>, String> {
        let start = self.peek_at();
        Ok(match self.json.get(start) {
            Some(b'"') => Token::String(self.string()?),
            Some(b'{' | b'[') | None => Token::Open,
            Some(_) => {
                let word = self.word();
                match word {
                    "null" => Token::Null,
                    "true" => Token::Bool(true),
                    "false" => Token::Bool(false),
                    number => Token::Number(number),
                }
            }
        })
    }

    /// A number or a word, up to what ends it.
    fn word(&mut self) -> &'a str {
        let start = self.peek_at();
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = self.json[start..].iter().take_while(is_part).count();
        self.at = start + length;
        std::str::from_utf8(&self.json[start..self.at]).unwrap_or_default()
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let start = self.peek_at();
        match text::read(&self.json[start..]) {
            Ok((text, length)) => {
                self.at = start + length;
                Ok(text)
            }
            Err(StringError::NotUtf8) => Err(self.syntax_error(start, "invalid UTF-8 in string")),
            Err(StringError::Escape(escape)) => {
                Err(self
                    .syntax_error(start, &format!("invalid escape code {} in string", text::quoted(&escape))))
            }
            Err(StringError::End) => Err("proto: unexpected EOF".to_owned()),
        }
    }

    /// Passes over a value of any kind, whose strings must be good all the same.
    fn pass_over(&mut self) -> Result<(), String> {
        let mut open: usize = 0;
        loop {
            let start = self.peek_at();
            match self.json.get(start) {
                Some(b'"') => drop(self.string()?),
                Some(b'{' | b'[') => {
                    self.at = start + 1;
                    open += 1;
                }
                Some(b'}' | b']') => {
                    self.at = start + 1;
                    open = open.saturating_sub(1);
                }
                Some(b',' | b':') => self.at = start + 1,
                Some(_) => drop(self.word()),
                None => return Ok(()),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    // === places ===

    /// Passes over white space.
    fn peek_at(&mut self) -> usize {
        while self.json.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.at
    }

    fn skip_if(&mut self, byte: u8) -> bool {
        let at = self.peek_at();
        let is_there = self.json.get(at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn skip_null(&mut self) -> bool {
        let at = self.peek_at();
        let is_there = self.json[at..].starts_with(b"null");
        self.at += if is_there { 4 } else { 0 };
        is_there
    }

    // === errors ===

    fn unexpected(&mut self, start: usize) -> String {
        self.at = start;
        match self.token() {
            Err(error) => error,
            Ok(Token::Open) => {
                let raw = self.json.get(start).copied().map(char::from).unwrap_or_default();
                self.syntax_error(start, &format!("unexpected token {raw}"))
            }
            Ok(Token::Null | Token::Bool(_) | Token::Number(_) | Token::String(_)) => {
                let raw = lossy(&self.json[start..self.at]);
                self.syntax_error(start, &format!("unexpected token {raw}"))
            }
        }
    }

    fn syntax_error(&self, at: usize, text: &str) -> String {
        let (line, column) = self.place(at);
        format!("proto: syntax error (line {line}:{column}): {text}")
    }

    fn error(&self, at: usize, text: &str) -> String {
        let (line, column) = self.place(at);
        format!("proto: (line {line}:{column}): {text}")
    }

    /// Line and column, both from 1; a column is a character.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.json[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
    }
}

/// What a token is on the wire; `None` if it does not fit.
fn convert<'t>(schema: &Schema, kind: Kind, token: &'t Token<'_>) -> Option<Value<'t>> {
    let number = |value: i64| Value::Number(value.cast_unsigned());
    match (kind, token) {
        (Kind::Bool, Token::Bool(value)) => Some(Value::Number(u64::from(*value))),
        (Kind::Int32, _) => i32::try_from(integer(token)?).ok().map(|value| number(i64::from(value))),
        (Kind::Int64, _) => i64::try_from(integer(token)?).ok().map(number),
        (Kind::Uint32, _) => u32::try_from(integer(token)?).ok().map(|value| Value::Number(u64::from(value))),
        (Kind::Uint64, _) => u64::try_from(integer(token)?).ok().map(Value::Number),
        // A name that is not known is passed over, as is a field that is not.
        (Kind::Enum(id), Token::String(name)) => Some(match schema.enumeration(id).number(name) {
            Some(value) => number(i64::from(value)),
            None => Value::Nothing,
        }),
        (Kind::Enum(_), Token::Number(value)) => {
            let value = number::integer(value).and_then(|value| i32::try_from(value).ok());
            value.map(|value| number(i64::from(value)))
        }
        (Kind::String, Token::String(value)) => Some(Value::Bytes(Cow::Borrowed(value.as_bytes()))),
        (Kind::Bytes, Token::String(value)) => {
            base64_bytes(value).map(|value| Value::Bytes(Cow::Owned(value)))
        }
        (Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_), _) => None,
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Enum(_) => "enum",
        Kind::Message(_) => "message",
    }
}

fn encode_bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// An integer as a number or as a string that begins with one.
fn integer(token: &Token<'_>) -> Option<i128> {
    match token {
        Token::Number(value) => number::integer(value),
        Token::String(value) => {
            let is_trimmed = value.trim().len() == value.len();
            if is_trimmed { number::leading(value).and_then(number::integer) } else { None }
        }
        Token::Null | Token::Bool(_) | Token::Open => None,
    }
}

const fn engine(alphabet: &Alphabet, padding: DecodePaddingMode) -> GeneralPurpose {
    let config =
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(padding);
    GeneralPurpose::new(alphabet, config)
}

const PADDED: GeneralPurpose = engine(&STANDARD, DecodePaddingMode::RequireCanonical);
const UNPADDED: GeneralPurpose = engine(&STANDARD, DecodePaddingMode::RequireNone);
const URL_PADDED: GeneralPurpose = engine(&URL_SAFE, DecodePaddingMode::RequireCanonical);
const URL_UNPADDED: GeneralPurpose = engine(&URL_SAFE, DecodePaddingMode::RequireNone);

/// Bytes as Base64: both alphabets, with padding where the length is a multiple of four, and line ends anywhere.
pub(crate) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let engine = match (text.contains(['-', '_']), text.len().is_multiple_of(4)) {
        (false, true) => &PADDED,
        (false, false) => &UNPADDED,
        (true, true) => &URL_PADDED,
        (true, false) => &URL_UNPADDED,
    };
    if text.contains(['\r', '\n']) {
        return engine.decode(text.replace(['\r', '\n'], "")).ok();
    }
    engine.decode(text).ok()
}
