//! What the Lock and Election services ask of the member for their callers, and how they wait.
//!
//! Both are recipes over keys, leases and watches, as clients have them too; here they run next to the store.
//! All requests go out by [`Errand::ask`] and [`Errand::watch`], in the caller's name.
//!
//! A candidate owns the key `NAME/LEASE`, the lease in hexadecimal.
//! It waits until no key with the same beginning is older; of those it watches the youngest, so that one release wakes
//! one candidate.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_proto::mvccpb::event::EventType;
use etched_proto::mvccpb::{Event, KeyValue};
use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{
    Command, Compare, CompareTarget, DeleteRange, Outcome, Put, Range, RangeOutput, RangeQuery, Txn, TxnDone,
    TxnOp, TxnOpDone,
};
use etched_watch::{Create, Filters};
use prost::Message as _;
use tonic::{Code, Status};
use wire::range_request::{SortOrder, SortTarget};

use super::kv::header;
use super::status::{self, mismatched_answer};
use crate::api::{Answer, Request, WatchCall};
use crate::auth::Claim;
use crate::front::{Answered, Link, Next, OpenStream};

/// Seconds that a lease lives which is granted because the caller has none.
const LEASE_TTL: i64 = 60;

/// How often a quiet watch is told how far the store is; nobody looks at it.
const PROGRESS_INTERVAL_NS: u64 = 600_000_000_000;

/// Asks the member for one caller.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    link: Arc<Link>,
    /// In whose name it asks.
    claim: Claim,
}

/// A header, and what belongs under it.
#[derive(Clone, Debug)]
pub(super) struct Told<T> {
    pub(super) header: Option<wire::ResponseHeader>,
    pub(super) what: T,
}

impl<T> Told<T> {
    /// The revision that the header tells.
    pub(super) fn revision(&self) -> i64 {
        self.header.as_ref().map_or(0, |header| header.revision)
    }
}

impl Errand {
    /// For the caller of a request.
    pub(super) fn of<T>(link: &Arc<Link>, request: &tonic::Request<T>) -> Self {
        Self { link: Arc::clone(link), claim: Claim::of(request.extensions()) }
    }

    /// # Errors
    ///
    /// Inner errors lose their codes, as they do in etcd: there the recipes use a client, whose errors are plain.
    async fn ask(&self, request: Request) -> Result<Answered, Status> {
        self.link.ask(self.claim.credentials(), request).await.map_err(|error| plain(status::of(&error)))
    }

    /// Has something done that nobody waits for.
    fn leave(&self, command: Command) {
        // With too many requests waiting the key stays until its lease runs out.
        drop(self.link.start(self.claim.credentials(), Request::Propose(command)));
    }

    async fn propose(&self, command: Command) -> Result<(Outcome, i64, u64), Status> {
        let Answered { answer, revision, raft_term } = self.ask(Request::Propose(command)).await?;
        let Answer::Applied(outcome) = answer else { return Err(mismatched_answer()) };
        Ok((outcome, revision, raft_term))
    }

    /// The caller's lease, or a new one.
    pub(super) async fn lease(&self, asked: i64) -> Result<i64, Status> {
        if asked != 0 {
            return Ok(asked);
        }
        let (outcome, ..) = self.propose(Command::LeaseGrant { id: 0, ttl: LEASE_TTL }).await?;
        let Outcome::LeaseGrant { id, .. } = outcome else { return Err(mismatched_answer()) };
        Ok(id)
    }

    pub(super) async fn txn(&self, txn: Txn) -> Result<Told<TxnDone>, Status> {
        let (outcome, current, raft_term) = self.propose(Command::Txn(txn)).await?;
        let Outcome::Txn(done) = outcome else { return Err(mismatched_answer()) };
        Ok(Told { header: header(&self.link, done.revision, current, raft_term), what: done })
    }

    pub(super) async fn delete(&self, key: Bytes) -> Result<Told<()>, Status> {
        let (outcome, current, raft_term) = self.propose(delete(key)).await?;
        let Outcome::DeleteRange(done) = outcome else { return Err(mismatched_answer()) };
        Ok(Told { header: header(&self.link, done.revision, current, raft_term), what: () })
    }

    async fn range(&self, range: Range) -> Result<Told<RangeOutput>, Status> {
        let Answered { answer, revision, raft_term } = self.ask(Request::Range(range)).await?;
        let Answer::Range(output) = answer else { return Err(mismatched_answer()) };
        Ok(Told { header: header(&self.link, output.revision, revision, raft_term), what: output })
    }

    /// The record of a key.
    pub(super) async fn get(&self, key: Bytes) -> Result<Told<Option<KeyValue>>, Status> {
        self.first(get(key)).await
    }

    /// The oldest record below a prefix.
    pub(super) async fn oldest(&self, prefix: &[u8]) -> Result<Told<Option<KeyValue>>, Status> {
        self.first(oldest(prefix)).await
    }

    async fn first(&self, range: Range) -> Result<Told<Option<KeyValue>>, Status> {
        let Told { header, what } = self.range(range).await?;
        Ok(Told { header, what: first_of(&what)? })
    }

