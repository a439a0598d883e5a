//! What callers ask: checked, then proposed, put to the reads, or answered at once.

use std::sync::Arc;

use bytes::Bytes;
use etched_auth::{Credentials, Operation};
use etched_raft_core::ProposeError;
use etched_state_machine::{AlarmKind, AlarmMember, Command, Header, Refusal, Txn, Version, schema};

use super::commit::HashWanted;
use super::guard::requirement_of_command;
use super::outcomes::Instead;
use super::{Member, encode};
use crate::applier;
use crate::output::{HashJob, Notice, Output};
use crate::reads::{Read, ReadKind};
use crate::request::{Answer, ApiError, Caller, DowngradeAction, Request};
use crate::versions;
use crate::waiters::Waiter;

/// Bytes of one message with proposals that a follower passes on; one proposal may be larger.
const FORWARD_BYTES_MAX: usize = 1 << 20;

/// A command on its way into the log.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) id: u64,
    entry: Bytes,
    /// If set, it is proposed by the leader of this term or by nobody.
    term: Option<u64>,
}

impl Member {
    /// Goes on with a request whose caller may ask for it, as far as that is known already.
    pub(super) fn dispatch(
        &mut self,
        caller: Caller,
        credentials: Credentials,
        request: Request,
        now_ns: u64,
    ) {
        match request {
            Request::Propose(command) => self.submit_command(caller, credentials, command, now_ns),
            Request::Range(range) => match range.check() {
                Ok(()) => {
                    let local = range.serializable;
                    self.read(caller, credentials, ReadKind::Range(range), local, now_ns);
                }
                Err(refusal) => self.respond(caller, Err(refusal.into())),
            },
            Request::Barrier => self.read(caller, credentials, ReadKind::Nothing, false, now_ns),
            Request::PasswordHash { name } => {
                self.read(caller, credentials, ReadKind::PasswordHash(name), false, now_ns);
            }
            Request::CheckRoot => self.respond(caller, Ok(Answer::Done)),
            Request::Members { linearizable } => {
                self.read(caller, credentials, ReadKind::Members, !linearizable, now_ns);
            }
            Request::LeaseRenew { .. } | Request::LeaseTimeToLive { .. } | Request::MemberPromote { .. } => {
                self.ask_applied(caller, credentials, request, now_ns);
            }
            Request::Leases => {
                let leases = self.applier.leases();
                self.respond(caller, Ok(Answer::Leases(leases)));
            }
            Request::Status => {
                let report = Arc::new(self.report());
                self.respond(caller, Ok(Answer::Status(report)));
            }
            Request::Hash => self.hash(HashWanted { caller, revision: None }),
            Request::HashKv { revision } => self.hash(HashWanted { caller, revision: Some(revision) }),
            Request::Defragment => self.respond(caller, Ok(Answer::Done)),
            Request::MemberAdd { peer_urls, is_learner, unix_seconds } => {
                self.add_member(caller, peer_urls, is_learner, unix_seconds, now_ns);
            }
            Request::MemberRemove { id } => self.remove_member(caller, id, now_ns),
            Request::MemberUpdate { id, peer_urls } => self.update_member(caller, id, peer_urls, now_ns),
            Request::MoveLeader { target } => self.move_leader(caller, target, now_ns),
            Request::V2(call) => self.submit_v2(caller, call, now_ns),
            Request::Downgrade { action, version } => {
                self.submit_downgrade(caller, action, &version, now_ns);
            }
        }
    }

    fn submit_command(&mut self, caller: Caller, credentials: Credentials, command: Command, now_ns: u64) {
        let cost = command.quota_cost();
        if cost > 0 && self.applier.machine().quota_exceeded_by(cost) {
            return self.refuse_for_space(caller, now_ns);
        }
        if let Err(refusal) = command.check(&self.limits.command) {
            return self.respond(caller, Err(refusal.into()));
        }
        if let Command::V2(command) = command {
            if self.holds_v2() || !self.applier.machine().is_v2_spoken_by_all() {
                self.hold_v2(caller, command, now_ns);
            } else {
                self.propose_for(caller, &credentials, Command::V2(command), now_ns);
            }
            return;
        }
        if let Err(error) = self.require(&credentials, requirement_of_command(&command), now_ns) {
            return self.respond(caller, Err(error));
        }
        let is_read_only = matches!(&command, Command::Txn(txn) if txn.is_read_only());
        if is_read_only && let Command::Txn(txn) = command {
            self.read_txn(caller, credentials, txn, now_ns);
        } else {
            self.propose_for(caller, &credentials, command, now_ns);
        }
    }

    fn read_txn(&mut self, caller: Caller, credentials: Credentials, txn: Txn, now_ns: u64) {
        let local = txn.is_serializable();
        self.read(caller, credentials, ReadKind::Txn(txn), local, now_ns);
    }

