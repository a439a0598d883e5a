//! What may differ between two runs of the same program: times, ids of leases, lengths of the Raft log (a program may
//! log in once more) and of the database (which grows when it is written), and lines of the log.

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
    let mut text = lengths(&table_of_times(&times(text)));
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

/// A table that tells times, with the times and without the widths that follow from them.
fn table_of_times(text: &str) -> String {
    if !text.contains(" TOOK ") {
        return text.to_owned();
    }
    let is_time = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s');
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| if is_time(word) { "TIME" } else { word });
        let mut out = words.collect::<Vec<_>>().join(" ");
        while out.contains("──") {
            out = out.replace("──", "─");
        }
        format!("{out}\n")
    };
    text.lines().map(line).collect()
}

/// Replaces lengths of the Raft log and of the database.
fn lengths(text: &str) -> String {
    let mut out = text.to_owned();
    for mark in [
        "\"RaftIndex\" : ",
        "\"RaftAppliedIndex\" : ",
        "\"raftIndex\":",
        "\"raftAppliedIndex\":",
        "\"DBSize\" : ",
        "\"DBSizeInUse\" : ",
        "\"dbSize\":",
        "\"dbSizeInUse\":",
    ] {
        let mut parts = out.split(mark);
        let first = parts.next().unwrap_or_default().to_owned();
        let rest =
            parts.map(|part| format!("{mark}N{}", part.trim_start_matches(|c: char| c.is_ascii_digit())));
        out = std::iter::once(first).chain(rest).collect();
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
    fn tables_of_times_and_lengths_are_made_alike() {
        let table =
            "│ HEALTH │    TOOK    │ ERROR │\n├────────┼────────────┤\n│   true │ 2.258505ms │       │\n";
        assert_eq!(table_of_times(table), "│ HEALTH │ TOOK │ ERROR │\n├─┼─┤\n│ true │ TIME │ │\n");
        assert_eq!(table_of_times("a  b"), "a  b");
        assert_eq!(lengths("\"RaftIndex\" : 228\n"), "\"RaftIndex\" : N\n");
        assert_eq!(lengths(r#"{"raftIndex":7,"raftTerm":2}"#), r#"{"raftIndex":N,"raftTerm":2}"#);
    }

    #[test]
    fn the_log_and_help_are_left_out() {
        let text = b"{\"level\":\"warn\"}\nError: x\nUsage:\n  etcdctl\n";
        assert_eq!(stderr(text), b"Error: x\n");
    }
}
