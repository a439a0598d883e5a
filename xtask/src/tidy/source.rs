//! Rules for one Rust file.

use std::path::Path;

use super::Finding;
use super::scan::{code_only, functions};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that are tables: long, because there are many rows.
const TABLES: [&str; 0] = [];
/// Functions that are tables, by file and name.
const TABLE_FUNCTIONS: [(&str, &str); 0] = [];

/// Crates without the standard library: a clock, a thread, a file or a socket is a compile error there.
const PURE: [&str; 7] = ["key-range", "mvcc", "lease", "watch", "state-machine", "auth", "v2store"];
/// The port whose core is pure; what needs the standard library is behind features.
const PURE_WITHOUT_FEATURES: [&str; 1] = ["backend"];
/// Folders whose code may name the protocol's messages anywhere: the shell, and the messages themselves.
const PROTOCOL_ANYWHERE: [&str; 6] =
    ["crates/server", "crates/client", "crates/ctl", "crates/sim", "proto", "xtask"];
/// Elsewhere only these files turn messages into our own types and back.
const PROTOCOL_FILES: [&str; 2] = ["schema.rs", "codec.rs"];

/// Checks the file at `path` (from the workspace's root) with the given text.
pub(super) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let code = code_only(text);
    let mut findings = Vec::new();
    check_form(path, text, &mut findings);
    check_words(path, text, &code, &mut findings);
    check_functions(path, &code, &mut findings);
    check_protocol(path, &code, &mut findings);
    check_purity(path, &code, &mut findings);
    findings
}

fn check_form(path: &Path, text: &str, findings: &mut Vec<Finding>) {
    if !text.starts_with("//!") {
        findings.push(Finding::new(path, 1, "a file opens with a `//!` comment that says what it is"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX && !TABLES.iter().any(|table| path == Path::new(table)) {
        let message = format!("{lines} lines; a file has at most {FILE_LINES_MAX}: split it by meaning");
        findings.push(Finding::new(path, FILE_LINES_MAX + 1, message));
    }
}

fn check_words(path: &Path, text: &str, code: &str, findings: &mut Vec<Finding>) {
    // Put together here, so that this file does not find itself.
    let marks = [["FIX", "ME"].concat(), ["X", "XX"].concat()];
    for (number, (line, code)) in (1..).zip(text.lines().zip(code.lines())) {
        let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for mark in &marks {
            if words().any(|word| word == mark) {
                findings.push(Finding::new(
                    path,
                    number,
                    format!("{mark}: do it, or say in an issue why not"),
                ));
            }
        }
        if code.contains("todo!(") {
            findings.push(Finding::new(path, number, "unfinished code"));
        }
        let attribute: String = code.split_whitespace().collect();
        if attribute.contains("#[allow(") || attribute.contains("#![allow(") {
            let message =
                "silence a lint with `#[expect(.., reason = \"..\")]`, which ends when its reason does";
            findings.push(Finding::new(path, number, message));
        }
    }
}

fn check_functions(path: &Path, code: &str, findings: &mut Vec<Finding>) {
    for function in functions(code) {
        let is_table =
            TABLE_FUNCTIONS.iter().any(|(file, name)| path == Path::new(file) && *name == function.name);
        if function.lines > FUNCTION_LINES_MAX && !is_table {
            let message = format!(
                "`{}` has {} lines; a function has at most {FUNCTION_LINES_MAX}",
                function.name, function.lines
            );
            findings.push(Finding::new(path, function.line, message));
        }
    }
}

/// Below the replica, messages are a matter of stored bytes, and those are made in few files.
fn check_protocol(path: &Path, code: &str, findings: &mut Vec<Finding>) {
    let is_named_file = PROTOCOL_FILES.iter().any(|file| path.ends_with(file));
    if is_named_file || is_test(path) || PROTOCOL_ANYWHERE.iter().any(|folder| path.starts_with(folder)) {
        return;
    }
    for (number, line) in (1..).zip(before_tests(code)) {
        if line.contains("etched_proto") {
            let message = "messages of the protocol are named in schema.rs and codec.rs only";
            findings.push(Finding::new(path, number, message));
        }
    }
}

fn check_purity(path: &Path, code: &str, findings: &mut Vec<Finding>) {
    let is_of = |name: &str| path.starts_with(format!("crates/{name}/src"));
    let is_pure = PURE.iter().any(|name| is_of(name));
    if path.ends_with("src/lib.rs") {
        let is_half_pure = PURE_WITHOUT_FEATURES.iter().any(|name| is_of(name));
        let found = if is_half_pure { code.contains("no_std") } else { code.contains("#![no_std]") };
        if (is_pure || is_half_pure) && !found {
            findings.push(Finding::new(path, 1, "the crate is pure: `#![no_std]`"));
        }
    }
    if !is_pure || is_test(path) {
        return;
    }
    let lines: Vec<&str> = before_tests(code).collect();
    for (index, line) in lines.iter().enumerate() {
        let for_tests = index > 0 && lines[index - 1].contains("cfg(test)");
        if line.contains("extern crate std") && !for_tests {
            findings.push(Finding::new(
                path,
                index + 1,
                "a pure crate has the standard library in tests only",
            ));
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "benches")))
}

/// The lines before the test module at the foot of a file.
fn before_tests(code: &str) -> impl Iterator<Item = &str> {
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        let text = "//! Fine.\n#![no_std]\nfn a() {}\n// \"#[allow(\" in a comment is no attribute\n";
        assert_eq!(messages("crates/mvcc/src/lib.rs", text), Vec::<String>::new());
    }

    #[test]
    fn findings_name_their_line() {
        let mark = ["FIX", "ME"].concat();
        let text = format!("//! Bad.\n#[ allow (dead_code)]\nfn a() {{\n    todo!()\n}}\n// {mark} later\n");
        let found = messages("crates/wal/src/a.rs", &text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("crates/wal/src/a.rs:2: "), "{found:?}");
        assert!(found[1].starts_with("crates/wal/src/a.rs:4: "), "{found:?}");
        assert!(found[2].starts_with("crates/wal/src/a.rs:6: "), "{found:?}");
    }

    #[test]
    fn long_functions_and_files_are_found() {
        let text = format!("//! Long.\nfn long() {{\n{}}}\n", "\n".repeat(800));
        let found = messages("crates/wal/src/a.rs", &text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("`long` has 802 lines"), "{found:?}");
    }

    #[test]
    fn the_protocol_is_named_in_its_files_only() {
        let text = "//! It.\nuse etched_proto::mvccpb;\n";
        assert_eq!(messages("crates/mvcc/src/store.rs", text).len(), 1);
        assert_eq!(messages("crates/mvcc/src/codec.rs", text).len(), 0);
        assert_eq!(messages("crates/mvcc/tests/it/main.rs", text).len(), 0);
        assert_eq!(messages("crates/server/src/grpc/kv.rs", text).len(), 0);
        let in_tests = "//! It.\n#[cfg(test)]\nmod tests {\n    use etched_proto::mvccpb;\n}\n";
        assert_eq!(messages("crates/mvcc/src/store.rs", in_tests).len(), 0);
    }

    #[test]
    fn a_pure_crate_says_so() {
        assert_eq!(messages("crates/watch/src/lib.rs", "//! W.\n").len(), 1);
        assert_eq!(messages("crates/watch/src/hub.rs", "//! W.\nextern crate std;\n").len(), 1);
        assert_eq!(messages("crates/watch/src/hub.rs", "//! W.\n#[cfg(test)]\nextern crate std;\n").len(), 0);
    }
}
