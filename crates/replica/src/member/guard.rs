//! What is asked of who asks, and requests that wait until it can be asked.
//!
//! Commands that change keys are judged where they are applied, and reads where they are served.
//! For all others stands here what they need; each list is whole, so that a new request does not compile before it has
//! its line.

use std::collections::BTreeMap;

use etched_auth::{Credentials, Principal, Refusal as AuthRefusal};
use etched_state_machine::{Command, Refusal, check_peer_urls};

use super::Member;
use crate::request::{ApiError, Caller, Request};
use crate::watch_call::WatchCall;

/// The action of an alarm request that only lists.
const LIST_ALARMS: i32 = 0;

/// Who may ask for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    /// Whoever comes; or it is asked later, by the keys that are concerned.
    Nothing,
    /// Somebody who says who he is, user or not.
    Somebody,
    /// A user with the role `root`.
    Root,
    /// Somebody who may write all keys of the lease.
    Renewal(i64),
    /// Somebody who may read all keys of the lease.
    KeysOfLease(i64),
    /// Somebody who may read the keys of all leases.
    AllLeases,
}

/// What a request needs before anything else of it is looked at.
pub(super) fn requirement(request: &Request) -> Requirement {
    match request {
        // Asked when they are served or proposed.
        Request::Propose(_) | Request::Range(_) | Request::Members { .. } => Requirement::Nothing,
        Request::Barrier | Request::PasswordHash { .. } => Requirement::Nothing,
        // That API has users of its own.
        Request::V2(_) => Requirement::Nothing,
        Request::LeaseRenew { id } => Requirement::Renewal(*id),
        Request::LeaseTimeToLive { id, keys: true } => Requirement::KeysOfLease(*id),
        Request::LeaseTimeToLive { keys: false, .. } | Request::Status => Requirement::Somebody,
        Request::Leases => Requirement::AllLeases,
        Request::CheckRoot
        | Request::Hash
        | Request::HashKv { .. }
        | Request::Defragment
        | Request::MemberAdd { .. }
        | Request::MemberRemove { .. }
        | Request::MemberUpdate { .. }
        | Request::MemberPromote { .. }
        | Request::MoveLeader { .. }
        | Request::Downgrade { .. } => Requirement::Root,
    }
}

/// What a command needs before it is proposed.
pub(super) fn requirement_of_command(command: &Command) -> Requirement {
    match command {
        Command::Compact(_) => Requirement::Root,
        Command::LeaseGrant { .. } | Command::LeaseRevoke { .. } => Requirement::Somebody,
        Command::Alarm(request) if request.action == LIST_ALARMS => Requirement::Somebody,
        Command::Alarm(_)
        | Command::ClusterVersionSet { .. }
        | Command::MemberAttributes { .. }
        | Command::DowngradeSet { .. }
        | Command::LeaseCheckpoint(_)
        | Command::DowngradeVersionTest { .. } => Requirement::Root,
        // Judged where they are applied.
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Range(_)
        | Command::Auth(_)
        | Command::V2(_) => Requirement::Nothing,
    }
}

/// What waits until the entry that made its token is applied.
#[derive(Debug, Default)]
pub(super) struct Parked {
    by_index: BTreeMap<u64, Vec<(Waiting, u64)>>,
    count: usize,
}

#[derive(Debug)]
enum Waiting {
    Request(Caller, Credentials, Request),
    Watch(u64, WatchCall),
}

impl Parked {
    fn push(&mut self, index: u64, waiting: Waiting, deadline_ns: u64) {
        self.count += 1;
        self.by_index.entry(index).or_default().push((waiting, deadline_ns));
    }

    fn take_ready(&mut self, applied: u64) -> Vec<Waiting> {
        let mut ready = Vec::new();
        while let Some(entry) = self.by_index.first_entry()
            && *entry.key() <= applied
        {
            ready.extend(entry.remove().into_iter().map(|(waiting, _)| waiting));
        }
        self.count -= ready.len();
        ready
    }

    fn take_late(&mut self, now_ns: u64) -> Vec<Waiting> {
        let mut late = Vec::new();
        for waiting in self.by_index.values_mut() {
            late.extend(
                waiting.extract_if(.., |(_, deadline)| *deadline <= now_ns).map(|(waiting, _)| waiting),
            );
        }
        self.by_index.retain(|_, waiting| !waiting.is_empty());
        self.count -= late.len();
        late
    }

    /// Gives all up; returns who waits for an answer.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        let all = self.take_ready(u64::MAX).into_iter();
        all.filter_map(|waiting| match waiting {
            Waiting::Request(caller, ..) => Some(caller),
            Waiting::Watch(..) => None,
        })
        .collect()
    }
}

impl Member {
    /// Takes a request; its answer follows as [`Output::Respond`](crate::Output::Respond) with the same caller.
    ///
    /// A token that was made by an entry which is not applied here is waited for, up to the request timeout.
    pub fn submit(&mut self, caller: Caller, credentials: Credentials, request: Request, now_ns: u64) {
        // As in etcd, the addresses of a new member are looked at before it matters who adds it.
        if let Request::MemberAdd { peer_urls, .. } = &request
            && let Err(refusal) = check_peer_urls(peer_urls)
        {
            return self.respond(caller, Err(refusal.into()));
        }
        if self.applier.is_guarded() {
            let index = self.applier.awaited_index(&credentials);
            if index > 0 {
                return self.park(index, Waiting::Request(caller, credentials, request), now_ns);
            }
            if let Err(error) = self.require(&credentials, requirement(&request), now_ns) {
                return self.respond(caller, Err(error));
            }
        }
        self.dispatch(caller, credentials, request, now_ns);
    }