    /// Waits until no key below the prefix is older than this revision.
    pub(super) async fn wait_for_turn(&self, prefix: &[u8], create_revision: i64) -> Result<(), Status> {
        loop {
            let mut query = RangeQuery::new(KeyRange::prefix(prefix));
            query.limit = 1;
            query.create_revision_max = create_revision - 1;
            let youngest =
                Range::from_wire(query, false, SortOrder::Descend as i32, SortTarget::Create as i32);
            let told = self.first(youngest).await?;
            let Some(record) = &told.what else { return Ok(()) };
            let mut watch = self.watch(KeyRange::single(record.key.clone()), told.revision());
            while !watch.next().await?.what.iter().any(is_delete) {}
        }
    }

    /// Watches a range from a revision on.
    pub(super) fn watch(&self, range: KeyRange, start_revision: i64) -> Watch {
        let stream = OpenStream::new(Arc::clone(&self.link), false, Some(PROGRESS_INTERVAL_NS));
        let create = Create {
            filters: Filters { no_put: false, no_delete: false },
            range,
            start_revision,
            prev_kv: false,
            progress_notify: false,
            fragment: false,
            watch_id: 0,
        };
        let credentials = self.claim.credentials();
        self.link.watch(WatchCall::Create { stream: stream.id(), credentials, create });
        Watch { link: Arc::clone(&self.link), stream }
    }
}

/// A watch with a stream of its own; dropping it closes it.
#[derive(Debug)]
pub(super) struct Watch {
    link: Arc<Link>,
    stream: OpenStream,
}

impl Watch {
    /// What came next: events, or none.
    ///
    /// # Errors
    ///
    /// Why nothing comes any more.
    pub(super) async fn next(&mut self) -> Result<Told<Vec<Event>>, Status> {
        let delivery = match poll_fn(|context| self.stream.poll_next(context)).await {
            Next::Delivery(delivery) => delivery,
            Next::End(ending) => return Err(status::of_ending(ending)),
        };
        let response = delivery.response;
        if response.compact_revision != 0 {
            return Err(Status::unknown("etcdserver: mvcc: required revision has been compacted"));
        }
        if response.canceled {
            return Err(Status::unknown(response.cancel_reason.into_owned()));
        }
        let events = response.events.iter().map(|event| Event::decode(&event[..]));
        let what = events.collect::<Result<_, _>>().map_err(|_| mismatched_answer())?;
        Ok(Told { header: header(&self.link, response.revision, 0, delivery.raft_term), what })
    }
}

/// Takes a key back unless it is told not to: for candidates that go away while they wait.
#[derive(Debug)]
pub(super) struct Withdrawal {
    errand: Errand,
    command: Option<Command>,
}

impl Withdrawal {
    pub(super) fn new(errand: &Errand, command: Command) -> Self {
        Self { errand: errand.clone(), command: Some(command) }
    }

    /// The key stays.
    pub(super) fn cancel(mut self) {
        self.command = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            self.errand.leave(command);
        }
    }
}

// === parts of requests ===

/// What all candidates for a name begin their keys with.
pub(super) fn prefix_of(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// The key of a candidate.
pub(super) fn key_of(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    let number = format!("{sign}{:x}", lease.unsigned_abs());
    [prefix, number.as_bytes()].concat().into()
}

/// Whether a key was created at this revision; 0 means that it does not exist.
pub(super) fn was_created_at(key: Bytes, revision: i64) -> Compare {
    Compare { range: KeyRange::single(key), result: 0, target: CompareTarget::CreateRevision(revision) }
}

pub(super) fn put(key: Bytes, value: Bytes, lease: i64) -> TxnOp {
    TxnOp::Put(Put { key, value, lease, prev_kv: false, ignore_value: false, ignore_lease: false })
}

pub(super) fn get(key: Bytes) -> Range {
    Range::from_wire(RangeQuery::new(KeyRange::single(key)), false, 0, 0)
}

pub(super) fn oldest(prefix: &[u8]) -> Range {
    let mut query = RangeQuery::new(KeyRange::prefix(prefix));
    query.limit = 1;
    Range::from_wire(query, false, SortOrder::Ascend as i32, SortTarget::Create as i32)
}

pub(super) fn delete(key: Bytes) -> Command {
    Command::DeleteRange(DeleteRange { range: KeyRange::single(key), prev_kv: false })
}

pub(super) fn is_delete(event: &Event) -> bool {
    event.r#type == EventType::Delete as i32
}

/// The first record of an answer.
fn first_of(output: &RangeOutput) -> Result<Option<KeyValue>, Status> {
    let record = output.records.first().map(|record| KeyValue::decode(record.clone()));
    record.transpose().map_err(|_| mismatched_answer())
}

/// The first record that an operation of a transaction read.
pub(super) fn first_read(done: &TxnDone, operation: usize) -> Result<Option<KeyValue>, Status> {
    match done.responses.get(operation) {
        Some(TxnOpDone::Range { output, .. }) => first_of(output),
        Some(TxnOpDone::Put(_) | TxnOpDone::DeleteRange(_) | TxnOpDone::Txn(_)) | None => {
            Err(mismatched_answer())
        }
    }
}

/// An error without its code, but for those that are the caller's own.
fn plain(status: Status) -> Status {
    if status.code() == Code::DeadlineExceeded { status } else { Status::unknown(status.message()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_candidates_end_with_their_lease_in_hexadecimal() {
        for (lease, key) in
            [(0x694d_a213, "a/694da213"), (-5, "a/-5"), (i64::MIN, "a/-8000000000000000"), (1, "a/1")]
        {
            assert_eq!(key_of(&prefix_of(b"a"), lease), key);
        }
    }
}
