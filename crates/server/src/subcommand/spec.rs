//! Flags in the syntax of Go's `pflag`, and the help that `cobra` makes of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::flags::parse_duration;

/// A sub-command, whose only command is `start`.
pub(super) struct Command {
    /// Its name.
    pub(super) name: &'static str,
    /// What the help says of it.
    pub(super) about: &'static str,
    /// What the help says of `start`.
    pub(super) about_start: &'static str,
    /// The flags of `start`, by name.
    pub(super) flags: &'static [Flag],
    /// Runs `start`; an error is printed, and the exit code is 1.
    pub(super) start: fn(&Parsed) -> Result<(), String>,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// In the syntax of the command line; empty if it is that of the type.
    pub(super) default: &'static str,
    pub(super) help: &'static str,
}

/// What the value of a flag may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Texts, separated by commas; given twice, it takes all.
    List,
    Bool,
    Duration,
    Signed,
    Unsigned,
    Unsigned32,
}

/// The values of the flags, each of the right form.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    flags: &'static [Flag],
    values: BTreeMap<&'static str, String>,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) code: u8,
}

pub(super) const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help }
}

impl Parsed {
    pub(super) fn text(&self, name: &str) -> &str {
        let default = || self.flags.iter().find(|flag| flag.name == name).map_or("", |flag| flag.default);
        self.values.get(name).map_or_else(default, String::as_str)
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.text(name) {
            "" => Vec::new(),
            texts => texts.split(',').map(str::to_owned).collect(),
        }
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A negative duration counts as none.
    pub(super) fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or_default()
    }

    /// A negative number counts as 0.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn signed(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    pub(super) fn path(&self, name: &str) -> Option<std::path::PathBuf> {
        Some(self.text(name)).filter(|path| !path.is_empty()).map(Into::into)
    }
}

impl Command {
    /// Reads what follows the name of the sub-command.
    ///
    /// # Errors
    ///
    /// Help, or a flag that is wrong.
    pub(super) fn parse(&self, arguments: &[String]) -> Result<Parsed, Stop> {
        let Some(place) = place_of_start(arguments) else {
            return Err(match arguments.first() {
                Some(flag) if flag.starts_with('-') && !["-h", "--help"].contains(&flag.as_str()) => {
                    self.error(&unknown(flag), &self.usage())
                }
                Some(_) | None => help(format!("{}\n\n{}", self.about, self.usage())),
            });
        };
        let mut arguments = arguments[..place].iter().chain(&arguments[place + 1..]);
        let mut parsed = Parsed { flags: self.flags, values: BTreeMap::new() };
        let wrong = |text: String| self.error(&text, &self.usage_of_start());
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                break;
            }
            if !argument.starts_with('-') || argument == "-" {
                // cobra takes other arguments without a word.
                continue;
            }
            if argument == "-h" || argument == "--help" {
                return Err(help(format!("{}\n\n{}", self.about_start, self.usage_of_start())));
            }
            let Some(body) = argument.strip_prefix("--") else { return Err(wrong(unknown(argument))) };
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let flag = self.flags.iter().find(|flag| flag.name == name);
            let flag = flag.ok_or_else(|| wrong(format!("unknown flag: --{name}")))?;
            let value = match value {
                Some(value) => value,
                None if flag.kind == Kind::Bool => "true",
                None => arguments.next().ok_or_else(|| wrong(format!("flag needs an argument: --{name}")))?,
            };
            let value = flag.kind.normal(value).map_err(|error| {
                wrong(format!("invalid argument {value:?} for \"--{name}\" flag: {error}"))
            })?;
            match parsed.values.get_mut(flag.name) {
                Some(before) if flag.kind == Kind::List => {
                    before.push(',');
                    before.push_str(&value);
                }
                Some(_) | None => {
                    parsed.values.insert(flag.name, value);
                }
            }
        }
        Ok(parsed)
    }

    fn error(&self, text: &str, usage: &str) -> Stop {
        Stop { stdout: String::new(), stderr: format!("Error: {text}\n{usage}\n{text}\n"), code: 1 }
    }

    fn usage(&self) -> String {
        format!(
            "Usage:\n  etched {name} [command]\n\nAvailable Commands:\n  start       {about}\n\nFlags:\n  -h, --help   \
             help for {name}\n\nUse \"etched {name} [command] --help\" for more information about a command.\n",
            name = self.name,
            about = self.about_start
        )
    }

    fn usage_of_start(&self) -> String {
        let mut rows: Vec<(String, String)> = self.flags.iter().map(Flag::row).collect();
        rows.push(("  -h, --help".to_owned(), "help for start".to_owned()));
        rows.sort_by(|one, other| one.0[6..].cmp(&other.0[6..]));
        let width = rows.iter().map(|(head, _)| head.len()).max().unwrap_or_default() + 3;
        let mut text = format!("Usage:\n  etched {} start [flags]\n\nFlags:\n", self.name);
        for (head, help) in rows {
            let _ = writeln!(text, "{head:width$}{help}");
        }
        text
    }
}

/// Where the word `start` stands, before which there may be flags.
///
/// As cobra does not know them there, it takes the word behind a flag without an equals sign for the flag's value.
fn place_of_start(arguments: &[String]) -> Option<usize> {
    let mut place = 0;
    while let Some(argument) = arguments.get(place) {
        let has_value = argument.contains('=') || !argument.starts_with("--") && argument.len() > 2;
        match argument.as_str() {
            "start" => return Some(place),
            "--" => return None,
            flag if flag.starts_with('-') => place += if has_value { 1 } else { 2 },
            _ => return None,
        }
    }
    None
}

