//! Points of time as texts. There is no clock here: a point is a number of nanoseconds of the Unix epoch.

use alloc::string::String;
use core::fmt::Write as _;

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: i64 = 1_000_000_000;

/// A point of time, in nanoseconds of the Unix epoch, as text in the form of RFC 3339, in UTC.
pub fn rfc3339(at_ns: i64) -> String {
    let mut text = String::new();
    push_rfc3339(&mut text, at_ns);
    text
}

/// Adds a point of time in the form of RFC 3339, in UTC, with as many digits behind the second as it needs.
///
/// The days are counted by the algorithm of Howard Hinnant's "chrono-compatible low-level date algorithms".
pub(crate) fn push_rfc3339(text: &mut String, at_ns: i64) {
    let (seconds, nanos) = (at_ns.div_euclid(SECOND_NS), at_ns.rem_euclid(SECOND_NS));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
        .expect("a string takes any text");
    if nanos > 0 {
        let mut digits = String::new();
        write!(digits, ".{nanos:09}").expect("a string takes any text");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_time_are_written_with_the_digits_that_they_need() {
        for (at_ns, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400 * SECOND_NS, "2000-02-29T00:00:00Z"),
            (1_709_251_199 * SECOND_NS + 120_000_000, "2024-02-29T23:59:59.12Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            let mut text = String::new();
            push_rfc3339(&mut text, at_ns);
            assert_eq!(text, expected);
        }
    }
}
