//! Just enough of Rust's lexis: where text and comments are, and where functions begin and end.

/// The source with every comment, string and character blanked out; lines and columns stay.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let len = blank_len(bytes, at);
        out[at..at + len].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at += len.max(1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How many bytes from `at` on are no code; 0 where code stands.
fn blank_len(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let after_word = at > 0 && is_word(&bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_len(rest),
        [b'"', ..] => string_len(rest),
        [b'r' | b'b' | b'c', ..] if !after_word => prefixed_string_len(rest),
        [b'\'', b'\\', ..] => 2 + char_end(&rest[2..]),
        [b'\'', ..] => plain_char_len(rest),
        _ => 0,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string from its quote on.
fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `r"..."`, `br#"..."#`, `b"..."` and their like; 0 if none begins here.
fn prefixed_string_len(rest: &[u8]) -> usize {
    let letters = rest.iter().take(2).take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
    let hashes = rest[letters..].iter().take_while(|byte| **byte == b'#').count();
    let quote = letters + hashes;
    if rest.get(quote) != Some(&b'"') {
        return 0;
    }
    if !rest[..letters].contains(&b'r') {
        return if hashes == 0 { letters + string_len(&rest[letters..]) } else { 0 };
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[quote + 1..];
    let len = body.windows(end.len()).position(|window| window == end);
    len.map_or(rest.len(), |len| quote + 1 + len + end.len())
}

fn char_end(after_backslash: &[u8]) -> usize {
    let skip = after_backslash.len().min(1);
    after_backslash[skip..].iter().position(|byte| *byte == b'\'').map_or(0, |at| at + skip + 1)
}

/// The length of `'x'`; 0 for a lifetime.
fn plain_char_len(rest: &[u8]) -> usize {
    let char_len = match rest.get(1) {
        Some(first) if *first >= 0xf0 => 4,
        Some(first) if *first >= 0xe0 => 3,
        Some(first) if *first >= 0xc0 => 2,
        _ => 1,
    };
    if rest.get(1 + char_len) == Some(&b'\'') { char_len + 2 } else { 0 }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its `fn`, from 1.
    pub(super) line: usize,
    /// Lines from there to the closing brace, both counted.
    pub(super) lines: usize,
}

/// All functions of a source that went through [`code_only`], inner ones too.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(end) = body_end(&code[at..]) else { continue };
        if name.is_empty() {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let lines = code[at..at + end].matches('\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

/// Where the body of the function that begins here ends; `None` if it has none.
fn body_end(code: &str) -> Option<usize> {
    let (mut nested, mut braces) = (0, 0);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if nested == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces == 1 => return Some(at),
            b'}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let source =
            "a /* b /* c */ d */ e // f\n\"g\\\"h\" 'i' '\\'' '\\n' &'j k r#\"l\"m\"# br\"n\" b'o' p";
        let words: Vec<String> = code_only(source).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a", "e", "&'j", "k", "b", "p"]);
        assert_eq!(code_only(source).len(), source.len());
    }

    #[test]
    fn raw_identifiers_and_words_that_end_in_r_are_code() {
        assert_eq!(code_only("r#type for br x"), "r#type for br x");
        assert_eq!(code_only("'é' é").trim(), "é");
    }

    #[test]
    fn functions_are_measured_to_their_brace() {
        let source =
            "trait T { fn a(&self) -> [u8; 2]; fn b() { } }\n\nfn c(\n    x: u8,\n) {\n    if x { }\n}\n";
        let found = functions(&code_only(source));
        let seen: Vec<(&str, usize, usize)> =
            found.iter().map(|function| (function.name.as_str(), function.line, function.lines)).collect();
        assert_eq!(seen, [("b", 1, 1), ("c", 3, 5)]);
    }
}
