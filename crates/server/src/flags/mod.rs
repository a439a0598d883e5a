//! Flags: one [table], from which parsing, the environment, the help and the tests are read.
//!
//! There are two stages.
//! What was *typed* on the command line or stands in the environment is only checked for its form.
//! What is *valid* is an [`Options`]: every value parsed, every combination checked, split into the parts that
//! the server's parts are built from.
//!
//! A configuration file takes the place of both command line and environment.
//!
//! Flags of etcd that do nothing here yet are refused by name unless they ask for what is done anyway, so that no
//! setting is silently lost.
//! Those that etcd has removed are accepted, with a warning that says what to use.
//!
//! ```
//! let arguments = ["--name=a", "--data-dir", "/tmp/a.etcd"].map(str::to_owned);
//! let loaded = etched::flags::load("etched", &arguments, &[]).expect("these flags are fine");
//! assert_eq!(loaded.options.member.name, "a");
//! ```

use std::path::Path;

use crate::logging::{Level, LogOptions, Value};

mod cluster;
mod environment;
mod file;
mod gates;
mod help;
mod observe;
mod old;
mod options;
mod report;
mod security;
pub mod table;
#[cfg(test)]
mod tests;
mod typed;
mod url;
mod validate;
mod value;

pub use gates::{GATES, Gate, Gates, Stage};
pub use help::{SERVER_VERSION, git_sha, go_arch, version_text};
pub use options::{
    AuthOptions, AutoCompaction, CheckOptions, ClusterState, Discovery, DiscoveryService, HttpOptions,
    LimitOptions, ListenOptions, MemberOptions, Options, StoreOptions,
};
pub use security::{CertificateError, SecurityOptions};
pub use url::{Scheme, Url, joined, texts};

use typed::Typed;

/// A log line that waits for the logger to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// How grave it is.
    pub level: Level,
    /// What happened.
    pub message: &'static str,
    /// The details.
    pub fields: Vec<(&'static str, Value)>,
}

impl Notice {
    fn new(level: Level, message: &'static str, fields: Vec<(&'static str, Value)>) -> Self {
        Self { level, message, fields }
    }

    /// Writes the line.
    pub fn emit(&self) {
        if crate::logging::enabled(self.level) {
            crate::logging::emit(&crate::logging::Record {
                level: self.level,
                logger: None,
                caller: crate::logging::Caller { file: file!(), line: line!() },
                message: self.message,
                fields: &self.fields,
            });
        }
    }
}

/// Valid options, and what is to be logged about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The options.
    pub options: Options,
    /// Lines for the log, in order.
    pub notices: Vec<Notice>,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Print this and exit: help, version or a usage error.
    Text {
        /// For standard output.
        stdout: String,
        /// For standard error.
        stderr: String,
        /// The exit code.
        code: u8,
    },
    /// Start the logger, write these lines and exit with code 1.
    Refused {
        /// How to log, as far as that could be found out.
        log: LogOptions,
        /// The lines.
        notices: Vec<Notice>,
    },
}

impl Stop {
    /// Says why and returns the exit code of the process.
    pub fn report(self) -> u8 {
        match self {
            Self::Text { stdout, stderr, code } => {
                use std::io::Write as _;
                // Whoever closed the pipe does not want to read it.
                let _ = std::io::stderr().write_all(stderr.as_bytes());
                let _ = std::io::stdout().write_all(stdout.as_bytes());
                code
            }
            Self::Refused { log, notices } => {
                // Without its outputs the logger still writes to standard error.
                let _ = crate::logging::init(&log);
                notices.iter().for_each(Notice::emit);
                crate::logging::flush();
                1
            }
        }
    }
}

/// The arguments of this process, without the name of the program.
pub fn process_arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(text).collect()
}

