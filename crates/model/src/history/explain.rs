//! Who made the revisions that no answer told of: unanswered calls, each at most once, and leases that ran out.

use std::collections::{BTreeMap, BTreeSet};

use super::execute::execute;
use super::judge::Case;
use super::lease::Lives;
use super::log::Change;
use super::{Outcome, Request, Step, Violation};

/// What made the revisions that no answered call made.
#[derive(Clone, Debug, Default)]
pub(super) struct Explained {
    /// Revisions with the unanswered calls that made them.
    pub(super) calls: BTreeMap<i64, usize>,
    /// Revisions with the leases whose end made them.
    pub(super) expired: BTreeMap<i64, i64>,
}

/// Finds an explanation of each revision.
pub(super) fn explain(case: &Case<'_>, violations: &mut Vec<Violation>) -> Explained {
    let lives = Lives::of(case);
    let open = Open::of(case);
    let mut explained = Explained::default();
    let mut candidates: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for revision in 2..=case.log.end() {
        if case.claims.contains_key(&revision) {
            continue;
        }
        let found = open.candidates(case, revision);
        match lives.expired_by(case, revision) {
            Some(lease) if found.is_empty() => drop(explained.expired.insert(revision, lease)),
            Some(_) | None => drop(candidates.insert(revision, found)),
        }
    }
    let mut matching = Matching { candidates: &candidates, made: BTreeMap::new() };
    for &revision in candidates.keys() {
        if matching.assign(revision, &mut BTreeSet::new()) {
            continue;
        }
        match lives.expired_by(case, revision) {
            Some(lease) => drop(explained.expired.insert(revision, lease)),
            None => violations.push(unexplained(case, &lives, revision, &candidates[&revision])),
        }
    }
    explained.calls = matching.made.into_iter().map(|(call, revision)| (revision, call)).collect();
    explained
}

fn unexplained(case: &Case<'_>, lives: &Lives, revision: i64, candidates: &[usize]) -> Violation {
    let changes = case.log.changes(revision);
    if let Some((lease, life)) = lives.end_too_early(case, revision) {
        let story = format!("lease {lease} ended at revision {revision}, too early: {life}");
        return Violation::new("lease", revision, &[], story);
    }
    let story = if candidates.is_empty() {
        format!("nobody asked for revision {revision}: {changes:?}")
    } else {
        format!("revision {revision} was asked for, but not so often: {changes:?}")
    };
    Violation::new("at most once", revision, candidates, story)
}

/// Unanswered calls that may have written something.
struct Open {
    /// By a value that they write.
    by_value: BTreeMap<String, Vec<usize>>,
    /// Those that may delete.
    deleting: Vec<usize>,
}

impl Open {
    fn of(case: &Case<'_>) -> Self {
        let mut open = Self { by_value: BTreeMap::new(), deleting: Vec::new() };
        for (place, call) in case.history.calls.iter().enumerate() {
            if call.outcome != Outcome::Unknown {
                continue;
            }
            match &call.request {
                Request::Put(put) => open.by_value.entry(put.value.clone()).or_default().push(place),
                Request::Delete(_) | Request::Revoke { .. } => open.deleting.push(place),
                Request::Txn(txn) => {
                    for branch in [&txn.success, &txn.failure] {
                        open.add_branch(branch, place);
                    }
                }
                Request::Range(_)
                | Request::Grant { .. }
                | Request::KeepAlive { .. }
                | Request::Compact { .. } => {}
            }
        }
        open
    }

    fn add_branch(&mut self, branch: &[Step], place: usize) {
        let value = branch.iter().find_map(|step| match step {
            Step::Put(put) => Some(put.value.clone()),
            Step::Range(_) | Step::Delete(_) => None,
        });
        match value {
            Some(value) => self.by_value.entry(value).or_default().push(place),
            None if branch.iter().any(|step| matches!(step, Step::Delete(_))) => self.deleting.push(place),
            None => {}
        }
    }

    /// The calls that would have made a revision.
    fn candidates(&self, case: &Case<'_>, revision: i64) -> Vec<usize> {
        let changes = case.log.changes(revision);
        let value = changes.iter().find_map(|change| change.after.as_ref());
        let likely = match value {
            Some(record) => self.by_value.get(&record.value).map_or(&[][..], Vec::as_slice),
            None => &self.deleting,
        };
        let fits = |place: &usize| {
            let call = &case.history.calls[*place];
            case.sights.revision_before(call.invoked) < revision
                && may_delete(&call.request, changes)
                && execute(case.log, revision - 1, &call.request).changes == changes
        };
        let mut found: Vec<usize> = likely.iter().copied().filter(fits).collect();
        found.dedup();
        found
    }
}

/// A quick look that spares most executions.
fn may_delete(request: &Request, changes: &[Change]) -> bool {
    match (request, changes) {
        (Request::Delete(delete), [first, ..]) => super::is_within(&first.key, &delete.key, &delete.end),
        (Request::Revoke { lease }, [first, ..]) => {
            first.before.as_ref().is_some_and(|before| before.lease == *lease)
        }
        (_, changes) => !changes.is_empty(),
    }
}

/// Gives calls to revisions so that each call has at most one.
struct Matching<'a> {
    candidates: &'a BTreeMap<i64, Vec<usize>>,
    /// Calls with the revisions they made.
    made: BTreeMap<usize, i64>,
}

impl Matching<'_> {
    /// Finds a call for a revision, and others for revisions that have to give theirs away.
    fn assign(&mut self, revision: i64, tried: &mut BTreeSet<usize>) -> bool {
        for &call in &self.candidates[&revision] {
            if !tried.insert(call) {
                continue;
            }
            let is_free = match self.made.get(&call) {
                Some(&other) => self.assign(other, tried),
                None => true,
            };
            if is_free {
                self.made.insert(call, revision);
                return true;
            }
        }
        false
    }
}
