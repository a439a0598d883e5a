//! The two forms of a line, timestamps and durations, as etcd writes them.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Form, Record, Value};

/// Encodes a line, without the line feed. `now` counts from the Unix epoch.
pub(super) fn encode(form: Form, now: Duration, record: &Record<'_>) -> String {
    let mut line = String::with_capacity(128 + record.message.len());
    match form {
        Form::Json => encode_json(&mut line, now, record),
        Form::Console => encode_console(&mut line, now, record),
    }
    line
}

fn encode_json(line: &mut String, now: Duration, record: &Record<'_>) {
    line.push_str("{\"level\":\"");
    line.push_str(record.level.name());
    line.push_str("\",\"ts\":\"");
    push_timestamp(line, now);
    line.push('"');
    if let Some(logger) = record.logger {
        line.push_str(",\"logger\":");
        push_json_text(line, logger);
    }
    line.push_str(",\"caller\":\"");
    push_caller(line, record);
    line.push_str("\",\"msg\":");
    push_json_text(line, record.message);
    for (key, value) in record.fields {
        line.push(',');
        push_json_text(line, key);
        line.push(':');
        push_json_value(line, value, ",");
    }
    line.push('}');
}

fn encode_console(line: &mut String, now: Duration, record: &Record<'_>) {
    push_timestamp(line, now);
    line.push('\t');
    line.push_str(record.level.name());
    if let Some(logger) = record.logger {
        line.push('\t');
        line.push_str(logger);
    }
    line.push('\t');
    push_caller(line, record);
    line.push('\t');
    line.push_str(record.message);
    let mut separator = "\t{";
    for (key, value) in record.fields {
        line.push_str(separator);
        push_json_text(line, key);
        line.push_str(": ");
        push_json_value(line, value, ", ");
        separator = ", ";
    }
    if !record.fields.is_empty() {
        line.push('}');
    }
}

/// The last two parts of the path and the line, `flags/mod.rs:12`.
fn push_caller(line: &mut String, record: &Record<'_>) {
    let file = record.caller.file;
    let short = match file.rmatch_indices('/').nth(1) {
        Some((slash, _)) => &file[slash + 1..],
        None => file,
    };
    line.push_str(short);
    push_display(line, format_args!(":{}", record.caller.line));
}

fn push_json_value(line: &mut String, value: &Value, separator: &str) {
    match value {
        Value::Text(text) => push_json_text(line, text),
        Value::Signed(number) => push_display(line, format_args!("{number}")),
        Value::Unsigned(number) => push_display(line, format_args!("{number}")),
        // JSON has no word for these.
        Value::Fraction(number) if !number.is_finite() => push_json_text(line, &number.to_string()),
        Value::Fraction(number) => push_display(line, format_args!("{number}")),
        Value::Bool(truth) => line.push_str(if *truth { "true" } else { "false" }),
        Value::List(texts) => {
            line.push('[');
            for (position, text) in texts.iter().enumerate() {
                if position > 0 {
                    line.push_str(separator);
                }
                push_json_text(line, text);
            }
            line.push(']');
        }
    }
}

fn push_json_text(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                push_display(line, format_args!("\\u{:04x}", u32::from(control)));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

/// `2006-01-02T15:04:05.000000Z`, in UTC.
fn push_timestamp(line: &mut String, since_epoch: Duration) {
    const SECONDS_PER_DAY: u64 = 86_400;
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let second_of_day = seconds % SECONDS_PER_DAY;
    push_display(
        line,
        format_args!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            second_of_day / 3600,
            second_of_day / 60 % 60,
            second_of_day % 60,
            since_epoch.subsec_micros(),
        ),
    );
}

/// A moment as it stands in lines.
pub fn timestamp(since_epoch: Duration) -> String {
    let mut text = String::with_capacity(32);
    push_timestamp(&mut text, since_epoch);
    text
}

/// `2006-01-02T15-04-05.000` in UTC, for the names of files.
pub(super) fn file_timestamp(since_epoch: Duration) -> String {
    let mut text = String::with_capacity(32);
    push_timestamp(&mut text, since_epoch);
    // Microseconds and the zone go, and colons are not for every filesystem.
    text.truncate(text.len() - "000Z".len());
    text.replace(':', "-")
}

/// Whether a text is of the form that [`file_timestamp`] gives.
pub(super) fn is_file_timestamp(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00-00-00.000";
    text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last day of a year, in eras of 400 years.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days_since_epoch + 719_468;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// A duration in the syntax of Go: `1m30s`, `100ms`, `46.298µs`, `0s`.
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let small = [(1_000, 1, "ns"), (1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")];
    if let Some((_, unit, name)) = small.into_iter().find(|(below, _, _)| nanos < *below) {
        return format!("{}{name}", decimal(nanos, unit));
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `amount / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(amount: u128, unit: u128) -> String {
    let fraction = amount % unit;
    if fraction == 0 {
        return (amount / unit).to_string();
    }
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{fraction:0digits$}", amount / unit);
    text.trim_end_matches('0').to_owned()
}

fn push_display(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = line.write_fmt(text);
}
