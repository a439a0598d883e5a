//! The workspace as cargo and git see it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// What `cargo metadata` says about all packages, dependencies too.
pub(crate) fn metadata() -> Result<Value> {
    let text =
        output(Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--all-features"]))?;
    serde_json::from_str(&text).context("reading cargo metadata")
}

/// Runs a command in the root of the workspace and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
