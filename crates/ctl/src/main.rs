//! `etchedctl`: talks to an etcd or etched cluster from the command line, in the manner of `etcdctl`.
//!
//! `spec` holds the commands and flags as data; `args`, `help` and `completion` read it.
//! `command` has one function per command, `output` turns answers into bytes.

#![expect(clippy::print_stdout, reason = "printing is what this program does")]
#![expect(clippy::print_stderr, reason = "printing is what this program does")]

mod args;
mod command;
mod completion;
mod connection;
mod env;
mod failure;
mod help;
mod log;
mod output;
mod prompt;
mod spec;
mod text;

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use args::{Args, Chosen};
use command::Context;
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
    let args = Args::parse(&[command.flags, GLOBAL_FLAGS], &chosen.words)
        .map_err(|message| misused(&message, program, &chosen.path))?;
    match command.action.filter(|_| !args.bool("help")) {
        None => print!("{}", help::help(program, &chosen.path)),
        Some(Action::Help) => show_help(program, &args.all()),
        Some(Action::Options) => print!("{}", help::options()),
        // The versions of etcdctl and of the API that this program stands in for; scripts read them.
        Some(Action::Version) => println!("etcdctl version: 3.7.2\nAPI version: 3.7"),
        Some(Action::Completion) => complete(program, &args.all(), &chosen.path)?,
        Some(action) => return with_client(action, args),
    }
    Ok(())
}

/// A mistake in the flags: what is wrong, and how it is right.
fn misused(message: &str, program: &str, path: &[&Command]) -> Failure {
    Failure::new(Exit::Request, format!("{message}\n{}", help::usage(program, path)))
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

fn complete(program: &str, words: &[Vec<u8>], path: &[&Command]) -> Result<(), Failure> {
    let [shell] = words else {
        return Err(misused(&format!("accepts 1 arg(s), received {}", words.len()), program, path));
    };
    let shell = String::from_utf8_lossy(shell);
    let Some(script) = completion::script(program, &shell) else {
        return Err(misused(
            &format!("invalid argument \"{shell}\" for \"{program} completion\""),
            program,
            path,
        ));
    };
    print!("{script}");
    Ok(())
}

/// Runs a command that needs the cluster.
fn with_client(action: Action, mut args: Args) -> Result<(), Failure> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    for warning in env::apply(&mut args, variables)? {
        eprintln!("{warning}");
    }
    let context = Context::new(args)?;
    // Most commands make a request or two; checks want all the processors.
    let is_check = matches!(action, Action::CheckPerf | Action::CheckDatascale);
    let mut builder = if is_check {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime =
        builder.enable_all().build().map_err(|error| Failure::new(Exit::Connection, error.to_string()))?;
    runtime.block_on(command::run(action, context))
}
