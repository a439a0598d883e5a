//! The simulator as a program: many seeds, one seed again, or a failure made small.

#![expect(clippy::print_stdout, reason = "a program that reports to whoever started it")]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
