//! The frames of HTTP/2: their head, and the few that a client writes.

/// What every connection opens with.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before each frame's payload.
pub(super) const HEAD_LEN: usize = 9;
/// The largest window that flow control knows.
pub(super) const WINDOW_MAX: u32 = 0x7fff_ffff;
/// The window and the payload size that hold until settings say otherwise.
pub(super) const WINDOW_DEFAULT: u32 = 65_535;
pub(super) const PAYLOAD_DEFAULT: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

pub(super) const SETTING_TABLE_SIZE: u16 = 1;
pub(super) const SETTING_PUSH: u16 = 2;
pub(super) const SETTING_STREAMS_MAX: u16 = 3;
pub(super) const SETTING_WINDOW: u16 = 4;
pub(super) const SETTING_PAYLOAD_MAX: u16 = 5;

/// The nine bytes before a payload.
///
/// ```text
/// length u24 | type u8 | flags u8 | reserved 1 bit, stream u31
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// Reads a head from the first nine bytes of `bytes`, if so many are there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD_LEN] = bytes.first_chunk()?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(Self { len, kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]) & WINDOW_MAX })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the head of a frame whose payload of `len` bytes follows.
pub(super) fn write_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [.., a, b, c] = (len as u64).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
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

/// The payload without its padding and priority fields, as `head`'s flags tell; `None` if they do not fit.
pub(super) fn without_padding(head: Head, mut payload: &[u8]) -> Option<&[u8]> {
    if head.has(PADDED) {
        let (&padding, rest) = payload.split_first()?;
        payload = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
    }
    if head.kind == HEADERS && head.has(PRIORITY) {
        payload = payload.get(5..)?;
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_head_is_read_back() {
        let mut out = Vec::new();
        write_head(&mut out, 0x01_02_03, DATA, END_STREAM, 7);
        let head = Head::read(&out).unwrap();
        assert_eq!((head.len, head.kind, head.flags, head.stream), (0x01_02_03, DATA, END_STREAM, 7));
        assert!(Head::read(&out[..8]).is_none());
    }

    #[test]
    fn padding_longer_than_the_payload_is_refused() {
        let head = Head { len: 3, kind: DATA, flags: PADDED, stream: 1 };
        assert_eq!(without_padding(head, &[1, b'a', 0]), Some(&b"a"[..]));
        assert_eq!(without_padding(head, &[3, b'a', 0]), None);
    }
}
