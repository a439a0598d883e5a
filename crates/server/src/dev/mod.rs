//! `etched dev`: a cluster for developers, by one command.
//!
//! It starts members of this same program on loopback, waits until all serve, says how to reach them, and takes
//! commands (`kill m1`, `start m1`, ...) from standard input until it is told to end; then it ends them.
//! Data are temporary unless a directory is named; with `--tls` it makes an authority and certificates for servers and
//! clients.
//!
//! `plan` decides ports, directories and flags without touching anything; `cluster` runs the processes;
//! `console` understands commands; `certificates` makes what `--tls` needs.
//! A member is started as `etched dev member FLAGS`, which is the ordinary server that ends when this process does.

mod certificates;
mod cluster;
mod console;
mod options;
mod plan;
mod screen;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use self::options::Options;
use self::plan::{Home, Plan};

/// The first argument of a member that `etched dev` starts.
const MEMBER: &str = "member";

/// What `etched dev` comes to.
#[derive(Debug)]
pub enum Entered {
    /// Everything is done.
    Done(ExitCode),
    /// This process is to be a member with these flags.
    Member(Vec<String>),
}

/// Runs `etched dev` with the arguments after `dev`.
pub fn enter(arguments: Vec<String>) -> Entered {
    if arguments.first().is_some_and(|first| first == MEMBER) {
        return match end_with_parent() {
            Ok(()) => Entered::Member(arguments.into_iter().skip(1).collect()),
            Err(error) => failed(&error),
        };
    }
    let program = [OsString::from("etched dev")].into_iter();
    let options = match Options::try_parse_from(program.chain(arguments.into_iter().map(OsString::from))) {
        Ok(options) => options,
        Err(error) => {
            // A closed standard output is not worth another error.
            let _ = error.print();
            return Entered::Done(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    match run(&options) {
        Ok(()) => Entered::Done(ExitCode::SUCCESS),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> Entered {
    screen::complain(&format!("etched dev: {error:#}"));
    Entered::Done(ExitCode::FAILURE)
}

/// Has the kernel end this process when the one that started it ends, however that happens.
fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the parent process")?;
    // It may have ended before it could be followed.
    let orphaned = getppid().is_none_or(rustix::process::Pid::is_init);
    anyhow::ensure!(!orphaned || std::process::id() == 1, "the process that started this member is gone");
    Ok(())
}

fn run(options: &Options) -> Result<()> {
    let home = Home::open(options.data_dir.as_deref())?;
    let plan = Plan::of(options, home.path())?;
    plan.save()?;
    if let Some(tls) = &plan.tls {
        certificates::ensure(tls)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(cluster::run(&plan, options.json));
    // A read of standard input cannot be called back.
    runtime.shutdown_background();
    result
}
