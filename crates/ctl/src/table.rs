//! What tables of commands and flags are made of. Parsing, help and completion read them.

/// A flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<u8>,
    pub(crate) kind: Kind,
    /// In the form in which it would be typed.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

/// What a flag's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes a value only behind an equals sign.
    Bool,
    Int,
    Uint,
    Duration,
    Text,
    /// Separated by commas; a repeated flag adds to it.
    List,
}

/// A command, or a family of commands if it has no action.
#[derive(Debug)]
pub(crate) struct Command<A: 'static> {
    pub(crate) name: &'static str,
    /// The arguments, for the usage line.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [Flag],
    pub(crate) action: Option<A>,
    pub(crate) children: &'static [Self],
}

/// A program, as data.
#[derive(Debug)]
pub(crate) struct Program<A: 'static> {
    pub(crate) root: &'static Command<A>,
    /// The flags of all commands.
    pub(crate) globals: &'static [Flag],
}

/// The flag that every command has.
pub(crate) const HELP_FLAG: Flag =
    Flag { name: "help", short: Some(b'h'), kind: Kind::Bool, default: "false", about: "show this text" };

pub(crate) const fn flag(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Flag {
    Flag { name, short: None, kind, default, about }
}

pub(crate) const fn switch(name: &'static str, about: &'static str) -> Flag {
    flag(name, Kind::Bool, "false", about)
}

pub(crate) const fn leaf<A>(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    flags: &'static [Flag],
    action: A,
) -> Command<A> {
    Command { name, arguments, about, flags, action: Some(action), children: &[] }
}

pub(crate) const fn family<A>(
    name: &'static str,
    about: &'static str,
    children: &'static [Command<A>],
) -> Command<A> {
    Command { name, arguments: "", about, flags: &[], action: None, children }
}
