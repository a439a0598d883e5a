//! Whether the tests that `docs/regressions.md` names exist.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;
use crate::workspace;

const TABLE: &str = "docs/regressions.md";

pub(super) fn check() -> Result<Vec<Finding>> {
    let text = std::fs::read_to_string(workspace::root().join(TABLE))?;
    Ok(check_table(&text, |file| std::fs::read_to_string(workspace::root().join("crates").join(file)).ok()))
}

/// Tests are named `file::name` in backticks, the file below `crates`.
fn check_table(table: &str, read: impl Fn(&Path) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Option<(PathBuf, String)> = None;
    for (number, line) in table.lines().enumerate() {
        let mut wrong = |message: String| findings.push(Finding::new(Path::new(TABLE), number + 1, message));
        if line.starts_with("| ") && line.trim_end_matches([' ', '|']).matches('|').count() < 3 {
            wrong("a row names tests, or says why there are none".to_owned());
        }
        for (file, name) in line.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs::")) {
            let file = PathBuf::from(format!("{file}.rs"));
            if open.as_ref().is_none_or(|(path, _)| *path != file) {
                open = read(&file).map(|text| (file.clone(), text));
            }
            match &open {
                Some((_, text)) if has_test(text, name) => {}
                Some(_) => wrong(format!("{} has no test {name}", file.display())),
                None => wrong(format!("there is no file {}", file.display())),
            }
        }
    }
    findings
}

/// Whether a function of this name follows an attribute that makes it a test.
fn has_test(text: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with('#') && !line.starts_with("//") {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if is_test
                && function
                    .is_some_and(|rest| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
            {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_file_and_name() {
        let text = "#[test]\nfn one() {}\n#[tokio::test]\nasync fn two() {}\nfn three() {}\n";
        let read = |file: &Path| (file == Path::new("a/b.rs")).then(|| text.to_owned());
        let check =
            |row: &str| check_table(row, read).into_iter().map(|finding| finding.message).collect::<Vec<_>>();
        assert_eq!(check("| #1 | how | `a/b.rs::one`<br>`a/b.rs::two` |"), [""; 0]);
        assert_eq!(check("| #1 | how | `a/b.rs::three` |"), ["a/b.rs has no test three"]);
        assert_eq!(check("| #1 | how | `a/c.rs::one` |"), ["there is no file a/c.rs"]);
        assert_eq!(check("| #1 | how |  |"), ["a row names tests, or says why there are none"]);
    }
}
