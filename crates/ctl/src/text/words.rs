//! Splits a line into words: double quotes have escapes, single quotes have none.

use std::io::Read;

use super::quote::unquote_prefix;

/// The words of a line. A quote that is not closed, or not at the beginning of a word, is a character like any other.
pub(crate) fn split(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = quoted(rest).unwrap_or_else(|| {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            (rest[..end].to_vec(), &rest[end..])
        });
        words.push(word);
        rest = after.trim_ascii_start();
    }
    words
}

/// The first word of a text that is read byte by byte, so that what follows stays unread; empty if a line ends before.
pub(crate) fn first_word(input: &mut impl Read) -> String {
    let mut word = Vec::new();
    let mut byte = [0];
    while matches!(input.read(&mut byte), Ok(1)) {
        match byte[0] {
            b'\n' => break,
            space if space.is_ascii_whitespace() && word.is_empty() => {}
            space if space.is_ascii_whitespace() => break,
            other => word.push(other),
        }
    }
    String::from_utf8_lossy(&word).into_owned()
}

fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match text.first()? {
        b'"' => unquote_prefix(text),
        b'\'' => {
            let end = text[1..].iter().position(|byte| *byte == b'\'')?;
            Some((text[1..=end].to_vec(), &text[end + 2..]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn the_first_word_leaves_the_rest_alone() {
        let mut text = &b"  secret word\n"[..];
        assert_eq!(first_word(&mut text), "secret");
        assert_eq!(text, b"word\n");
        assert_eq!(first_word(&mut &b"\nsecret"[..]), "");
        assert_eq!(first_word(&mut &b""[..]), "");
    }

    #[test]
    fn words_are_split_at_blanks_outside_of_quotes() {
        assert_eq!(words("  put  a\t\"x y\" 's i' "), ["put", "a", "x y", "s i"]);
        assert_eq!(words(r#"put "q\x23" '\x23' """#), ["put", "q#", r"\x23", ""]);
        assert_eq!(words(r#"put a b"c"d"#), ["put", "a", r#"b"c"d"#]);
        assert_eq!(words(r#"watch "w 1"#), ["watch", "\"w", "1"]);
        assert_eq!(words(""), [""; 0]);
    }
}
