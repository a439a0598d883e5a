//! Configuration files: YAML or JSON, with etcd's names and etcd's rules.
//!
//! A file takes the place of the command line and the environment; both are then ignored.
//! Its values become those that the same flags would have, so that everything behind is the same.
//! A duration is a number of nanoseconds, lists of URLs are texts with commas, other lists are lists.
//! Fields that nobody knows are ignored, as they are by etcd; names may be written in capitals.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::old::OLD;
use super::table::{FLAGS, Flag, Kind, Place};
use super::typed::{Origin, Typed};
use super::url::Url;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileProblem {
    /// Reported as a configuration that cannot be verified.
    Verify(String),
    /// Printed to standard error as it is, as etcd does with URLs.
    Print(String),
}

/// The sections of a file, with the names that Go's error texts have for their types.
const SECTIONS: [(&str, &str); 6] = [
    ("client-transport-security", "securityConfig"),
    ("peer-transport-security", "securityConfig"),
    ("socket-options", "SocketOpts"),
    ("discovery-config", "DiscoveryConfig"),
    ("discovery-config.client.secure", "SecureConfig"),
    ("discovery-config.client.auth", "AuthConfig"),
];

/// Reads a file.
///
/// # Errors
///
/// When it cannot be read, is no YAML, or a value is not of its type.
pub(super) fn read(path: &Path) -> Result<Typed, FileProblem> {
    let text =
        std::fs::read_to_string(path).map_err(|error| FileProblem::Verify(unreadable(path, &error)))?;
    parse(&text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let path = path.display();
    if error.kind() == ErrorKind::IsADirectory {
        return format!("read {path}: is a directory");
    }
    let reason = [
        (ErrorKind::NotFound, "no such file or directory"),
        (ErrorKind::PermissionDenied, "permission denied"),
    ]
    .into_iter()
    .find(|(kind, _)| *kind == error.kind())
    .map_or_else(|| error.to_string(), |(_, reason)| reason.to_owned());
    format!("open {path}: {reason}")
}

/// Reads the text of a file.
///
/// # Errors
///
/// As [`read`].
pub(super) fn parse(text: &str) -> Result<Typed, FileProblem> {
    let root = document(text).map_err(FileProblem::Verify)?;
    let decoding = |text: String| format!("error unmarshaling JSON: while decoding JSON: json: {text}");
    let kind = kind_of(&root);
    let root = if root.is_null() {
        Map::new()
    } else if let Value::Object(fields) = root {
        fields
    } else {
        let text = format!("cannot unmarshal {kind} into Go value of type embed.configYAML");
        return Err(FileProblem::Verify(decoding(text)));
    };
    check_sections(&root).map_err(|text| FileProblem::Verify(decoding(text)))?;
    let mut typed = Typed::empty();
    for flag in FLAGS {
        let path = match flag.place {
            Place::Name => flag.name,
            Place::Path(path) => path,
            Place::Nowhere => continue,
        };
        let Some(value) = find(&root, path) else { continue };
        let text = text_of(flag, path, value).map_err(|text| FileProblem::Verify(decoding(text)))?;
        take(&mut typed, flag, &text)?;
    }
    for old in OLD {
        // Other fields of earlier releases are ignored, as all unknown fields are.
        let Some(text) = find(&root, old.name).and_then(|value| plain_text(old.kind, value)) else {
            continue;
        };
        if old.check(&text).is_ok() {
            typed.set_old(old, &text, Origin::File);
        }
    }
    match find_raw(&root, "peer-transport-security") {
        Some(Value::Null) => Err(FileProblem::Verify("invalid peer-transport-security".to_owned())),
        Some(_) | None => Ok(typed),
    }
}

/// The first document; an empty file is nothing.
fn document(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        merge_keys: serde_saphyr::MergeKeyPolicy::Merge,
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        format!("error converting YAML to JSON: yaml: {error}")
    })?;
    Ok(documents.into_iter().next().unwrap_or(Value::Null))
}

/// The value at a path; nothing is also what is null, since Go leaves the default there.
fn find<'a>(root: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    find_raw(root, path).filter(|value| !value.is_null())
}

fn find_raw<'a>(root: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut value = field(root, parts.next()?)?;
    for part in parts {
        value = field(value.as_object()?, part)?;
    }
    Some(value)
}

/// A field by its name, or else by its name in other letters.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let alike = || fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.get(name).or_else(alike)
}

fn check_sections(root: &Map<String, Value>) -> Result<(), String> {
    for (path, type_name) in SECTIONS {
        match find(root, path) {
            Some(Value::Object(_)) | None => {}
            Some(other) => {
                let package = if path.starts_with("discovery") { "clientv3" } else { "embed" };
                let package = match path {
                    "socket-options" => "transport",
                    "discovery-config" => "v3discovery",
                    _ => package,
                };
                let subject = subject(path);
                let kind = kind_of(other);
                return Err(format!(
                    "cannot unmarshal {kind} into Go struct field {subject} of type {package}.{type_name}"
                ));
            }
        }
    }
    Ok(())
}

/// The field as Go's error texts name it.
fn subject(path: &str) -> String {
    let top = path.split('.').next().unwrap_or_default();
    let outer = match top {
        "listen-peer-urls"
        | "listen-client-urls"
        | "listen-client-http-urls"
        | "initial-advertise-peer-urls"
        | "advertise-client-urls"
        | "cors"
        | "host-whitelist"
        | "client-transport-security"
        | "peer-transport-security"
        | "feature-gates" => "configJSON",
        _ => "Config",
    };
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let holder = match parent {
        "" => "configYAML",
        "discovery-config.client" => "ConfigSpec",
        parent => {
            SECTIONS.iter().find(|(section, _)| *section == parent).map_or("configYAML", |(_, name)| name)
        }
    };
    format!("{holder}.{outer}.{path}")
}

