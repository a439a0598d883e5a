//! Go's quoted strings, and the other forms in which keys and values are printed.

/// A byte string between double quotes, with everything escaped that is not printable.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(&mut quoted, c));
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

fn push_escaped(quoted: &mut String, c: char) {
    match c {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        c if is_printable(c) => quoted.push(c),
        c if c < ' ' || c == '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if u32::from(c) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Whether Go prints a character as it is: letters, marks, numbers, punctuation, symbols and the blank.
///
/// Rust's escapes leave the same ones as they are, if a mark has a letter before it.
fn is_printable(c: char) -> bool {
    format!("a{c}").escape_debug().nth(1) == Some(c)
}

/// Reads a quoted string from the head of a text; the rest follows its closing quote.
///
/// Double quotes have escapes, backquotes have none.
pub(crate) fn unquote_prefix(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match text.split_first()? {
        (b'`', rest) => {
            let end = rest.iter().position(|byte| *byte == b'`')?;
            Some((rest[..end].to_vec(), &rest[end + 1..]))
        }
        (b'"', mut rest) => {
            let mut bytes = Vec::new();
            loop {
                match rest.split_first()? {
                    (b'"', after) => return Some((bytes, after)),
                    (b'\n', _) => return None,
                    (b'\\', after) => rest = unescape(&mut bytes, after)?,
                    (byte, after) => {
                        bytes.push(*byte);
                        rest = after;
                    }
                }
            }
        }
        _ => None,
    }
}

/// Reads one escape, after its backslash.
fn unescape<'a>(bytes: &mut Vec<u8>, text: &'a [u8]) -> Option<&'a [u8]> {
    let (kind, rest) = text.split_first()?;
    let plain = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => *kind,
        b'x' => return byte_of(bytes, rest, 2, 16),
        b'0'..=b'7' => return byte_of(bytes, text, 3, 8),
        b'u' => return char_of(bytes, rest, 4),
        b'U' => return char_of(bytes, rest, 8),
        _ => return None,
    };
    bytes.push(plain);
    Some(rest)
}

fn byte_of<'a>(bytes: &mut Vec<u8>, text: &'a [u8], digits: usize, radix: u32) -> Option<&'a [u8]> {
    let (number, rest) = digits_of(text, digits, radix)?;
    bytes.push(u8::try_from(number).ok()?);
    Some(rest)
}

fn char_of<'a>(bytes: &mut Vec<u8>, text: &'a [u8], digits: usize) -> Option<&'a [u8]> {
    let (number, rest) = digits_of(text, digits, 16)?;
    let mut buffer = [0; 4];
    bytes.extend(char::from_u32(number)?.encode_utf8(&mut buffer).bytes());
    Some(rest)
}

fn digits_of(text: &[u8], digits: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let head = head.iter().all(u8::is_ascii_alphanumeric).then_some(head)?;
    let number = u32::from_str_radix(std::str::from_utf8(head).ok()?, radix).ok()?;
    Some((number, rest))
}

/// Each byte as `\xNN`.
pub(crate) fn hex_escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for digit in 0..4 {
            if digit > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(DIGITS[(group >> (18 - 6 * digit)) as usize & 63]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        let bytes =
            [b"b\"\\\t\x01\x7f".as_slice(), "é€😀".as_bytes(), b"\xff", "\u{a0}\u{301}".as_bytes()].concat();
        assert_eq!(quote(&bytes), "\"b\\\"\\\\\\t\\x01\\x7fé€😀\\xff\\u00a0\u{301}\"");
        assert_eq!(quote(b"a\x07\x08\x0c\n\r\x0b"), r#""a\a\b\f\n\r\v""#);
        assert_eq!(quote("\u{10ffff}\u{200b}".as_bytes()), r#""\U0010ffff\u200b""#);
    }

    #[test]
    fn quoted_strings_are_read_with_all_escapes() {
        let read = |text: &str| unquote_prefix(text.as_bytes()).map(|(bytes, rest)| (bytes, rest.to_vec()));
        assert_eq!(read(r#""a\x23\n\"\101é😀" rest"#), Some(("a#\n\"Aé😀".into(), b" rest".to_vec())));
        assert_eq!(read("`a\\n`"), Some((b"a\\n".to_vec(), Vec::new())));
        for wrong in ["", "a", "\"a", "`a", r#""\q""#, r#""\x2""#, r#""\400""#, r#""\ud800""#, r#""\x+1""#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whatever_is_quoted_can_be_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unquote_prefix(quote(&all).as_bytes()), Some((all, &b""[..])));
    }

    #[test]
    fn base64_is_padded() {
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
        assert_eq!(base64(b"\xff\xfe\xfd"), "//79");
    }
}
