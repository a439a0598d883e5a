//! Paths: clean and absolute, with a bound on their length and depth.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

/// Bytes of a path, its namespace included.
pub const PATH_BYTES_MAX: usize = 8 << 10;
/// Names in a path: each may make a directory, whose record has the path so far.
pub const PATH_NAMES_MAX: usize = 512;

/// The path in its shortest form: it begins with a slash, has no empty names, no `.` and no `..`, and does not end
/// with a slash unless it is the root. `..` above the root stays at the root.
pub fn clean(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    let mut clean = String::with_capacity(path.len() + 1);
    for name in names {
        clean.push('/');
        clean.push_str(name);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

/// Whether a clean path is within the bounds.
pub(crate) fn is_bounded(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX && path.bytes().filter(|byte| *byte == b'/').count() <= PATH_NAMES_MAX
}

/// The directory that holds a clean path; the root holds itself.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

/// The paths on the way to a clean path, the root first and the path itself last.
pub(crate) fn way(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/').map(|(end, _)| end);
    let ends = ends.chain((path.len() > 1).then_some(path.len()));
    core::iter::once("/").chain(ends.map(|end| &path[..end]))
}

/// The range of all paths from `path` on.
pub(crate) fn from(path: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Included(path), Bound::Unbounded)
}

/// Whether a clean path is below a directory.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory == "/" && path != "/"
        || path.strip_prefix(directory).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// Whether a name between `from` and `path`, which is below it, is hidden: it begins with an underscore.
pub(crate) fn is_hidden_from(from: &str, path: &str) -> bool {
    let rest = if from == "/" { path } else { path.strip_prefix(from).unwrap_or_default() };
    rest.contains("/_")
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (given, expected) in [
            ("", "/"),
            ("/", "/"),
            ("a//b/", "/a/b"),
            ("/a/./b/../c", "/a/c"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/_a/b", "/_a/b"),
        ] {
            assert_eq!(clean(given), expected, "{given}");
        }
    }

    #[test]
    fn the_way_begins_at_the_root() {
        assert_eq!(way("/").collect::<Vec<_>>(), vec!["/"]);
        assert_eq!(way("/a/bc/d").collect::<Vec<_>>(), vec!["/", "/a", "/a/bc", "/a/bc/d"]);
        assert_eq!((parent("/a/b"), parent("/a"), parent("/")), ("/a", "/", "/"));
    }

    #[test]
    fn below_means_by_whole_names() {
        assert!(
            is_below("/a/b", "/a") && is_below("/a", "/") && !is_below("/ab", "/a") && !is_below("/a", "/a")
        );
        assert!(is_hidden_from("/a", "/a/_b/c") && !is_hidden_from("/a/_b", "/a/_b/c"));
        assert!(is_hidden_from("/", "/_a") && !is_hidden_from("/", "/a_"));
    }
}
