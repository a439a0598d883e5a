//! Flags about log lines and traces.

use serde_json::Value;

use super::Problem;
use super::options::is_on;
use super::typed::Typed;
use crate::logging::{Form, Level, LogOptions, Rotation, Target, find_journal};
use crate::trace::{RATE_MAX, TraceOptions};

/// How to log.
///
/// # Errors
///
/// When level, format, outputs or rotation do not make sense.
pub(super) fn log_options(typed: &Typed) -> Result<LogOptions, Problem> {
    let level = typed.text("log-level");
    let level = Level::from_name(level).ok_or_else(|| Problem::Print {
        // etcd panics here, with the exit code of a panic.
        text: format!("panic: unrecognized level: {level:?}\n"),
        code: 2,
    })?;
    match typed.text("logger") {
        "zap" => {}
        "capnslog" => return Err(Problem::verify("--logger=capnslog is removed in v3.5")),
        other => return Err(Problem::Verify(format!("unknown logger option {other:?}"))),
    }
    let form = match typed.text("log-format") {
        "json" => Form::Json,
        "console" => Form::Console,
        other => {
            let error = format!("unknown log format: {other}, supported values json, console");
            return Err(Problem::Verify(error));
        }
    };
    let outputs: Vec<&str> = typed.text("log-outputs").split(',').map(str::trim).collect();
    if outputs.len() > 1 && outputs.contains(&"default") {
        return Err(Problem::verify("multi logoutput for \"default\" is not supported yet"));
    }
    let rotation = if is_on(typed, "enable-log-rotation") {
        let files = outputs.iter().filter(|output| !matches!(**output, "default" | "stderr" | "stdout"));
        if files.count() != 1 {
            let text = "--log-outputs requires a single file path when --log-rotate-config-json is defined";
            return Err(Problem::verify(text));
        }
        Some(rotation(typed.text("log-rotation-config-json"))?)
    } else {
        None
    };
    let targets = outputs.into_iter().map(target).collect::<Result<_, _>>()?;
    Ok(LogOptions { level, form, targets, rotation })
}

fn target(output: &str) -> Result<Target, Problem> {
    Ok(match output {
        "default" | "stderr" => Target::Stderr,
        "stdout" => Target::Stdout,
        "systemd/journal" => {
            find_journal().map_err(Problem::Verify)?;
            Target::Journal
        }
        "" => return Err(Problem::verify("open sink \"\": open : no such file or directory")),
        path => Target::File(path.to_owned()),
    })
}

/// Reads `--log-rotation-config-json`; names that mean nothing are passed over.
fn rotation(json: &str) -> Result<Rotation, Problem> {
    let improper =
        |reason: String| Problem::Verify(format!("improperly formatted log rotation config: {reason}"));
    if json.trim().is_empty() {
        return Err(improper("unexpected end of JSON input".to_owned()));
    }
    let value: Value = serde_json::from_str(json).map_err(|error| {
        let first = json.trim_start().chars().next().unwrap_or(' ');
        if error.is_eof() {
            improper("unexpected end of JSON input".to_owned())
        } else if error.column() <= 1 {
            improper(format!("invalid character '{first}' looking for beginning of value"))
        } else {
            improper(error.to_string())
        }
    })?;
    let of = |name: &str, found: &Value, kind: &str| {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) if kind == "int" && !number.is_u64() => &format!("number {number}"),
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let field = if name.is_empty() {
            String::new()
        } else {
            format!("Go struct field logRotationConfig.Logger.{name} of type {kind}")
        };
        let target =
            if field.is_empty() { "Go value of type embed.logRotationConfig".to_owned() } else { field };
        Problem::Verify(format!("invalid log rotation config: json: cannot unmarshal {found} into {target}"))
    };
    let Value::Object(fields) = &value else { return Err(of("", &value, "")) };
    let number = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| of(name, value, "int")),
    };
    let flag = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| of(name, value, "bool")),
    };
    // Times in names are in UTC whatever it says.
    flag("localtime")?;
    let backups = usize::try_from(number("maxbackups")?).unwrap_or(usize::MAX);
    Ok(Rotation::new(number("maxsize")?, number("maxage")?, backups, flag("compress")?))
}

/// Where traces go, if they go anywhere.
///
/// # Errors
///
/// When the rate is none.
pub(super) fn trace_options(typed: &Typed, sampling_rate: i64) -> Result<Option<TraceOptions>, Problem> {
    if !is_on(typed, "enable-distributed-tracing") {
        return Ok(None);
    }
    let refused =
        |text: String| Problem::Verify(format!("distributed tracing configurition is not valid: ({text})"));
    if sampling_rate < 0 {
        return Err(refused("tracing sampling rate must be positive".to_owned()));
    }
    let rate = u32::try_from(sampling_rate).ok().filter(|rate| *rate <= RATE_MAX);
    let rate = rate.ok_or_else(|| refused(format!("tracing sampling rate must be less than {RATE_MAX}")))?;
    Ok(Some(TraceOptions {
        address: typed.text("distributed-tracing-address").to_owned(),
        service_name: typed.text("distributed-tracing-service-name").to_owned(),
        instance_id: typed.text("distributed-tracing-instance-id").to_owned(),
        sampling_rate: rate,
    }))
}
