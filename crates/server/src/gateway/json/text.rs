//! JSON strings: what they mean, and how they are written.

use std::borrow::Cow;

/// Why a string that is valid JSON is refused all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StringError {
    /// It is not UTF-8.
    NotUtf8,
    /// A surrogate has no partner; the six bytes in which it was looked for.
    Escape(String),
    /// A surrogate at the end of all input.
    End,
}

/// Reads the string whose opening quote is the first byte: its meaning, and its length with both quotes.
///
/// # Errors
///
/// When its bytes are no text.
pub(super) fn read(input: &[u8]) -> Result<(Cow<'_, str>, usize), StringError> {
    let mut at = 1;
    let mut plain_from = 1;
    let mut text = String::new();
    loop {
        match input.get(at) {
            None => return Err(StringError::End),
            Some(b'"') => break,
            Some(b'\\') => {
                text.push_str(utf8(&input[plain_from..at])?);
                let (character, length) = escape(&input[at..])?;
                text.push(character);
                at += length;
                plain_from = at;
            }
            Some(_) => at += 1,
        }
    }
    let rest = utf8(&input[plain_from..at])?;
    if plain_from == 1 {
        return Ok((Cow::Borrowed(rest), at + 1));
    }
    text.push_str(rest);
    Ok((Cow::Owned(text), at + 1))
}

fn utf8(bytes: &[u8]) -> Result<&str, StringError> {
    std::str::from_utf8(bytes).map_err(|_| StringError::NotUtf8)
}

/// The character of an escape, and its length.
fn escape(input: &[u8]) -> Result<(char, usize), StringError> {
    let simple = match input.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(input),
        Some(&other) => char::from(other),
        None => return Err(StringError::End),
    };
    Ok((simple, 2))
}

fn unicode(input: &[u8]) -> Result<(char, usize), StringError> {
    let code = |at: usize| -> Option<u32> {
        let digits = std::str::from_utf8(input.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = code(2).ok_or(StringError::End)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let Some(next) = input.get(6..12) else { return Err(StringError::End) };
    let refused = || StringError::Escape(String::from_utf8_lossy(next).into_owned());
    let second = code(8).filter(|_| next.starts_with(b"\\u")).ok_or_else(refused)?;
    if !(0xd800..0xdc00).contains(&first) || !(0xdc00..0xe000).contains(&second) {
        return Err(refused());
    }
    let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(joined).ok_or_else(refused)?, 12))
}

/// Writes a text as a JSON string; with `html`, as Go does for pages too.
pub(super) fn write(out: &mut Vec<u8>, text: &str, html: bool) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            b'<' | b'>' | b'&' if html => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write(&mut out, text, false);
    String::from_utf8(out).unwrap_or_default()
}
