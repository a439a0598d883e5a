//! `GODEBUG=http2debug=2`: shows on standard error to whom and for what requests come, in the lines of Go's HTTP/2.
//!
//! Only the pseudo-header fields are shown, since others may hold tokens.

use std::io::Write as _;
use std::sync::LazyLock;

use crate::http2::RequestHead;

static IS_WANTED: LazyLock<bool> =
    LazyLock::new(|| std::env::var("GODEBUG").is_ok_and(|settings| is_wanted(&settings)));

fn is_wanted(settings: &str) -> bool {
    settings.split(',').any(|setting| setting.trim() == "http2debug=2")
}

/// Shows the head of a request, if the environment asks for that.
pub(super) fn request(head: &RequestHead) {
    if *IS_WANTED {
        let text = lines([(":method", &head.method), (":path", &head.path), (":authority", &head.authority)]);
        // Nobody may read it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn lines(fields: [(&str, &[u8]); 3]) -> String {
    let line = |(name, value): (&str, &[u8])| {
        let value = String::from_utf8_lossy(value);
        format!("http2: decoded hpack field header field {name:?} = {value:?}\n")
    };
    fields.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_level_two_shows_fields() {
        assert!(is_wanted("http2debug=2") && is_wanted("gctrace=1,http2debug=2"));
        assert!(!is_wanted("http2debug=1") && !is_wanted(""));
    }

    #[test]
    fn lines_are_those_of_go() {
        let text = lines([(":method", b"POST"), (":path", b"/a/B"), (":authority", b"localhost:1")]);
        assert_eq!(
            text,
            "http2: decoded hpack field header field \":method\" = \"POST\"\n\
             http2: decoded hpack field header field \":path\" = \"/a/B\"\n\
             http2: decoded hpack field header field \":authority\" = \"localhost:1\"\n"
        );
    }
}
