//! Histories: what clients asked of a cluster and were told, and whether a correct store could have done that.
//!
//! [`judge()`] takes a [`History`] and returns all [`Violation`]s that it finds.
//! The streams of watches tell what happened at each revision ([`Log`]); everything else is compared with that.
//! An answered write must be what happened at the revision of its answer, and a read must be the state at the revision
//! of its answer, so that no search is needed: revisions are the order, and only real time remains to be checked.
//! A call without an answer happened at most once, at any time after it began.
//!
//! What looks at revisions would not notice if a store told wrong ones consistently.
//! [`search`] looks at keys and values only and searches for an order, for keys that are used alone.
//!
//! Texts are UTF-8: a history is for reading.

mod compaction;
mod execute;
mod explain;
mod judge;
mod lease;
mod log;
mod order;
pub mod search;
mod stream;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use judge::{Verdict, judge};
pub use log::{Change, Log};

/// Everything that was recorded of a run. Times are nanoseconds since it began.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was asked, in any order.
    pub calls: Vec<Call>,
    /// What watches were told.
    pub streams: Vec<Stream>,
    /// Hashes of the whole store, asked of each member at the end.
    pub hashes: Vec<Hash>,
}

/// One request and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Who asked; a client asks one thing at a time.
    pub client: u32,
    /// Which member was asked.
    pub member: u32,
    /// Which life of the member it was, if it was the same one all the time.
    pub boot: Option<u32>,
    /// When it was sent.
    pub invoked: u64,
    /// When the answer came, or the client gave up.
    pub returned: u64,
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub outcome: Outcome,
}

/// What is asked of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Reads keys.
    Range(Range),
    /// Writes a key.
    Put(Put),
    /// Deletes keys.
    Delete(Delete),
    /// Does one of two things, at once.
    Txn(Txn),
    /// Creates a lease that lives for `ttl` seconds.
    Grant {
        /// Its id.
        lease: i64,
        /// Seconds.
        ttl: i64,
    },
    /// Ends a lease and deletes its keys.
    Revoke {
        /// Its id.
        lease: i64,
    },
    /// Gives a lease its whole life again.
    KeepAlive {
        /// Its id.
        lease: i64,
    },
    /// Forgets how things were before a revision.
    Compact {
        /// The revision.
        revision: i64,
    },
}

/// Reads keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first key.
    pub key: String,
    /// Empty for the one key, one zero byte for no end, else the end.
    pub end: String,
    /// At which revision; 0 for the current one.
    pub revision: i64,
    /// Whether an old state will do.
    pub serializable: bool,
    /// Most records; 0 for all.
    pub limit: i64,
}

/// Writes a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value, best one that is written once only.
    pub value: String,
    /// The lease; 0 is none.
    pub lease: i64,
    /// Whether to tell what was there before.
    pub previous: bool,
}

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The first key.
    pub key: String,
    /// Empty for the one key, one zero byte for no end, else the end.
    pub end: String,
    /// Whether to tell what was there before.
    pub previous: bool,
}

/// Does one of two things, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// All must hold for `success`.
    pub compares: Vec<Compare>,
    /// The one thing.
    pub success: Vec<Step>,
    /// The other.
    pub failure: Vec<Step>,
}

/// A part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reads keys.
    Range(Range),
    /// Writes a key.
    Put(Put),
    /// Deletes keys.
    Delete(Delete),
}

/// What a transaction looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// How what is there must stand to `target`.
    pub relation: Relation,
    /// What it is compared with.
    pub target: Target,
}

/// How two things stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// What is there is greater.
    Greater,
    /// What is there is less.
    Less,
}

/// What a key is compared with. A missing key has zeros, and no value to compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Its value.
    Value(String),
    /// Its version.
    Version(i64),
    /// The revision that created it.
    Created(i64),
    /// The revision that wrote it last.
    Modified(i64),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// No answer, or one that does not tell whether it was done.
    Unknown,
    /// It was certainly not done.
    Refused(Refusal),
    /// It was done.
    Answered(Answer),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The revision is compacted.
    Compacted,
    /// The revision is in the future.
    Future,
    /// There is no such lease.
    NoLease,
    /// Something that says nothing about the state of the store.
    Other(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The revision in its header.
    pub revision: i64,
    /// The rest.
    pub body: Body,
}

