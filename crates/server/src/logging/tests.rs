//! The forms of lines, sampling, and the writer.

use std::time::Duration;

use super::format::encode;
use super::*;

fn record<'a>(message: &'a str, fields: &'a [(&'a str, Value)]) -> Record<'a> {
    let caller = Caller { file: "crates/server/src/flags/mod.rs", line: 12 };
    Record { level: Level::Warn, logger: None, caller, message, fields }
}

const MOMENT: Duration = Duration::new(1_795_354_652, 84_101_000);

#[test]
fn a_json_line_has_etcds_keys_in_etcds_order() {
    let fields = [
        ("name", Value::from("default")),
        ("count", Value::from(3_u64)),
        ("left", Value::from(-1_i64)),
        ("ok", Value::from(true)),
        ("share", Value::from(0.5)),
        ("urls", Value::from(vec!["a".to_owned(), "b".to_owned()])),
        ("took", Value::from(Duration::from_micros(1500))),
        ("id", Value::hex(0x2e12_59d4_15f2_a040)),
    ];
    assert_eq!(
        encode(Form::Json, MOMENT, &record("it \"is\"\n so\u{1}", &fields)),
        "{\"level\":\"warn\",\"ts\":\"2026-11-22T13:37:32.084101Z\",\"caller\":\"flags/mod.rs:12\",\
         \"msg\":\"it \\\"is\\\"\\n so\\u0001\",\"name\":\"default\",\"count\":3,\"left\":-1,\"ok\":true,\
         \"share\":0.5,\"urls\":[\"a\",\"b\"],\"took\":\"1.5ms\",\"id\":\"2e1259d415f2a040\"}"
    );
}

#[test]
fn a_named_logger_stands_before_the_caller() {
    let line = encode(Form::Json, MOMENT, &Record { logger: Some("raft"), ..record("x", &[]) });
    assert!(line.contains("Z\",\"logger\":\"raft\",\"caller\":"), "{line}");
}

#[test]
fn a_console_line_is_tab_separated_and_its_fields_are_spaced_json() {
    assert_eq!(
        encode(Form::Console, MOMENT, &record("plain", &[])),
        "2026-11-22T13:37:32.084101Z\twarn\tflags/mod.rs:12\tplain"
    );
    let fields = [("a", Value::from("b")), ("l", Value::from(vec!["x".to_owned(), "y".to_owned()]))];
    assert_eq!(
        encode(Form::Console, MOMENT, &record("with", &fields)),
        "2026-11-22T13:37:32.084101Z\twarn\tflags/mod.rs:12\twith\t{\"a\": \"b\", \"l\": [\"x\", \"y\"]}"
    );
}

#[test]
fn dates_follow_the_calendar() {
    for (seconds, date) in [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (1_709_251_199, "2024-02-29T23:59:59"),
        (1_767_225_600, "2026-01-01T00:00:00"),
        (4_107_542_400, "2100-03-01T00:00:00"),
    ] {
        let line = encode(Form::Console, Duration::from_secs(seconds), &record("", &[]));
        assert!(line.starts_with(date), "{seconds}: {line}");
    }
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (nanos, text) in [
        (0, "0s"),
        (1, "1ns"),
        (46_298, "46.298µs"),
        (1_644_606, "1.644606ms"),
        (100_000_000, "100ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (60_000_000_000, "1m0s"),
        (7_200_000_000_000, "2h0m0s"),
        (3_723_004_000_000, "1h2m3.004s"),
    ] {
        assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
    }
}

#[test]
fn repetition_is_sampled_and_errors_are_not() {
    let sampler = Sampler::new();
    let line = record("again and again", &[]);
    let written = (0..1000).filter(|_| sampler.admits(&line, MOMENT)).count();
    assert_eq!(written, 100 + 9);
    assert!(sampler.admits(&line, MOMENT + Duration::from_secs(1)), "each second counts anew");
    let error = Record { level: Level::Error, ..line };
    assert_eq!((0..1000).filter(|_| sampler.admits(&error, MOMENT)).count(), 1000);
}

#[test]
fn a_sink_writes_all_lines_in_order_to_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log").to_str().unwrap().to_owned();
    let targets = vec![Target::File(path.clone())];
    let sink = Sink::start(&LogOptions { targets, ..LogOptions::default() }).unwrap();
    for number in 0..100 {
        sink.write(Level::Info, format!("line {number}"));
    }
    sink.flush();
    let text = std::fs::read_to_string(path).unwrap();
    let wanted: String = (0..100).map(|number| format!("line {number}\n")).collect();
    assert_eq!(text, wanted);
}

#[test]
fn levels_have_etcds_names() {
    for name in ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"] {
        assert_eq!(Level::from_name(name).map(Level::name), Some(name));
    }
    assert_eq!(Level::from_name("INFO"), None);
}
