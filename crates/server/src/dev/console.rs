//! The commands of a running `etched dev`.

/// What the help says.
pub(super) const HELP: &str = "\
status         where the members are and whether they run
stop NAME      ends a member (SIGTERM)
kill NAME      kills a member (SIGKILL)
pause NAME     halts a member (SIGSTOP)
resume NAME    lets a halted member go on (SIGCONT)
start NAME     starts a member that has ended
quit           ends everything";

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Status,
    Quit,
    /// Something with the member of this number.
    Member(Action, usize),
}

/// What is to be done with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Stop,
    Kill,
    Pause,
    Resume,
    Start,
}

/// Reads a line; `None` is an empty one.
///
/// # Errors
/// What is wrong with it, for whoever typed it.
pub(super) fn parse(line: &str, names: &[&str]) -> Result<Option<Command>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let action = match words.first().copied() {
        None => return Ok(None),
        Some("help" | "?") => return Ok(Some(Command::Help)),
        Some("status") => return Ok(Some(Command::Status)),
        Some("quit" | "exit") => return Ok(Some(Command::Quit)),
        Some("stop") => Action::Stop,
        Some("kill") => Action::Kill,
        Some("pause") => Action::Pause,
        Some("resume") => Action::Resume,
        Some("start") => Action::Start,
        Some(other) => return Err(format!("no such command: {other} (try help)")),
    };
    match words[1..] {
        [name] => match names.iter().position(|known| *known == name) {
            Some(number) => Ok(Some(Command::Member(action, number))),
            None => Err(format!("no such member: {name} (there are {})", names.join(", "))),
        },
        [] | [_, ..] => Err(format!("{} takes the name of one member", words[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_says_what_is_wrong() {
        let names = ["m1", "m2"];
        assert_eq!(parse("  ", &names), Ok(None));
        assert_eq!(parse("status", &names), Ok(Some(Command::Status)));
        assert_eq!(parse(" kill  m2\n", &names), Ok(Some(Command::Member(Action::Kill, 1))));
        assert!(parse("kill m3", &names).unwrap_err().contains("m1, m2"));
        assert!(parse("kill", &names).unwrap_err().contains("one member"));
        assert!(parse("kill m1 m2", &names).unwrap_err().contains("one member"));
        assert!(parse("dance", &names).unwrap_err().contains("help"));
    }
}
