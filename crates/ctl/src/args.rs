//! Reads the command line: the command, its flags, and what remains.
//!
//! The grammar is that of etcdctl: flags and arguments mix, `--` ends flags, a unique beginning of a command's name
//! will do, and a boolean flag takes a value only behind an equals sign.
//! Arguments are bytes, since keys are.

use std::collections::BTreeMap;

use crate::table::{Command, Flag, HELP_FLAG, Kind, Program};
use crate::text::quote::quote;
use crate::text::{duration, number};

/// A command line that was understood.
#[derive(Debug, Default)]
pub(crate) struct Args {
    /// Values of flags that were given, by name. Lists are joined by commas.
    values: BTreeMap<&'static str, String>,
    /// What is no flag, up to the separator `--`.
    pub(crate) positional: Vec<Vec<u8>>,
    /// What follows the separator, if there is one.
    pub(crate) separated: Option<Vec<Vec<u8>>>,
}

impl Args {
    /// Reads flags and arguments.
    ///
    /// # Errors
    ///
    /// A message in the words of etcdctl.
    pub(crate) fn parse(flags: &[&'static [Flag]], words: &[Vec<u8>]) -> Result<Self, String> {
        let mut args = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"--" => {
                    args.separated = Some(words.cloned().collect());
                    break;
                }
                [b'-', b'-', name @ ..] => args.take_long(flags, name, &mut words)?,
                [b'-', shorts @ ..] if !shorts.is_empty() => {
                    args.take_short(flags, word, shorts, &mut words)?
                }
                _ => args.positional.push(word.clone()),
            }
        }
        Ok(args)
    }

    /// All arguments, on both sides of the separator.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        self.positional.iter().chain(self.separated.iter().flatten()).cloned().collect()
    }

    /// Whether a flag was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A flag's value as text; empty if it was not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// A boolean flag's value.
    pub(crate) fn bool(&self, name: &str) -> bool {
        number::parse_bool(self.text(name).as_bytes()).unwrap_or(false)
    }

    /// A number's value; 0 if it was not given.
    pub(crate) fn int(&self, name: &str) -> i64 {
        number::parse_int(self.text(name).as_bytes(), 0).unwrap_or(0)
    }

    /// Sets a flag that was not given, if the value can be read.
    pub(crate) fn set_default(&mut self, flag: &'static Flag, value: String) {
        if !self.is_given(flag.name) && check(flag.kind, &value).is_ok() {
            self.values.insert(flag.name, value);
        }
    }

    fn take_long<'a>(
        &mut self,
        flags: &[&'static [Flag]],
        word: &[u8],
        words: &mut impl Iterator<Item = &'a Vec<u8>>,
    ) -> Result<(), String> {
        let (name, value) = match word.iter().position(|byte| *byte == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let shown = String::from_utf8_lossy(name);
        let flag =
            find(flags, |flag| flag.name.as_bytes() == name).ok_or(format!("unknown flag: --{shown}"))?;
        let value = match value {
            Some(value) => value.to_vec(),
            None if flag.kind == Kind::Bool => b"true".to_vec(),
            None => words.next().cloned().ok_or(format!("flag needs an argument: --{shown}"))?,
        };
        self.insert(flag, &value)
    }

    fn take_short<'a>(
        &mut self,
        flags: &[&'static [Flag]],
        word: &[u8],
        mut shorts: &[u8],
        words: &mut impl Iterator<Item = &'a Vec<u8>>,
    ) -> Result<(), String> {
        while let Some((short, rest)) = shorts.split_first() {
            let (shown, all) = (char::from(*short), String::from_utf8_lossy(&word[1..]));
            let flag = find(flags, |flag| flag.short == Some(*short))
                .ok_or(format!("unknown shorthand flag: '{shown}' in -{all}"))?;
            let value = match rest {
                [b'=', value @ ..] => value.to_vec(),
                _ if flag.kind == Kind::Bool => {
                    self.insert(flag, b"true")?;
                    shorts = rest;
                    continue;
                }
                [] => words.next().cloned().ok_or(format!("flag needs an argument: '{shown}' in -{all}"))?,
                value => value.to_vec(),
            };
            return self.insert(flag, &value);
        }
        Ok(())
    }

    fn insert(&mut self, flag: &'static Flag, value: &[u8]) -> Result<(), String> {
        let value = String::from_utf8_lossy(value).into_owned();
        check(flag.kind, &value).map_err(|why| {
            let short = flag.short.map(|short| format!("-{}, ", char::from(short))).unwrap_or_default();
            let shown = quote(value.as_bytes());
            format!("invalid argument {shown} for \"{short}--{}\" flag: {why}", flag.name)
        })?;
        match self.values.get_mut(flag.name).filter(|_| flag.kind == Kind::List) {
            Some(list) => {
                list.push(',');
                list.push_str(&value);
            }
            None => {
                self.values.insert(flag.name, value);
            }
        }
        Ok(())
    }
}

