//! `txn`: reads conditions and operations from standard input.

use std::io::{BufRead, stdin};

use etched_client::{Compare, CompareSubject, Op, Txn};

use super::kv::{del_of, get_of, put_of};
use super::{Context, write};
use crate::args::Args;
use crate::failure::{Exit, Failure};
use crate::output::Answer;
use crate::spec::{DEL_FLAGS, GET_FLAGS, PUT_FLAGS};
use crate::text::number::parse_int;
use crate::text::quote::{quote, unquote_prefix};
use crate::text::words;

pub(super) async fn txn(context: &Context) -> Result<(), Failure> {
    if !context.args.all().is_empty() {
        return Err(Failure::arguments("txn command does not accept argument"));
    }
    let prompt = |text: &str| if context.args.bool("interactive") { write(text.as_bytes()) } else { Ok(()) };
    let mut input = stdin().lock();
    prompt("compares:\n")?;
    let compares = block(&mut input, parse_compare)?;
    prompt("success requests (get, put, del):\n")?;
    let then = block(&mut input, parse_op)?;
    prompt("failure requests (get, put, del):\n")?;
    let or_else = block(&mut input, parse_op)?;
    drop(input);
    let txn = Txn::new().when(compares).then(then).or_else(or_else);
    let response = context.client().await?.with_timeout(None).txn(txn).await?;
    context.print(&Answer::Txn(response))
}

/// Reads lines up to an empty one.
fn block<T>(
    input: &mut impl BufRead,
    parse: impl Fn(&[u8]) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).map_err(|error| misread(error.to_string()))?;
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(misread("EOF"));
        }
        match line.trim_ascii() {
            [] => return Ok(items),
            line => items.push(parse(line)?),
        }
    }
}

fn misread(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Input, message)
}

/// Reads a condition: `target("key") op "value"`.
fn parse_compare(line: &[u8]) -> Result<Compare, Failure> {
    let shown = String::from_utf8_lossy(line);
    let Some(open) = line.iter().position(|byte| *byte == b'(') else {
        return Err(misread(format!("malformed comparison: {shown}")));
    };
    let target = String::from_utf8_lossy(&line[..open]);
    let parts = Parts::read(&line[open + 1..]);
    let Some(value) = &parts.value else {
        let key = quote(&parts.key);
        return Err(misread(format!("malformed comparison: {shown}; got {target}({key}) {} \"\"", parts.op)));
    };
    let invalid = || misread(format!("invalid txn compare request: {shown}"));
    let number = |base| parse_int(value, base).map_err(|_| invalid());
    let key = parts.key.clone();
    let compare = match target.as_ref() {
        "ver" | "version" => with_op(Compare::version(key), &parts.op, number(10)?),
        "c" | "create" => with_op(Compare::create_revision(key), &parts.op, number(10)?),
        "m" | "mod" => with_op(Compare::mod_revision(key), &parts.op, number(10)?),
        "val" | "value" => with_op(Compare::value(key), &parts.op, value.clone()),
        "lease" => with_op(Compare::lease(key), &parts.op, number(16)?),
        other => return Err(misread(format!("malformed comparison: {shown} (unknown target {other})"))),
    };
    compare.ok_or_else(|| misread(format!("malformed comparison: {shown} (unknown operator {})", parts.op)))
}

fn with_op<V>(subject: CompareSubject<V>, op: &str, value: impl Into<V>) -> Option<Compare> {
    match op {
        "=" => Some(subject.equal_to(value)),
        "!=" => Some(subject.not_equal_to(value)),
        ">" => Some(subject.greater_than(value)),
        "<" => Some(subject.less_than(value)),
        _ => None,
    }
}

/// What could be read of a condition, from the left.
#[derive(Debug, Default)]
struct Parts {
    key: Vec<u8>,
    op: String,
    value: Option<Vec<u8>>,
}

impl Parts {
    fn read(text: &[u8]) -> Self {
        let mut parts = Self::default();
        let _incomplete = parts.fill(text);
        parts
    }

    fn fill(&mut self, text: &[u8]) -> Option<()> {
        let (key, rest) = unquote_prefix(text)?;
        self.key = key;
        let rest = rest.strip_prefix(b")").filter(|rest| rest.starts_with(b" "))?.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.op = String::from_utf8_lossy(&rest[..end]).into_owned();
        let (value, _ignored) = unquote_prefix(rest[end..].trim_ascii_start())?;
        self.value = Some(value);
        Some(())
    }
}

