//! What the `raft` crate says about what it does, kept as values instead of being printed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record};

/// Lines that are kept until they are taken; older ones give way.
const LINES_MAX: usize = 128;

/// One line of what consensus says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The line, without values of its own.
    pub text: String,
}

/// How much a [`LogLine`] matters.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Worth a line.
    Info,
    /// Should not happen often.
    Warning,
    /// Should not happen.
    Error,
}

/// The end of the logger at which lines are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    lines: Arc<Mutex<VecDeque<LogLine>>>,
}

impl Journal {
    pub(crate) fn logger(&self) -> Logger {
        Logger::root(self.clone(), slog::o!())
    }

    pub(crate) fn take(&self) -> Vec<LogLine> {
        self.lines().drain(..).collect()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, VecDeque<LogLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drain for Journal {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        let level = match record.level() {
            Level::Critical | Level::Error => LogLevel::Error,
            Level::Warning => LogLevel::Warning,
            Level::Info => LogLevel::Info,
            Level::Debug | Level::Trace => return Ok(()),
        };
        let mut lines = self.lines();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(LogLine { level, text: record.msg().to_string() });
        Ok(())
    }
}
