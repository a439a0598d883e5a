//! The frames of HTTP/2 (RFC 9113, section 4 and 6): their head, their flags, and what a server writes of them.
//!
//! ```text
//! length u24 | type u8 | flags u8 | reserved 1 bit, stream u31 | payload
//! ```

/// What every client's connection opens with.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before each frame's payload.
pub(super) const HEAD_LEN: usize = 9;
/// The largest payload that is received and sent; nobody is asked for more than the protocol's smallest limit.
pub(super) const PAYLOAD_MAX: usize = 16_384;
/// The largest window that flow control knows.
pub(super) const WINDOW_MAX: i64 = 0x7fff_ffff;
/// The window of a connection, and of a stream until settings say otherwise.
pub(super) const WINDOW_DEFAULT: u32 = 65_535;
/// The largest id of a stream.
pub(super) const STREAM_MAX: u32 = 0x7fff_ffff;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const FLAG_END_STREAM: u8 = 0x1;
pub(super) const FLAG_ACK: u8 = 0x1;
pub(super) const FLAG_END_HEADERS: u8 = 0x4;
pub(super) const FLAG_PADDED: u8 = 0x8;
pub(super) const FLAG_PRIORITY: u8 = 0x20;

pub(super) const SETTING_TABLE_SIZE: u16 = 1;
pub(super) const SETTING_PUSH: u16 = 2;
pub(super) const SETTING_STREAMS_MAX: u16 = 3;
pub(super) const SETTING_WINDOW: u16 = 4;
pub(super) const SETTING_PAYLOAD_MAX: u16 = 5;
pub(super) const SETTING_HEADERS_MAX: u16 = 6;

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorCode(pub(crate) u32);

impl ErrorCode {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(1);
    pub(crate) const INTERNAL_ERROR: Self = Self(2);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(crate) const REFUSED_STREAM: Self = Self(7);
    #[cfg(test)]
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// The nine bytes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn read(bytes: &[u8; HEAD_LEN]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Self { len, kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the head of a frame whose payload of `len` bytes follows.
pub(super) fn write_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    debug_assert!(len <= PAYLOAD_MAX, "a frame of {len} bytes");
    let [.., a, b, c] = (len as u64).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, s0, s1, s2, s3]);
}

/// Appends a WINDOW_UPDATE; stream 0 is the connection.
pub(super) fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends SETTINGS with the given values.
pub(super) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a PING or, with [`FLAG_ACK`], the answer to one.
pub(super) fn write_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    write_head(out, 8, PING, flags, 0);
    out.extend_from_slice(&payload);
}

/// Appends a RST_STREAM.
pub(super) fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    write_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends a GOAWAY with a text for whoever looks for the reason.
pub(super) fn write_go_away(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode, text: &str) {
    write_head(out, 8 + text.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a header block as HEADERS and as many CONTINUATION as it needs.
pub(super) fn write_headers(out: &mut Vec<u8>, stream: u32, block: &[u8], is_end: bool) {
    let end_stream = if is_end { FLAG_END_STREAM } else { 0 };
    if block.len() <= PAYLOAD_MAX {
        write_head(out, block.len(), HEADERS, FLAG_END_HEADERS | end_stream, stream);
        out.extend_from_slice(block);
        return;
    }
    let mut pieces = block.chunks(PAYLOAD_MAX).peekable();
    let (mut kind, mut flags) = (HEADERS, end_stream);
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= FLAG_END_HEADERS;
        }
        write_head(out, piece.len(), kind, flags, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_head_is_read_back() {
        let mut out = Vec::new();
        write_head(&mut out, 0x01_02, DATA, FLAG_END_STREAM, 7);
        let head = Head::read(out.first_chunk().unwrap());
        assert_eq!((head.len, head.kind, head.flags, head.stream), (0x01_02, DATA, FLAG_END_STREAM, 7));
    }

    #[test]
    fn a_long_header_block_is_continued() {
        let mut out = Vec::new();
        write_headers(&mut out, 5, &vec![7; 2 * PAYLOAD_MAX + 1], true);
        let mut heads = Vec::new();
        let mut rest = &out[..];
        while let Some(head) = rest.first_chunk() {
            let head = Head::read(head);
            heads.push((head.kind, head.flags, head.len));
            rest = &rest[HEAD_LEN + head.len..];
        }
        let wanted = [
            (HEADERS, FLAG_END_STREAM, PAYLOAD_MAX),
            (CONTINUATION, 0, PAYLOAD_MAX),
            (CONTINUATION, FLAG_END_HEADERS, 1),
        ];
        assert_eq!(heads, wanted);
    }
}
