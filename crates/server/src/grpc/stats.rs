//! What the line `request stats` says of a call: counts, sizes and keys, as in etcd.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etched_proto::wire::etcdserverpb as wire;
use tonic::Code;

use crate::api::Phases;
use crate::logging::{Level, Value, entry, timestamp};
use crate::metrics::rpc::Method;

/// Bytes of a key that are kept while a call is under way.
const EXCERPT_BYTES: usize = 46;

/// The beginning of a key, kept without an allocation.
#[derive(Clone, Copy, Debug)]
struct Excerpt {
    bytes: [u8; EXCERPT_BYTES],
    length: u32,
}

impl Excerpt {
    fn of(key: &[u8]) -> Self {
        let mut bytes = [0; EXCERPT_BYTES];
        let kept = key.len().min(EXCERPT_BYTES);
        bytes[..kept].copy_from_slice(&key[..kept]);
        Self { bytes, length: u32::try_from(key.len()).unwrap_or(u32::MAX) }
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[..EXCERPT_BYTES.min(self.length as usize)]
    }

    fn text(&self) -> String {
        let more = if self.length as usize > EXCERPT_BYTES { "..." } else { "" };
        format!("\"{}{more}\"", self.kept().escape_ascii())
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
enum Content {
    Put { key: Excerpt, value_bytes: usize, lease: i64 },
    Range { key: Excerpt, range_end: Excerpt, limit: i64, revision: i64, serializable: bool },
    DeleteRange { key: Excerpt, range_end: Excerpt },
    Txn { compares: usize, success: usize, failure: usize },
}

/// The numbers of a call; -1 stands for what is not counted, as in etcd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    request_count: i64,
    request_bytes: i64,
    response_count: i64,
    response_bytes: i64,
    content: Option<Content>,
}

impl Default for Stats {
    fn default() -> Self {
        Self { request_count: -1, request_bytes: -1, response_count: -1, response_bytes: -1, content: None }
    }
}

/// What held the numbers of calls of a connection that are answered, so that the next calls need no memory of their own.
#[derive(Debug, Default)]
pub(crate) struct SpareStats(
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept")] Vec<Box<Stats>>,
);

/// Spares that a connection keeps.
const SPARES_MAX: usize = 64;

impl SpareStats {
    pub(super) fn fill(&mut self, stats: Stats) -> Box<Stats> {
        match self.0.pop() {
            Some(mut spare) => {
                *spare = stats;
                spare
            }
            None => Box::new(stats),
        }
    }

    pub(super) fn keep(&mut self, spare: Option<Box<Stats>>) {
        if self.0.len() < SPARES_MAX {
            self.0.extend(spare);
        }
    }
}

impl Stats {
    fn of(content: Content, request_count: i64, bytes: usize) -> Self {
        Self {
            request_count,
            request_bytes: count(bytes),
            response_count: 0,
            response_bytes: 0,
            content: Some(content),
        }
    }

    pub(super) fn of_put(request: &wire::PutRequest, bytes: usize) -> Self {
        let key = Excerpt::of(&request.key);
        let content = Content::Put { key, value_bytes: request.value.len(), lease: request.lease };
        Self::of(content, 1, bytes)
    }

    pub(super) fn of_range(request: &wire::RangeRequest, bytes: usize) -> Self {
        let content = Content::Range {
            key: Excerpt::of(&request.key),
            range_end: Excerpt::of(&request.range_end),
            limit: request.limit,
            revision: request.revision,
            serializable: request.serializable,
        };
        Self::of(content, 0, bytes)
    }

    pub(super) fn of_delete(request: &wire::DeleteRangeRequest, bytes: usize) -> Self {
        let (key, range_end) = (Excerpt::of(&request.key), Excerpt::of(&request.range_end));
        Self::of(Content::DeleteRange { key, range_end }, 0, bytes)
    }

    pub(super) fn of_txn(request: &wire::TxnRequest, bytes: usize) -> Self {
        let (success, failure) = (request.success.len(), request.failure.len());
        let content = Content::Txn { compares: request.compare.len(), success, failure };
        Self::of(content, count(success), bytes)
    }

