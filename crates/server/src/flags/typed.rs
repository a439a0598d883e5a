//! The first stage: what was typed, in the syntax of Go's `flag` package.

use std::collections::BTreeMap;

use super::Notice;
use super::old::{self, Old};
use super::table::{self, FLAGS, Flag, IGNORED, Kind, Support};
use super::value::parse_bool;
use crate::logging::Level;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Start,
    Help,
    Version,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    Environment,
    File,
}

/// The values that were given, each of the right form.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    values: BTreeMap<&'static str, (String, Origin)>,
    pub(super) wants: Wants,
    /// Values of flags of earlier releases.
    pub(super) old: Vec<(&'static Old, String, Origin)>,
    /// The first argument that is no flag.
    pub(super) stray: Option<String>,
}

/// A flag of today or of an earlier release.
#[derive(Clone, Copy, Debug)]
enum Row {
    Now(&'static Flag),
    Old(&'static Old),
}

impl Row {
    fn find(name: &str) -> Option<Self> {
        table::find(name).map(Self::Now).or_else(|| old::find(name).map(Self::Old))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Now(flag) => flag.name,
            Self::Old(old) => old.name,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Now(flag) => flag.kind,
            Self::Old(old) => old.kind,
        }
    }

    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Self::Now(flag) => flag.check(value),
            Self::Old(old) => old.check(value),
        }
    }
}

impl Typed {
    /// Nothing was typed.
    pub(super) fn empty() -> Self {
        Self { values: BTreeMap::new(), wants: Wants::Start, old: Vec::new(), stray: None }
    }

    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// The usage error, one line.
    pub(super) fn from_arguments(arguments: &[String], notices: &mut Vec<Notice>) -> Result<Self, String> {
        let mut typed = Self::empty();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument.len() < 2 || !argument.starts_with('-') {
                typed.stray = Some(argument.clone());
                break;
            }
            if argument == "--" {
                typed.stray = rest.next().cloned();
                break;
            }
            let body = argument.strip_prefix("--").unwrap_or(&argument[1..]);
            if body.starts_with(['-', '=']) {
                return Err(format!("bad flag syntax: {argument}"));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            if typed.take_meta(name, value, notices)? {
                continue;
            }
            let row = Row::find(name).ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match value {
                Some(value) => value,
                None if row.kind() == Kind::Bool => "true",
                None => rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
            };
            typed.set_from_command_line(row, value)?;
        }
        Ok(typed)
    }

    /// Handles the flags that have no row in the table; false if it is not one of them.
    fn take_meta(
        &mut self,
        name: &str,
        value: Option<&str>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, String> {
        if IGNORED.contains(&name) {
            let fields = vec![("flag-name", name.into())];
            notices.push(Notice::new(Level::Warn, "flag is no longer supported - ignoring", fields));
            return Ok(true);
        }
        let wants = match name {
            "h" | "help" => Wants::Help,
            "version" => Wants::Version,
            _ => return Ok(false),
        };
        let value = value.unwrap_or("true");
        let on = parse_bool(value)
            .ok_or_else(|| format!("invalid boolean value {value:?} for -{name}: parse error"))?;
        // Help is given at once and wins, as it does in Go.
        if on && self.wants != Wants::Help {
            self.wants = wants;
        }
        Ok(true)
    }

    fn set_from_command_line(&mut self, row: Row, value: &str) -> Result<(), String> {
        let checked = row.check(value);
        checked.map_err(|error| match row.kind() {
            Kind::Bool => format!("invalid boolean value {value:?} for -{}: {error}", row.name()),
            Kind::Text
            | Kind::Unsigned
            | Kind::Unsigned32
            | Kind::Signed
            | Kind::Duration
            | Kind::Urls
            | Kind::Origins
            | Kind::List
            | Kind::Choice(_)
            | Kind::Gates => format!("invalid value {value:?} for flag -{}: {error}", row.name()),
        })?;
        match row {
            Row::Now(flag) => self.set(flag, value, Origin::CommandLine),
            Row::Old(old) => self.set_old(old, value, Origin::CommandLine),
        }
        Ok(())
    }

    /// Takes a value of a flag of an earlier release, to be translated when all flags are read.
    pub(super) fn set_old(&mut self, old: &'static Old, value: &str, origin: Origin) {
        self.old.push((old, value.to_owned(), origin));
    }

    /// Takes a value whose form is right.
    pub(super) fn set(&mut self, flag: &'static Flag, value: &str, origin: Origin) {
        let truth = parse_bool(value).filter(|_| flag.kind == Kind::Bool);
        let value = truth.map_or(value, |on| if on { "true" } else { "false" });
        self.values.insert(flag.name, (value.to_owned(), origin));
    }

    /// Where the value of a flag comes from; `None` if it was not given.
    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        self.values.get(name).map(|(_, origin)| *origin)
    }

    /// Whether the flag was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a flag, or its default.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some((value, _)) => value,
            None => table::find(name).map_or("", |flag| flag.default),
        }
    }

    /// What the command line asks for that was removed, as a usage error.
    pub(super) fn refusal_of_arguments(&self) -> Option<String> {
        let mut given = FLAGS.iter().filter(|flag| self.origin(flag.name) == Some(Origin::CommandLine));
        given.find_map(|flag| {
            let value = self.text(flag.name);
            match flag.support {
                Support::Removed(advice) if !value.is_empty() => {
                    Some(format!("flag -{} cannot be set to {value:?}: {advice}", flag.name))
                }
                Support::Full | Support::NoEffect(_) | Support::Removed(_) => None,
            }
        })
    }

    /// Flags that were given though they change nothing, with the reason.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FLAGS.iter().filter(|flag| self.has(flag.name)).filter_map(|flag| match flag.support {
            Support::NoEffect(reason) => Some((flag.name, reason)),
            Support::Full | Support::Removed(_) => None,
        })
    }
}
