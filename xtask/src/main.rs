//! The chores of the workspace: `cargo xtask COMMAND`.
#![expect(clippy::print_stdout, reason = "a command line tool prints")]

mod bench;
mod histogram;
mod http2;
mod process;
mod procfs;
mod random;
mod workspace;

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures etched and the real etcd side by side.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
    }
}
