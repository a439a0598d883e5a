//! Lines in the form of etcd's own log, for standard error.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::output::json;
use crate::text::time::timestamp;

/// A line with the time of now and these fields.
pub(crate) fn line(level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = timestamp(since.as_secs(), since.subsec_micros());
    let mut line = format!(r#"{{"level":"{level}","ts":"{time}","msg":{}"#, json::string(message));
    for (name, value) in fields {
        line.push_str(&format!(r#","{name}":{}"#, json::string(value)));
    }
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_message_in_their_order() {
        let line = line("info", "saved", &[("path", "a\"b"), ("took", "1ms")]);
        assert!(line.starts_with(r#"{"level":"info","ts":"20"#));
        assert!(line.ends_with(r#"Z","msg":"saved","path":"a\"b","took":"1ms"}"#));
    }
}
