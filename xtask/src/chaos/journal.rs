//! The record of a run, and its form as lines of JSON: `{"call": ...}`, `{"stream": ...}`, `{"hash": ...}` and, for
//! readers, `{"fault": ...}`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use etched_model::history::{Call, Hash, History, Outcome, Stream};
use serde_json::{Value, json};

/// A fault and when it was there, in nanoseconds since the run began.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) what: String,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Takes up what clients and watches see.
#[derive(Debug)]
pub(super) struct Journal {
    begin: Instant,
    history: Mutex<History>,
    episodes: Mutex<Vec<Episode>>,
    /// The last revision that any scribe was told of: what may be compacted without leaving a gap in the history.
    told: AtomicI64,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            history: Mutex::default(),
            episodes: Mutex::default(),
            told: AtomicI64::new(1),
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("runs end within centuries")
    }

    pub(super) fn call(&self, call: Call) {
        self.history.lock().expect("nobody panics with it").calls.push(call);
    }

    pub(super) fn stream(&self, stream: Stream) {
        self.history.lock().expect("nobody panics with it").streams.push(stream);
    }

    pub(super) fn hash(&self, hash: Hash) {
        self.history.lock().expect("nobody panics with it").hashes.push(hash);
    }

    pub(super) fn episode(&self, what: String, from: u64) {
        let to = self.now();
        self.episodes.lock().expect("nobody panics with it").push(Episode { what, from, to });
    }

    pub(super) fn scribe_told(&self, revision: i64) {
        self.told.fetch_max(revision, Ordering::SeqCst);
    }

    /// The last revision that the history is certain to hold.
    pub(super) fn told(&self) -> i64 {
        self.told.load(Ordering::SeqCst)
    }

    /// All that was recorded up to here.
    pub(super) fn take(&self) -> (History, Vec<Episode>) {
        let history = std::mem::take(&mut *self.history.lock().expect("nobody panics with it"));
        (history, std::mem::take(&mut *self.episodes.lock().expect("nobody panics with it")))
    }
}

/// Counts of calls by what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
}

pub(super) fn tally(history: &History) -> Tally {
    let mut tally = Tally::default();
    for call in &history.calls {
        match call.outcome {
            Outcome::Answered(_) => tally.answered += 1,
            Outcome::Refused(_) => tally.refused += 1,
            Outcome::Unknown => tally.unknown += 1,
        }
    }
    tally
}

/// Writes a history as lines of JSON.
pub(super) fn write(path: &Path, history: &History, episodes: &[Episode]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for Episode { what, from, to } in episodes {
        writeln!(file, "{}", json!({ "fault": what, "from": from, "to": to }))?;
    }
    for call in &history.calls {
        writeln!(file, "{}", json!({ "call": call }))?;
    }
    for stream in &history.streams {
        writeln!(file, "{}", json!({ "stream": stream }))?;
    }
    for hash in &history.hashes {
        writeln!(file, "{}", json!({ "hash": hash }))?;
    }
    Ok(file.flush()?)
}

/// Reads what [`write()`] wrote.
pub(super) fn read(path: &Path) -> Result<History> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut history = History::default();
    for (line, number) in BufReader::new(file).lines().zip(1..) {
        take_up(&mut history, &line?).with_context(|| format!("line {number}"))?;
    }
    Ok(history)
}

fn take_up(history: &mut History, line: &str) -> Result<()> {
    let Value::Object(entry) = serde_json::from_str(line)? else { bail!("a line is an object") };
    for (kind, value) in entry {
        match kind.as_str() {
            "call" => history.calls.push(serde_json::from_value(value)?),
            "stream" => history.streams.push(serde_json::from_value(value)?),
            "hash" => history.hashes.push(serde_json::from_value(value)?),
            "fault" | "from" | "to" => {}
            other => bail!("nothing is called {other:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use etched_model::history::{Answer, Body, Event, Message, Put, Record, Request, Told, Wish};

    use super::*;

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let record = Record { key: "\0a\"".into(), version: 1, ..Record::default() };
        let request = Request::Put(Put { key: "a".into(), value: "1".into(), ..Put::default() });
        let body = Body::Put { previous: Some(record.clone()) };
        let outcome = Outcome::Answered(Answer { revision: 2, body });
        let call =
            Call { client: 1, member: 2, boot: None, invoked: 3, returned: u64::MAX, request, outcome };
        let events = vec![Event { deleted: true, record, previous: None }];
        let told = vec![Told { at: 5, revision: 2, what: Message::Events { events, fragment: true } }];
        let wish = Wish { key: "\0".into(), ..Wish::default() };
        let stream = Stream { wish, created: Some(1), told, ..Stream::default() };
        let hashes = vec![Hash { member: 0, revision: 2, compacted: -1, hash: 7 }];
        let history = History { calls: vec![call], streams: vec![stream], hashes };
        let path = tempfile::NamedTempFile::new().unwrap();
        let fault = Episode { what: "kill m0".into(), from: 1, to: 2 };
        write(path.path(), &history, &[fault]).unwrap();
        assert_eq!(format!("{:?}", read(path.path()).unwrap()), format!("{history:?}"));
    }
}
