//! The chores of the workspace: `cargo xtask COMMAND`.
#![expect(clippy::print_stdout, reason = "a command line tool prints")]

mod bench;
mod compat;
mod crash;
mod histogram;
mod http2;
mod process;
mod procfs;
mod random;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the rules that a machine can check.
    Tidy,
    /// Measures etched and the real etcd side by side.
    Bench(bench::Options),
    /// Compares etched with the real etcd, request by request.
    Compat(compat::Options),
    /// Kills the server under load and checks what it kept.
    Crash(crash::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Tidy => tidy::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Compat(options) => compat::run(&options),
        Command::Crash(options) => crash::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
