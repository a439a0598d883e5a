//! How the program fails: a text on standard error and an exit code, both as etcdctl has them.

use std::io;
use std::path::Path;

use etched_client::proto::Code;
use etched_client::{Error, ErrorKind};

/// The exit codes, by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A request failed.
    Request = 1,
    /// The client could not be made, or could not go on.
    Connection = 2,
    /// Standard input was not understood.
    Input = 3,
    /// A value or output format is not supported.
    Unsupported = 4,
    /// The server or the user ended it.
    Interrupted = 5,
    /// Standard output or a file could not be written.
    Io = 6,
    /// The arguments are wrong.
    Arguments = 128,
}

/// Why the program ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What follows `Error: `; empty if all was said already.
    pub(crate) message: String,
    /// The status of a command that was run, which takes the place of the exit code.
    status: Option<u8>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), status: None }
    }

    /// Ends with the status of a command that failed.
    pub(crate) fn with_status(status: u8, message: impl Into<String>) -> Self {
        Self { exit: Exit::Request, message: message.into(), status: Some(status) }
    }

    /// With what the program ends.
    pub(crate) fn code(&self) -> u8 {
        self.status.unwrap_or(self.exit as u8)
    }

    /// Wrong arguments.
    pub(crate) fn arguments(message: impl Into<String>) -> Self {
        Self::new(Exit::Arguments, message)
    }

    /// Ends with a code, everything having been said.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The text as it is printed.
    pub(crate) fn render(&self) -> String {
        if self.message.is_empty() { String::new() } else { format!("Error: {}\n", self.message) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Endpoint { .. } => Exit::Connection,
            Error::Unreachable { .. }
            | Error::Server { .. }
            | Error::Broken { .. }
            | Error::Timeout
            | Error::OutcomeUnknown { .. }
            | Error::Compacted { .. }
            | Error::WatchCanceled { .. }
            | Error::Protocol { .. }
            | _ => Exit::Request,
        };
        Self::new(exit, text_of(&error))
    }
}

/// An error in the words of etcdctl.
pub(crate) fn text_of(error: &Error) -> String {
    match error {
        Error::Server { kind, code, message } => text_of_status(*kind, *code, message),
        Error::Unreachable { .. } | Error::Timeout => "context deadline exceeded".to_owned(),
        Error::OutcomeUnknown { cause } => text_of(cause),
        Error::Broken { cause } => format!("rpc error: code = Unavailable desc = {cause}"),
        Error::WatchCanceled { reason, .. } => reason.clone(),
        Error::Endpoint { .. } | Error::Compacted { .. } | Error::Protocol { .. } | _ => error.to_string(),
    }
}

/// An error about a file in the words of Go.
pub(crate) fn text_of_io(verb: &str, path: &Path, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    format!("{verb} {}: {first}{}", path.display(), chars.as_str())
}

fn text_of_status(kind: ErrorKind, code: Code, message: &str) -> String {
    if message.starts_with("etcdserver: ") && kind != ErrorKind::Other {
        message.to_owned()
    } else if code == Code::DeadlineExceeded {
        "context deadline exceeded".to_owned()
    } else if code == Code::Cancelled {
        "context canceled".to_owned()
    } else {
        format!("rpc error: code = {code:?} desc = {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: Code, message: &str) -> String {
        text_of(&Error::Server { kind: ErrorKind::of(message), code, message: message.to_owned() })
    }

    #[test]
    fn texts_that_etcd_is_known_for_are_printed_bare() {
        assert_eq!(
            server(Code::NotFound, "etcdserver: requested lease not found"),
            "etcdserver: requested lease not found"
        );
    }

    #[test]
    fn other_texts_come_with_their_code() {
        let text = server(Code::Unimplemented, "RangeStream does not support custom sort orders");
        assert_eq!(
            text,
            "rpc error: code = Unimplemented desc = RangeStream does not support custom sort orders"
        );
    }

    #[test]
    fn time_that_is_over_has_one_text() {
        assert_eq!(server(Code::DeadlineExceeded, "context deadline exceeded"), "context deadline exceeded");
        assert_eq!(text_of(&Error::Timeout), "context deadline exceeded");
        assert_eq!(
            text_of(&Error::OutcomeUnknown { cause: Box::new(Error::Timeout) }),
            "context deadline exceeded"
        );
    }

    #[test]
    fn errors_about_files_have_gos_words() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(text_of_io("open", Path::new("/x"), &error), "open /x: no such file or directory");
    }

    #[test]
    fn what_was_said_already_is_not_said_again() {
        assert_eq!(Failure::silent(Exit::Request).render(), "");
        assert_eq!(Failure::arguments("x").render(), "Error: x\n");
    }
}
