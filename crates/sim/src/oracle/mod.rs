//! What must be true, and how it is found out without a search.
//!
//! The simulator sees which entries are committed, and in which order. Each is executed once by the reference
//! ([`store`]), so that the answer to each request is known before it is given. What remains to be checked is time:
//! an entry is younger than its request, and a read is not older than what anybody was told before it was asked.

pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod store;
pub(crate) mod watches;

use std::collections::BTreeMap;

use etched_model::watch::WatchModel;
use etched_replica::raft::EntryKind;
use etched_replica::{Answer, ApiError, Request, Respond};
use etched_state_machine::{Command, HashKv, Outcome, Refusal, TxnDone, TxnOpDone, schema};

use leases::LeaseWatch;
use log::{Log, LogEntry};
use store::Store;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub promise: &'static str,
    /// What is wrong.
    pub story: String,
}

impl Violation {
    pub(crate) fn new(promise: &'static str, story: String) -> Self {
        Self { promise, story }
    }
}

/// What an entry of the log is and gives.
#[derive(Debug)]
struct Executed {
    command: Command,
    outcome: Result<Outcome, Refusal>,
    /// The store's revision after it.
    revision: i64,
}

/// A request that was handed to a member.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) at: u64,
    /// The last committed index at that time.
    committed: u64,
    /// The highest revision that anybody was told of at that time.
    told: i64,
}

/// What the answer to a request was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was compared with what it must be.
    Checked,
    /// It was refused, which fits.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
    /// There is nothing to compare it with.
    Unchecked,
}

/// Everything that is known of the run.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) events: WatchModel,
    pub(crate) leases: LeaseWatch,
    executed: BTreeMap<u64, Executed>,
    /// Where each request id stands in the log.
    request_ids: BTreeMap<u64, u64>,
    /// The index that answered a request.
    answered: BTreeMap<u64, u64>,
    /// The highest revision that anybody was told.
    told: i64,
    /// The highest revision that each life of a member has shown.
    shown: BTreeMap<(u64, u64), i64>,
    /// Hashes by revision and compaction.
    hashes: BTreeMap<(i64, i64), (u64, u32)>,
    pub(crate) hashes_compared: u64,
}

impl Oracle {
    pub(crate) fn new(lease_ttl_min: i64) -> Self {
        Self {
            log: Log::default(),
            store: Store::new(lease_ttl_min),
            events: WatchModel::new(),
            leases: LeaseWatch::default(),
            executed: BTreeMap::new(),
            request_ids: BTreeMap::new(),
            answered: BTreeMap::new(),
            told: 1,
            shown: BTreeMap::new(),
            hashes: BTreeMap::new(),
            hashes_compared: 0,
        }
    }

    /// Takes note of a request at the moment at which a member gets it.
    pub(crate) fn ask(&self, request: Request, now: u64) -> Asked {
        Asked { request, at: now, committed: self.log.last(), told: self.told }
    }

    /// Executes what is newly committed.
    pub(crate) fn on_committed(&mut self, new: Vec<(u64, LogEntry)>, now: u64) -> Result<(), Violation> {
        for (index, entry) in new {
            if entry.kind != EntryKind::Normal || entry.data.is_empty() {
                continue;
            }
            let (header, command) = schema::decode(&entry.data).map_err(|error| {
                Violation::new("entries can be read", format!("the entry at {index}: {error}"))
            })?;
            if header.request_id != 0
                && let Some(first) = self.request_ids.insert(header.request_id, index)
            {
                let story = format!("request {:x} is committed at {first} and {index}", header.request_id);
                return Err(Violation::new("at most once", story));
            }
            self.leases.on_entry(&command, self.store.leases(), now)?;
            let compacted = self.store.compacted();
            let (outcome, changes) = self.store.apply(&command);
            if !changes.is_empty() {
                let changes = last_of_each_key(changes);
                self.events.change(changes);
            }
            if self.events.current() != self.store.revision() {
                let story = format!("the reference disagrees with itself at {index}");
                return Err(Violation::new("the reference is sound", story));
            }
            if self.store.compacted() > compacted {
                self.events.compact(self.store.compacted());
            }
            let revision = self.store.revision();
            self.executed.insert(index, Executed { command, outcome, revision });
        }
        Ok(())
    }

    /// Somebody was told of a revision.
    pub(crate) fn on_told(&mut self, revision: i64) -> Result<(), Violation> {
        if revision > self.store.revision() {
            let story = format!("revision {revision} is told, only {} is committed", self.store.revision());
            return Err(Violation::new("only what is committed is told", story));
        }
        self.told = self.told.max(revision);
        Ok(())
    }

