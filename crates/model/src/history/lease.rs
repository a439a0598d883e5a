//! Leases: they last at least as long as their last renewal promised, and what is gone stays gone.

use std::collections::BTreeMap;

use super::explain::Explained;
use super::judge::Case;
use super::order::position;
use super::{Answer, Body, Call, Outcome, Put, Refusal, Request, Violation};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How much clocks and a second's fractions may differ.
const SLACK: u64 = 20_000_000;

/// What is known of all leases.
pub(super) struct Lives(BTreeMap<i64, Life>);

/// What is known of one lease.
#[derive(Default)]
struct Life {
    /// When the first grant was sent.
    granted: Option<u64>,
    /// Answered grants and keep-alives: when they were sent, when they were answered, and until when the lease must
    /// last for them.
    renewals: Vec<(u64, u64, u64)>,
    /// When revocations were sent.
    revocations: Vec<u64>,
    /// When and at which revision it had certainly ended.
    end: Option<(u64, i64)>,
}

impl Lives {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let mut lives: BTreeMap<i64, Life> = BTreeMap::new();
        for call in &case.history.calls {
            match &call.request {
                Request::Grant { lease, .. } => {
                    let life = lives.entry(*lease).or_default();
                    life.granted = Some(life.granted.map_or(call.invoked, |at| at.min(call.invoked)));
                    life.renew(call);
                }
                Request::KeepAlive { lease } => lives.entry(*lease).or_default().renew(call),
                Request::Revoke { lease } => {
                    lives.entry(*lease).or_default().revocations.push(call.invoked);
                }
                Request::Range(_)
                | Request::Put(_)
                | Request::Delete(_)
                | Request::Txn(_)
                | Request::Compact { .. } => {}
            }
        }
        Self(lives)
    }

    /// The lease whose end a revision looks like: all its keys go, and nothing else.
    fn ended_by(&self, case: &Case<'_>, revision: i64) -> Option<(i64, &Life)> {
        let changes = case.log.changes(revision);
        let lease = changes.first()?.before.as_ref()?.lease;
        let is_end = changes.iter().all(|change| change.after.is_none())
            && case.log.attached(lease, revision - 1).iter().eq(changes.iter().map(|change| &change.key));
        if lease == 0 || !is_end { None } else { Some((lease, self.0.get(&lease)?)) }
    }

    /// The lease that may have run out at a revision.
    pub(super) fn expired_by(&self, case: &Case<'_>, revision: i64) -> Option<i64> {
        let seen = case.sights.first_of(revision)?;
        self.ended_by(case, revision)
            .filter(|(_, life)| life.lasts_until(u64::MAX) <= seen.saturating_add(SLACK))
            .map(|(lease, _)| lease)
    }

    /// A lease that ended at a revision before it could run out.
    pub(super) fn end_too_early(&self, case: &Case<'_>, revision: i64) -> Option<(i64, String)> {
        let seen = case.sights.first_of(revision)?;
        let (lease, life) = self.ended_by(case, revision)?;
        Some((lease, format!("seen at {seen} ns, it lasts until {} ns", life.lasts_until(u64::MAX))))
    }

    /// Notes the ends of which there is no doubt.
    fn note_ends(&mut self, case: &Case<'_>, explained: &Explained) {
        for (place, call, answer) in case.answered() {
            if let (Request::Revoke { lease }, Some(_)) = (&call.request, position(place, call, case.claims))
            {
                self.0.entry(*lease).or_default().end(call.returned, answer.revision);
            }
        }
        for (revision, lease) in &explained.expired {
            if let Some(seen) = case.sights.first_of(*revision) {
                self.0.entry(*lease).or_default().end(seen, *revision);
            }
        }
    }
}

impl Life {
    fn renew(&mut self, call: &Call) {
        if let Outcome::Answered(Answer { body: Body::Life { ttl: ttl @ 1.. }, .. }) = &call.outcome {
            let life = ttl.unsigned_abs().saturating_mul(NANOS_PER_SECOND);
            self.renewals.push((call.invoked, call.returned, call.invoked.saturating_add(life)));
        }
    }

    /// Until when the lease must last, for renewals that were answered before a moment.
    fn lasts_until(&self, moment: u64) -> u64 {
        let known = self.renewals.iter().filter(|(_, returned, _)| *returned < moment);
        known.map(|(_, _, until)| *until).max().unwrap_or(0)
    }

    fn end(&mut self, at: u64, revision: i64) {
        let (earliest, lowest) = self.end.unwrap_or((at, revision));
        self.end = Some((earliest.min(at), lowest.min(revision)));
    }
}

/// Checks all that was said of leases.
pub(super) fn check(case: &Case<'_>, explained: &Explained, violations: &mut Vec<Violation>) {
    let mut lives = Lives::of(case);
    lives.note_ends(case, explained);
    for (place, call) in case.history.calls.iter().enumerate() {
        if let Some(lease) = lease_denied(call) {
            let life = lives.0.entry(lease).or_default();
            let is_possible = life.granted.is_none()
                || life.revocations.iter().any(|sent| *sent < call.returned)
                || life.lasts_until(call.invoked) <= call.returned.saturating_add(SLACK);
            if !is_possible {
                let until = life.lasts_until(call.invoked);
                let story = format!("lease {lease} is said to be gone, it lasts until {until} ns");
                violations.push(Violation::new("lease", 0, &[place], story));
            }
        }
        if let (
            Request::KeepAlive { lease },
            Outcome::Answered(Answer { body: Body::Life { ttl: 1.. }, .. }),
        ) = (&call.request, &call.outcome)
        {
            let end = lives.0.get(lease).and_then(|life| life.end);
            if let Some((ended, _)) = end.filter(|(ended, _)| *ended < call.invoked) {
                let story = format!("lease {lease} was renewed, although it had ended at {ended} ns");
                violations.push(Violation::new("lease", 0, &[place], story));
            }
        }
    }
    check_keys(case, &lives, violations);
}

/// No key gets a lease that has ended.
fn check_keys(case: &Case<'_>, lives: &Lives, violations: &mut Vec<Violation>) {
    for revision in 2..=case.log.end() {
        for record in case.log.changes(revision).iter().filter_map(|change| change.after.as_ref()) {
            if record.lease == 0 {
                continue;
            }
            let life = lives.0.get(&record.lease);
            let end = life.and_then(|life| life.end);
            if end.is_some_and(|(_, ended)| ended < revision)
                || life.is_none_or(|life| life.granted.is_none())
            {
                let story = format!("{record:?} has a lease that does not exist then");
                violations.push(Violation::new("lease", revision, &[], story));
            }
        }
    }
}

/// The lease that an answer says does not exist.
fn lease_denied(call: &Call) -> Option<i64> {
    match (&call.request, &call.outcome) {
        (
            Request::Put(Put { lease, .. }) | Request::Revoke { lease } | Request::KeepAlive { lease },
            Outcome::Refused(Refusal::NoLease),
        )
        | (Request::KeepAlive { lease }, Outcome::Answered(Answer { body: Body::Life { ttl: ..=0 }, .. })) => {
            Some(*lease)
        }
        _ => None,
    }
}