fn text(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

/// Loads the options of this process from these arguments and its environment.
///
/// # Errors
///
/// When there is nothing to run: [`Stop::report`] says why.
pub fn load_process(arguments: &[String]) -> Result<Loaded, Stop> {
    let program = std::env::args_os().next().map_or_else(|| "etched".to_owned(), text);
    let environment: Vec<_> = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    load(&program, arguments, &environment)
}

/// Loads options from arguments (without the program's name) and environment variables.
///
/// # Errors
///
/// When there is nothing to run: help or version was asked for, or something is wrong with the flags.
pub fn load(program: &str, arguments: &[String], variables: &[(String, String)]) -> Result<Loaded, Stop> {
    let mut notices = Vec::new();
    let mut typed = Typed::from_arguments(arguments, &mut notices).map_err(help::usage_error)?;
    match typed.wants {
        typed::Wants::Help => return Err(help::help()),
        typed::Wants::Version => return Err(help::version()),
        typed::Wants::Start => {}
    }
    let running = std::iter::once(program.to_owned()).chain(arguments.iter().cloned()).collect::<Vec<_>>();
    let running = Notice::new(Level::Info, "Running: ", vec![("args", running.into())]);
    let stray = typed.stray.as_ref().map(|stray| Problem::Verify(format!("{stray:?} is not a valid flag")));
    let source = match (stray, file_path(&typed, variables)) {
        (Some(problem), _) => Err(problem),
        (None, Some(path)) => from_file(&path, &mut typed, &mut notices),
        (None, None) => {
            old::translate(&mut typed, &mut notices);
            if let Some(refusal) = typed.refusal_of_arguments() {
                return Err(help::usage_error(refusal));
            }
            let merged = environment::merge(&mut typed, variables, &mut notices);
            old::translate(&mut typed, &mut notices);
            merged
        }
    };
    let loaded = source.and_then(|()| {
        let options = options::build(&typed)?;
        validate::check(&options, &typed, &mut notices)?;
        Ok(options)
    });
    match loaded {
        Ok(mut options) => {
            notices.push(running);
            validate::substitute(&mut options, &typed, &mut notices);
            Ok(Loaded { options, notices })
        }
        Err(Problem::Print { text, code }) => Err(Stop::Text { stdout: String::new(), stderr: text, code }),
        Err(problem) => {
            if matches!(problem, Problem::Verify(_) | Problem::NoAdvertisedUrls) {
                notices.push(running);
            }
            notices.extend(problem.notices());
            Err(Stop::Refused { log: observe::log_options(&typed).unwrap_or_default(), notices })
        }
    }
}

/// The configuration file that the command line or, if that has none, the environment names.
fn file_path(typed: &Typed, variables: &[(String, String)]) -> Option<String> {
    const NAME: &str = "config-file";
    let variable = table::variable(NAME);
    let from_environment = || {
        let found = variables.iter().find(|(name, _)| *name == variable);
        found.map_or("", |(_, value)| value.as_str())
    };
    let path = Some(typed.text(NAME)).filter(|path| !path.is_empty()).unwrap_or_else(from_environment);
    (!path.is_empty()).then(|| path.to_owned())
}

/// Replaces what was typed by what the file says.
fn from_file(path: &str, typed: &mut Typed, notices: &mut Vec<Notice>) -> Result<(), Problem> {
    let read = file::read(Path::new(path)).map_err(|problem| match problem {
        file::FileProblem::Verify(text) => Problem::Verify(text),
        file::FileProblem::Print(text) => Problem::Print { text, code: 1 },
    })?;
    *typed = read;
    old::translate(typed, notices);
    notices.push(Notice::new(
        Level::Info,
        "loaded server configuration, other configuration command line flags and environment variables will be \
         ignored if provided",
        vec![("path", path.into())],
    ));
    Ok(())
}

/// A duration in the syntax of Go; a negative one counts as none.
pub(crate) fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let parsed = value::parse_duration(text)?;
    Some(if parsed.negative { std::time::Duration::ZERO } else { parsed.magnitude })
}

/// What is wrong with flags whose form is right; how it is reported differs, as it does in etcd.
#[derive(Clone, Debug, PartialEq)]
enum Problem {
    /// Found while the configuration is verified.
    Verify(String),
    /// A listener without its public address.
    NoAdvertisedUrls,
    /// Found while the server starts.
    Start(String),
    /// A variable that the command line contradicts.
    Shadowed(String),
    /// Printed as it is; the logger is not asked.
    Print {
        /// For standard error.
        text: String,
        /// The exit code.
        code: u8,
    },
}

impl Problem {
    fn verify(text: impl Into<String>) -> Self {
        Self::Verify(text.into())
    }

    fn notices(self) -> Vec<Notice> {
        const NO_ADVERTISED: &str =
            "--advertise-client-urls is required when --listen-client-urls is set explicitly";
        let warn = |message, error: String| Notice::new(Level::Warn, message, vec![("error", error.into())]);
        match self {
            Self::Verify(error) => vec![warn("failed to verify flags", error)],
            Self::NoAdvertisedUrls => vec![
                warn("failed to verify flags", NO_ADVERTISED.to_owned()),
                warn("advertise client URLs are not set", NO_ADVERTISED.to_owned()),
            ],
            Self::Start(error) => {
                vec![Notice::new(Level::Fatal, "discovery failed", vec![("error", error.into())])]
            }
            Self::Shadowed(variable) => vec![Notice::new(
                Level::Fatal,
                "conflicting environment variable is shadowed by corresponding command-line flag (either unset \
                 environment variable or disable flag))",
                vec![("environment-variable", variable.into())],
            )],
            Self::Print { text, .. } => vec![warn("failed to verify flags", text)],
        }
    }
}
