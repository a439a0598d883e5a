//! Lines in the form of etcdutl's log, for standard error: time, level, place, message and fields, with tabs between.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::text::time::timestamp;

/// Prints a line; the values of fields are anything that has a form in JSON.
macro_rules! say {
    ($level:literal, $message:expr $(, $name:literal => $value:expr)* $(,)?) => {
        eprintln!("{}", $crate::utl::log::line(
            $level, concat!(file!(), ":", line!()), $message, &[$(($name, serde_json::Value::from($value))),*],
        ))
    };
}
pub(crate) use say;

/// A line with the time of now.
pub(crate) fn line(level: &str, place: &str, message: &str, fields: &[(&str, Value)]) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = timestamp(since.as_secs(), 0);
    let (seconds, _micros) = time.split_once('.').unwrap_or((&time, ""));
    let place = place.rsplit_once("src/").map_or(place, |(_, place)| place);
    let mut line = format!("{seconds}Z\t{level}\t{place}\t{message}");
    if !fields.is_empty() {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}: {value}", Value::from(*name))).collect();
        line.push_str(&format!("\t{{{}}}", fields.join(", ")));
    }
    line
}
