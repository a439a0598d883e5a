//! Times of day as members write them for each other: RFC 3339.

use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// Writes a time since the Unix epoch, in UTC and with nanoseconds, without zeros at the end, as Go does.
pub(super) fn format_rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date_of(seconds / DAY_SECONDS);
    let time = seconds % DAY_SECONDS;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let nanos = since_epoch.subsec_nanos();
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Reads a time; since the Unix epoch. `None` if it is none, or before the epoch.
pub(super) fn parse_rfc3339(text: &str) -> Option<Duration> {
    let (date, rest) = text.split_once('T')?;
    let (time, offset_seconds) = split_offset(rest)?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(time, ':')?;
    let is_sound = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_sound || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let local = days_until(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset_seconds)?;
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Splits the zone off; seconds east of Greenwich.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (time, offset) = text.split_at(at);
    let (sign, offset) = offset.split_at(1);
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (i64::from(hours) * 60 + i64::from(minutes)) * 60;
    (hours < 24 && minutes < 60).then_some((time, if sign == "-" { -seconds } else { seconds }))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to a date.
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).map(|month| days_in(year, month)).sum();
    years + months + day - 1
}

/// The date that so many days after the epoch is.
fn date_of(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        let write = |seconds, nanos| format_rfc3339(Duration::new(seconds, nanos));
        assert_eq!(write(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(write(951_782_400, 500_000_000), "2000-02-29T00:00:00.5Z");
        assert_eq!(write(1_795_614_365, 811_029_832), "2026-11-25T13:46:05.811029832Z");
    }

    #[test]
    fn written_times_are_read() {
        for seconds in [0, 951_782_399, 951_868_800, 1_795_614_365, 4_107_542_399] {
            let time = Duration::new(seconds, 120_000_003);
            assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
        }
        let utc = parse_rfc3339("2026-11-25T13:46:05Z");
        assert_eq!(parse_rfc3339("2026-11-25T15:16:05+01:30"), utc);
        assert_eq!(parse_rfc3339("2026-11-25T08:46:05-05:00"), utc);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "T",
            "now",
            "2026-11-25",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-25T13:46:05",
            "2026-11-25T13:46:05.1234567890Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2026-11-25T13:46:05+99999999999999999:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