/// What an answer says besides its revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Of a read.
    Range {
        /// The records by key.
        records: Vec<Record>,
        /// How many keys there are, whatever the limit.
        count: i64,
        /// Whether the limit cut some off.
        more: bool,
    },
    /// Of a write.
    Put {
        /// What was there before, if it was asked for.
        previous: Option<Record>,
    },
    /// Of a deletion.
    Delete {
        /// How many keys there were.
        deleted: i64,
        /// What was there before, if it was asked for.
        previous: Vec<Record>,
    },
    /// Of a transaction.
    Txn {
        /// Whether all compares held.
        succeeded: bool,
        /// An answer for each step.
        steps: Vec<Self>,
    },
    /// Of a grant or a keep-alive: the seconds of life; 0 if there is no such lease.
    Life {
        /// Seconds.
        ttl: i64,
    },
    /// Of everything else.
    Done,
}

/// A key and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The revision that created it.
    pub created: i64,
    /// The revision that wrote it last.
    pub modified: i64,
    /// How often it was written since it was created.
    pub version: i64,
    /// The lease; 0 is none.
    pub lease: i64,
}

/// One watch from its creation until its stream ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Who watched.
    pub client: u32,
    /// Which member was asked.
    pub member: u32,
    /// When it was asked for.
    pub invoked: u64,
    /// What was asked for.
    pub wish: Wish,
    /// The revision of the answer that it is created, if there was one.
    pub created: Option<i64>,
    /// What it was told after that, in order.
    pub told: Vec<Told>,
}

/// What a watch asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The first key.
    pub key: String,
    /// Empty for the one key, one zero byte for no end, else the end.
    pub end: String,
    /// The first revision; 0 for the one after the current.
    pub start: i64,
    /// With the record before each event.
    pub previous: bool,
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
    /// Large answers may come in parts.
    pub fragment: bool,
}

impl Wish {
    /// Whether it asks for everything that happens.
    pub fn is_for_all(&self) -> bool {
        self.key == "\0" && self.end == "\0" && !self.no_put && !self.no_delete
    }
}

/// One message to a watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// When it came.
    pub at: u64,
    /// The revision in its header.
    pub revision: i64,
    /// What it says.
    pub what: Message,
}

/// What a message to a watch says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Something happened.
    Events {
        /// What.
        events: Vec<Event>,
        /// Whether more of the same message follows.
        fragment: bool,
    },
    /// Everything up to the revision of the header was told.
    Progress,
    /// The watch ends because what it needs is compacted at this revision.
    Compacted(i64),
}

/// One change of one key, as watches are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Whether the key was deleted; its record has no more than a key and `modified` then.
    pub deleted: bool,
    /// The key as it is after the change.
    pub record: Record,
    /// The key as it was before, if that was asked for and is known.
    pub previous: Option<Record>,
}

/// The hash that a member gave for its whole store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    /// Who gave it.
    pub member: u32,
    /// The hashed revision.
    pub revision: i64,
    /// The compacted revision.
    pub compacted: i64,
    /// The hash.
    pub hash: u32,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise, in a word or two.
    pub promise: &'static str,
    /// What is wrong.
    pub story: String,
    /// The calls that show it, as places in [`History::calls`].
    pub calls: Vec<usize>,
    /// The revision that it is about; 0 for none.
    pub revision: i64,
}

impl Violation {
    fn new(promise: &'static str, revision: i64, calls: &[usize], story: String) -> Self {
        Self { promise, story, calls: calls.to_vec(), revision }
    }
}

/// Whether a key is in a range that is given as on the wire.
fn is_within(candidate: &str, key: &str, end: &str) -> bool {
    match end {
        "" => candidate == key,
        "\0" => candidate >= key,
        end => candidate >= key && candidate < end,
    }
}
