//! The help texts, made from the tables of commands and flags.

use std::fmt::Write as _;

use crate::table::{Command, Flag, HELP_FLAG, Kind};

/// The whole help of a command.
pub(crate) fn help<A>(program: &str, path: &[&Command<A>]) -> String {
    let command = path.last().expect("a path begins with the root");
    let hint = format!("Use \"{program} options\" to see the flags of all commands.\n");
    format!("{}\n\n{}{hint}", command.about, usage(program, path))
}

/// How to use a command, as it follows a mistake.
pub(crate) fn usage<A>(program: &str, path: &[&Command<A>]) -> String {
    let command = path.last().expect("a path begins with the root");
    let names: Vec<_> =
        std::iter::once(program).chain(path[1..].iter().map(|command| command.name)).collect();
    let names = names.join(" ");
    let mut text = String::from("Usage:\n");
    if command.children.is_empty() {
        let arguments =
            if command.arguments.is_empty() { String::new() } else { format!(" {}", command.arguments) };
        let _infallible = writeln!(text, "  {names}{arguments} [flags]\n");
    } else {
        let _infallible = writeln!(text, "  {names} [command]\n\nAvailable Commands:");
        let width = command.children.iter().map(|child| child.name.len()).max().unwrap_or(0);
        for child in command.children {
            let _infallible = writeln!(text, "  {:width$}  {}", child.name, child.about);
        }
        text.push('\n');
    }
    text.push_str("Flags:\n");
    text.push_str(&flags(command.flags.iter().chain([&HELP_FLAG])));
    text.push('\n');
    if !command.children.is_empty() {
        let _infallible =
            writeln!(text, "Use \"{names} [command] --help\" for more information about a command.");
    }
    text
}

/// The flags of all commands.
pub(crate) fn options(globals: &[Flag]) -> String {
    format!("The following options can be passed to any command:\n\n{}", flags(globals.iter()))
}

fn flags<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let rows: Vec<_> = flags.map(|flag| (signature(flag), describe(flag))).collect();
    let width = rows.iter().map(|(signature, _)| signature.len()).max().unwrap_or(0);
    rows.iter().map(|(signature, about)| format!("{signature:width$}   {about}\n")).collect()
}

fn signature(flag: &Flag) -> String {
    let short = match flag.short {
        Some(short) => format!("  -{}, ", char::from(short)),
        None => "      ".to_owned(),
    };
    let value = match flag.kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Uint => " uint",
        Kind::Duration => " duration",
        Kind::Text => " string",
        Kind::List => " strings",
    };
    format!("{short}--{}{value}", flag.name)
}

fn describe(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (_, "" | "false" | "0") => flag.about.to_owned(),
        (Kind::Text, default) => format!("{} (default \"{default}\")", flag.about),
        (Kind::List, default) => format!("{} (default [{default}])", flag.about),
        (Kind::Bool | Kind::Int | Kind::Uint | Kind::Duration, default) => {
            format!("{} (default {default})", flag.about)
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::args::Chosen;
    use crate::spec::{Action, GLOBAL_FLAGS, PROGRAM, ROOT};

    fn of(line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        help("etchedctl", &Chosen::find(&PROGRAM, &words).path)
    }

    #[test]
    fn a_command_shows_its_arguments_and_flags() {
        expect![[r#"
            Writes a key; the value may come from standard input

            Usage:
              etchedctl put [options] <key> [value] [flags]

            Flags:
                  --ignore-lease   keep the key's lease
                  --ignore-value   keep the key's value
                  --lease string   lease to attach the key to, in hexadecimal digits
                  --prev-kv        print the previous value
              -h, --help           show this text

            Use "etchedctl options" to see the flags of all commands.
        "#]]
        .assert_eq(&of("put"));
    }

    #[test]
    fn a_family_shows_its_commands() {
        expect![[r#"
            Lists and disarms alarms

            Usage:
              etchedctl alarm [command]

            Available Commands:
              disarm  Disarms all alarms
              list    Lists the alarms of all members

            Flags:
              -h, --help   show this text

            Use "etchedctl alarm [command] --help" for more information about a command.
            Use "etchedctl options" to see the flags of all commands.
        "#]]
        .assert_eq(&of("alarm"));
    }

    #[test]
    fn every_command_has_a_sentence() {
        fn check(command: &Command<Action>) {
            assert!(!command.about.is_empty() && command.action.is_some() == command.children.is_empty());
            command.children.iter().for_each(check);
        }
        check(&ROOT);
        assert!(options(GLOBAL_FLAGS).lines().count() == GLOBAL_FLAGS.len() + 2);
    }
}
