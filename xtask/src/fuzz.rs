//! `cargo xtask fuzz`: every parser below the server is fed with good bytes that were changed at random, and must not panic.
//!
//! It needs no other compiler and knows nothing of the code behind; `fuzz/` has the same targets for cargo-fuzz.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace;

/// Options of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each parser is fed.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    /// All of them, so long.
    pub(crate) fn of_ci(seconds: u64) -> Self {
        Self { seconds, only: None }
    }
}

/// Feeds the parsers below the server.
///
/// # Errors
/// One of them panicked.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--profile", "sim", "--example", "fuzz", "-p", "etched-sim"]);
    command.arg("--").arg(options.seconds.to_string()).args(&options.only);
    let status = command.current_dir(workspace::root()).status()?;
    ensure!(status.success(), "a parser panics");
    Ok(())
}