/// Reads an operation: the command `get`, `put` or `del` with its flags.
fn parse_op(line: &[u8]) -> Result<Op, Failure> {
    let mut words = words::split(line).into_iter();
    let name = words.next().unwrap_or_default();
    let words: Vec<_> = words.collect();
    let invalid = || misread(format!("invalid txn request: {}", String::from_utf8_lossy(line)));
    if words.is_empty() {
        return Err(misread(format!("invalid txn compare request: {}", String::from_utf8_lossy(line))));
    }
    let args = |flags| Args::parse(&[flags], &words).map_err(|_| invalid());
    match name.as_slice() {
        b"get" => Ok(get_of(&args(GET_FLAGS)?)?.into()),
        b"put" => Ok(put_of(&args(PUT_FLAGS)?, || Ok(Vec::new()))?.into()),
        b"del" => Ok(del_of(&args(DEL_FLAGS)?)?.into()),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use etched_client::{Delete, Get, Keys, Put};

    use super::*;

    fn compare(line: &str) -> Result<Compare, String> {
        parse_compare(line.as_bytes()).map_err(|failure| failure.message)
    }

    #[test]
    fn conditions_are_read() {
        assert_eq!(compare(r#"value("a") = "b""#), Ok(Compare::value("a").equal_to("b")));
        assert_eq!(compare(r#"val(`a`)  !=  "b" rest"#), Ok(Compare::value("a").not_equal_to("b")));
        assert_eq!(compare(r#"ver("a\x23") > "1""#), Ok(Compare::version("a#").greater_than(1)));
        assert_eq!(compare(r#"create("a") < "2""#), Ok(Compare::create_revision("a").less_than(2)));
        assert_eq!(compare(r#"m("a") = "3""#), Ok(Compare::mod_revision("a").equal_to(3)));
        assert_eq!(compare(r#"lease("a") = "1f""#), Ok(Compare::lease("a").equal_to(0x1f)));
    }

    #[test]
    fn wrong_conditions_are_told_with_what_was_understood() {
        let told = [
            ("value", "malformed comparison: value"),
            (r#"foo("a") = "b""#, r#"malformed comparison: foo("a") = "b" (unknown target foo)"#),
            (r#"value("a") = b"#, r#"malformed comparison: value("a") = b; got value("a") = """#),
            (r#"value(a) = "b""#, r#"malformed comparison: value(a) = "b"; got value("")  """#),
            (r#"value("a")="b""#, r#"malformed comparison: value("a")="b"; got value("a")  """#),
            (r#"ver("a") = "x""#, r#"invalid txn compare request: ver("a") = "x""#),
            (r#"ver("a") ~ "1""#, r#"malformed comparison: ver("a") ~ "1" (unknown operator ~)"#),
        ];
        for (line, message) in told {
            assert_eq!(compare(line).unwrap_err(), message);
        }
    }

    fn op(line: &str) -> Result<Op, String> {
        parse_op(line.as_bytes()).map_err(|failure| failure.message)
    }

    #[test]
    fn operations_are_commands() {
        assert_eq!(op("put  a   \"x y\" --prev-kv"), Ok(Put::new("a", "x y").prev_kv().into()));
        assert_eq!(op("get a --prefix --limit=1"), Ok(Get::new(Keys::prefix("a")).limit(1).into()));
        assert_eq!(op("del a b"), Ok(Delete::new(Keys::between("a", "b")).into()));
        assert_eq!(op("gets a").unwrap_err(), "invalid txn request: gets a");
        assert_eq!(op("get a --limit x").unwrap_err(), "invalid txn request: get a --limit x");
        assert!(op("put a").unwrap_err().starts_with("put command needs"));
        assert_eq!(op("get").unwrap_err(), "invalid txn compare request: get");
    }

    #[test]
    fn a_block_ends_with_an_empty_line() {
        let mut input = &b" a \n\n\nb"[..];
        let echo = |line: &[u8]| Ok(line.to_vec());
        assert_eq!(block(&mut input, echo).unwrap(), [b"a"]);
        assert!(block(&mut input, echo).unwrap().is_empty());
        assert_eq!(block(&mut input, echo).unwrap_err().message, "EOF");
    }
}
