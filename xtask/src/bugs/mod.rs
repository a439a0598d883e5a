//! `cargo xtask bugs`: the crates are built with one fault each, and a simulator has to find it.
//!
//! A fault is a few lines behind `cfg!(bug = "name")`, which no build but these sets. Only our own crates are built
//! anew for each: a wrapper around the compiler adds the setting, and its path differs from fault to fault, so that
//! cargo keeps them apart.

mod list;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use list::{BUGS, Bug, Hunter};

use crate::workspace;

/// Options of `bugs`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
    /// How long each is looked for, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Names all of them and does nothing else.
    #[arg(long)]
    list: bool,
}

impl Options {
    /// One of them.
    pub(crate) fn of_ci(only: &str) -> Self {
        Self { only: Some(only.to_owned()), minutes: 10.0, list: false }
    }
}

/// Builds each and looks for it.
///
/// # Errors
/// One was not found, or without any something was.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<&Bug> =
        BUGS.iter().filter(|bug| options.only.as_ref().is_none_or(|name| name == bug.name)).collect();
    ensure!(!chosen.is_empty(), "there is no such bug");
    if options.list {
        chosen.iter().for_each(|bug| println!("{:34} {}", bug.name, bug.what));
        return Ok(());
    }
    let mut missed = Vec::new();
    for bug in chosen {
        let began = Instant::now();
        let (is_found, told) = hunt(bug, options.minutes)?;
        println!("{:34} {told} [{:.0} s with the build]", bug.name, began.elapsed().as_secs_f64());
        if !is_found {
            missed.push(bug.name);
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    bail!("not found: {}", missed.join(", "))
}

fn hunt(bug: &Bug, minutes: f64) -> Result<(bool, String)> {
    let Hunter::Simulator(simulator) = bug.hunter else { return foreign_version(bug) };
    let program = build(bug)?;
    let seconds = format!("{:.0}", minutes * 60.0);
    let output = Command::new(program).args([simulator, &seconds]).output()?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok((true, told)),
        Some(1) => Ok((false, told)),
        // The process was ended by what the fault did, such as a stack that overflows.
        None => Ok((true, format!("the simulator ended: {}", output.status))),
        Some(code) => bail!("the hunt for {} ended with {code}: {told}", bug.name),
    }
}

/// The program that hunts, with the fault in it.
fn build(bug: &Bug) -> Result<PathBuf> {
    let target = target();
    let wrapper = write_wrapper(&target, bug.name)?;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "sim", "-p", "etched-sim", "--example", "hunt"])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .current_dir(workspace::root())
        .status()?;
    ensure!(status.success(), "the build with {} fails", bug.name);
    Ok(target.join("sim/examples/hunt"))
}

fn target() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), Into::into);
    target.join("bugs")
}

fn write_wrapper(target: &Path, name: &str) -> Result<PathBuf> {
    let wrapper = target.join("wrappers").join(name);
    std::fs::create_dir_all(wrapper.parent().context("a file has a directory")?)?;
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec \"$@\" --cfg 'bug=\"{name}\"'\n"))?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    Ok(wrapper)
}

/// A fault of somebody else's release is looked for by a test of its own build.
fn foreign_version(bug: &Bug) -> Result<(bool, String)> {
    let manifest = workspace::root().join("crates/sim").join(bug.name).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", target())
        .output()?;
    Ok((output.status.success(), format!("its test ends with {}", output.status)))
}
