//! Numbers and booleans as Go reads them, with Go's messages.

use super::quote::quote;

/// Reads an integer; base 0 takes the base from the prefix and allows underscores.
pub(crate) fn parse_int(text: &[u8], base: u32) -> Result<i64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseInt: parsing {}: {why}", quote(text)));
    let Ok(whole) = std::str::from_utf8(text) else { return fail("invalid syntax") };
    let (negative, digits) = match whole.as_bytes().first() {
        Some(b'-') => (true, &whole[1..]),
        Some(b'+') => (false, &whole[1..]),
        _ => (false, whole),
    };
    let Some((digits, base)) = base_of(digits, base) else { return fail("invalid syntax") };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return fail("invalid syntax");
    }
    let signed = if negative { format!("-{digits}") } else { digits };
    i64::from_str_radix(&signed, base).or_else(|_| fail("value out of range"))
}

/// Reads a number without a sign; base 0 is as in [`parse_int`].
pub(crate) fn parse_uint(text: &[u8], base: u32) -> Result<u64, String> {
    let fail = |why: &str| Err(format!("strconv.ParseUint: parsing {}: {why}", quote(text)));
    let Ok(whole) = std::str::from_utf8(text) else { return fail("invalid syntax") };
    let Some((digits, base)) = base_of(whole, base) else { return fail("invalid syntax") };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return fail("invalid syntax");
    }
    u64::from_str_radix(&digits, base).or_else(|_| fail("value out of range"))
}

/// The digits without prefix and underscores, and their base.
fn base_of(digits: &str, base: u32) -> Option<(String, u32)> {
    if base != 0 {
        return Some((digits.to_owned(), base));
    }
    let lower = digits.to_ascii_lowercase();
    let (rest, base) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    let well_placed = !rest.contains("__") && !rest.ends_with('_') && (base != 10 || !rest.starts_with('_'));
    well_placed.then(|| (rest.replace('_', ""), base))
}

/// Reads a boolean.
pub(crate) fn parse_bool(text: &[u8]) -> Result<bool, String> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_their_base() {
        let read = |text: &str, base| parse_int(text.as_bytes(), base).ok();
        assert_eq!(read("12", 10), Some(12));
        assert_eq!(read("-12", 10), Some(-12));
        assert_eq!(read("+12", 10), Some(12));
        assert_eq!(read("694d9f9023e5bd0c", 16), Some(0x694d_9f90_23e5_bd0c));
        assert_eq!(read("0x1_0", 0), Some(16));
        assert_eq!(read("010", 0), Some(8));
        assert_eq!(read("0", 0), Some(0));
        assert_eq!(read("-9223372036854775808", 0), Some(i64::MIN));
        for wrong in ["", "x", "1_", "_1", "1__0", "--1", "0x", "1.0", " 1"] {
            assert_eq!(read(wrong, 0), None, "{wrong}");
        }
        assert_eq!(read("0x1", 16), None);
    }

    #[test]
    fn errors_have_gos_words() {
        assert_eq!(parse_int(b"zz", 16).unwrap_err(), r#"strconv.ParseInt: parsing "zz": invalid syntax"#);
        assert_eq!(
            parse_int(b"9223372036854775808", 10).unwrap_err(),
            r#"strconv.ParseInt: parsing "9223372036854775808": value out of range"#
        );
        assert_eq!(parse_uint(b"-1", 16).unwrap_err(), r#"strconv.ParseUint: parsing "-1": invalid syntax"#);
        assert_eq!(
            parse_uint(b"10000000000000000", 16).unwrap_err(),
            r#"strconv.ParseUint: parsing "10000000000000000": value out of range"#
        );
        assert_eq!(parse_uint(b"b01a13770778ab2e", 16), Ok(0xb01a_1377_0778_ab2e));
        assert_eq!(parse_bool(b"x").unwrap_err(), r#"strconv.ParseBool: parsing "x": invalid syntax"#);
        assert_eq!(parse_bool(b"T"), Ok(true));
    }
}
