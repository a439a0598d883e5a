//! `cargo xtask tidy`: the rules that a machine can check. It is a test of this package too.
//!
//! Every finding names a file and, where there is one, a line.

mod arrows;
mod licences;
mod regressions;
mod scan;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace;

/// Bytes that a file of the tree may have.
const BLOB_MAX: u64 = 100_000;
/// Files that are larger because nobody writes them by hand.
const BLOBS_EXEMPT: [&str; 1] = ["Cargo.lock"];

/// A broken rule.
#[derive(Clone, Debug)]
struct Finding {
    path: PathBuf,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, message: message.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Checks all rules and prints what is broken.
///
/// # Errors
/// If anything is.
pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    findings.iter().for_each(|finding| println!("{finding}"));
    ensure!(findings.is_empty(), "{} rules are broken", findings.len());
    println!("tidy: nothing to say");
    Ok(())
}

fn findings() -> Result<Vec<Finding>> {
    let metadata = workspace::metadata()?;
    let files = files()?;
    let mut findings = arrows::check(&metadata)?;
    findings.extend(licences::check(&metadata)?);
    findings.extend(check_blobs(&files)?);
    findings.extend(check_readmes(&files));
    findings.extend(regressions::check()?);
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(workspace::root().join(file))?;
        findings.extend(source::check(file, &text));
    }
    Ok(findings)
}

/// Files of the tree, also those that git does not yet know, without what it ignores.
fn files() -> Result<Vec<PathBuf>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let text = workspace::output(Command::new("git").args(list))?;
    let files = text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(files.filter(|path| workspace::root().join(path).is_file()).collect())
}

fn check_blobs(files: &[PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| BLOBS_EXEMPT.iter().all(|exempt| !file.ends_with(exempt))) {
        let len = std::fs::metadata(workspace::root().join(file))?.len();
        if len > BLOB_MAX {
            findings.push(Finding::new(
                file,
                1,
                format!("{len} bytes; the tree takes files up to {BLOB_MAX}"),
            ));
        }
    }
    Ok(findings)
}

/// Each crate has a README.
fn check_readmes(files: &[PathBuf]) -> Vec<Finding> {
    let crates = files.iter().filter(|file| file.starts_with("crates") && file.ends_with("Cargo.toml"));
    crates
        .map(|manifest| (manifest, manifest.with_file_name("README.md")))
        .filter(|(_, readme)| !files.contains(readme))
        .map(|(manifest, _)| Finding::new(manifest, 1, "the crate has no README.md beside this"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let findings = findings().unwrap();
        let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(list.is_empty(), "\n{}", list.join("\n"));
    }
}
