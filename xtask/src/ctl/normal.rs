//! What may differ between two runs of the same program: times, ids of leases, and lines of the log.

/// Standard error without the log, without what terminals say, and without help texts.
pub(super) fn stderr(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let head = text.lines().take_while(|line| !line.starts_with("Usage:"));
    let kept = head.filter(|line| !line.starts_with("{\"level\"") && !line.starts_with("stty:"));
    kept.map(|line| format!("{}\n", times(line))).collect::<String>().into_bytes()
}

/// Standard output, with captured values under their names. Bytes that are no text stay as they are.
pub(super) fn stdout(bytes: &[u8], captured: &[(String, String)]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    let mut text = times(text);
    for (name, value) in captured {
        text = text.replace(value, &format!("${name}"));
        if let Ok(number) = i64::from_str_radix(value, 16) {
            text = text.replace(&number.to_string(), &format!("${name}"));
        }
    }
    keys_of_leases(&text).into_bytes()
}

/// Replaces how long something took.
fn times(text: &str) -> String {
    let mut out = text.to_owned();
    for mark in ["took = ", "took ", "\"took\":\"", "\"Took\" : "] {
        let parts: Vec<_> = out.split(mark).map(str::to_owned).collect();
        let rest = parts[1..].iter().map(|part| {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != 'µ');
            let (time, after) = part.split_at(end.unwrap_or(part.len()));
            let is_time = time.starts_with(|c: char| c.is_ascii_digit()) && time.ends_with('s');
            let trailing = if time.ends_with('.') { "." } else { "" };
            if is_time || time.ends_with("s.") {
                format!("{mark}TIME{trailing}{after}")
            } else {
                format!("{mark}{part}")
            }
        });
        out = std::iter::once(parts[0].clone()).chain(rest).collect();
    }
    out
}

/// Replaces the ids of leases at the ends of keys, as locks and elections make them.
fn keys_of_leases(text: &str) -> String {
    const ID_DIGITS: usize = 16;
    let replaced = text.split('/').enumerate().map(|(place, part)| {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        if place > 0 && end == ID_DIGITS { format!("LEASE{}", &part[end..]) } else { part.to_owned() }
    });
    replaced.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_leases_are_made_alike() {
        assert_eq!(times("[a]. took 1.5ms. (x)"), "[a]. took TIME. (x)");
        assert_eq!(times("took = 12.3µs\n"), "took = TIME\n");
        assert_eq!(times(r#"{"took":"1.2s","error":"x"}"#), r#"{"took":"TIME","error":"x"}"#);
        assert_eq!(times("it took long"), "it took long");
        assert_eq!(keys_of_leases("l/694da2036f156d09\nx/ab\n"), "l/LEASE\nx/ab\n");
        let captured = [("L".to_owned(), "ff".to_owned())];
        assert_eq!(stdout(b"id ff, 255", &captured), b"id $L, $L");
    }

    #[test]
    fn the_log_and_help_are_left_out() {
        let text = b"{\"level\":\"warn\"}\nError: x\nUsage:\n  etcdctl\n";
        assert_eq!(stderr(text), b"Error: x\n");
    }
}
