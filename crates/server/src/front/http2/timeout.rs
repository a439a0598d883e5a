//! `grpc-timeout`: how long a client wants to wait.

use std::time::Duration;

/// Digits that a timeout may have.
const DIGITS_MAX: usize = 8;

/// Reads a timeout; `Err` says what is wrong with it, in the words of grpc-go.
pub(super) fn read(value: &[u8]) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value);
    if text.len() < 2 {
        return Err(format!("transport: timeout string is too short: {text:?}"));
    }
    if text.len() > DIGITS_MAX + 1 {
        return Err(format!("transport: timeout string is too long: {text:?}"));
    }
    let (digits, unit) = value.split_at(value.len() - 1);
    let nanos: u64 = match unit {
        b"H" => 3_600_000_000_000,
        b"M" => 60_000_000_000,
        b"S" => 1_000_000_000,
        b"m" => 1_000_000,
        b"u" => 1_000,
        b"n" => 1,
        _ => return Err(format!("transport: timeout unit is not recognized: {text:?}")),
    };
    let digits = String::from_utf8_lossy(digits);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| is_number);
    let count = count.ok_or_else(|| format!("strconv.ParseInt: parsing {digits:?}: invalid syntax"))?;
    Ok(Duration::from_nanos(count.saturating_mul(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        assert_eq!(read(b"10S"), Ok(Duration::from_secs(10)));
        assert_eq!(read(b"99999999u"), Ok(Duration::from_micros(99_999_999)));
        assert_eq!(read(b"99999999H"), Ok(Duration::from_nanos(u64::MAX)));
        assert_eq!(read(b"0n"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        assert_eq!(read(b"S").unwrap_err(), "transport: timeout string is too short: \"S\"");
        assert_eq!(read(b"123456789S").unwrap_err(), "transport: timeout string is too long: \"123456789S\"");
        assert_eq!(read(b"5x").unwrap_err(), "transport: timeout unit is not recognized: \"5x\"");
        assert_eq!(read(b"+5S").unwrap_err(), "strconv.ParseInt: parsing \"+5\": invalid syntax");
        assert!(read(b"\xff\xff").is_err());
    }
}
