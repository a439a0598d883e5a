//! Values of flags in the syntax of Go's `flag` and `strconv` packages, with their error texts.

use std::time::Duration;

/// A number does not fit its type.
const RANGE: &str = "value out of range";
/// Text is not of the expected form.
const SYNTAX: &str = "parse error";

/// `1`, `t`, `T`, `TRUE`, `true`, `True` and the six forms of false.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// An unsigned number up to `max`: decimal, `0x`, `0o`, `0b` or a leading zero for octal, `_` between digits.
///
/// # Errors
///
/// The text that Go's `flag` package shows.
pub(super) fn parse_unsigned(text: &str, max: u64) -> Result<u64, &'static str> {
    let (radix, digits, prefixed) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..], true),
        [b'0', b'o' | b'O', ..] => (8, &text[2..], true),
        [b'0', b'b' | b'B', ..] => (2, &text[2..], true),
        [b'0', _, ..] => (8, &text[1..], true),
        _ => (10, text, false),
    };
    let mut number: Option<u64> = Some(0);
    let mut digit_before = prefixed;
    let mut digits_seen = 0;
    for character in digits.chars() {
        if character == '_' {
            // An underscore stands between digits, or after the prefix.
            if !digit_before {
                return Err(SYNTAX);
            }
            digit_before = false;
            continue;
        }
        let digit = character.to_digit(radix).ok_or(SYNTAX)?;
        digit_before = true;
        digits_seen += 1;
        number =
            number.and_then(|number| number.checked_mul(u64::from(radix))?.checked_add(u64::from(digit)));
    }
    if digits_seen == 0 || !digit_before {
        return Err(SYNTAX);
    }
    number.filter(|number| *number <= max).ok_or(RANGE)
}

/// A signed 64-bit number, in the forms of [`parse_unsigned`] with an optional sign.
///
/// # Errors
///
/// The text that Go's `flag` package shows.
pub(super) fn parse_signed(text: &str) -> Result<i64, &'static str> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_unsigned(digits, i64::MIN.unsigned_abs())?;
    let number = if negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() };
    number.ok_or(RANGE)
}

/// A duration such as `1h15m30.918s` or `100ms`; it may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignedDuration {
    pub(super) negative: bool,
    pub(super) magnitude: Duration,
}

/// Parses a duration as Go does; `None` if it is not one.
pub(super) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration { negative: false, magnitude: Duration::ZERO });
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_length);
        let unit_length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        nanos = nanos.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    // Go counts in a signed 64-bit number.
    let _ = i64::try_from(nanos).ok()?;
    Some(SignedDuration { negative, magnitude: Duration::from_nanos(nanos) })
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number * unit`, where the number may have a fraction; digits below a nanosecond are dropped.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut unit = unit;
    let mut rest: u64 = 0;
    for digit in fraction.bytes() {
        // What ten digits of an hour leave below a nanosecond does not matter.
        rest += u64::from(digit - b'0') * unit / 10;
        unit /= 10;
    }
    nanos = nanos.checked_add(rest)?;
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_forms_of_go_literals() {
        for (text, number) in [
            ("0", Ok(0)),
            ("10000", Ok(10000)),
            ("0x10", Ok(16)),
            ("0x10_00", Ok(4096)),
            ("1_000", Ok(1000)),
            ("010", Ok(8)),
            ("0b101", Ok(5)),
            ("0o17", Ok(15)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err("value out of range")),
            ("", Err("parse error")),
            ("abc", Err("parse error")),
            ("-1", Err("parse error")),
            ("0x", Err("parse error")),
            ("1__0", Err("parse error")),
            ("_1", Err("parse error")),
            ("1_", Err("parse error")),
            ("09", Err("parse error")),
        ] {
            assert_eq!(parse_unsigned(text, u64::MAX), number, "{text}");
        }
        assert_eq!(parse_unsigned("4294967296", u32::MAX.into()), Err("value out of range"));
    }

    #[test]
    fn signed_numbers_reach_both_ends() {
        assert_eq!(parse_signed("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_signed("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(parse_signed("9223372036854775808"), Err("value out of range"));
        assert_eq!(parse_signed("-0x10"), Ok(-16));
        assert_eq!(parse_signed("--1"), Err("parse error"));
    }

    #[test]
    fn durations_have_the_syntax_of_go() {
        let plain = |nanos| Some(SignedDuration { negative: false, magnitude: Duration::from_nanos(nanos) });
        for (text, duration) in [
            ("0", plain(0)),
            ("5s", plain(5_000_000_000)),
            ("1m30s", plain(90_000_000_000)),
            ("100ms", plain(100_000_000)),
            ("1.5h", plain(5_400_000_000_000)),
            (".5s", plain(500_000_000)),
            ("3us", plain(3_000)),
            ("3µs", plain(3_000)),
            ("7ns", plain(7)),
            ("", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("5x", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text), duration, "{text}");
        }
        assert_eq!(parse_duration("-1s").map(|duration| duration.negative), Some(true));
    }
}
