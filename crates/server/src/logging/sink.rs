//! The writer thread behind the logger and its bounded queue.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::journal::Journal;
use super::rotation::{RotatingFile, Rotation};
use super::{Caller, Form, Level, LogOptions, Record, Target, Value, format, since_epoch};

/// Lines that may wait for the writer; more are dropped and counted.
const LINES_WAITING_MAX: usize = 4096;

/// How long [`Sink::flush`] waits.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

enum Message {
    Line(Level, String),
    Flush(SyncSender<()>),
}

/// Where encoded lines go.
pub(super) struct Sink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start(options: &LogOptions) -> io::Result<Self> {
        let open = |target| Output::open(target, options.rotation.as_ref());
        let outputs = options.targets.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let form = options.form;
        let (queue, messages) = sync_channel(LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { outputs, form, dropped: Arc::clone(&dropped) };
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { queue, dropped })
    }

    pub(super) fn write(&self, level: Level, line: String) {
        if self.queue.try_send(Message::Line(level, line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            // Late or never: the caller wants to end the process either way.
            let _ = wait.recv_timeout(FLUSH_TIME_MAX);
        }
    }
}

/// One place that lines go to.
enum Output {
    Stream(Box<dyn Write + Send>),
    Journal(Journal),
}

impl Output {
    fn open(target: &Target, rotation: Option<&Rotation>) -> io::Result<Self> {
        Ok(match target {
            Target::Stderr => Self::Stream(Box::new(io::stderr())),
            Target::Stdout => Self::Stream(Box::new(io::stdout())),
            Target::Journal => Self::Journal(Journal::open()?),
            Target::File(path) => Self::Stream(match rotation {
                Some(rotation) => Box::new(RotatingFile::open(Path::new(path), rotation)?),
                None => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            }),
        })
    }

    /// Writes one line, which ends with a line feed. One that cannot be written has nobody left to be told, but for
    /// those of the journal, which go to standard error.
    fn write(&mut self, level: Level, line: &str) {
        match self {
            Self::Stream(writer) => {
                let _ = writer.write_all(line.as_bytes());
            }
            Self::Journal(journal) => {
                if journal.send(level, line.trim_end_matches('\n')).is_err() {
                    let _ = io::stderr().write_all(line.as_bytes());
                }
            }
        }
    }

    fn flush(&mut self) {
        match self {
            // A target that fails has nobody left to tell.
            Self::Stream(writer) => drop(writer.flush()),
            Self::Journal(_) => {}
        }
    }
}

struct Writer {
    outputs: Vec<Output>,
    form: Form,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Line(level, line) => self.write(level, line),
                Message::Flush(done) => {
                    self.outputs.iter_mut().for_each(Output::flush);
                    let _ = done.send(());
                }
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                self.write(Level::Warn, self.dropped_line(dropped));
            }
        }
    }

    fn write(&mut self, level: Level, mut line: String) {
        line.push('\n');
        for output in &mut self.outputs {
            output.write(level, &line);
        }
    }

    fn dropped_line(&self, count: u64) -> String {
        let record = Record {
            level: Level::Warn,
            logger: None,
            caller: Caller { file: file!(), line: line!() },
            message: "log lines were dropped since the writer could not keep up",
            fields: &[("count", Value::Unsigned(count))],
        };
        format::encode(self.form, since_epoch(), &record)
    }
}
