//! The rules of the hub, one by one. Responses are compared as text:
//!
//! ```text
//! 1: created 0 @5            stream 1, watcher 0, header revision 5
//! 1: refused @5: why
//! 1: canceled 0 @5
//! 1: compacted 0 @0 to 4
//! 1: told 0 @5               a progress notification
//! 1: events 0 @6: a6 b6      the puts of a and b at revision 6; -a6 is a delete, a6' one with the value before
//! 1: events 0 @6+: a6        a fragment that is not the last
//! ```

mod feed;
mod history;
mod requests;

use super::*;
use crate::{Event, EventKind, Filters, History, HistoryRequest};
use alloc::string::String;
use alloc::vec;
use alloc::{borrow::ToOwned, format};
use core::fmt::Write;

/// A hub over a store of a few events, whose keys are single letters.
struct Desk {
    hub: Hub,
    log: Vec<Event>,
    compacted: i64,
}

fn options(stream_queue_bytes: usize) -> HubOptions {
    HubOptions { stream_queue_bytes, ..HubOptions::default() }
}

fn event(revision: i64, key: &str, len: usize) -> Event {
    let (kind, key) = match key.strip_prefix('-') {
        Some(key) => (EventKind::Delete, key),
        None => (EventKind::Put { created: false }, key),
    };
    let sign = if kind == EventKind::Delete { "-" } else { "" };
    let bytes = format!("{sign}{key}{revision}{:len$}", "");
    let with_prev = Some(format!("{sign}{key}{revision}'{:len$}", "").into());
    Event { revision, key: Bytes::copy_from_slice(key.as_bytes()), kind, bytes: bytes.into(), with_prev }
}

fn watch(key: &str, range_end: &str) -> Create {
    Create {
        range: KeyRange::from_wire(
            Bytes::copy_from_slice(key.as_bytes()),
            Bytes::copy_from_slice(range_end.as_bytes()),
        ),
        start_revision: 0,
        filters: Filters::default(),
        prev_kv: false,
        progress_notify: false,
        fragment: false,
        watch_id: 0,
    }
}

/// Everything, from a revision on.
fn watch_from(start_revision: i64) -> Create {
    Create { start_revision, ..watch("", "\0") }
}

impl Desk {
    /// A hub at revision 5 whose log holds a2 b3 a4 b5, with stream 1 open.
    fn new(options: HubOptions) -> Self {
        let log = vec![event(2, "a", 0), event(3, "b", 0), event(4, "a", 0), event(5, "b", 0)];
        let mut desk = Self { hub: Hub::new(options, 5), log, compacted: 0 };
        desk.hub.open(StreamId(1), 0, 0);
        desk
    }

    fn create(&mut self, stream: u64, create: Create) {
        self.hub.create(StreamId(stream), create);
    }

    /// One revision after the other, each with some keys of events with `len` bytes more than needed.
    fn publish(&mut self, revisions: &[&[&str]], len: usize) {
        let mut events = Vec::new();
        let mut revision = self.hub.revision();
        for keys in revisions {
            revision += 1;
            events.extend(keys.iter().map(|key| event(revision, key, len)));
        }
        self.log.extend(events.clone());
        self.hub.publish(revision, &events);
    }

    fn compact(&mut self, revision: i64) {
        self.compacted = revision;
        self.hub.on_compacted(revision);
    }

    /// The answer that a store would give, of at most so many revisions.
    fn answer(&mut self, request: &HistoryRequest, revisions_max: usize) {
        if request.from < self.compacted {
            let revision = self.compacted;
            return self.hub.on_history(request.id, History::Compacted { revision });
        }
        let next = (request.to + 1).min(request.from + i64::try_from(revisions_max).unwrap_or(i64::MAX / 2));
        let asked = |event: &&Event| (request.from..next).contains(&event.revision);
        let events =
            self.log.iter().filter(asked).filter(|event| request.interest(&event.key) != Interest::None);
        self.hub.on_history(request.id, History::Events { events: events.cloned().collect(), next });
    }

    /// Answers all questions to history.
    fn read_history(&mut self) {
        while let Some(request) = self.hub.poll_history() {
            self.answer(&request, usize::MAX);
        }
    }

    /// Takes what is to be delivered, without reporting it as consumed.
    fn deliveries(&mut self) -> Vec<Delivery> {
        core::iter::from_fn(|| self.hub.poll_delivery()).collect()
    }

    /// All responses, as text; they are consumed.
    fn take(&mut self) -> String {
        let deliveries = self.deliveries();
        for delivery in &deliveries {
            assert_eq!(delivery.bytes, delivery.response.encoded_len(), "{delivery:?}");
            self.hub.on_consumed(delivery.stream, delivery.bytes);
        }
        text(&deliveries)
    }

    /// Reads on until nothing comes.
    fn settle(&mut self) -> String {
        let mut all = String::new();
        for _ in 0..1_000 {
            self.read_history();
            let more = self.take();
            if more.is_empty() {
                return all;
            }
            all += &more;
        }
        panic!("the hub never comes to rest: {all}");
    }
}

fn text(deliveries: &[Delivery]) -> String {
    let mut text = String::new();
    for Delivery { stream, response, .. } in deliveries {
        let (id, revision) = (response.watch_id, response.revision);
        let line = match response {
            Response { created: true, canceled: true, cancel_reason, .. } => {
                assert_eq!(id, -1);
                format!("refused @{revision}: {cancel_reason}")
            }
            Response { created: true, .. } => format!("created {id} @{revision}"),
            Response { canceled: true, compact_revision: 0, .. } => format!("canceled {id} @{revision}"),
            Response { canceled: true, compact_revision, .. } => {
                format!("compacted {id} @{revision} to {compact_revision}")
            }
            Response { events, .. } if events.is_empty() => format!("told {id} @{revision}"),
            Response { events, fragment, .. } => {
                let events: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event)).collect();
                let events: Vec<_> = events.iter().map(|event| event.trim_end()).collect();
                format!("events {id} @{revision}{}: {}", if *fragment { "+" } else { "" }, events.join(" "))
            }
        };
        writeln!(text, "{}: {line}", stream.0).unwrap();
    }
    text
}

/// Compares lines, indentation aside.
fn expect(actual: &str, expected: &str) {
    let lines: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expected = lines.iter().map(|line| (*line).to_owned() + "\n").collect::<String>();
    assert_eq!(actual, expected, "\n--- got\n{actual}--- expected\n{expected}");
}

/// Everything that a hub holds belongs to an open stream.
fn assert_empty(hub: &Hub) {
    assert_eq!((hub.streams.len(), hub.watchers.len(), hub.groups.len()), (0, 0, 0));
    assert!(hub.ranges.is_empty() && hub.ahead.is_empty() && hub.behind.is_empty() && hub.ticks.is_empty());
    let events = hub.counters().events;
    assert_eq!(hub.counters(), Counters { events, ..Counters::default() });
}
