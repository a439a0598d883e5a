//! What became of proposals and reads, as their callers are told.

use etched_state_machine::{Outcome, Refusal, Version};

use super::Member;
use crate::measures::Measure;
use crate::reads::{Read, ReadKind};
use crate::request::{Answer, ApiError};
use crate::versions;
use crate::waiters::Waiter;

/// Commands of the member's own whose time is measured at once; others are not measured.
const OWN_MAX: usize = 64;

/// What a caller is told when a proposal that the member made for it is applied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instead {
    /// That there is no space: the proposal raised the alarm.
    NoSpace,
    /// That the lease is renewed: the proposal cleared its checkpoint.
    Renewed { id: i64, ttl: i64 },
    /// All members, and this one, which was added.
    MemberAdded { id: u64 },
    /// The version that the cluster had.
    Downgraded(Version),
}

impl Member {
    pub(super) fn on_outcome(&mut self, request_id: u64, index: u64, result: Result<Outcome, Refusal>) {
        self.conf_changes.on_applied(request_id);
        let instead = self.instead.remove(&request_id);
        if let Some((field, started_ns)) = self.own.remove(&request_id) {
            self.note_proposed(field, true, started_ns);
        }
        let waiter = self.waiters.take(request_id);
        if let Some(Waiter { field, started_ns, .. }) = waiter {
            self.note_proposed(field, true, started_ns);
        }
        let caller = waiter.map(|waiter| waiter.caller).or_else(|| self.held.remove(&request_id));
        let Some(caller) = caller else { return };
        let result = match instead {
            None => match result {
                Ok(Outcome::Members) => Ok(self.members_after(None)),
                Ok(outcome) => Ok(Answer::Applied(outcome)),
                Err(refusal) => Err(refusal.into()),
            },
            Some(Instead::NoSpace) => Err(Refusal::NoSpace.into()),
            Some(Instead::Renewed { id, ttl }) => {
                // It may have been revoked meanwhile.
                let is_alive = self.applier.machine().leases().contains(id);
                Ok(Answer::LeaseRenewed { ttl: if is_alive { ttl } else { 0 } })
            }
            Some(Instead::MemberAdded { id }) => match result {
                Ok(_) => Ok(self.members_after(Some(id))),
                Err(refusal) => Err(refusal.into()),
            },
            Some(Instead::Downgraded(version)) => match result {
                Ok(_) => Ok(Answer::ClusterVersion(versions::short(version))),
                Err(refusal) => Err(refusal.into()),
            },
        };
        self.respond_at(caller, index, result);
    }

    fn members_after(&self, added: Option<u64>) -> Answer {
        let members = self.applier.members();
        let member = members.iter().find(|member| Some(member.id) == added).cloned();
        Answer::MemberChanged { member, members }
    }

    /// Answers everybody whose time is over.
    pub(super) fn answer_late(&mut self, now_ns: u64) {
        let late = self.waiters.take_late(now_ns);
        if !late.is_empty() {
            self.answer_late_proposals(&late);
        }
        let (late, idle) = self.reads.take_late(now_ns);
        for barrier in idle {
            self.consensus.forget_barrier(barrier);
        }
        for read in late {
            self.fail_read(read, ApiError::Timeout, now_ns);
        }
        for caller in self.leadership.take_late_transfers(now_ns) {
            self.respond(caller, Err(ApiError::TimeoutLeaderTransfer));
        }
    }

    fn answer_late_proposals(&mut self, late: &[(u64, Waiter)]) {
        self.instead.retain(|id, _| self.waiters.is_waiting(*id));
        // What waited for a leader all the time was never proposed, and will not be.
        let is_late = |id: u64| late.binary_search_by_key(&id, |(id, _)| *id).is_ok();
        let mut unproposed: Vec<u64> = self
            .proposals
            .extract_if(.., |proposal| is_late(proposal.id))
            .map(|proposal| proposal.id)
            .collect();
        unproposed.extend(self.conf_changes.take_unproposed(is_late));
        for (id, waiter) in late {
            self.failed += 1;
            self.note_proposed(waiter.field, false, waiter.started_ns);
            let error = if unproposed.contains(id) {
                ApiError::DeadlineExceeded
            } else {
                self.timeout_of(waiter.started_ns)
            };
            self.respond(waiter.caller, Err(error));
        }
    }

    /// A command of the member's own was proposed.
    pub(super) fn note_own(&mut self, id: u64, field: u32) {
        if self.own.len() < OWN_MAX {
            self.own.insert(id, (field, self.turn_ns));
        }
    }

    /// A command has its outcome, or will have none.
    pub(super) fn note_proposed(&mut self, field: u32, is_ok: bool, started_ns: u64) {
        if field != 0 {
            let took_ns = self.turn_ns.saturating_sub(started_ns);
            self.applier.measures().push(Measure::Proposed { field, is_ok, took_ns });
        }
    }

    /// When a read was taken in.
    pub(super) fn started_of(&self, read: &Read) -> u64 {
        read.deadline_ns.saturating_sub(self.limits.request_timeout_ns)
    }

    /// A read has no answer.
    pub(super) fn fail_read(&mut self, read: Read, error: ApiError, now_ns: u64) {
        match read.kind {
            ReadKind::Leadership => self.on_leadership_unconfirmed(now_ns),
            ReadKind::Range(_)
            | ReadKind::Txn(_)
            | ReadKind::PasswordHash(_)
            | ReadKind::Members
            | ReadKind::Downgrade { .. }
            | ReadKind::V2(_)
            | ReadKind::Nothing => {
                self.reads_failed += 1;
                self.reads_slow += u64::from(error == ApiError::Timeout);
                if let ReadKind::Range(_) | ReadKind::Txn(_) = read.kind {
                    let is_txn = matches!(read.kind, ReadKind::Txn(_));
                    let took_ns = now_ns.saturating_sub(self.started_of(&read));
                    self.applier.measures().push(Measure::Read { is_txn, is_ok: false, took_ns });
                }
                self.respond(read.caller, Err(error));
            }
        }
    }
}
