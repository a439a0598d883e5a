//! Compaction: what is below is refused, what is above is answered, and only what was asked for is compacted.

use super::judge::Case;
use super::{Outcome, Refusal, Request, Violation};

/// A compaction that was asked for.
struct Compaction {
    place: usize,
    revision: i64,
    invoked: u64,
    /// When it was certainly done.
    done: Option<u64>,
}

fn compactions(case: &Case<'_>) -> Vec<Compaction> {
    let calls = case.history.calls.iter().enumerate();
    calls
        .filter_map(|(place, call)| match (&call.request, &call.outcome) {
            (_, Outcome::Refused(_)) => None,
            (Request::Compact { revision }, outcome) => Some(Compaction {
                place,
                revision: *revision,
                invoked: call.invoked,
                done: matches!(outcome, Outcome::Answered(_)).then_some(call.returned),
            }),
            _ => None,
        })
        .collect()
}

/// Whether everything below a revision, or more, may have been compacted before a moment.
pub(super) fn may_be_compacted(case: &Case<'_>, revision: i64, moment: u64) -> bool {
    compactions(case).iter().any(|compaction| compaction.revision > revision && compaction.invoked < moment)
}

/// Whether a compaction at just this revision may have been done before a moment.
pub(super) fn may_be_compacted_at(case: &Case<'_>, revision: i64, moment: u64) -> bool {
    compactions(case).iter().any(|compaction| compaction.revision == revision && compaction.invoked < moment)
}

/// Checks reads at older revisions, and compactions.
pub(super) fn check(case: &Case<'_>, violations: &mut Vec<Violation>) {
    let compactions = compactions(case);
    let mut report = |place: usize, other: Option<usize>, revision: i64, story: String| {
        let calls: Vec<usize> = other.into_iter().chain([place]).collect();
        violations.push(Violation::new("compaction", revision, &calls, story));
    };
    for (place, call) in case.history.calls.iter().enumerate() {
        let (revision, is_compaction, may_be_old) = match &call.request {
            Request::Range(range) if range.revision > 0 => (range.revision, false, range.serializable),
            Request::Compact { revision } => (*revision, true, false),
            Request::Range(_)
            | Request::Put(_)
            | Request::Delete(_)
            | Request::Txn(_)
            | Request::Grant { .. }
            | Request::Revoke { .. }
            | Request::KeepAlive { .. } => continue,
        };
        // A compaction again at the same revision is refused; a read at that revision is not.
        let is_above = |compaction: &&Compaction| compaction.revision > revision - i64::from(is_compaction);
        match &call.outcome {
            Outcome::Answered(_) if may_be_old => {}
            Outcome::Answered(_) => {
                let done = |c: &&Compaction| c.done.is_some_and(|done| done < call.invoked);
                if let Some(above) = compactions.iter().filter(is_above).find(done) {
                    let story = format!("{revision} was answered after a compaction at {}", above.revision);
                    report(place, Some(above.place), revision, story);
                }
            }
            Outcome::Refused(Refusal::Compacted) => {
                if !compactions.iter().filter(is_above).any(|above| above.invoked < call.returned) {
                    report(place, None, revision, format!("{revision} is said to be compacted, and is not"));
                }
            }
            Outcome::Refused(Refusal::Future) if !may_be_old => {
                if let Some(sight) = case.sights.before(call.invoked) {
                    let known = sight.position.revision;
                    if known >= revision {
                        let story =
                            format!("{revision} is said to be in the future, {known} was seen before");
                        report(place, None, revision, story);
                    }
                }
            }
            Outcome::Refused(_) | Outcome::Unknown => {}
        }
    }
}
