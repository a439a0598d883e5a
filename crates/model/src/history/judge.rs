//! The order of the checks, and those of calls: what they did, what they saw, and when.

use std::collections::BTreeMap;

use super::execute::{Effect, execute};
use super::order::{Position, Sight, Sights, Witness, position, sights};
use super::search::{self, Searched};
use super::{
    Answer, Body, Call, History, Log, Outcome, Request, Violation, compaction, explain, lease, stream,
};

/// What [`judge`] found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// All broken promises.
    pub violations: Vec<Violation>,
    /// The last revision.
    pub revision: i64,
    /// Unanswered calls that took place.
    pub found: usize,
    /// Revisions made by leases that ran out.
    pub expired: usize,
    /// Messages to watches.
    pub messages: usize,
    /// What the search over keys did.
    pub searched: Searched,
}

/// What all checks look at.
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) log: &'a Log,
    /// The answered call that made a revision.
    pub(super) claims: &'a BTreeMap<i64, usize>,
    pub(super) sights: &'a Sights,
}

impl Case<'_> {
    /// Answered calls with their places.
    pub(super) fn answered(&self) -> impl Iterator<Item = (usize, &Call, &Answer)> {
        answered(self.history)
    }
}

fn answered(history: &History) -> impl Iterator<Item = (usize, &Call, &Answer)> {
    history.calls.iter().enumerate().filter_map(|(place, call)| match &call.outcome {
        Outcome::Answered(answer) => Some((place, call, answer)),
        Outcome::Unknown | Outcome::Refused(_) => None,
    })
}

/// Looks for broken promises. The search over single keys takes up to `budget` steps for each.
#[must_use]
pub fn judge(history: &History, budget: usize) -> Verdict {
    let mut violations = Vec::new();
    let log = match Log::of(history, &mut violations) {
        Ok(log) => log,
        Err(gap) => {
            violations.push(gap);
            return Verdict { violations, ..Verdict::default() };
        }
    };
    let claims = claims(history, &log, &mut violations);
    let sights = Sights::new(sights(history, &claims));
    let case = Case { history, log: &log, claims: &claims, sights: &sights };
    check_contents(&case, &mut violations);
    check_order(&case, &mut violations);
    check_members(&case, &mut violations);
    let explained = explain::explain(&case, &mut violations);
    lease::check(&case, &explained, &mut violations);
    compaction::check(&case, &mut violations);
    for (place, watched) in history.streams.iter().enumerate() {
        violations.extend(stream::check(&case, watched).err().map(|mut violation| {
            violation.story = format!("watch {place} of member {}: {}", watched.member, violation.story);
            violation
        }));
    }
    check_hashes(history, &mut violations);
    let searched = search::check(history, budget, &mut violations);
    let messages = history.streams.iter().map(|stream| stream.told.len()).sum();
    let (found, expired) = (explained.calls.len(), explained.expired.len());
    Verdict { violations, revision: log.end(), found, expired, messages, searched }
}

/// Whether an answer says that something was written.
fn says_written(request: &Request, body: &Body) -> bool {
    fn wrote(body: &Body) -> bool {
        match body {
            Body::Put { .. } => true,
            Body::Delete { deleted, .. } => *deleted > 0,
            Body::Txn { steps, .. } => steps.iter().any(wrote),
            Body::Range { .. } | Body::Life { .. } | Body::Done => false,
        }
    }
    matches!(request, Request::Put(_) | Request::Delete(_) | Request::Txn(_)) && wrote(body)
}

/// Finds the answered call that made each revision, and checks that the revision is what was asked for.
fn claims(history: &History, log: &Log, violations: &mut Vec<Violation>) -> BTreeMap<i64, usize> {
    let mut claims = BTreeMap::new();
    for (place, call, answer) in answered(history) {
        if !says_written(&call.request, &answer.body) {
            continue;
        }
        let revision = answer.revision;
        if revision > log.end() || revision < 2 {
            let story =
                format!("a write was answered with revision {revision}, the history ends at {}", log.end());
            violations.push(Violation::new("durable", revision, &[place], story));
            continue;
        }
        let Effect { changes, body } = execute(log, revision - 1, &call.request);
        if changes != log.changes(revision) {
            let held = log.changes(revision);
            let story = format!(
                "the write answered with revision {revision} would be {changes:?}, but that is {held:?}"
            );
            violations.push(Violation::new("durable", revision, &[place], story));
        } else if body != answer.body {
            let story = format!("the write at revision {revision} answers {:?}, not {body:?}", answer.body);
            violations.push(Violation::new("answers", revision, &[place], story));
        }
        if let Some(other) = claims.insert(revision, place) {
            let story = format!("two writes were answered with revision {revision}");
            violations.push(Violation::new("one write a revision", revision, &[other, place], story));
        }
    }
    for (place, call, answer) in answered(history) {
        if let Request::Revoke { .. } = call.request {
            let changes = execute(log, answer.revision - 1, &call.request).changes;
            if !changes.is_empty() && changes == log.changes(answer.revision) {
                claims.entry(answer.revision).or_insert(place);
            }
        }
    }
    claims
}

