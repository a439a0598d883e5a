//! Paths of requests: escapes, and the one form that every path has.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Resolves the escapes; `None` if one is malformed.
pub(super) fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Where a request for a path that is not in its one form is sent: no empty parts, no `.` and no `..`; `None` if it is.
pub(super) fn redirected(path: &str) -> Option<String> {
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    let parts = || path.strip_prefix('/').unwrap_or(path).split('/');
    // The last part is empty where the path ends with a slash, which is well.
    let count = parts().count();
    let has_odd = parts().enumerate().any(|(number, part)| {
        let is_end = number + 1 == count && part.is_empty();
        is_odd(part) && !is_end
    });
    if !has_odd && path.starts_with('/') {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in parts() {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

/// A path with what a URL cannot have escaped.
pub(super) fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
        if is_plain {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_or_refused() {
        assert_eq!(decoded("/v3/kv/r%61nge").as_deref(), Some("/v3/kv/range"));
        assert_eq!(decoded("/%2f").as_deref(), Some("//"));
        for malformed in ["/%", "/%1", "/%+1", "/%zz"] {
            assert_eq!(decoded(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn paths_have_one_form() {
        for (path, form) in [
            ("/", None),
            ("/v3/kv/range", None),
            ("/v3/kv/range/", None),
            ("//v3/kv", Some("/v3/kv")),
            ("/v3//kv/", Some("/v3/kv/")),
            ("/v3/./kv", Some("/v3/kv")),
            ("/v3/../kv", Some("/kv")),
            ("/..", Some("/")),
            ("//", Some("/")),
        ] {
            assert_eq!(redirected(path).as_deref(), form, "{path}");
        }
        assert_eq!(escaped("/a b\u{e4}"), "/a%20b%C3%A4");
    }
}