    /// There is an answer.
    pub(super) fn answered(&mut self, response_count: i64, bytes: usize) {
        self.response_count = response_count;
        self.response_bytes = count(bytes);
    }

    /// A transaction took its other branch.
    pub(super) fn took_failure(&mut self) {
        if let Some(Content::Txn { failure, .. }) = self.content {
            self.request_count = count(failure);
        }
    }

    fn content_text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Put { key, value_bytes, lease: 0 }) => {
                format!("key:{} value_size:{value_bytes} ", key.text())
            }
            Some(Content::Put { key, value_bytes, lease }) => {
                format!("key:{} value_size:{value_bytes} lease:{lease} ", key.text())
            }
            Some(Content::Range { key, range_end, limit, revision, serializable }) => {
                entry::range_parts(key.kept(), range_end.kept(), *limit, *revision, *serializable)
            }
            Some(Content::DeleteRange { key, range_end }) => {
                entry::range_parts(key.kept(), range_end.kept(), 0, 0, false)
            }
            Some(Content::Txn { compares, success, failure }) => {
                format!("compare:<{compares}> success:<{success}> failure:<{failure}>")
            }
        }
    }

    /// Writes the line.
    pub(super) fn write(
        &self,
        level: Level,
        method: &Method,
        took: Duration,
        code: Code,
        phases: Option<&Phases>,
    ) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut fields = vec![
            ("start time", Value::from(timestamp(now.saturating_sub(took)))),
            ("time spent", Value::from(took)),
            ("remote", Value::from("No remote client info.")),
            ("response type", Value::from(format!("/{}/{}", method.service, method.name))),
            ("request count", Value::from(self.request_count)),
            ("request size", Value::from(self.request_bytes)),
            ("response count", Value::from(self.response_count)),
            ("response size", Value::from(self.response_bytes)),
            ("request content", Value::from(self.content_text())),
            ("code", Value::from(crate::metrics::rpc::CODES[code as usize])),
        ];
        if let Some(phases) = phases {
            let parts = phases.parts();
            let slowest = parts.iter().max_by_key(|(_, took)| *took).map_or("", |(name, _)| name);
            fields.push(("slow-phase", Value::from(slowest)));
            fields.extend(parts.map(|(name, took)| (name, Value::from(Duration::from_nanos(took)))));
        }
        crate::logging::emit(&crate::logging::Record {
            level,
            logger: None,
            caller: crate::logging::Caller { file: file!(), line: line!() },
            message: "request stats",
            fields: &fields,
        });
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_the_numbers_of_a_call_holds_those_of_the_next() {
        let mut spare = SpareStats::default();
        let put = wire::PutRequest { key: "a".into(), ..Default::default() };
        let first = spare.fill(Stats::of_put(&put, 1));
        let place = std::ptr::from_ref(&*first);
        spare.keep(Some(first));
        let second = spare.fill(Stats::of_put(&put, 2));
        assert_eq!((std::ptr::from_ref(&*second), second.request_bytes), (place, 2));
        for _ in 0..2 * SPARES_MAX {
            spare.keep(Some(Box::default()));
        }
        assert_eq!(spare.0.len(), SPARES_MAX);
    }

    #[test]
    fn the_content_shows_keys_and_no_values() {
        let put = wire::PutRequest { key: "foo".into(), value: "bar".into(), lease: 3, ..Default::default() };
        assert_eq!(Stats::of_put(&put, 12).content_text(), "key:\"foo\" value_size:3 lease:3 ");
        let range =
            wire::RangeRequest { key: "f".into(), range_end: "g".into(), limit: 5, ..Default::default() };
        assert_eq!(Stats::of_range(&range, 10).content_text(), "key:\"f\" range_end:\"g\" limit:5");
        let long = wire::PutRequest { key: vec![b'k'; 1000].into(), ..Default::default() };
        assert!(
            Stats::of_put(&long, 1).content_text().starts_with(&format!("key:\"{}...\"", "k".repeat(46)))
        );
        let mut txn =
            Stats::of_txn(&wire::TxnRequest { failure: vec![Default::default()], ..Default::default() }, 9);
        txn.took_failure();
        assert_eq!((txn.request_count, Stats::default().request_count), (1, -1));
    }
}
