//! The commands.

mod batch;
mod shrink;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use etched_sim::{Listing, Look, Scenario, run};

/// A whole cluster in one thread, from a seed, under every fault.
#[derive(Debug, Parser)]
#[command(name = "etched-sim", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds.
    Run(batch::RunArgs),
    /// Runs one seed or scenario file again, and shows what happened.
    Replay(ReplayArgs),
    /// Makes the scenario of a failure small and prints it.
    Shrink(ShrinkArgs),
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A seed, or the path of a scenario file.
    what: String,
    /// Stop after this many events.
    #[arg(long)]
    until: Option<u64>,
    /// Show this member's events only.
    #[arg(long)]
    member: Option<u64>,
    /// `full` shows every event, `none` the result only.
    #[arg(long, default_value = "none")]
    log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Log {
    None,
    Full,
}

#[derive(Debug, Args)]
struct ShrinkArgs {
    /// A seed, or the path of a scenario file.
    what: String,
    /// Runs at most.
    #[arg(long, default_value_t = 200)]
    runs: u64,
}

pub(crate) fn main() -> ExitCode {
    // A panic of what is tested is reported with its seed; its own message is enough of a trace.
    match Cli::parse().command {
        Command::Run(args) => batch::run_many(&args),
        Command::Replay(args) => replay(&args),
        Command::Shrink(args) => shrink(&args),
    }
}

/// A scenario by its seed or from its file.
fn find(what: &str) -> Result<Scenario, String> {
    if let Ok(seed) = what.parse() {
        return Ok(Scenario::of_seed(seed));
    }
    let text = std::fs::read_to_string(Path::new(what)).map_err(|error| format!("{what}: {error}"))?;
    Scenario::parse(&text).map_err(|error| format!("{what}: {error}"))
}

fn replay(args: &ReplayArgs) -> ExitCode {
    let scenario = match find(&args.what) {
        Ok(scenario) => scenario,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let listing = Listing { is_full: args.log == Log::Full, member: args.member };
    let report = run(&scenario, Look { listing, step_max: args.until });
    print!("{}", report.printed);
    for (what, times) in report.counts.iter() {
        println!("{times:>8} {what}");
    }
    println!("seed={} steps={} hash={:016x}", scenario.seed, report.steps, report.hash);
    match report.describe() {
        Some(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn shrink(args: &ShrinkArgs) -> ExitCode {
    let found = find(&args.what).and_then(|scenario| shrink::shrink(&scenario, args.runs));
    match found {
        Ok(scenario) => {
            print!("{scenario}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}
