//! Parameters, in the query or in a form body, read as Go reads them.

use std::borrow::Cow;

/// The parameters of a request: those of the body first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pairs: Vec<(String, String)>,
}

/// A parameter is not of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOfType;

impl Form {
    /// Reads a form body and a query.
    ///
    /// # Errors
    ///
    /// Go's text for what is wrong.
    pub(super) fn parse(body: &[u8], query: &str) -> Result<Self, String> {
        let mut form = Self::default();
        let mut wrong = None;
        let body = String::from_utf8_lossy(body);
        for text in [body.as_ref(), query] {
            for pair in text.split('&').filter(|pair| !pair.is_empty()) {
                match parse_pair(pair) {
                    Ok(pair) => form.pairs.push(pair),
                    Err(error) => wrong = wrong.or(Some(error)),
                }
            }
        }
        wrong.map_or(Ok(form), Err)
    }

    /// The first value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether something is wanted; it is not if the name is absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, NotOfType> {
        match self.get(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(_) => Err(NotOfType),
        }
    }

    /// A number; 0 if the name is absent.
    pub(super) fn number(&self, name: &str) -> Result<u64, NotOfType> {
        let Some(text) = self.get(name) else { return Ok(0) };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten().ok_or(NotOfType)
    }
}

fn parse_pair(pair: &str) -> Result<(String, String), String> {
    if pair.contains(';') {
        return Err("invalid semicolon separator in query".to_owned());
    }
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let name = unescape(name).map_err(escape_error)?;
    let value = unescape(value).map_err(escape_error)?;
    Ok((name, value))
}

fn escape_error(escape: String) -> String {
    format!("invalid URL escape {}", super::text_json(&escape))
}

/// A text without its escapes, or the escape that is none. What is no UTF-8 then is replaced.
fn unescape(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'%' => {
                let escape = &bytes[position..(position + 3).min(bytes.len())];
                let hex = escape.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
                let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                plain.push(value.ok_or_else(|| String::from_utf8_lossy(escape).into_owned())?);
                position += 3;
            }
            b'+' => {
                plain.push(b' ');
                position += 1;
            }
            _ => {
                plain.push(byte);
                position += 1;
            }
        }
    }
    Ok(match String::from_utf8_lossy(&plain) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_counts_before_the_query() {
        let form = Form::parse(b"value=a%20b+c&ttl=", "value=x&dir=true&wait").unwrap();
        assert_eq!((form.text("value"), form.get("ttl"), form.get("none")), ("a b c", Some(""), None));
        assert_eq!(
            (form.flag("dir"), form.flag("wait"), form.flag("none")),
            (Ok(true), Err(NotOfType), Ok(false))
        );
        assert_eq!((form.number("ttl"), form.number("none")), (Err(NotOfType), Ok(0)));
    }

    #[test]
    fn malformed_forms_are_refused_with_the_texts_of_go() {
        assert_eq!(Form::parse(b"a=%zz", ""), Err("invalid URL escape \"%zz\"".into()));
        assert_eq!(Form::parse(b"", "a=%4"), Err("invalid URL escape \"%4\"".into()));
        assert_eq!(Form::parse(b"", "a;b"), Err("invalid semicolon separator in query".into()));
    }

    #[test]
    fn numbers_are_plain_digits() {
        let number = |text: &str| Form::parse(b"", &format!("n={text}")).unwrap().number("n");
        assert_eq!(number("007"), Ok(7));
        for text in ["-1", "%2B1", "1.0", "x", "18446744073709551616"] {
            assert_eq!(number(text), Err(NotOfType), "{text}");
        }
    }
}
