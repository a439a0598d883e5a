//! `etchedctl`: talks to an etcd or etched cluster from the command line, in the manner of `etcdctl`.

use crate::args::Args;
use crate::command::{self, Context};
use crate::failure::{Exit, Failure};
use crate::spec::{Action, PROGRAM};
use crate::{env, help};

/// Does what the command line asks for.
pub(crate) fn run(program: &str, words: &[Vec<u8>]) -> Result<(), Failure> {
    let chosen = PROGRAM.choose(program, words)?;
    let args = PROGRAM.parse(program, &chosen)?;
    match chosen.command().action.filter(|_| !args.bool("help")) {
        None => print!("{}", help::help(program, &chosen.path)),
        Some(Action::Help) => PROGRAM.show_help(program, &args.all()),
        Some(Action::Options) => print!("{}", help::options(PROGRAM.globals)),
        // The versions of etcdctl and of the API that this program stands in for; scripts read them.
        Some(Action::Version) => println!("etcdctl version: 3.7.2\nAPI version: 3.7"),
        Some(Action::Completion) => PROGRAM.complete(program, &args, &chosen)?,
        Some(action) => return with_client(action, args),
    }
    Ok(())
}

/// Runs a command that needs the cluster.
fn with_client(action: Action, mut args: Args) -> Result<(), Failure> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let is_watch = matches!(action, Action::Watch);
    let variables =
        variables.filter(|(name, _)| !(is_watch && env::WATCH_VARIABLES.contains(&name.as_str())));
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
