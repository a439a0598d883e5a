//! Finds the end of the first JSON value in bytes that come in pieces, and says what is wrong with it if it is none.

use std::fmt::Write as _;

/// Nesting of objects and arrays that is accepted.
const DEPTH_MAX: usize = 10_000;

/// What a byte did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The value goes on, or has not begun.
    More,
    /// This byte ends the value and belongs to it.
    Ended,
    /// The value ended before this byte.
    EndedBefore,
    /// This byte cannot stand here; the text says why, in Go's words.
    Wrong(String),
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrArrayEnd,
    Name,
    NameOrObjectEnd,
    AfterValue,
    String,
    Escape,
    /// So many hexadecimal digits are to come.
    Unicode(u8),
    Minus,
    /// A number that began with 0: no further digit may come.
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// A word, and how many of its bytes have come.
    Word(&'static str, usize),
}

/// What the value stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    ObjectName,
    ObjectValue,
    Array,
}

/// Looks at the bytes of one value, in order.
#[derive(Debug)]
pub(crate) struct Scanner {
    state: State,
    inside: Vec<Inside>,
    has_begun: bool,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { state: State::Value, inside: Vec::new(), has_begun: false }
    }

    /// Whether something else than white space was seen.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the value is complete if no byte follows.
    pub(crate) fn may_end(&self) -> bool {
        self.inside.is_empty()
            && matches!(
                self.state,
                State::AfterValue | State::Zero | State::Digits | State::Fraction | State::ExponentDigits
            )
    }

    /// Looks at bytes up to the end of the value; `None` if it goes on behind them.
    ///
    /// # Errors
    ///
    /// Why they are no JSON.
    pub(crate) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        for (position, byte) in bytes.iter().enumerate() {
            match self.step(*byte) {
                Step::More => {}
                Step::Ended => return Ok(Some(position + 1)),
                Step::EndedBefore => return Ok(Some(position)),
                Step::Wrong(why) => return Err(why),
            }
        }
        Ok(None)
    }

    /// Looks at the next byte.
    fn step(&mut self, byte: u8) -> Step {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.has_begun |= !is_space;
        match self.state {
            State::Value => self.begin_value(byte, is_space),
            State::ValueOrArrayEnd if byte == b']' => self.close(),
            State::ValueOrArrayEnd => self.begin_value(byte, is_space),
            State::Name | State::NameOrObjectEnd if is_space => Step::More,
            State::NameOrObjectEnd if byte == b'}' => self.close(),
            State::Name | State::NameOrObjectEnd if byte == b'"' => self.go(State::String),
            State::Name | State::NameOrObjectEnd => wrong(byte, "looking for beginning of object key string"),
            State::AfterValue => self.after_value(byte, is_space),
            State::String => match byte {
                b'"' => self.go(State::AfterValue),
                b'\\' => self.go(State::Escape),
                0..0x20 => wrong(byte, "in string literal"),
                _ => Step::More,
            },
            State::Escape => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.go(State::String),
                b'u' => self.go(State::Unicode(4)),
                _ => wrong(byte, "in string escape code"),
            },
            State::Unicode(left) if byte.is_ascii_hexdigit() => {
                self.go(if left == 1 { State::String } else { State::Unicode(left - 1) })
            }
            State::Unicode(_) => wrong(byte, "in \\u hexadecimal character escape"),
            State::Word(word, seen) if word.as_bytes()[seen] == byte => {
                let is_whole = seen + 1 == word.len();
                self.go(if is_whole { State::AfterValue } else { State::Word(word, seen + 1) })
            }
            State::Word(word, seen) => {
                let wanted = char::from(word.as_bytes()[seen]);
                wrong(byte, &format!("in literal {word} (expecting '{wanted}')"))
            }
            State::Minus
            | State::Zero
            | State::Digits
            | State::Point
            | State::Fraction
            | State::Exponent
            | State::ExponentSign
            | State::ExponentDigits => self.in_number(byte, is_space),
        }
    }

    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn begin_value(&mut self, byte: u8, is_space: bool) -> Step {
        match byte {
            _ if is_space => Step::More,
            b'{' => self.open(byte, Inside::ObjectName, State::NameOrObjectEnd),
            b'[' => self.open(byte, Inside::Array, State::ValueOrArrayEnd),
            b'"' => self.go(State::String),
            b'-' => self.go(State::Minus),
            b'0' => self.go(State::Zero),
            b'1'..=b'9' => self.go(State::Digits),
            b't' => self.go(State::Word("true", 1)),
            b'f' => self.go(State::Word("false", 1)),
            b'n' => self.go(State::Word("null", 1)),
            _ => wrong(byte, "looking for beginning of value"),
        }
    }

    fn open(&mut self, byte: u8, inside: Inside, state: State) -> Step {
        if self.inside.len() == DEPTH_MAX {
            return wrong(byte, "exceeded max depth");
        }
        self.inside.push(inside);
        self.go(state)
    }

    fn close(&mut self) -> Step {
        self.inside.pop();
        self.state = State::AfterValue;
        if self.inside.is_empty() { Step::Ended } else { Step::More }
    }

    fn in_number(&mut self, byte: u8, is_space: bool) -> Step {
        let is_digit = byte.is_ascii_digit();
        match (self.state, byte) {
            (State::Minus, b'0') => self.go(State::Zero),
            (State::Minus, _) if is_digit => self.go(State::Digits),
            (State::Minus, _) => wrong(byte, "in numeric literal"),
            (State::Digits | State::Fraction | State::ExponentDigits, _) if is_digit => Step::More,
            (State::Zero | State::Digits, b'.') => self.go(State::Point),
            (State::Point, _) if is_digit => self.go(State::Fraction),
            (State::Point, _) => wrong(byte, "after decimal point in numeric literal"),
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => self.go(State::Exponent),
            (State::Exponent, b'+' | b'-') => self.go(State::ExponentSign),
            (State::Exponent | State::ExponentSign, _) if is_digit => self.go(State::ExponentDigits),
            (State::Exponent | State::ExponentSign, _) => wrong(byte, "in exponent of numeric literal"),
            _ => self.after_value(byte, is_space),
        }
    }

    fn after_value(&mut self, byte: u8, is_space: bool) -> Step {
        let Some(inside) = self.inside.last_mut() else { return Step::EndedBefore };
        if is_space {
            self.state = State::AfterValue;
            return Step::More;
        }
        match (*inside, byte) {
            (Inside::ObjectName, b':') => {
                *inside = Inside::ObjectValue;
                self.go(State::Value)
            }
            (Inside::ObjectName, _) => wrong(byte, "after object key"),
            (Inside::ObjectValue, b',') => {
                *inside = Inside::ObjectName;
                self.go(State::Name)
            }
            (Inside::Array, b',') => self.go(State::Value),
            (Inside::ObjectValue, b'}') | (Inside::Array, b']') => self.close(),
            (Inside::ObjectValue, _) => wrong(byte, "after object key:value pair"),
            (Inside::Array, _) => wrong(byte, "after array element"),
        }
    }
}

fn wrong(byte: u8, why: &str) -> Step {
    Step::Wrong(format!("invalid character {} {why}", named(byte)))
}

/// A byte as a character between single quotes, escaped as Go does.
fn named(byte: u8) -> String {
    let mut name = String::from("'");
    match byte {
        b'\'' => name.push_str("\\'"),
        b'\\' => name.push_str("\\\\"),
        0x07 => name.push_str("\\a"),
        0x08 => name.push_str("\\b"),
        0x0c => name.push_str("\\f"),
        b'\n' => name.push_str("\\n"),
        b'\r' => name.push_str("\\r"),
        b'\t' => name.push_str("\\t"),
        0x0b => name.push_str("\\v"),
        0..0x20 | 0x7f => {
            // Writing to a string does not fail.
            let _ = write!(name, "\\x{byte:02x}");
        }
        0x80..=0xa0 | 0xad => {
            let _ = write!(name, "\\u{byte:04x}");
        }
        _ => name.push(char::from(byte)),
    }
    name.push('\'');
    name
}
