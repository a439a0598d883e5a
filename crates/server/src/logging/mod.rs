//! Structured log lines in etcd's form: one JSON object (or one tab-separated line) per event.
//!
//! A line is encoded by the thread that has something to say and handed to one writer thread through a bounded queue,
//! so a slow terminal or disk never holds up a request.
//! When the queue is full, lines are dropped and counted, and the count is logged as soon as there is room again.
//!
//! ```
//! etched::log!(Info, "opened backend db", "path" => "/var/lib/etcd", "took" => std::time::Duration::from_millis(3));
//! ```

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) mod entry;
mod format;
mod journal;
mod rotation;
mod sampler;
mod sink;
#[cfg(test)]
mod tests;

pub use format::{go_duration, timestamp};
pub use journal::find_journal;
pub use rotation::Rotation;
use sampler::Sampler;
use sink::Sink;

/// How grave a line is; the order is that of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look into the program.
    Debug,
    /// What happens in normal operation.
    Info,
    /// Something that an operator may want to look into.
    Warn,
    /// Something that went wrong.
    Error,
    /// An error after which the process would not go on if it were a debug build; kept because etcd names it.
    Dpanic,
    /// A broken invariant.
    Panic,
    /// The process ends with this line.
    Fatal,
}

impl Level {
    /// The level's name as it stands in a line and in `--log-level`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Dpanic => "dpanic",
            Self::Panic => "panic",
            Self::Fatal => "fatal",
        }
    }

    /// The level of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Dpanic, Self::Panic, Self::Fatal];
        all.into_iter().find(|level| level.name() == name)
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    #[default]
    Json,
    /// Tab-separated columns for people.
    Console,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(String),
    /// systemd's journal.
    Journal,
}

/// What the logger does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Lines below it are not written.
    pub level: Level,
    /// The form of the lines.
    pub form: Form,
    /// Every line goes to each of them.
    pub targets: Vec<Target>,
    /// What is done with a file that is full; `None` lets it grow.
    pub rotation: Option<Rotation>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: Level::Info, form: Form::Json, targets: vec![Target::Stderr], rotation: None }
    }
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A fraction.
    Fraction(f64),
    /// A truth value.
    Bool(bool),
    /// Strings.
    List(Vec<String>),
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $to:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )*};
}

value_from! {
    &str => |value| Self::Text(value.to_owned());
    String => |value| Self::Text(value);
    &String => |value| Self::Text(value.clone());
    bool => |value| Self::Bool(value);
    i32 => |value| Self::Signed(value.into());
    i64 => |value| Self::Signed(value);
    u8 => |value| Self::Unsigned(value.into());
    u16 => |value| Self::Unsigned(value.into());
    u32 => |value| Self::Unsigned(value.into());
    u64 => |value| Self::Unsigned(value);
    usize => |value| Self::Unsigned(value as u64);
    f64 => |value| Self::Fraction(value);
    Duration => |value| Self::Text(go_duration(value));
    Vec<String> => |value| Self::List(value);
    &[String] => |value| Self::List(value.to_vec());
}

impl Value {
    /// The text of anything that can be displayed.
    pub fn display(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    /// An id as etcd writes it: hexadecimal without leading zeros.
    pub fn hex(id: u64) -> Self {
        Self::Text(format!("{id:x}"))
    }
}

/// The place in the source that says something.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The file, as `file!()` has it.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

/// One line before it is encoded.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// How grave it is.
    pub level: Level,
    /// The name of a part that has its own logger in etcd, such as `raft`.
    pub logger: Option<&'static str>,
    /// Who says it.
    pub caller: Caller,
    /// What happened.
    pub message: &'a str,
    /// The details, in this order.
    pub fields: &'a [(&'a str, Value)],
}

/// Logs a line: a [`Level`] variant, optionally `@ "logger"`, a message and `"key" => value` fields.
/// Values are converted by `logging::Value::from`.
#[macro_export]
macro_rules! log {
    (@name) => { None };
    (@name $logger:literal) => { Some($logger) };
    ($level:ident $(@ $logger:literal)?, $message:expr $(, $key:literal => $value:expr)* $(,)?) => {
        if $crate::logging::enabled($crate::logging::Level::$level) {
            $crate::logging::emit(&$crate::logging::Record {
                level: $crate::logging::Level::$level,
                logger: $crate::log!(@name $($logger)?),
                caller: $crate::logging::Caller { file: file!(), line: line!() },
                message: &$message,
                fields: &[$(($key, $crate::logging::Value::from($value))),*],
            });
        }
    };
}

struct Logger {
    level: Level,
    form: Form,
    sampler: Sampler,
    sink: Sink,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts the logger of this process; later calls change nothing.
/// Lines before it go to standard error at level `info`.
///
/// # Errors
///
/// When a file cannot be opened or the writer thread cannot be started.
pub fn init(options: &LogOptions) -> std::io::Result<()> {
    if LOGGER.get().is_some() {
        return Ok(());
    }
    let sink = Sink::start(options)?;
    let logger = Logger { level: options.level, form: options.form, sampler: Sampler::new(), sink };
    // Two threads that start the logger at once: one of the two equal loggers stays.
    let _ = LOGGER.set(logger);
    Ok(())
}

/// Whether lines of this level are written.
pub fn enabled(level: Level) -> bool {
    level >= LOGGER.get().map_or(Level::Info, |logger| logger.level)
}

/// Writes one line; [`log!`](crate::log) is the usual way to call it.
pub fn emit(record: &Record<'_>) {
    let now = since_epoch();
    let Some(logger) = LOGGER.get() else {
        eprintln!("{}", format::encode(Form::Json, now, record));
        return;
    };
    if logger.sampler.admits(record, now) {
        logger.sink.write(record.level, format::encode(logger.form, now, record));
    }
}

/// Waits until all lines so far are written, a second at most.
/// Called before the process ends.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.sink.flush();
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
