//! What whoever runs `etched dev` is told.
//!
//! A closed output is no reason to end the members, so failures to write are passed over.

use std::io::Write as _;

/// Writes a line to standard output.
pub(super) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

/// Writes a line to standard error.
pub(super) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
