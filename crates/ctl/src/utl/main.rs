//! `etchedutl`: works on the files of a member that has stopped, and on snapshots, in the manner of `etcdutl`.
//!
//! It reads the files of both programs: bbolt databases and snapshots of etcd, data directories of etched.
//! `spec` holds the commands and flags as data, `stored` opens whatever a file is, and there is a file for each command.

#![expect(clippy::print_stdout, reason = "printing is what this program does")]
#![expect(clippy::print_stderr, reason = "printing is what this program does")]

#[path = "../args.rs"]
#[expect(dead_code, reason = "the other program needs more of it")]
mod args;
mod cluster;
#[path = "../completion.rs"]
mod completion;
mod convert;
mod copy;
mod defrag;
#[path = "../failure.rs"]
#[expect(dead_code, reason = "the other program fails in more ways")]
mod failure;
mod hash_kv;
#[path = "../help.rs"]
mod help;
mod log;
mod migrate;
mod print;
mod progress;
mod restore;
mod spec;
mod status;
mod stored;
#[path = "../text/mod.rs"]
#[expect(dead_code, reason = "the other program needs more of it")]
mod text;

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use args::{Args, Chosen};
use failure::{Exit, Failure};
use spec::{Action, Command, GLOBAL_FLAGS, ROOT};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words: Vec<_> = words.map(OsStringExt::into_vec).collect();
    match run(&program, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{}", failure.render());
            ExitCode::from(failure.code())
        }
    }
}

fn run(program: &str, words: &[Vec<u8>]) -> Result<(), Failure> {
    let chosen = Chosen::find(&ROOT, words);
    let command = chosen.command();
    if let ([_root], Some(unknown)) = (chosen.path.as_slice(), &chosen.unknown) {
        let unknown = String::from_utf8_lossy(unknown);
        let text =
            format!("unknown command \"{unknown}\" for \"{program}\"\nRun '{program} --help' for usage.");
        return Err(Failure::new(Exit::Request, text));
    }
    let misused = |message: String| {
        Failure::new(Exit::Request, format!("{message}\n{}", help::usage(program, &chosen.path)))
    };
    let args = Args::parse(&[command.flags, GLOBAL_FLAGS], &chosen.words).map_err(misused)?;
    let Some(action) = command.action.filter(|_| !args.bool("help")) else {
        print!("{}", help::help(program, &chosen.path));
        return Ok(());
    };
    let missing: Vec<_> = command.required().filter(|name| !args.is_given(name)).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|name| format!("\"{name}\"")).collect();
        return Err(misused(format!("required flag(s) {} not set", names.join(", "))));
    }
    let words = args.all();
    match (action, words.len()) {
        (Action::Completion | Action::HashKv, 1) => {}
        (Action::Completion | Action::HashKv, given) => {
            return Err(misused(format!("accepts 1 arg(s), received {given}")));
        }
        (_, _) => {}
    }
    act(action, program, &args).map_err(|failure| match failure {
        Wrong::Usage(message) => misused(message),
        Wrong::Failure(failure) => failure,
    })
}

/// What may go wrong with a command that was understood.
enum Wrong {
    /// It was asked for in a way that needs to be explained.
    Usage(String),
    Failure(Failure),
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn act(action: Action, program: &str, args: &Args) -> Result<(), Wrong> {
    match action {
        Action::SnapshotStatus => status::run(args)?,
        Action::SnapshotRestore => restore::run(args)?,
        Action::HashKv => hash_kv::run(args)?,
        Action::Defrag => defrag::run(args)?,
        Action::Migrate => migrate::run(args)?,
        Action::Convert => convert::run(args)?,
        // The versions of etcdutl and of the API that this program stands in for; scripts read them.
        Action::Version => println!("etcdutl version: 3.7.2\nAPI version: 3.7"),
        Action::Options => print!("{}", help::options()),
        Action::Help => show_help(program, &args.all()),
        Action::Completion => {
            let shell = args.all().first().map(|word| String::from_utf8_lossy(word).into_owned());
            let shell = shell.unwrap_or_default();
            let script = completion::script(program, &shell).ok_or_else(|| {
                Wrong::Usage(format!("invalid argument \"{shell}\" for \"{program} completion\""))
            })?;
            print!("{script}");
        }
    }
    Ok(())
}

fn show_help(program: &str, words: &[Vec<u8>]) {
    let chosen = Chosen::find(&ROOT, words);
    if chosen.unknown.is_some() {
        let topic: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        eprint!("Unknown help topic [`{}`]\n{}", topic.join(" "), help::usage(program, &[&ROOT]));
    } else {
        print!("{}", help::help(program, &chosen.path));
    }
}

impl Command {
    /// The flags that must be given.
    fn required(&self) -> impl Iterator<Item = &'static str> {
        let names: &[&str] = match self.action {
            Some(Action::Defrag | Action::Convert) => &["data-dir"],
            Some(Action::Migrate) => &["data-dir", "target-version"],
            Some(
                Action::SnapshotStatus
                | Action::SnapshotRestore
                | Action::HashKv
                | Action::Version
                | Action::Completion
                | Action::Options
                | Action::Help,
            )
            | None => &[],
        };
        names.iter().copied()
    }
}

/// A path as it was given.
fn path_of(word: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(word))
}

/// How long to wait for a file that is in use; none is for ever.
fn patience(args: &Args) -> Option<Duration> {
    let given = args.is_given("timeout").then(|| text::duration::parse(args.text("timeout")));
    let patience = given.and_then(Result::ok).unwrap_or(Duration::from_secs(10));
    (!patience.is_zero()).then_some(patience)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The failure of a command that could not do what was asked.
fn failed(error: impl std::error::Error) -> Failure {
    Failure::new(Exit::Request, chain(&error))
}
