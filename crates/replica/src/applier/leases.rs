//! Leases on the leader's clock: renewals, remaining life, expiry, checkpoints.

use std::collections::{BTreeMap, VecDeque};

use etched_lease::Renewal;
use etched_state_machine::Command;

use super::{Applier, ApplierOutput};
use crate::output::Notice;
use crate::request::{Answer, ApiError, Caller, LeaseTimeToLive};

/// Expired leases whose revocation is proposed in one tick.
const EXPIRED_PER_TICK_MAX: usize = 500;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Renewals that wait because their lease has run out but is not yet revoked.
#[derive(Debug, Default)]
pub(crate) struct LeaseJobs {
    renewals: BTreeMap<i64, Vec<Caller>>,
}

impl LeaseJobs {
    /// Nothing is decided here any more.
    pub(crate) fn on_demoted(&mut self, outputs: &mut VecDeque<ApplierOutput>) {
        for caller in self.take_callers() {
            outputs.push_back(ApplierOutput::Respond { caller, result: Err(ApiError::NotPrimary) });
        }
    }

    /// Gives all renewals up; returns who waits for them.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        std::mem::take(&mut self.renewals).into_values().flatten().collect()
    }
}

impl Applier {
    /// Renews a lease and answers the caller.
    ///
    /// `Some` is the time to live of a lease that is renewed on the clock, but has a checkpoint: the caller is answered
    /// by whoever calls, when the checkpoint is cleared; else the next clock would give the lease less than was
    /// promised.
    pub(crate) fn renew_lease(&mut self, caller: Caller, id: i64, now_ns: u64) -> Option<i64> {
        let result = match self.clock.renew(id, self.machine.leases(), now_ns) {
            Renewal::Renewed { ttl, clear_checkpoint } => {
                self.counts.leases_renewed += 1;
                if clear_checkpoint {
                    return Some(ttl);
                }
                Ok(Answer::LeaseRenewed { ttl })
            }
            Renewal::NotFound => Ok(Answer::LeaseRenewed { ttl: 0 }),
            Renewal::NotPrimary => Err(ApiError::NotPrimary),
            Renewal::Expired => {
                self.lease_jobs.renewals.entry(id).or_default().push(caller);
                return None;
            }
        };
        self.outputs.push_back(ApplierOutput::Respond { caller, result });
        None
    }

    /// The lease is revoked: renewals that came too late learn it.
    pub(super) fn on_lease_gone(&mut self, id: i64) {
        for caller in self.lease_jobs.renewals.remove(&id).unwrap_or_default() {
            let result = Ok(Answer::LeaseRenewed { ttl: 0 });
            self.outputs.push_back(ApplierOutput::Respond { caller, result });
        }
    }

    pub(crate) fn lease_time_to_live(
        &self,
        id: i64,
        keys: bool,
        now_ns: u64,
    ) -> Result<Option<LeaseTimeToLive>, ApiError> {
        if !self.clock.is_primary() {
            return Err(ApiError::NotPrimary);
        }
        let Some(lease) = self.machine.leases().get(id) else { return Ok(None) };
        let remaining_ns = self.clock.remaining_ns(id, now_ns).unwrap_or(lease.ttl() * NANOS_PER_SECOND);
        Ok(Some(LeaseTimeToLive {
            remaining: remaining_ns / NANOS_PER_SECOND,
            granted: lease.ttl(),
            keys: if keys { lease.keys().cloned().collect() } else { Vec::new() },
        }))
    }

    /// All leases; on the leader those that run out first come first.
    pub(crate) fn leases(&self) -> Vec<i64> {
        if self.clock.is_primary() {
            self.clock.by_remaining()
        } else {
            self.machine.leases().iter().map(|(id, _)| id).collect()
        }
    }

    pub(super) fn tick_leases(&mut self, now_ns: u64) {
        if !self.clock.is_primary() || self.are_leases_held {
            return;
        }
        for id in self.clock.poll_expired(now_ns, EXPIRED_PER_TICK_MAX) {
            self.counts.leases_expired += 1;
            self.outputs.push_back(ApplierOutput::Notice(Notice::LeaseExpired(id)));
            self.outputs.push_back(ApplierOutput::ProposeAsLeader(Command::LeaseRevoke { id }));
        }
        let checkpoints = self.clock.poll_checkpoints(now_ns);
        if !checkpoints.is_empty() {
            self.outputs.push_back(ApplierOutput::ProposeAsLeader(Command::LeaseCheckpoint(checkpoints)));
        }
    }
}