    pub(super) fn read(
        &mut self,
        caller: Caller,
        credentials: Credentials,
        kind: ReadKind,
        local: bool,
        now_ns: u64,
    ) {
        let read = Read { caller, credentials, kind, deadline_ns: now_ns + self.limits.request_timeout_ns };
        if local {
            self.local.push(read);
        } else if self.reads.len() < self.limits.proposals_max {
            self.reads.push(read);
        } else {
            self.respond(caller, Err(ApiError::TooManyRequests));
        }
    }

    pub(super) fn propose_for(
        &mut self,
        caller: Caller,
        credentials: &Credentials,
        mut command: Command,
        now_ns: u64,
    ) {
        let lag = self.committed.saturating_sub(self.applier.machine().applied().0);
        if lag > self.limits.apply_lag_max || self.waiters.waiting() >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        let (username, auth_revision) = match self.proposer(credentials, &command, now_ns) {
            Ok(proposer) => proposer,
            Err(error) => return self.respond(caller, Err(error)),
        };
        if let Command::LeaseGrant { id, .. } = &mut command
            && *id == 0
        {
            *id = self.draw_lease_id();
        }
        let id = self.waiters.next_for(Waiter {
            caller,
            deadline_ns: now_ns + self.limits.request_timeout_ns,
            started_ns: now_ns,
            field: command.field(),
        });
        let entry = schema::encode(&Header { request_id: id, username, auth_revision }, &command);
        if entry.len() > self.limits.request_bytes_max {
            self.waiters.take(id);
            self.note_proposed(command.field(), false, now_ns);
            return self.respond(caller, Err(ApiError::RequestTooLarge));
        }
        self.proposals.push(Proposal { id, entry, term: None });
    }

    /// Who asks, as the header of the entry says it.
    fn proposer(
        &mut self,
        credentials: &Credentials,
        command: &Command,
        now_ns: u64,
    ) -> Result<(String, u64), ApiError> {
        // Who logs in need not say who he is.
        if !self.applier.is_guarded() || matches!(command, Command::Auth(Operation::Authenticate { .. })) {
            return Ok((String::new(), 0));
        }
        let principal = self.identify(credentials, now_ns)?;
        Ok(principal
            .map_or((String::new(), 0), |principal| (principal.user.as_ref().to_owned(), principal.revision)))
    }

    fn draw_lease_id(&mut self) -> i64 {
        loop {
            let id = (self.waiters.next_unwatched() & 0x7fff_ffff_ffff_ffff).cast_signed();
            if id != 0 && !self.applier.machine().leases().contains(id) {
                return id;
            }
        }
    }

    /// Proposes a command of the member's own, for whose outcome no caller waits.
    pub fn propose(&mut self, command: &Command) -> u64 {
        let id = self.waiters.next_unwatched();
        self.note_own(id, command.field());
        self.proposals.push(Proposal { id, entry: encode(id, command), term: None });
        id
    }

    /// Proposes what only a leader may decide: when leadership is lost before, it is dropped, not passed on.
    pub(super) fn propose_as_leader(&mut self, command: &Command) {
        if self.leads {
            let id = self.waiters.next_unwatched();
            self.note_own(id, command.field());
            // Only the end of a lease is asked for its right where it is applied.
            let is_revoked = matches!(command, Command::LeaseRevoke { .. });
            let (username, auth_revision) = if is_revoked { self.applier.root() } else { Default::default() };
            let entry = schema::encode(&Header { request_id: id, username, auth_revision }, command);
            self.proposals.push(Proposal { id, entry, term: Some(self.term) });
        }
    }

    /// Proposes a command of the member's own, whose outcome lets a caller be told something else.
    pub(super) fn propose_instead(
        &mut self,
        caller: Caller,
        command: &Command,
        instead: Instead,
        now_ns: u64,
    ) {
        if self.waiters.waiting() >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        let id = self.waiters.next_for(Waiter {
            caller,
            deadline_ns: now_ns + self.limits.request_timeout_ns,
            started_ns: now_ns,
            field: command.field(),
        });
        self.instead.insert(id, instead);
        self.proposals.push(Proposal { id, entry: encode(id, command), term: None });
    }

    /// The quota is used up: raises the alarm through the log first, unless that was done, then refuses.
    fn refuse_for_space(&mut self, caller: Caller, now_ns: u64) {
        let own = AlarmMember { kind: AlarmKind::NoSpace, member_id: self.self_id };
        if self.applier.machine().alarms().iter().any(|alarm| *alarm == own) {
            return self.respond(caller, Err(Refusal::NoSpace.into()));
        }
        self.outputs.push_back(Output::Notice(Notice::QuotaExceeded));
        self.propose_instead(caller, &applier::raise_no_space(self.self_id), Instead::NoSpace, now_ns);
    }

    fn hash(&mut self, wanted: HashWanted) {
        self.hashes_wanted.push(wanted);
        self.commit.want();
    }

