//! Questions that are answered by what is applied here, after all that is known to be committed.
//!
//! A leader that is behind with applying might say of a lease that there is none, or of a learner that it is none,
//! though the entry that made it so was answered already. As in etcd they wait for up to a second, and only where a
//! wrong answer is possible.

use std::collections::BTreeMap;

use etched_auth::Credentials;

use super::Member;
use super::guard::requirement;
use crate::request::{Answer, ApiError, Caller, Request};

/// Nanoseconds for which a question waits, as in etcd.
const WAIT_NS: u64 = 1_000_000_000;

/// What waits until an index is applied.
#[derive(Debug, Default)]
pub(super) struct ApplyWaits {
    by_index: BTreeMap<u64, Vec<ApplyWait>>,
    count: usize,
}

#[derive(Debug)]
struct ApplyWait {
    caller: Caller,
    credentials: Credentials,
    request: Request,
    deadline_ns: u64,
}

impl ApplyWaits {
    fn push(&mut self, index: u64, wait: ApplyWait) {
        self.count += 1;
        self.by_index.entry(index).or_default().push(wait);
    }

    fn take_ready(&mut self, applied: u64) -> Vec<ApplyWait> {
        let mut ready = Vec::new();
        while let Some(entry) = self.by_index.first_entry()
            && *entry.key() <= applied
        {
            ready.extend(entry.remove());
        }
        self.count -= ready.len();
        ready
    }

    fn take_late(&mut self, now_ns: u64) -> Vec<ApplyWait> {
        let mut late = Vec::new();
        for waits in self.by_index.values_mut() {
            late.extend(waits.extract_if(.., |wait| wait.deadline_ns <= now_ns));
        }
        self.by_index.retain(|_, waits| !waits.is_empty());
        self.count -= late.len();
        late
    }

    /// Gives all up; returns who waits.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        self.take_ready(u64::MAX).into_iter().map(|wait| wait.caller).collect()
    }
}

impl Member {
    /// Answers a question at once, or when all that is committed by now is applied.
    pub(super) fn ask_applied(
        &mut self,
        caller: Caller,
        credentials: Credentials,
        request: Request,
        now_ns: u64,
    ) {
        let (applied, _) = self.applier.machine().applied();
        // Who does not lead refuses at once, and the renewal of a known lease cannot go wrong.
        let is_known =
            matches!(&request, Request::LeaseRenew { id } if self.applier.machine().leases().contains(*id));
        if !self.leads || self.committed <= applied || is_known {
            return self.answer_applied(caller, request, now_ns);
        }
        if self.apply_waits.count >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        let deadline_ns = now_ns + WAIT_NS;
        self.apply_waits.push(self.committed, ApplyWait { caller, credentials, request, deadline_ns });
    }

    /// Answers what waited for entries that are applied by now.
    pub(super) fn release_apply_waits(&mut self, now_ns: u64) {
        if self.apply_waits.count == 0 {
            return;
        }
        let (applied, _) = self.applier.machine().applied();
        for ApplyWait { caller, credentials, request, .. } in self.apply_waits.take_ready(applied) {
            // Only now is it known which keys a lease has, and who may be told of them.
            if let Err(error) = self.require(&credentials, requirement(&request), now_ns) {
                self.respond(caller, Err(error));
            } else {
                self.answer_applied(caller, request, now_ns);
            }
        }
    }

    /// Who has waited for too long, or asked a leader that is none any more, asks again.
    pub(super) fn refuse_late_apply_waits(&mut self, now_ns: u64) {
        for wait in self.apply_waits.take_late(now_ns) {
            self.respond(wait.caller, Err(ApiError::TimeoutApplied));
        }
    }

    pub(super) fn refuse_apply_waits(&mut self) {
        for caller in self.apply_waits.take_callers() {
            self.respond(caller, Err(ApiError::LeaderChanged));
        }
    }

    fn answer_applied(&mut self, caller: Caller, request: Request, now_ns: u64) {
        match request {
            Request::LeaseTimeToLive { id, keys } => {
                let result = self.applier.lease_time_to_live(id, keys, now_ns);
                self.respond(caller, result.map(Answer::LeaseTimeToLive));
            }
            Request::LeaseRenew { id } => self.renew_lease(caller, id, now_ns),
            Request::MemberPromote { id } => self.promote_member(caller, id, now_ns),
            Request::Propose(_)
            | Request::Range(_)
            | Request::Barrier
            | Request::PasswordHash { .. }
            | Request::CheckRoot
            | Request::Members { .. }
            | Request::Leases
            | Request::Status
            | Request::Hash
            | Request::HashKv { .. }
            | Request::Defragment
            | Request::MemberAdd { .. }
            | Request::MemberRemove { .. }
            | Request::MemberUpdate { .. }
            | Request::MoveLeader { .. }
            | Request::V2(_)
            | Request::Downgrade { .. } => unreachable!("only these questions wait for what is applied"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_out_by_its_index_or_by_its_deadline() {
        let mut waits = ApplyWaits::default();
        let wait = |token, deadline_ns| ApplyWait {
            caller: Caller { front: 0, token },
            credentials: Credentials::Anonymous,
            request: Request::LeaseRenew { id: 1 },
            deadline_ns,
        };
        waits.push(7, wait(1, 100));
        waits.push(7, wait(2, 200));
        waits.push(9, wait(3, 300));
        assert_eq!(waits.take_ready(6).len(), 0);
        assert_eq!(waits.take_late(100).len(), 1);
        assert_eq!(waits.take_ready(7).len(), 1);
        assert_eq!(waits.count, 1);
        assert_eq!(waits.take_callers(), [Caller { front: 0, token: 3 }]);
        assert_eq!((waits.count, waits.by_index.len()), (0, 0));
    }
}
