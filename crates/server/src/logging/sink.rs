//! The writer thread behind the logger and its bounded queue.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{Caller, Form, Level, Record, Target, Value, format, since_epoch};

/// Lines that may wait for the writer; more are dropped and counted.
const LINES_WAITING_MAX: usize = 4096;

/// How long [`Sink::flush`] waits.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Where encoded lines go.
pub(super) struct Sink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start(targets: &[Target], form: Form) -> io::Result<Self> {
        let writers = targets.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let (queue, messages) = sync_channel(LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { writers, form, dropped: Arc::clone(&dropped) };
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { queue, dropped })
    }

    pub(super) fn write(&self, line: String) {
        if self.queue.try_send(Message::Line(line)).is_err() {
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

fn open(target: &Target) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        Target::Stderr => Box::new(io::stderr()),
        Target::Stdout => Box::new(io::stdout()),
        Target::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

struct Writer {
    writers: Vec<Box<dyn Write + Send>>,
    form: Form,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Line(line) => self.write(line),
                Message::Flush(done) => {
                    for writer in &mut self.writers {
                        // A target that fails has nobody left to tell.
                        let _ = writer.flush();
                    }
                    let _ = done.send(());
                }
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                self.write(self.dropped_line(dropped));
            }
        }
    }

    fn write(&mut self, mut line: String) {
        line.push('\n');
        for writer in &mut self.writers {
            let _ = writer.write_all(line.as_bytes());
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
