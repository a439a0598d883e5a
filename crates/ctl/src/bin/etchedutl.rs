//! `etchedutl`: works on the files of a stopped member.

use std::process::ExitCode;

fn main() -> ExitCode {
    etched_ctl::etchedutl()
}
