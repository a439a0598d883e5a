//! Header blocks: one written once per method, and the reading of what gRPC servers answer.
//!
//! Both directions do without the dynamic table: requests say "literal without indexing", and the client's settings
//! give the server's encoder a table of size 0.

use percent_encoding::percent_decode;

/// The lengths in bits of the codes of RFC 7541, appendix B; the code is canonical, so the lengths say all.
const CODE_LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
/// Indices of the static table that a gRPC request needs.
const AUTHORITY: u8 = 1;
const METHOD_POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;
const CONTENT_TYPE: u8 = 31;
/// Names of the static table; what follows in an answer is told by name only.
const STATIC_LEN: u64 = 61;

/// A gRPC method, as the header block that calls it.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(super) block: Vec<u8>,
}

impl Method {
    /// The method at `path` ("/etcdserverpb.KV/Put") of the server `authority` ("127.0.0.1:2379").
    pub(crate) fn new(path: &str, authority: &str) -> Self {
        let mut block = vec![0x80 | METHOD_POST, 0x80 | SCHEME_HTTP];
        write_indexed_name(&mut block, PATH, path);
        write_indexed_name(&mut block, AUTHORITY, authority);
        write_indexed_name(&mut block, CONTENT_TYPE, "application/grpc");
        block.push(0);
        write_text(&mut block, "te");
        write_text(&mut block, "trailers");
        Self { block }
    }

    /// The same over TLS.
    pub(crate) fn secure(mut self) -> Self {
        self.block[1] = 0x80 | SCHEME_HTTPS;
        self
    }

    /// The same in the name of whoever has this token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.block.push(0);
        write_text(&mut self.block, "token");
        write_text(&mut self.block, token);
        self
    }
}

fn write_indexed_name(out: &mut Vec<u8>, index: u8, value: &str) {
    if index < 15 {
        out.push(index);
    } else {
        out.extend_from_slice(&[15, index - 15]);
    }
    write_text(out, value);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let len = u8::try_from(text.len()).ok().filter(|len| *len < 127);
    out.push(len.expect("a header of a request is short"));
    out.extend_from_slice(text.as_bytes());
}

/// What the trailers of an answer say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: Option<u32>,
    pub(super) message: String,
}

/// Reads a whole header block; `None` if it is malformed or leans on the dynamic table.
pub(super) fn read_status(mut block: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    while let Some(&first) = block.first() {
        if first & 0x80 != 0 {
            let index = read_integer(&mut block, 7)?;
            if index == 0 || index > STATIC_LEN {
                return None;
            }
            continue;
        }
        if first & 0xe0 == 0x20 {
            read_integer(&mut block, 5)?;
            continue;
        }
        let name_bits = if first & 0x40 != 0 { 6 } else { 4 };
        let index = read_integer(&mut block, name_bits)?;
        if index > STATIC_LEN {
            return None;
        }
        let name = if index == 0 { read_text(&mut block)? } else { Vec::new() };
        let value = read_text(&mut block)?;
        match name.as_slice() {
            b"grpc-status" => status.code = std::str::from_utf8(&value).ok()?.parse().ok(),
            b"grpc-message" => status.message = percent_decode(&value).decode_utf8_lossy().into_owned(),
            _ => {}
        }
    }
    Some(status)
}

fn read_integer(block: &mut &[u8], prefix_bits: u32) -> Option<u64> {
    let (&first, rest) = block.split_first()?;
    *block = rest;
    let mask = (1u64 << prefix_bits) - 1;
    let mut value = u64::from(first) & mask;
    if value < mask {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let (&byte, rest) = block.split_first()?;
        *block = rest;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_text(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = block.first()? & 0x80 != 0;
    let len = usize::try_from(read_integer(block, 7)?).ok()?;
    let (text, rest) = block.split_at_checked(len)?;
    *block = rest;
    if coded { decode(text) } else { Some(text.to_vec()) }
}

/// Undoes the Huffman code. Slow and simple: it runs for failures, and once for the trailers of success.
fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut symbols: Vec<(u8, usize)> = CODE_LENGTHS.iter().copied().zip(0..).collect();
    symbols.sort_unstable();
    let (mut out, mut code, mut len) = (Vec::new(), 0u32, 0u8);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        (code, len) = (code << 1 | u32::from(bit), len + 1);
        if let Some(symbol) = symbol_of(&symbols, code, len) {
            out.push(symbol);
            (code, len) = (0, 0);
        } else if len >= 30 {
            return None;
        }
    }
    // What remains is padding: fewer than eight bits, all ones.
    (len < 8 && code == (1 << len) - 1).then_some(out)
}

fn symbol_of(symbols: &[(u8, usize)], code: u32, len: u8) -> Option<u8> {
    let (mut next, mut last_len) = (0u32, 0u8);
    for (symbol_len, symbol) in symbols {
        if *symbol_len > len {
            return None;
        }
        next <<= symbol_len - last_len;
        last_len = *symbol_len;
        if *symbol_len == len && next == code {
            return u8::try_from(*symbol).ok();
        }
        next += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_huffman_examples_of_the_rfc_decode() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&coded).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decode(&[0x00]), None, "padding must be ones");
    }

    #[test]
    fn a_status_is_found_in_literal_trailers() {
        let mut block = vec![0x20, 0x88, 0x40];
        write_text(&mut block, "grpc-status");
        write_text(&mut block, "5");
        block.push(0);
        write_text(&mut block, "grpc-message");
        write_text(&mut block, "not%20here");
        let status = read_status(&block).unwrap();
        assert_eq!(status, Status { code: Some(5), message: "not here".into() });
    }

    #[test]
    fn a_block_that_needs_the_dynamic_table_is_refused() {
        assert_eq!(read_status(&[0x80 | 62]), None);
        assert_eq!(read_status(&[0x40]), None, "cut off");
    }
}
