//! The head of a request, checked (RFC 9113, section 8.1 to 8.3).

use bytes::Bytes;

use super::hpack::{DecodeError, Decoder};

/// The head of a well-formed request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: Bytes,
    pub(crate) path: Bytes,
    /// As the client wrote it: old gRPC clients put a whole URL here.
    pub(crate) authority: Bytes,
    /// All other fields in order.
    pub(crate) fields: Vec<(Bytes, Bytes)>,
    /// What `content-length` announces.
    pub(super) content_length: Option<u64>,
}

impl RequestHead {
    /// The value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(known, _)| known == name.as_bytes());
        found.map(|(_, value)| &value[..])
    }
}

/// What a header block of a client turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Well-formed.
    Fine(RequestHead),
    /// It breaks a rule.
    Malformed,
    /// There is more of it than is taken.
    TooLarge,
}

/// Reads the block that opens a stream.
///
/// # Errors
///
/// When the bytes are no block.
pub(super) fn read_request(decoder: &mut Decoder, block: &[u8]) -> Result<Block, DecodeError> {
    let mut reading = Reading::default();
    reading.head.fields.reserve(8);
    if !decoder.decode(block, |name, value| reading.on_field(name, value))? {
        return Ok(Block::TooLarge);
    }
    Ok(reading.finish())
}

/// Reads the block that ends a request; `false` if it breaks a rule. Its fields mean nothing here.
///
/// # Errors
///
/// When the bytes are no block.
pub(super) fn read_trailers(decoder: &mut Decoder, block: &[u8]) -> Result<bool, DecodeError> {
    let mut is_fine = true;
    let is_whole = decoder.decode(block, |name, value| {
        is_fine &= name.first() != Some(&b':') && is_regular(&name, &value);
    })?;
    Ok(is_fine && is_whole)
}

#[derive(Default)]
struct Reading {
    head: RequestHead,
    scheme: Option<Bytes>,
    method: Option<Bytes>,
    path: Option<Bytes>,
    authority: Option<Bytes>,
    is_malformed: bool,
}

impl Reading {
    fn on_field(&mut self, name: Bytes, value: Bytes) {
        if name.first() == Some(&b':') {
            return self.on_pseudo(&name, value);
        }
        self.is_malformed |= !is_regular(&name, &value);
        if &name[..] == b"content-length" {
            let length = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            let others = self.head.content_length;
            self.is_malformed |= length.is_none() || others.is_some_and(|other| Some(other) != length);
            self.head.content_length = length;
        }
        self.head.fields.push((name, value));
    }

    fn on_pseudo(&mut self, name: &[u8], value: Bytes) {
        self.is_malformed |= !self.head.fields.is_empty() || !is_value(&value);
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":path" => &mut self.path,
            b":authority" => &mut self.authority,
            _ => {
                self.is_malformed = true;
                return;
            }
        };
        self.is_malformed |= place.replace(value).is_some();
    }

    fn finish(self) -> Block {
        let Self { mut head, scheme, method: Some(method), path: Some(path), authority, is_malformed } = self
        else {
            return Block::Malformed;
        };
        if is_malformed || scheme.is_none() || path.is_empty() || method.is_empty() {
            return Block::Malformed;
        }
        head.method = method;
        head.path = path;
        head.authority = authority.unwrap_or_default();
        Block::Fine(head)
    }
}

/// Whether a field may stand in a request: a name in small letters, nothing that is about the connection.
fn is_regular(name: &[u8], value: &[u8]) -> bool {
    let is_about_connection = matches!(
        name,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
    );
    let is_te = name == b"te" && value != b"trailers";
    !name.is_empty() && !is_about_connection && !is_te && name.iter().all(is_name_byte) && is_value(value)
}

fn is_name_byte(byte: &u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
        | b'^' | b'_' | b'`' | b'|' | b'~')
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}
