//! The scripts: a step in each line.
//!
//! ```text
//! get a {F}             runs a command line, here once with each format (`-w simple` and so on), and compares;
//!                       {N} is the name of the format
//! env A=1 get a         the same, with a variable in the environment
//! < one\ntwo\n          is the standard input of the next command line
//! @ put a 1             runs a command line and compares nothing
//! = X 1 lease grant 60  the same; $X is from now on the second word of what it printed
//! & watch a             starts a command line, which goes on ...
//! .                     ... until it gets an interruption here; then it is compared
//! ```
//!
//! Words are separated by blanks; within double quotes the escapes `\n`, `\t`, `\\`, `\"` and `\xNN` are known.
//! `$ADDR` is the server's address and `$DIR` an empty folder.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

const FORMATS: [&str; 5] = ["simple", "fields", "json", "protobuf", "table"];

/// The steps of a script.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Run { line: CommandLine, input: Vec<u8> },
    Quiet(CommandLine),
    Capture { name: String, word: usize, line: CommandLine },
    Begin(CommandLine),
    End,
}

/// A command line without the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) words: Vec<Vec<u8>>,
    pub(super) variables: Vec<(String, String)>,
}

impl Script {
    /// Reads a script.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut steps = Vec::new();
        let mut input = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let context = || format!("line {}", number + 1);
            match line.split_once(' ').unwrap_or((line, "")) {
                ("#", _) => {}
                ("<", rest) => input = unescape(rest).with_context(context)?,
                ("@", rest) => steps.extend(lines(rest).with_context(context)?.into_iter().map(Step::Quiet)),
                ("=", rest) => {
                    let mut parts = rest.splitn(3, ' ');
                    let (name, word, rest) = (parts.next(), parts.next(), parts.next());
                    let (Some(name), Some(word), Some(rest)) = (name, word, rest) else {
                        bail!("line {}: a capture has a name, a word and a command line", number + 1);
                    };
                    let line = CommandLine::parse(rest).with_context(context)?;
                    steps.push(Step::Capture { name: name.to_owned(), word: word.parse()?, line });
                }
                ("&", rest) => steps.extend(lines(rest).with_context(context)?.into_iter().map(Step::Begin)),
                (".", "") => steps.push(Step::End),
                _ => {
                    let input = std::mem::take(&mut input);
                    for line in lines(line).with_context(context)? {
                        steps.push(Step::Run { line, input: input.clone() });
                    }
                }
            }
        }
        Ok(Self { steps })
    }
}

/// A command line for each format, if it asks for that.
fn lines(text: &str) -> Result<Vec<CommandLine>> {
    if !text.contains("{F}") {
        return Ok(vec![CommandLine::parse(text)?]);
    }
    let with = |format: &&str| text.replace("{F}", &format!("-w {format}")).replace("{N}", format);
    FORMATS.iter().map(|format| CommandLine::parse(&with(format))).collect()
}

impl CommandLine {
    fn parse(text: &str) -> Result<Self> {
        let mut words = split(text)?.into_iter().peekable();
        let mut variables = Vec::new();
        if words.next_if(|word| word == b"env").is_some() {
            while let Some(word) = words.next_if(|word| word.first().is_some_and(u8::is_ascii_uppercase)) {
                let word = String::from_utf8(word)?;
                let (name, value) = word.split_once('=').context("a variable has a value")?;
                variables.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self { words: words.collect(), variables })
    }
}

fn split(text: &str) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            None => rest.find(' ').unwrap_or(rest.len()),
            Some(inner) => closing_quote(inner).context("a quote is not closed")? + 2,
        };
        let word = &rest[..end];
        words.push(match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
            Some(quoted) => unescape(quoted)?,
            None => word.as_bytes().to_vec(),
        });
        rest = rest[end..].trim_start();
    }
    Ok(words)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&kind, after) = rest.split_first().context("an escape is cut off")?;
        rest = after;
        bytes.push(match kind {
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' | b'"' => kind,
            b'x' => {
                let digits = rest.get(..2).context("an escape is cut off")?;
                rest = &rest[2..];
                u8::from_str_radix(std::str::from_utf8(digits)?, 16)?
            }
            other => bail!("\\{} is no escape", char::from(other)),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> CommandLine {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        CommandLine { words, variables: Vec::new() }
    }

    #[test]
    fn steps_are_told_apart_by_their_marks() {
        let script =
            Script::parse("# c\n@ put a 1\n< x\\n\nput b\n= L 1 lease grant 60\n& watch a\n.\n").unwrap();
        let expected = [
            Step::Quiet(line(&["put", "a", "1"])),
            Step::Run { line: line(&["put", "b"]), input: b"x\n".to_vec() },
            Step::Capture { name: "L".to_owned(), word: 1, line: line(&["lease", "grant", "60"]) },
            Step::Begin(line(&["watch", "a"])),
            Step::End,
        ];
        assert_eq!(script.steps, expected);
    }

    #[test]
    fn words_formats_and_variables_are_read() {
        assert_eq!(split(r#"a "b \"c\x0a" "" d"#).unwrap(), [&b"a"[..], b"b \"c\n", b"", b"d"]);
        assert_eq!(lines("get a {F}").unwrap().len(), FORMATS.len());
        let with = CommandLine::parse("env A=1 B=2 get a").unwrap();
        assert_eq!(with.variables.len(), 2);
        assert!(split("\"a").is_err() && unescape("\\q").is_err() && unescape("\\x1").is_err());
    }
}