    /// Compares an answer with what it must be.
    pub(crate) fn on_respond(
        &mut self,
        member: (u64, u64),
        asked: &Asked,
        respond: &Respond,
    ) -> Result<Verdict, Violation> {
        self.on_told(respond.revision)?;
        if respond.index > 0 {
            return self.on_entry_answered(asked, respond);
        }
        match (&asked.request, &respond.result) {
            (Request::Range(range), Ok(Answer::Range(output))) => {
                self.check_seen(member, asked, output.revision, range.serializable)?;
                let at = if range.query.revision > 0 { range.query.revision } else { output.revision };
                let mut expected = self.store.range(&range.query, at);
                expected.revision = output.revision;
                if expected != *output {
                    return Err(differs("reads", &format!("{range:?}"), &expected, output));
                }
                Ok(Verdict::Checked)
            }
            (Request::Propose(Command::Txn(txn)), Ok(Answer::Applied(Outcome::Txn(done)))) => {
                self.check_seen(member, asked, done.revision, txn.is_serializable())?;
                let expected = self.store.read_txn(txn, done.revision);
                let done = without_range_revisions(done.clone());
                if without_range_revisions(expected.clone()) != done {
                    return Err(differs("reads", &format!("{txn:?}"), &expected, &done));
                }
                Ok(Verdict::Checked)
            }
            (Request::LeaseRenew { id }, Ok(Answer::LeaseRenewed { ttl })) if *ttl > 0 => {
                self.leases.on_renewed(*id, asked.at);
                Ok(Verdict::Checked)
            }
            (Request::HashKv { .. }, Ok(Answer::HashKv(hash))) => self.on_hash(member.0, hash),
            (_, Ok(_)) => Ok(Verdict::Unchecked),
            (Request::Range(range), Err(ApiError::Refused(refusal))) => {
                self.check_read_refused(asked, range.query.revision, *refusal)?;
                Ok(Verdict::Refused)
            }
            (_, Err(error)) => Ok(verdict_of(error)),
        }
    }

    /// An answer that has its place in the log.
    fn on_entry_answered(&mut self, asked: &Asked, respond: &Respond) -> Result<Verdict, Violation> {
        let index = respond.index;
        if index <= asked.committed {
            let story = format!("{:?} is answered with the entry {index}, which is older", asked.request);
            return Err(Violation::new("entries are younger than their requests", story));
        }
        if let Some(first) = self.answered.insert(index, asked.at) {
            let story = format!("the entry {index} answers two requests, of {first} and {}", asked.at);
            return Err(Violation::new("one entry, one request", story));
        }
        let Request::Propose(command) = &asked.request else {
            if let (Request::LeaseRenew { id }, Ok(Answer::LeaseRenewed { ttl })) =
                (&asked.request, &respond.result)
                && *ttl > 0
            {
                self.leases.on_renewed(*id, asked.at);
            }
            return Ok(Verdict::Unchecked);
        };
        let Some(executed) = self.executed.get(&index) else {
            let story = format!("{command:?} is answered with the entry {index}, which is no command");
            return Err(Violation::new("answers are what was committed", story));
        };
        // The alarm was raised in the place of the request.
        let is_alarm = matches!(executed.command, Command::Alarm(_));
        if is_alarm && matches!(respond.result, Err(ApiError::Refused(Refusal::NoSpace))) {
            return Ok(Verdict::Refused);
        }
        if executed.command != *command && !is_filled_in(command, &executed.command) {
            return Err(differs("answers are what was committed", "the command", command, &executed.command));
        }
        if respond.revision < executed.revision {
            let story =
                format!("entry {index} makes {}, the header says {}", executed.revision, respond.revision);
            return Err(Violation::new("headers are not behind", story));
        }
        match (&executed.outcome, &respond.result) {
            // Out of the member's own quota: the write stands all the same.
            (_, Err(ApiError::Refused(Refusal::NoSpace))) => Ok(Verdict::Refused),
            (Ok(expected), Ok(Answer::Applied(outcome))) => {
                if is_bare(expected) {
                    return Ok(Verdict::Unchecked);
                }
                if let Outcome::LeaseGrant { id, ttl, .. } = outcome {
                    self.leases.on_granted(*id, *ttl, asked.at);
                }
                if plain(expected.clone()) != plain(outcome.clone()) {
                    return Err(differs("answers", &format!("{command:?}"), expected, outcome));
                }
                Ok(Verdict::Checked)
            }
            (Err(expected), Err(ApiError::Refused(refusal))) if expected == refusal => Ok(Verdict::Refused),
            (expected, result) => {
                Err(differs("answers", &format!("{command:?}"), &format!("{expected:?}"), result))
            }
        }
    }