fn find(flags: &[&'static [Flag]], is_meant: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
    const HELP: &[Flag] = &[HELP_FLAG];
    flags.iter().copied().chain([HELP]).flatten().find(|flag| is_meant(flag))
}

/// Whether a value has the form that its kind needs.
fn check(kind: Kind, value: &str) -> Result<(), String> {
    match kind {
        Kind::Bool => number::parse_bool(value.as_bytes()).map(drop),
        Kind::Int => number::parse_int(value.as_bytes(), 0).map(drop),
        Kind::Uint => number::parse_uint(value.as_bytes(), 0).map(drop),
        Kind::Duration => duration::parse(value).map(drop),
        Kind::Text | Kind::List => Ok(()),
    }
}

/// The command that a command line names.
#[derive(Debug)]
pub(crate) struct Chosen<A: 'static> {
    /// From the root to the command.
    pub(crate) path: Vec<&'static Command<A>>,
    /// The command line without the names.
    pub(crate) words: Vec<Vec<u8>>,
    /// The word that names no child of a family.
    pub(crate) unknown: Option<Vec<u8>>,
}

impl<A> Chosen<A> {
    /// Finds the command.
    pub(crate) fn find(program: &Program<A>, words: &[Vec<u8>]) -> Self {
        let mut chosen = Self { path: vec![program.root], words: words.to_vec(), unknown: None };
        loop {
            let command = chosen.command();
            let Some(at) = first_positional(&[command.flags, program.globals], &chosen.words)
                .filter(|_| !command.children.is_empty())
            else {
                return chosen;
            };
            let Some(child) = child_of(command, &chosen.words[at]) else {
                chosen.unknown = Some(chosen.words[at].clone());
                return chosen;
            };
            chosen.words.remove(at);
            chosen.path.push(child);
        }
    }

    /// The last command of the path.
    pub(crate) fn command(&self) -> &'static Command<A> {
        self.path.last().expect("a path begins with the root")
    }
}

