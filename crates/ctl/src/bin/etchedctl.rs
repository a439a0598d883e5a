//! `etchedctl`: talks to a cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    etched_ctl::etchedctl()
}