    /// A read shows a revision that fits its time.
    fn check_seen(
        &mut self,
        member: (u64, u64),
        asked: &Asked,
        revision: i64,
        serializable: bool,
    ) -> Result<(), Violation> {
        self.on_told(revision)?;
        if !serializable && revision < asked.told {
            let story = format!(
                "member {:x} reads revision {revision}, {} was told before it was asked: {:?}",
                member.0, asked.told, asked.request
            );
            return Err(Violation::new("linearizable reads", story));
        }
        let shown = self.shown.entry(member).or_insert(revision);
        if revision < *shown {
            let story = format!("member {:x} goes back from revision {shown} to {revision}", member.0);
            return Err(Violation::new("a member never goes back", story));
        }
        *shown = revision;
        Ok(())
    }

    fn check_read_refused(&self, asked: &Asked, revision: i64, refusal: Refusal) -> Result<(), Violation> {
        let is_compacted = revision > 0 && revision < self.store.compacted();
        let is_future = revision > asked.told || is_serializable(&asked.request);
        let fits = (refusal != Refusal::Compacted || is_compacted)
            && (refusal != Refusal::FutureRevision || is_future);
        if fits {
            return Ok(());
        }
        let story = format!("{:?} is refused: {refusal:?}", asked.request);
        Err(Violation::new("reads are refused for a reason", story))
    }

    fn on_hash(&mut self, member: u64, hash: &HashKv) -> Result<Verdict, Violation> {
        // Of a revision without keys etcd hashes what a compaction has not yet removed, and so it changes.
        if self.store.is_empty_at(hash.hash_revision) {
            return Ok(Verdict::Unchecked);
        }
        let known = self.hashes.insert((hash.hash_revision, hash.compact_revision), (member, hash.hash));
        let Some((other, expected)) = known else { return Ok(Verdict::Unchecked) };
        self.hashes_compared += u64::from(other != member);
        if expected != hash.hash {
            let story = format!("members {other:x} and {member:x} have {expected:x} and {hash:?}");
            return Err(Violation::new("equal members", story));
        }
        Ok(Verdict::Checked)
    }
}

fn is_serializable(request: &Request) -> bool {
    matches!(request, Request::Range(range) if range.serializable)
}

/// Whether there is nothing in an outcome that could be compared.
fn is_bare(expected: &Outcome) -> bool {
    matches!(expected, Outcome::Nothing)
}

/// A lease that asked for no id got one.
fn is_filled_in(asked: &Command, executed: &Command) -> bool {
    matches!((asked, executed), (Command::LeaseGrant { id: 0, ttl }, Command::LeaseGrant { ttl: of, .. }) if ttl == of)
}

/// Of several changes of a key in one revision, watches are told the last.
fn last_of_each_key(changes: Vec<store::Changed>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    changes.into_iter().map(|changed| (changed.key.to_vec(), changed.value)).collect()
}

fn plain(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Txn(done) => Outcome::Txn(without_range_revisions(done)),
        Outcome::Put(_)
        | Outcome::DeleteRange(_)
        | Outcome::Compact { .. }
        | Outcome::LeaseGrant { .. }
        | Outcome::LeaseRevoke { .. }
        | Outcome::LeaseCheckpoint { .. }
        | Outcome::Alarm { .. }
        | Outcome::Auth { .. }
        | Outcome::Members
        | Outcome::V2 { .. }
        | Outcome::Nothing => outcome,
    }
}

/// What a range within a transaction notes as the store's revision is not told to anybody.
fn without_range_revisions(mut done: TxnDone) -> TxnDone {
    for response in &mut done.responses {
        match response {
            TxnOpDone::Range { output, .. } => output.revision = 0,
            TxnOpDone::Txn(nested) => *nested = without_range_revisions(nested.clone()),
            TxnOpDone::Put(_) | TxnOpDone::DeleteRange(_) => {}
        }
    }
    done
}

fn verdict_of(error: &ApiError) -> Verdict {
    let is_unknown = matches!(
        error,
        ApiError::Timeout
            | ApiError::TimeoutLeaderFailed
            | ApiError::TimeoutConnectionLost
            | ApiError::TimeoutLeaderTransfer
            | ApiError::Stopped
    );
    if is_unknown { Verdict::Unknown } else { Verdict::Refused }
}

fn differs(
    promise: &'static str,
    what: &str,
    expected: &impl std::fmt::Debug,
    actual: &impl std::fmt::Debug,
) -> Violation {
    Violation::new(promise, format!("{what}: expected {expected:?}, got {actual:?}"))
}