    fn submit_downgrade(&mut self, caller: Caller, action: DowngradeAction, version: &str, now_ns: u64) {
        let target = match action {
            DowngradeAction::Cancel => Version::new(0, 0, 0),
            DowngradeAction::Validate | DowngradeAction::Enable => {
                let Some(target) = versions::parse_target(version) else {
                    return self.respond(caller, Err(ApiError::DowngradeVersionFormat));
                };
                target
            }
        };
        if self.applier.machine().cluster_version().is_none() {
            return self.respond(caller, Err(ApiError::ClusterVersionUnavailable));
        }
        self.read(caller, Credentials::Member, ReadKind::Downgrade { action, target }, false, now_ns);
    }

    /// Goes on with a downgrade after its barrier.
    pub(super) fn downgrade(
        &mut self,
        caller: Caller,
        action: DowngradeAction,
        target: Version,
        now_ns: u64,
    ) {
        let machine = self.applier.machine();
        let Some(cluster) = machine.cluster_version() else {
            return self.respond(caller, Err(ApiError::ClusterVersionUnavailable));
        };
        let checked = match action {
            DowngradeAction::Cancel => Ok(()),
            DowngradeAction::Validate | DowngradeAction::Enable => {
                versions::check_downgrade(cluster, target, machine.downgrade().is_some())
            }
        };
        let command = match (checked, action) {
            (Err(error), _) => return self.respond(caller, Err(error)),
            (Ok(()), DowngradeAction::Validate) => {
                return self.respond(caller, Ok(Answer::ClusterVersion(versions::short(cluster))));
            }
            (Ok(()), DowngradeAction::Enable) => {
                Command::DowngradeSet { enabled: true, version: target.to_string() }
            }
            (Ok(()), DowngradeAction::Cancel) => {
                Command::DowngradeSet { enabled: false, version: String::new() }
            }
        };
        self.propose_instead(caller, &command, Instead::Downgraded(cluster), now_ns);
    }

    /// Hands what is to be proposed to consensus, if there is a leader; else it waits.
    pub(super) fn send_proposals(&mut self) {
        if self.proposals.is_empty() || self.consensus.leader() == 0 {
            return;
        }
        let (leads, term) = (self.leads, self.term);
        let proposals = std::mem::take(&mut self.proposals).into_iter();
        let valid = proposals.filter(|proposal| proposal.term.is_none_or(|of| leads && of == term));
        if leads {
            let (ids, entries) = valid.map(|proposal| (proposal.id, proposal.entry)).unzip();
            return self.send_batch(ids, entries);
        }
        let (mut ids, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        for Proposal { id, entry, .. } in valid {
            if bytes + entry.len() > FORWARD_BYTES_MAX && !ids.is_empty() {
                self.send_batch(std::mem::take(&mut ids), std::mem::take(&mut entries));
                bytes = 0;
            }
            bytes += entry.len();
            ids.push(id);
            entries.push(entry);
        }
        self.send_batch(ids, entries);
    }

    fn send_batch(&mut self, ids: Vec<u64>, entries: Vec<Bytes>) {
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.consensus.propose(entries) {
            for id in ids {
                self.drop_proposal(id, error);
            }
        }
    }

    /// Consensus did not take a proposal.
    pub(super) fn drop_proposal(&mut self, id: u64, error: ProposeError) {
        self.failed += 1;
        self.instead.remove(&id);
        self.own.remove(&id);
        let Some(Waiter { caller, field, started_ns, .. }) = self.waiters.take(id) else { return };
        self.note_proposed(field, false, started_ns);
        let error = match error {
            ProposeError::NoLeader => ApiError::NoLeader,
            ProposeError::Transferring
            | ProposeError::TooMuchUncommitted
            | ProposeError::ConfChangePending
            | ProposeError::Dropped => ApiError::ProposalDropped,
            other => ApiError::Storage(other.to_string()),
        };
        self.respond(caller, Err(error));
    }

    /// Whether so much waits for the backend that no further requests should be submitted until it has caught up.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.applier.machine().pending_bytes() > self.limits.commit_backlog_bytes_max
    }

    /// Answers every caller that still waits with `error`, for the end of the member, whatever its cause.
    /// A command that was proposed may be in the log all the same.
    pub fn refuse_all(&mut self, error: &ApiError) {
        self.proposals.clear();
        self.conf_changes.clear();
        self.instead.clear();
        let mut callers = self.waiters.take_all();
        callers.extend(std::mem::take(&mut self.held).into_values());
        let reads = std::mem::take(&mut self.reads).into_reads().chain(std::mem::take(&mut self.local));
        let reads = reads.filter(|read| !matches!(read.kind, ReadKind::Leadership));
        callers.extend(reads.map(|read| read.caller));
        callers.extend(std::mem::take(&mut self.hashes_wanted).into_iter().map(|wanted| wanted.caller));
        callers.extend(std::mem::take(&mut self.hashes_committing).iter().map(HashJob::caller));
        callers.extend(self.leadership.take_callers());
        callers.extend(self.v2.take_callers());
        callers.extend(self.parked.take_callers());
        callers.extend(self.apply_waits.take_callers());
        self.drain_applier();
        callers.extend(self.applier.take_callers());
        for caller in callers {
            self.respond(caller, Err(error.clone()));
        }
    }
}
