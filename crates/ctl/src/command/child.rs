//! Commands that this program runs, and how they end, in the words of Go.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use crate::failure::text_of_io;
use crate::text::quote::quote;

/// The names that Go gives to the signals 1 to 15 of Linux.
const SIGNALS: [&str; 15] = [
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
];

/// A command as the system takes it.
pub(super) fn os_words(words: &[Vec<u8>]) -> Vec<std::ffi::OsString> {
    words.iter().map(|word| std::os::unix::ffi::OsStringExt::from_vec(word.clone())).collect()
}

/// Why a command could not be started.
pub(super) fn not_started(program: &[u8], error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && !program.contains(&b'/') {
        return format!("exec: {}: executable file not found in $PATH", quote(program));
    }
    text_of_io("fork/exec", Path::new(&*String::from_utf8_lossy(program)), error)
}

/// How a command has ended.
pub(super) fn status_text(status: ExitStatus) -> String {
    let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}{dumped}", name_of(signal)),
        (None, None) => status.to_string(),
    }
}

fn name_of(signal: i32) -> String {
    let place = usize::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    match place.and_then(|place| SIGNALS.get(place)) {
        Some(name) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_gos_words() {
        assert_eq!(status_text(ExitStatus::from_raw(3 << 8)), "exit status 3");
        assert_eq!(status_text(ExitStatus::from_raw(9)), "signal: killed");
        assert_eq!(status_text(ExitStatus::from_raw(6 | 0x80)), "signal: aborted (core dumped)");
        assert_eq!(status_text(ExitStatus::from_raw(40)), "signal: signal 40");
    }

    #[test]
    fn commands_that_do_not_start_have_gos_words() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(not_started(b"nix", &missing), "exec: \"nix\": executable file not found in $PATH");
        assert_eq!(not_started(b"/nix", &missing), "fork/exec /nix: no such file or directory");
        let denied = io::Error::from_raw_os_error(13);
        assert_eq!(not_started(b"/etc", &denied), "fork/exec /etc: permission denied");
    }
}
