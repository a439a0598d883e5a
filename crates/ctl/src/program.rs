//! What both programs do alike with a command line, before they do what it asks for.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use crate::args::{Args, Chosen};
use crate::failure::{Exit, Failure};
use crate::table::{Command, Program};
use crate::{completion, help};

/// Runs a program on the command line of this process; it is given its own name and the words that follow.
pub(crate) fn main_of(run: fn(&str, &[Vec<u8>]) -> Result<(), Failure>) -> ExitCode {
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

/// A mistake in the command line: what is wrong, and how it is right.
pub(crate) fn misused<A>(message: &str, program: &str, path: &[&Command<A>]) -> Failure {
    Failure::new(Exit::Request, format!("{message}\n{}", help::usage(program, path)))
}

impl<A> Program<A> {
    /// Finds the command.
    ///
    /// # Errors
    ///
    /// There is no command of that name.
    pub(crate) fn choose(&self, program: &str, words: &[Vec<u8>]) -> Result<Chosen<A>, Failure> {
        let chosen = Chosen::find(self, words);
        if let ([_root], Some(unknown)) = (chosen.path.as_slice(), &chosen.unknown) {
            let unknown = String::from_utf8_lossy(unknown);
            let text =
                format!("unknown command \"{unknown}\" for \"{program}\"\nRun '{program} --help' for usage.");
            return Err(Failure::new(Exit::Request, text));
        }
        Ok(chosen)
    }

    /// Reads the flags and arguments of a command.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn parse(&self, program: &str, chosen: &Chosen<A>) -> Result<Args, Failure> {
        Args::parse(&[chosen.command().flags, self.globals], &chosen.words)
            .map_err(|message| misused(&message, program, &chosen.path))
    }

    /// Shows the help of the command that these words name.
    pub(crate) fn show_help(&self, program: &str, words: &[Vec<u8>]) {
        let chosen = Chosen::find(self, words);
        if chosen.unknown.is_some() {
            let topic: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            eprint!("Unknown help topic [`{}`]\n{}", topic.join(" "), help::usage(program, &[self.root]));
        } else {
            print!("{}", help::help(program, &chosen.path));
        }
    }

    /// Prints the completion script for the shell that the arguments name.
    ///
    /// # Errors
    ///
    /// They name none, or more than one, or one that nobody knows.
    pub(crate) fn complete(&self, program: &str, args: &Args, chosen: &Chosen<A>) -> Result<(), Failure> {
        let words = args.all();
        let [shell] = words.as_slice() else {
            let message = format!("accepts 1 arg(s), received {}", words.len());
            return Err(misused(&message, program, &chosen.path));
        };
        let shell = String::from_utf8_lossy(shell);
        let Some(script) = completion::script(self, program, &shell) else {
            let message = format!("invalid argument \"{shell}\" for \"{program} completion\"");
            return Err(misused(&message, program, &chosen.path));
        };
        print!("{script}");
        Ok(())
    }
}