    /// Asks what a requirement says.
    pub(super) fn require(
        &mut self,
        credentials: &Credentials,
        requirement: Requirement,
        now_ns: u64,
    ) -> Result<(), ApiError> {
        if requirement == Requirement::Nothing || !self.applier.is_guarded() {
            return Ok(());
        }
        let principal = self.identify(credentials, now_ns)?;
        let (asker, machine) = (principal.as_ref(), self.applier.machine());
        match requirement {
            Requirement::Nothing => {}
            Requirement::Somebody => machine.auth().permit_somebody(asker).map_err(Refusal::from)?,
            Requirement::Root => machine.auth().permit_root(asker).map_err(Refusal::from)?,
            Requirement::Renewal(id) => machine.permit_renewal(asker, id)?,
            Requirement::KeysOfLease(id) => machine.permit_keys_of_lease(asker, id)?,
            Requirement::AllLeases => machine.permit_leases(asker)?,
        }
        Ok(())
    }

    pub(super) fn identify(
        &mut self,
        credentials: &Credentials,
        now_ns: u64,
    ) -> Result<Option<Principal>, ApiError> {
        self.applier.identify(credentials, now_ns).map_err(|refusal| Refusal::from(refusal).into())
    }

    fn park(&mut self, index: u64, waiting: Waiting, now_ns: u64) {
        if self.parked.count < self.limits.proposals_max {
            self.parked.push(index, waiting, now_ns + self.limits.request_timeout_ns);
        } else {
            self.refuse_parked(waiting, ApiError::TooManyRequests);
        }
    }

    /// Goes on with what waited for entries that are applied by now.
    pub(super) fn release_parked(&mut self, now_ns: u64) {
        if self.parked.count == 0 {
            return;
        }
        let (applied, _) = self.applier.machine().applied();
        for waiting in self.parked.take_ready(applied) {
            match waiting {
                Waiting::Request(caller, credentials, request) => {
                    self.submit(caller, credentials, request, now_ns);
                }
                Waiting::Watch(front, call) => self.watch(front, call, now_ns),
            }
        }
    }

    /// Tokens of entries that never came are none.
    pub(super) fn refuse_late_parked(&mut self, now_ns: u64) {
        if self.parked.count == 0 {
            return;
        }
        for waiting in self.parked.take_late(now_ns) {
            self.refuse_parked(waiting, Refusal::from(AuthRefusal::InvalidToken).into());
        }
    }

    fn refuse_parked(&mut self, waiting: Waiting, error: ApiError) {
        match waiting {
            Waiting::Request(caller, ..) => self.respond(caller, Err(error)),
            Waiting::Watch(_, WatchCall::Create { stream, .. }) => {
                self.applier.refuse_watch(stream, AuthRefusal::InvalidToken);
            }
            Waiting::Watch(
                _,
                WatchCall::Open { .. }
                | WatchCall::Cancel { .. }
                | WatchCall::Progress { .. }
                | WatchCall::Consumed { .. }
                | WatchCall::Close { .. },
            ) => {}
        }
    }

    /// Takes a call of a watch stream.
    pub fn watch(&mut self, front: u64, call: WatchCall, now_ns: u64) {
        match &call {
            WatchCall::Open { stream, .. } => {
                self.streams.insert(*stream, front);
            }
            WatchCall::Close { stream } => {
                self.streams.remove(stream);
            }
            WatchCall::Create { stream, credentials, create } if self.applier.is_guarded() => {
                let index = self.applier.awaited_index(credentials);
                if index > 0 {
                    return self.park(index, Waiting::Watch(front, call), now_ns);
                }
                if let Err(refusal) = self.applier.permit_watch(credentials, create, now_ns) {
                    return self.applier.refuse_watch(*stream, refusal);
                }
            }
            WatchCall::Create { .. }
            | WatchCall::Cancel { .. }
            | WatchCall::Progress { .. }
            | WatchCall::Consumed { .. } => {}
        }
        self.applier.watch(call, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_out_by_its_index_or_by_its_deadline() {
        let mut parked = Parked::default();
        let request = |token| {
            let caller = Caller { front: 0, token };
            Waiting::Request(caller, Credentials::Anonymous, Request::Status)
        };
        parked.push(7, request(1), 100);
        parked.push(7, request(2), 200);
        parked.push(9, request(3), 100);
        assert_eq!(parked.take_ready(6).len(), 0);
        assert_eq!(parked.take_late(100).len(), 2);
        assert_eq!(parked.take_ready(7).len(), 1);
        assert_eq!((parked.count, parked.by_index.len()), (0, 0));
        parked.push(9, request(3), 100);
        assert_eq!(parked.take_callers(), [Caller { front: 0, token: 3 }]);
    }
}
