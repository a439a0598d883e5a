//! The package `etcd3` of npm.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Session;
use crate::process::Server;
use crate::workspace;

const PACKAGE: &str = "etcd3@1.1.2";

/// Installs the package into a folder and runs the script there.
pub(super) fn session(server: &Server, folder: &Path) -> Result<Session> {
    std::fs::write(folder.join("package.json"), "{\"private\":true}\n")?;
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE])
        .current_dir(folder)
        .output();
    match installed {
        Err(error) => return Ok(Session::Skipped(format!("there is no npm: {error}"))),
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr);
            return Ok(Session::Skipped(format!("{PACKAGE} cannot be installed: {}", why.trim())));
        }
        Ok(_) => {}
    }
    // The script stands beside what it requires.
    std::fs::copy(workspace::root().join("xtask/clients/session_etcd3.js"), folder.join("session.js"))?;
    let output = Command::new("node")
        .args(["session.js", &server.address().to_string()])
        .current_dir(folder)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Session::Done)
}