/// The value of a flag in the syntax of the command line.
fn text_of(flag: &Flag, path: &str, value: &Value) -> Result<String, String> {
    let wrong = |what: String, type_name: &str| {
        format!("cannot unmarshal {what} into Go struct field {} of type {type_name}", subject(path))
    };
    let is_list = flag.kind == Kind::List && flag.name != "host-whitelist";
    if is_list {
        let entries = value.as_array().ok_or_else(|| wrong(kind_of(value), "[]string"))?;
        let texts = entries.iter().map(|entry| {
            let text = if entry.is_null() { Some("") } else { entry.as_str() };
            text.ok_or_else(|| wrong(kind_of(entry), "string"))
        });
        return Ok(texts.collect::<Result<Vec<_>, _>>()?.join(","));
    }
    let type_name = go_type(flag);
    plain_text(flag.kind, value).ok_or_else(|| match value.as_number().filter(|_| is_number(flag.kind)) {
        // A number that does not fit its type is named.
        Some(number) => wrong(format!("number {number}"), type_name),
        None => wrong(kind_of(value), type_name),
    })
}

fn is_number(kind: Kind) -> bool {
    match kind {
        Kind::Unsigned | Kind::Unsigned32 | Kind::Signed | Kind::Duration => true,
        Kind::Text | Kind::Bool | Kind::Urls | Kind::Origins | Kind::List | Kind::Choice(_) | Kind::Gates => {
            false
        }
    }
}

/// The text of a value of the right type.
fn plain_text(kind: Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (Kind::Bool, Value::Bool(on)) => Some(on.to_string()),
        (Kind::Unsigned, Value::Number(number)) => unsigned(number).map(|number| number.to_string()),
        (Kind::Unsigned32, Value::Number(number)) => {
            unsigned(number).and_then(|number| u32::try_from(number).ok()).map(|number| number.to_string())
        }
        (Kind::Signed, Value::Number(number)) => signed(number).map(|number| number.to_string()),
        (Kind::Duration, Value::Number(number)) => signed(number).map(|nanos| format!("{nanos}ns")),
        (
            Kind::Text | Kind::Urls | Kind::Origins | Kind::List | Kind::Choice(_) | Kind::Gates,
            Value::String(text),
        ) => Some(text.clone()),
        (
            Kind::Text
            | Kind::Bool
            | Kind::Unsigned
            | Kind::Unsigned32
            | Kind::Signed
            | Kind::Duration
            | Kind::Urls
            | Kind::Origins
            | Kind::List
            | Kind::Choice(_)
            | Kind::Gates,
            _,
        ) => None,
    }
}

/// A whole number, also one that YAML writes with an exponent.
fn signed(number: &Number) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is a whole number below 2^53")]
    let whole = |float: f64| (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i64);
    number.as_i64().or_else(|| number.as_f64().filter(|_| number.is_f64()).and_then(whole))
}

fn unsigned(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| signed(number).and_then(|number| u64::try_from(number).ok()))
}

fn go_type(flag: &Flag) -> &'static str {
    match (flag.kind, flag.name) {
        (Kind::Bool, _) => "bool",
        (Kind::Unsigned, "snapshot-count" | "snapshot-catchup-entries") => "uint64",
        (Kind::Unsigned, _) => "uint",
        (Kind::Unsigned32, _) => "uint32",
        (Kind::Signed, "quota-backend-bytes") => "int64",
        (Kind::Signed, _) => "int",
        (Kind::Duration, _) => "time.Duration",
        (Kind::Text | Kind::Urls | Kind::Origins | Kind::List | Kind::Choice(_) | Kind::Gates, _) => "string",
    }
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
    .to_owned()
}

/// Takes a value, checked as far as etcd checks those of a file.
fn take(typed: &mut Typed, flag: &'static Flag, text: &str) -> Result<(), FileProblem> {
    match flag.kind {
        // An empty text leaves the default.
        Kind::Urls | Kind::Origins | Kind::Gates if text.is_empty() => return Ok(()),
        Kind::List if text.is_empty() && flag.name == "host-whitelist" => return Ok(()),
        Kind::Urls => {
            let checked = Url::parse_list(text);
            checked.map_err(|error| {
                FileProblem::Print(format!("unexpected error setting up {}: {error}\n", flag.name))
            })?;
        }
        Kind::Choice(choices) => match flag.name {
            "initial-cluster-state" if text.is_empty() => return Ok(()),
            "initial-cluster-state" if !choices.contains(&text) => {
                return Err(FileProblem::Verify(format!("unexpected clusterState {text:?}")));
            }
            // The one other flag of this kind changes nothing, whatever it says.
            _ if !choices.contains(&text) => return Ok(()),
            _ => {}
        },
        Kind::Gates => flag.check(text).map_err(FileProblem::Verify)?,
        Kind::Origins => flag.check(text).map_err(FileProblem::Verify)?,
        Kind::Text
        | Kind::Bool
        | Kind::Unsigned
        | Kind::Unsigned32
        | Kind::Signed
        | Kind::Duration
        | Kind::List => {}
    }
    let text = match (flag.name, text) {
        ("self-signed-cert-validity", "0") => "1",
        _ => text,
    };
    typed.set(flag, text, Origin::File);
    Ok(())
}

#[cfg(test)]
mod tests;
