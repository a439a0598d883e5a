//! The first stage: what was typed, in the syntax of Go's `flag` package.

use std::collections::BTreeMap;

use super::Notice;
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
}

/// The values that were given, each of the right form.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    values: BTreeMap<&'static str, (String, Origin)>,
    pub(super) wants: Wants,
    /// The first argument that is no flag.
    pub(super) stray: Option<String>,
}

impl Typed {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// The usage error, one line.
    pub(super) fn from_arguments(arguments: &[String], notices: &mut Vec<Notice>) -> Result<Self, String> {
        let mut typed = Self { values: BTreeMap::new(), wants: Wants::Start, stray: None };
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
            let flag = table::find(name).ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match value {
                Some(value) => value,
                None if flag.kind == Kind::Bool => "true",
                None => rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
            };
            typed.set_from_command_line(flag, value)?;
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

    fn set_from_command_line(&mut self, flag: &'static Flag, value: &str) -> Result<(), String> {
        let subject = if flag.kind == Kind::Bool {
            format!("invalid boolean value {value:?} for -{}", flag.name)
        } else {
            format!("invalid value {value:?} for flag -{}", flag.name)
        };
        flag.check(value).map_err(|error| format!("{subject}: {error}"))?;
        self.set(flag, value, Origin::CommandLine);
        Ok(())
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

    /// What the command line asks for that is not there yet, as a usage error.
    pub(super) fn refusal_of_arguments(&self) -> Option<String> {
        self.refusals(Origin::CommandLine).next()
    }

    /// What the environment asks for that is not there yet.
    pub(super) fn refusal_of_environment(&self) -> Option<String> {
        self.refusals(Origin::Environment).next()
    }

    fn refusals(&self, wanted: Origin) -> impl Iterator<Item = String> {
        let given = FLAGS.iter().filter(move |flag| self.origin(flag.name) == Some(wanted));
        given.filter_map(move |flag| {
            let Support::Later { missing, accepts } = flag.support else { return None };
            let value = self.text(flag.name);
            let name = match wanted {
                Origin::CommandLine => format!("flag -{}", flag.name),
                Origin::Environment => flag.variable(),
            };
            (!accepts.contains(&value))
                .then(|| format!("{name} cannot be set to {value:?}: etched does not have {missing} yet"))
        })
    }

    /// Flags that were given though they change nothing, with the reason.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        FLAGS.iter().filter(|flag| self.has(flag.name)).filter_map(|flag| match flag.support {
            Support::NoEffect(reason) => Some((flag.name, reason)),
            Support::Full | Support::Later { .. } => None,
        })
    }
}
