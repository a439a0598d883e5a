//! The chores of the workspace: `cargo xtask COMMAND`.
#![expect(clippy::print_stdout, reason = "a command line tool prints")]

mod bench;
mod bugs;
mod chaos;
mod ci;
mod clients;
mod compat;
mod crash;
mod ctl;
mod fuzz;
mod histogram;
mod http2;
mod mixed;
mod process;
mod procfs;
mod random;
mod sim;
mod tidy;
mod v2;
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
    /// All checks of a change, as CI runs them.
    Ci,
    /// Compiles each package alone, with default and without features.
    Each,
    /// Checks the rules that a machine can check.
    Tidy,
    /// Measures etched and the real etcd side by side.
    Bench(bench::Options),
    /// Compares etched with the real etcd, request by request.
    Compat(compat::Options),
    /// Kills the server under load and checks what it kept.
    Crash(crash::Options),
    /// Tortures a cluster of real processes and judges what clients were told.
    Chaos(chaos::Options),
    /// Measures how long a cluster does not write when its leader is killed.
    Failover(chaos::failover::Options),
    /// Turns a cluster of the real etcd into one of etched and back, under load.
    Mixed(mixed::Options),
    /// Compares the v2 API with an etcd that still has it, request by request.
    V2(v2::Options),
    /// Runs the crates that ship under faults that a seed draws.
    Sim(sim::Options),
    /// Compares etchedctl with the real etcdctl, command line by command line.
    Ctl(ctl::Options),
    /// Feeds every parser with anything.
    Fuzz(fuzz::Options),
    /// Plants faults and shows that the simulators find them.
    Bugs(bugs::Options),
    /// Sessions of independent clients.
    Clients(clients::Options),
}

fn main() -> ExitCode {
    if let Some(result) = clients::stand_in_for_protoc() {
        return conclude(result);
    }
    conclude(match Arguments::parse().command {
        Command::Ci => ci::run(),
        Command::Each => ci::each(),
        Command::Tidy => tidy::run(),
        Command::Bench(options) => bench::run(&options),
        Command::Compat(options) => compat::run(&options),
        Command::Crash(options) => crash::run(&options),
        Command::Chaos(options) => chaos::run(&options),
        Command::Failover(options) => chaos::failover::run(&options),
        Command::Mixed(options) => mixed::run(&options),
        Command::V2(options) => v2::run(&options),
        Command::Sim(options) => sim::run(&options),
        Command::Ctl(options) => ctl::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Bugs(options) => bugs::run(&options),
        Command::Clients(options) => clients::run(&options),
    })
}

fn conclude(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
