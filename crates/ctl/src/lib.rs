//! The two programs for the command line: `etchedctl`, which talks to a cluster, and `etchedutl`, which works on the
//! files of a stopped member.
//!
//! Commands and flags are data (`table`; `spec` and `utl::spec` fill it in), which `args`, `help` and `completion`
//! read; `program` joins them.
//! Of etchedctl, `command` has one function per command, and `output` turns answers into bytes; etchedutl is in `utl`.
//!
//! ```no_run
//! # use std::process::ExitCode;
//! fn main() -> ExitCode {
//!     etched_ctl::etchedctl()
//! }
//! ```

#![expect(clippy::print_stdout, reason = "printing is what these programs do")]
#![expect(clippy::print_stderr, reason = "printing is what these programs do")]

use std::process::ExitCode;

mod args;
mod command;
mod completion;
mod connection;
mod ctl;
mod env;
mod failure;
mod help;
mod log;
mod output;
mod program;
mod prompt;
mod spec;
mod table;
mod text;
mod utl;

/// Runs etchedctl on the command line of this process.
pub fn etchedctl() -> ExitCode {
    program::main_of(ctl::run)
}

/// Runs etchedutl on the command line of this process.
pub fn etchedutl() -> ExitCode {
    program::main_of(utl::run)
}
