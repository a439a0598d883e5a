//! JSON as Go writes it: no spaces, and more characters escaped than JSON demands.

use alloc::string::String;
use core::fmt::Write as _;

/// Adds a text with its quotes. Go escapes what would be a tag in a page.
pub(crate) fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(json, "\\u{:04x}", u32::from(character)).expect("a string takes any text");
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

/// Adds a list of texts.
pub(crate) fn push_list(json: &mut String, items: &[String]) {
    json.push('[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        push_text(json, item);
    }
    json.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_does() {
        let mut json = String::new();
        push_text(&mut json, "a\"\\\n\u{8}<\u{2028}é");
        assert_eq!(json, r#""a\"\\\n\u0008\u003c\u2028é""#);
    }
}
