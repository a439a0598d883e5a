//! Whole clusters, by the simulator's own program: it is built with a profile that is fast and checks everything.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Again, Options};
use crate::workspace;

/// The seeds that every change is run with.
const CI_SEEDS: &str = "1..301";
/// The seeds that are run in two processes, to see that a seed stands for one run.
const CI_SEEDS_AGAIN: &str = "1..21";

/// Runs new seeds, or one again.
pub(super) fn run(options: &Options) -> Result<()> {
    let mut arguments: Vec<String> = Vec::new();
    match &options.again {
        Some(Again::Replay { arguments: given }) => {
            arguments.push("replay".into());
            arguments.extend(given.iter().cloned());
        }
        Some(Again::Shrink { arguments: given }) => {
            arguments.push("shrink".into());
            arguments.extend(given.iter().cloned());
        }
        None => {
            arguments.push("run".into());
            match &options.seeds {
                Some(seeds) => arguments.extend(["--seeds".into(), seeds.clone()]),
                None => arguments.extend(["--minutes".into(), options.minutes.to_string()]),
            }
            if let Some(members) = options.members {
                arguments.extend(["--members".into(), members.to_string()]);
            }
            if options.keep_going {
                arguments.push("--keep-going".into());
            }
            if options.calm {
                arguments.push("--calm".into());
            }
        }
    }
    start("sim", &arguments)
}

/// The step of the gate: fixed seeds, and some of them in two processes.
///
/// # Errors
/// If a promise is broken, a situation never occurs, or a seed stands for two different runs.
pub(crate) fn gate() -> Result<()> {
    let (one, other) = (hashes(CI_SEEDS_AGAIN)?, hashes(CI_SEEDS_AGAIN)?);
    ensure!(!one.is_empty() && one == other, "the same seeds are different runs in two processes");
    start("test", &["run".into(), "--seeds".into(), CI_SEEDS.into()])
}

/// The hash of each run, by a process of its own.
fn hashes(seeds: &str) -> Result<Vec<String>> {
    let mut command = command("test");
    command.args(["run", "--seeds", seeds, "--hashes", "--allow-blind"]);
    let output = command.output().context("running the simulator")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the simulator found something:\n{text}");
    let hashes = text.lines().filter(|line| line.starts_with("hash of ")).map(str::to_owned);
    Ok(hashes.collect())
}

/// The simulator, built with a profile; that of the tests has been built before in a gate.
fn command(profile: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(workspace::root());
    command.args(["run", "--quiet", "--profile", profile, "-p", "etched-sim", "--"]);
    command
}

fn start(profile: &str, arguments: &[String]) -> Result<()> {
    let status = command(profile).args(arguments).status().context("running the simulator")?;
    ensure!(status.success(), "the simulator found something");
    Ok(())
}