/// The child with this name, or the only one whose name begins so.
pub(crate) fn child_of<A>(command: &'static Command<A>, name: &[u8]) -> Option<&'static Command<A>> {
    let exact = command.children.iter().find(|child| child.name.as_bytes() == name);
    exact.or_else(|| {
        let mut similar = command.children.iter().filter(|child| child.name.as_bytes().starts_with(name));
        similar.next().filter(|_| similar.next().is_none() && !name.is_empty())
    })
}

/// The place of the first word that is neither a flag nor a flag's value.
///
/// A flag that is not known here may be one of the command that is yet to be found; as in etcdctl it is taken for one
/// with a value, unless that is behind an equals sign.
fn first_positional(flags: &[&'static [Flag]], words: &[Vec<u8>]) -> Option<usize> {
    let takes_next = |word: &[u8]| match word {
        [b'-', b'-', name @ ..] if !name.contains(&b'=') => {
            find(flags, |flag| flag.name.as_bytes() == name).is_none_or(|flag| flag.kind != Kind::Bool)
        }
        [b'-', short] => {
            find(flags, |flag| flag.short == Some(*short)).is_none_or(|flag| flag.kind != Kind::Bool)
        }
        _ => false,
    };
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.as_slice() {
            b"--" => return None,
            [b'-', _, ..] => at += if takes_next(word) { 2 } else { 1 },
            _ => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{GET_FLAGS, GLOBAL_FLAGS, MIRROR_FLAGS, PROGRAM};

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(&[GET_FLAGS, GLOBAL_FLAGS], &words(line))
    }

    fn positional(args: &Args) -> Vec<String> {
        args.positional.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn flags_and_arguments_mix() {
        let args = parse("a --limit 3 b -wjson --prefix --rev=0x10 --hex=false").unwrap();
        assert_eq!(positional(&args), ["a", "b"]);
        assert_eq!((args.int("limit"), args.int("rev"), args.text("write-out")), (3, 16, "json"));
        assert!(args.bool("prefix") && !args.bool("hex") && args.is_given("hex") && !args.is_given("order"));
        assert_eq!(args.separated, None);
    }

    #[test]
    fn the_separator_ends_flags() {
        let args = parse("a -- --limit x").unwrap();
        assert_eq!(args.separated, Some(words("--limit x")));
        assert_eq!(args.all(), words("a --limit x"));
        assert_eq!(positional(&parse("a - b").unwrap()), ["a", "-", "b"]);
    }

    #[test]
    fn lists_add_up_and_other_flags_are_replaced() {
        let args = parse("--endpoints a,b --endpoints=c --limit 1 --limit 2").unwrap();
        assert_eq!((args.text("endpoints"), args.int("limit")), ("a,b,c", 2));
    }

    #[test]
    fn mistakes_have_etcdctls_words() {
        let mistakes = [
            ("--bogus", "unknown flag: --bogus"),
            ("--bogus=1", "unknown flag: --bogus"),
            ("-z", "unknown shorthand flag: 'z' in -z"),
            ("-1", "unknown shorthand flag: '1' in -1"),
            ("--limit", "flag needs an argument: --limit"),
            ("-w", "flag needs an argument: 'w' in -w"),
            (
                "--limit x",
                r#"invalid argument "x" for "--limit" flag: strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            (
                "--hex=x",
                r#"invalid argument "x" for "--hex" flag: strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
            (
                "--dial-timeout 5",
                r#"invalid argument "5" for "--dial-timeout" flag: time: missing unit in duration "5""#,
            ),
        ];
        for (line, message) in mistakes {
            assert_eq!(parse(line).unwrap_err(), message);
        }
    }

    #[test]
    fn numbers_without_a_sign_have_none() {
        let parse = |line: &str| Args::parse(&[MIRROR_FLAGS], &words(line));
        assert_eq!(parse("--max-txn-ops=0x10").unwrap().int("max-txn-ops"), 16);
        assert_eq!(
            parse("--max-txn-ops=-1").unwrap_err(),
            r#"invalid argument "-1" for "--max-txn-ops" flag: strconv.ParseUint: parsing "-1": invalid syntax"#
        );
    }

    fn path(line: &str) -> String {
        let chosen = Chosen::find(&PROGRAM, &words(line));
        let names: Vec<_> = chosen.path.iter().map(|command| command.name).collect();
        let rest: Vec<_> =
            chosen.words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let unknown = chosen.unknown.map(|word| String::from_utf8_lossy(&word).into_owned());
        format!("{} | {} | {}", names.join(" ").trim(), rest.join(" "), unknown.unwrap_or_default())
    }

    #[test]
    fn commands_are_found_among_flags() {
        assert_eq!(path("get a"), "get | a | ");
        assert_eq!(path("--endpoints x -w json get a"), "get | --endpoints x -w json a | ");
        assert_eq!(path("--hex lease --endpoints=x list"), "lease list | --hex --endpoints=x | ");
        assert_eq!(path("en st"), "endpoint status |  | ");
        assert_eq!(path("get get"), "get | get | ");
        assert_eq!(path("-- get"), " | -- get | ");
    }

    #[test]
    fn flags_of_the_command_may_stand_before_it() {
        assert_eq!(path("--consistency s get a"), "get | --consistency s a | ");
        assert_eq!(path("--prefix=true get a"), "get | --prefix=true a | ");
        assert_eq!(path("--prefix get get a"), "get | --prefix get a | ", "the value that it seems to have");
        assert_eq!(path("-z lease list"), " | -z lease list | list");
    }

    #[test]
    fn unknown_and_ambiguous_names_are_told() {
        assert_eq!(path("bogus"), " | bogus | bogus");
        assert_eq!(path("lease foo"), "lease | foo | foo");
        assert_eq!(path("co 1"), " | co 1 | co");
        assert_eq!(path("lease"), "lease |  | ");
    }
}
