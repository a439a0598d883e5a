//! Integers as JSON may write them: with a fraction of zeros, with an exponent.

/// Digits that an integer of 64 bits can have, and some more that may be zeros.
const DIGITS_MAX: usize = 64;

/// The integer that a JSON number is; `None` if it is none, or needs more than 64 bits and a sign.
pub(super) fn integer(number: &str) -> Option<i128> {
    let (is_negative, rest) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut digits = format!("{}{fraction}", whole.trim_start_matches('0'));
    let fraction_length = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_sub(fraction_length)?;
    if digits.bytes().all(|digit| digit == b'0') {
        return Some(0);
    }
    if shift < 0 {
        // What is behind the point must be zeros.
        let cut = usize::try_from(shift.unsigned_abs()).ok()?;
        let kept = digits.len().checked_sub(cut)?;
        if digits[kept..].bytes().any(|digit| digit != b'0') {
            return None;
        }
        digits.truncate(kept);
    } else {
        let zeros = usize::try_from(shift).ok()?;
        if digits.len().saturating_add(zeros) > DIGITS_MAX {
            return None;
        }
        digits.extend(std::iter::repeat_n('0', zeros));
    }
    let magnitude: i128 = digits.parse().ok()?;
    Some(if is_negative { -magnitude } else { magnitude })
}

/// The JSON number at the beginning of a text that is not a value by itself; what follows must not look like a part
/// of it.
pub(super) fn leading(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(end)? {
        b'0' => end += 1,
        b'1'..=b'9' => end += digits(end),
        _ => return None,
    }
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent == 0 {
            return None;
        }
        end += 1 + sign + exponent;
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_');
    if bytes.get(end).is_some_and(is_part) { None } else { Some(&text[..end]) }
}