/// Answers that made no revision are of the state at the revision in their header.
fn check_contents(case: &Case<'_>, violations: &mut Vec<Violation>) {
    for (place, call, answer) in case.answered() {
        let revision = answer.revision;
        if says_written(&call.request, &answer.body) || case.claims.get(&revision) == Some(&place) {
            continue;
        }
        if matches!(call.request, Request::Compact { .. }) {
            continue;
        }
        if revision > case.log.end() {
            let story = format!("revision {revision} was seen, the history ends at {}", case.log.end());
            violations.push(Violation::new("durable", revision, &[place], story));
            continue;
        }
        if matches!(&call.request, Request::Range(range) if range.revision > revision) {
            let story = format!("a read of the future was answered at revision {revision}");
            violations.push(Violation::new("reads of one state", revision, &[place], story));
            continue;
        }
        let effect = execute(case.log, revision, &call.request);
        let must_equal = matches!(call.request, Request::Range(_) | Request::Delete(_) | Request::Txn(_));
        if must_equal && effect.body != answer.body {
            let story =
                format!("at revision {revision} the answer is {:?}, not {:?}", effect.body, answer.body);
            violations.push(Violation::new("reads of one state", revision, &[place], story));
        } else if !effect.changes.is_empty() {
            let story = format!("what was asked at revision {revision} leaves {:?} undone", effect.changes);
            violations.push(Violation::new("durable", revision, &[place], story));
        }
    }
}

/// Whether an answer may be of an older state.
fn may_be_old(request: &Request) -> bool {
    match request {
        Request::Range(range) => range.serializable,
        Request::KeepAlive { .. } | Request::Compact { .. } => true,
        Request::Put(_)
        | Request::Delete(_)
        | Request::Txn(_)
        | Request::Grant { .. }
        | Request::Revoke { .. } => false,
    }
}

/// What was known before a call began, the call must know too; and a write is later than that.
fn check_order(case: &Case<'_>, violations: &mut Vec<Violation>) {
    for (place, call, _) in case.answered() {
        let Some(own) = position(place, call, case.claims) else { continue };
        if may_be_old(&call.request) {
            continue;
        }
        if let Some(sight) = case.sights.before(call.invoked).filter(|sight| is_behind(own, sight)) {
            let what = if own.is_read { "stale read" } else { "order of writes" };
            violations.push(disorder(what, place, own, sight));
        }
    }
}

fn is_behind(own: Position, sight: &Sight) -> bool {
    if own.is_read { sight.position > own } else { sight.position >= own }
}

fn disorder(promise: &'static str, place: usize, own: Position, sight: Sight) -> Violation {
    let known = sight.position.revision;
    let (who, mut calls) = match sight.witness {
        Witness::Call(witness) => (String::from("a call"), vec![witness]),
        Witness::Stream(witness) => (format!("watch {witness}"), Vec::new()),
    };
    calls.push(place);
    let story = format!(
        "{who} had seen revision {known} before a call began that was answered with revision {}",
        own.revision
    );
    Violation::new(promise, own.revision, &calls, story)
}

/// One life of one member never goes back.
fn check_members(case: &Case<'_>, violations: &mut Vec<Violation>) {
    let mut lives: BTreeMap<(u32, u32), Vec<Sight>> = BTreeMap::new();
    let located = || {
        case.answered().filter_map(|(place, call, _)| {
            Some((place, call, call.boot?, position(place, call, case.claims)?))
        })
    };
    for (place, call, boot, position) in located() {
        let sight = Sight { at: call.returned, position, witness: Witness::Call(place) };
        lives.entry((call.member, boot)).or_default().push(sight);
    }
    let lives: BTreeMap<_, _> = lives.into_iter().map(|(life, sights)| (life, Sights::new(sights))).collect();
    for (place, call, boot, own) in located() {
        let is_serializable = matches!(&call.request, Request::Range(range) if range.serializable);
        let known = lives[&(call.member, boot)].before(call.invoked);
        if let Some(sight) = known.filter(|sight| is_serializable && sight.position > own) {
            violations.push(disorder("a member goes back", place, own, sight));
        }
    }
}

/// Members that hash the same revision after the same compaction hash the same.
fn check_hashes(history: &History, violations: &mut Vec<Violation>) {
    let mut known = BTreeMap::new();
    for hash in &history.hashes {
        let first = known.entry((hash.revision, hash.compacted)).or_insert(hash);
        if first.hash != hash.hash {
            let story = format!("{first:?} and {hash:?}");
            violations.push(Violation::new("equal members", hash.revision, &[], story));
        }
    }
}
