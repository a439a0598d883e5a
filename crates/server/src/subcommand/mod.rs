//! What the binary does besides being a member: `gateway start` and `grpc-proxy start`.
//!
//! Their flags have another syntax than those of a member (that of Go's `pflag`), and there are no environment
//! variables for them.

use std::process::ExitCode;

mod endpoints;
mod gateway;
mod proxy;
mod spec;

use spec::{Command, Parsed};

/// Runs a sub-command, if the arguments name one.
pub fn enter(arguments: &[String]) -> Option<ExitCode> {
    let command = match arguments.first().map(String::as_str) {
        Some("gateway") => &gateway::COMMAND,
        Some("grpc-proxy") => &proxy::COMMAND,
        Some(_) | None => return None,
    };
    Some(run(command, &arguments[1..]))
}

fn run(command: &'static Command, arguments: &[String]) -> ExitCode {
    let parsed = match command.parse(arguments) {
        Ok(parsed) => parsed,
        Err(stop) => {
            use std::io::Write as _;
            // Whoever closed the pipe does not want to read it.
            let _ = std::io::stdout().write_all(stop.stdout.as_bytes());
            let _ = std::io::stderr().write_all(stop.stderr.as_bytes());
            return ExitCode::from(stop.code);
        }
    };
    let level =
        if parsed.is_on("debug") { crate::logging::Level::Debug } else { crate::logging::Level::Info };
    let options = crate::logging::LogOptions { level, ..crate::logging::LogOptions::default() };
    if crate::logging::init(&options).is_err() {
        return ExitCode::FAILURE;
    }
    crate::metrics::raise_open_file_limit();
    let result = (command.start)(&parsed);
    crate::logging::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}