fn help(stdout: String) -> Stop {
    Stop { stdout, stderr: String::new(), code: 0 }
}

fn unknown(flag: &str) -> String {
    match flag.strip_prefix("--") {
        Some(_) => format!("unknown flag: {}", flag.split('=').next().unwrap_or(flag)),
        None => {
            let letters = &flag[1..];
            let first = letters.chars().next().map(String::from).unwrap_or_default();
            format!("unknown shorthand flag: '{first}' in {flag}")
        }
    }
}

impl Flag {
    fn row(&self) -> (String, String) {
        let type_name = match self.kind {
            Kind::Text => " string",
            Kind::List => " strings",
            Kind::Bool => "",
            Kind::Duration => " duration",
            Kind::Signed => " int",
            Kind::Unsigned => " uint",
            Kind::Unsigned32 => " uint32",
        };
        let default = match (self.kind, self.default) {
            (_, "" | "0" | "0s" | "false") => String::new(),
            (Kind::Text, default) => format!(" (default {default:?})"),
            (Kind::List, default) => format!(" (default [{default}])"),
            (Kind::Bool | Kind::Duration | Kind::Signed | Kind::Unsigned | Kind::Unsigned32, default) => {
                format!(" (default {default})")
            }
        };
        (format!("      --{}{type_name}", self.name), format!("{}{default}", self.help))
    }
}

impl Kind {
    /// The value in its plain form.
    fn normal(self, value: &str) -> Result<String, String> {
        let number = |function: &str| format!("strconv.{function}: parsing {value:?}: invalid syntax");
        match self {
            Self::Text | Self::List => Ok(value.to_owned()),
            Self::Bool => match value {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok("true".to_owned()),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok("false".to_owned()),
                _ => Err(number("ParseBool")),
            },
            Self::Duration => match parse_duration(value) {
                Some(_) => Ok(value.to_owned()),
                None => Err(format!("time: invalid duration {value:?}")),
            },
            Self::Signed => value.parse::<i64>().map(|n| n.to_string()).map_err(|_| number("ParseInt")),
            Self::Unsigned => value.parse::<u64>().map(|n| n.to_string()).map_err(|_| number("ParseUint")),
            Self::Unsigned32 => value.parse::<u32>().map(|n| n.to_string()).map_err(|_| number("ParseUint")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Parsed, Stop> {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        super::super::gateway::COMMAND.parse(&arguments)
    }

    #[test]
    fn values_stand_behind_a_blank_or_an_equals_sign_and_lists_gather() {
        let parsed =
            parse("start --endpoints a:1,b:2 --endpoints=c:3 --retry-delay 5s --insecure-discovery").unwrap();
        assert_eq!(parsed.list("endpoints"), ["a:1", "b:2", "c:3"]);
        assert_eq!(parsed.duration("retry-delay").as_secs(), 5);
        assert!(parsed.is_on("insecure-discovery"));
        let parsed = parse("start").unwrap();
        assert_eq!(parsed.list("endpoints"), ["127.0.0.1:2379"]);
        assert_eq!(parsed.duration("retry-delay").as_secs(), 60);
    }

    #[test]
    fn flags_may_stand_before_the_word_start() {
        let parsed = parse("--endpoints=a:1 --retry-delay 5s start --endpoints=b:2").unwrap();
        assert_eq!(parsed.list("endpoints"), ["a:1", "b:2"]);
        assert_eq!(parsed.duration("retry-delay").as_secs(), 5);
        let stop = parse("--insecure-discovery start").unwrap_err();
        assert!(stop.stderr.starts_with("Error: unknown flag: --insecure-discovery\n"), "{}", stop.stderr);
    }

    #[test]
    fn what_is_wrong_is_said_before_and_after_the_usage() {
        for (arguments, error) in [
            ("start --bogus", "unknown flag: --bogus"),
            ("--bogus", "unknown flag: --bogus"),
            ("start --listen-addr", "flag needs an argument: --listen-addr"),
            ("start -x", "unknown shorthand flag: 'x' in -x"),
            (
                "start --retry-delay=5",
                "invalid argument \"5\" for \"--retry-delay\" flag: time: invalid duration \"5\"",
            ),
        ] {
            let stop = parse(arguments).unwrap_err();
            assert_eq!(stop.code, 1);
            assert!(stop.stderr.starts_with(&format!("Error: {error}\nUsage:\n")), "{}", stop.stderr);
            assert!(stop.stderr.ends_with(&format!("\n{error}\n")), "{}", stop.stderr);
        }
    }

    #[test]
    fn help_is_no_failure() {
        for arguments in ["", "--help", "bogus", "start --help", "start -h"] {
            let stop = parse(arguments).unwrap_err();
            assert_eq!((stop.code, stop.stderr.as_str()), (0, ""), "{arguments}");
            assert!(stop.stdout.contains("Usage:\n  etched gateway "), "{}", stop.stdout);
        }
        let stop = parse("start --help").unwrap_err();
        assert!(stop.stdout.contains("--endpoints strings"), "{}", stop.stdout);
        assert!(stop.stdout.contains("(default [127.0.0.1:2379])"), "{}", stop.stdout);
    }
}
