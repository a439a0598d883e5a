//! `etchedutl`: works on the files of a member that has stopped, and on snapshots, in the manner of `etcdutl`.
//!
//! It reads the files of both programs: bbolt databases and snapshots of etcd, data directories of etched.
//! `spec` holds the commands and flags as data, `stored` opens whatever a file is, and there is a file for each command.

mod cluster;
mod convert;
mod copy;
mod defrag;
mod hash_kv;
mod log;
mod migrate;
mod print;
mod progress;
mod restore;
mod spec;
mod status;
mod stored;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use self::spec::{Action, PROGRAM};
use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::program::misused;
use crate::{help, text};

/// Does what the command line asks for.
pub(crate) fn run(program: &str, words: &[Vec<u8>]) -> Result<(), Failure> {
    let chosen = PROGRAM.choose(program, words)?;
    let wrong = |message: &str| misused(message, program, &chosen.path);
    let args = PROGRAM.parse(program, &chosen)?;
    let Some(action) = chosen.command().action.filter(|_| !args.bool("help")) else {
        print!("{}", help::help(program, &chosen.path));
        return Ok(());
    };
    let missing: Vec<_> = required(action).iter().filter(|name| !args.is_given(name)).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|name| format!("\"{name}\"")).collect();
        return Err(wrong(&format!("required flag(s) {} not set", names.join(", "))));
    }
    match action {
        Action::SnapshotStatus => status::run(&args)?,
        Action::SnapshotRestore => restore::run(&args)?,
        Action::HashKv => match args.all().len() {
            1 => hash_kv::run(&args)?,
            given => return Err(wrong(&format!("accepts 1 arg(s), received {given}"))),
        },
        Action::Defrag => defrag::run(&args)?,
        Action::Migrate => migrate::run(&args)?,
        Action::Convert => convert::run(&args)?,
        Action::Completion => PROGRAM.complete(program, &args, &chosen)?,
        // The versions of etcdutl and of the API that this program stands in for; scripts read them.
        Action::Version => println!("etcdutl version: 3.7.2\nAPI version: 3.7"),
        Action::Options => print!("{}", help::options(PROGRAM.globals)),
        Action::Help => PROGRAM.show_help(program, &args.all()),
    }
    Ok(())
}

/// The flags that must be given.
fn required(action: Action) -> &'static [&'static str] {
    match action {
        Action::Defrag | Action::Convert => &["data-dir"],
        Action::Migrate => &["data-dir", "target-version"],
        Action::SnapshotStatus
        | Action::SnapshotRestore
        | Action::HashKv
        | Action::Version
        | Action::Completion
        | Action::Options
        | Action::Help => &[],
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
