//! Who may use whom: the table of ARCHITECTURE.md, and what the pure crates may not know.
//!
//! Normal and build dependencies count.
//! Dependencies of tests are exempt: a test may use whatever checks the crate best, such as the model or a backend in
//! memory, and no user of the crate gets them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Finding;
use crate::workspace;

/// Each package of ours with those of ours that it may use. What is not listed is refused.
const ARROWS: [(&str, &[&str]); 21] = [
    ("etched-key-range", &[]),
    ("etched-disk", &[]),
    ("etched-raft-core", &[]),
    ("etched-proto", &[]),
    ("etched-model", &[]),
    ("etched-srv", &[]),
    ("etched-backend", &["etched-disk"]),
    ("etched-wal", &["etched-disk"]),
    ("etched-bolt", &["etched-backend", "etched-disk"]),
    ("etched-watch", &["etched-key-range"]),
    ("etched-v2store", &["etched-key-range"]),
    ("etched-lease", &["etched-backend", "etched-proto"]),
    ("etched-mvcc", &["etched-backend", "etched-key-range", "etched-proto"]),
    ("etched-auth", &["etched-backend", "etched-key-range", "etched-proto"]),
    (
        "etched-state-machine",
        &[
            "etched-mvcc",
            "etched-lease",
            "etched-auth",
            "etched-v2store",
            "etched-backend",
            "etched-key-range",
            "etched-proto",
        ],
    ),
    (
        "etched-replica",
        &[
            "etched-raft-core",
            "etched-state-machine",
            "etched-watch",
            "etched-mvcc",
            "etched-lease",
            "etched-auth",
            "etched-backend",
            "etched-key-range",
            "etched-proto",
        ],
    ),
    (
        "etched",
        &[
            "etched-replica",
            "etched-state-machine",
            "etched-watch",
            "etched-wal",
            "etched-bolt",
            "etched-disk",
            "etched-backend",
            "etched-auth",
            "etched-key-range",
            "etched-proto",
            "etched-srv",
        ],
    ),
    ("etched-client", &["etched-proto"]),
    (
        "etched-ctl",
        &[
            "etched-client",
            "etched-proto",
            "etched-bolt",
            "etched-wal",
            "etched-disk",
            "etched-backend",
            "etched-state-machine",
            "etched-srv",
        ],
    ),
    (
        "etched-sim",
        &[
            "etched-key-range",
            "etched-disk",
            "etched-backend",
            "etched-bolt",
            "etched-wal",
            "etched-raft-core",
            "etched-mvcc",
            "etched-lease",
            "etched-watch",
            "etched-auth",
            "etched-v2store",
            "etched-state-machine",
            "etched-replica",
            "etched-model",
            "etched-proto",
        ],
    ),
    ("xtask", &["etched-client", "etched-model", "etched-proto", "etched-sim"]),
];

/// Packages that know sockets and an async runtime; nothing below them may.
const SHELL: [&str; 4] = ["etched", "etched-client", "etched-ctl", "xtask"];
/// What only the shell uses. Our `proto` has them behind features, for the shell's sake.
const SHELL_ONLY: [&str; 6] = ["tokio", "tonic", "hyper", "axum", "h2", "tower"];

/// Checks the dependencies of all packages of the workspace.
pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().context("a package has a name")?;
        let manifest = package["manifest_path"].as_str().context("a package has a manifest")?;
        let path = Path::new(manifest).strip_prefix(workspace::root()).unwrap_or(Path::new(manifest));
        let text = std::fs::read_to_string(manifest)?;
        let dependencies = package["dependencies"].as_array().context("a package lists dependencies")?;
        let used = dependencies.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        for used in used.filter_map(|dependency| dependency["name"].as_str()) {
            if let Some(message) = refusal(name, used) {
                findings.push(Finding::new(path, line_of(&text, used), message));
            }
        }
        if !ARROWS.iter().any(|(listed, _)| *listed == name) {
            let message = format!("{name} has no row in the table of arrows (xtask/src/tidy/arrows.rs)");
            findings.push(Finding::new(&PathBuf::from(path), 1, message));
        }
    }
    Ok(findings)
}

/// Why `package` may not use `used`, if so.
fn refusal(package: &str, used: &str) -> Option<String> {
    if SHELL_ONLY.contains(&used) && !SHELL.contains(&package) && package != "etched-proto" {
        return Some(format!("{package} is below the server and may not know {used}"));
    }
    let is_ours = used == "etched" || used.starts_with("etched-");
    let allowed =
        ARROWS.iter().find(|(listed, _)| *listed == package).map_or(&[][..], |(_, allowed)| allowed);
    (is_ours && !allowed.contains(&used)).then(|| format!("{package} may not use {used}: no such arrow"))
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    manifest.lines().position(|line| line.starts_with(dependency)).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_arrows_are_allowed() {
        assert_eq!(refusal("etched-wal", "etched-disk"), None);
        assert_eq!(refusal("etched-wal", "crc32c"), None);
        assert!(refusal("etched-wal", "etched-backend").is_some());
        assert!(refusal("etched-mvcc", "etched-lease").is_some());
        assert!(refusal("etched-new", "etched-disk").is_some());
    }

    #[test]
    fn a_runtime_stays_in_the_shell() {
        assert!(refusal("etched-replica", "tokio").is_some());
        assert_eq!(refusal("etched", "tokio"), None);
        assert_eq!(refusal("etched-proto", "tonic"), None);
    }
}
