//! One member: consensus and applier, joined by values, without I/O.
//!
//! The shell calls [`Member::submit`], [`Member::watch`], [`Member::tick`] with what arrived, then [`Member::turn`],
//! then [`Member::poll`] until there is nothing left, and reports back what it carried out.
//! Everything that waits is taken in one turn: one proposal message, one read barrier, one publication to watchers.

mod peers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use etched_backend::ReadView;
use etched_raft_core::{ConfChange, Entry, EntryKind};
use etched_state_machine::{
    AlarmKind, AlarmMember, Command, HashPlan, Header, Outcome, Refusal, Txn, schema,
};
use etched_watch::StreamId;

use crate::applier::{self, Applier, ApplierOutput, Failure};
use crate::consensus::{Consensus, ConsensusOutput};
use crate::convert;
use crate::options::{Limits, MemberOptions, Start, StartError};
use crate::output::{Commit, Deliver, HashJob, LogSnapshot, Notice, Output, Persist, Respond};
use crate::presence::Announcer;
use crate::reads::{Read, ReadKind, ReadQueue};
use crate::request::{Answer, ApiError, Caller, Request};
use crate::status::StatusReport;
use crate::waiters::Waiters;
use crate::watch_call::WatchCall;

/// One member without I/O.
pub struct Member {
    consensus: Consensus,
    applier: Applier,
    waiters: Waiters,
    reads: ReadQueue,
    limits: Limits,
    proposals: Vec<(u64, Bytes)>,
    local: Vec<Read>,
    hashes_wanted: Vec<HashWanted>,
    /// Hashes over what is on its way to the backend.
    hashes_committing: Vec<HashJob>,
    streams: BTreeMap<StreamId, u64>,
    commit: CommitState,
    /// Proposals whose callers are told something else than the outcome.
    instead: BTreeMap<u64, Instead>,
    /// Callers whose outcome is known and held back until a compaction is finished.
    held: BTreeMap<u64, Caller>,
    outputs: VecDeque<Output>,
    announcer: Announcer,
    self_id: u64,
    leads: bool,
    /// Term, commit index and leader as of the last poll of consensus.
    term: u64,
    committed: u64,
    leader: u64,
    failed: u64,
}

/// A hash request that waits until the backend holds everything up to now.
#[derive(Debug)]
struct HashWanted {
    caller: Caller,
    /// `None` for the hash over all tables.
    revision: Option<i64>,
}

/// What a caller is told when a proposal that the member made for it is applied.
#[derive(Clone, Copy, Debug)]
enum Instead {
    /// That there is no space: the proposal raised the alarm.
    NoSpace,
    /// That the lease is renewed: the proposal cleared its checkpoint.
    Renewed { id: i64, ttl: i64 },
}

/// What is on its way to the backend.
#[derive(Debug, Default)]
struct CommitState {
    in_flight: Option<Option<LogSnapshot>>,
    since_ns: Option<u64>,
    wanted: bool,
    snapshot_wanted: bool,
    snapshot_index: u64,
    /// Bytes of entries since the last log snapshot was begun.
    snapshot_bytes: u64,
    snapshots: u64,
}

impl Member {
    /// A member that goes on from what its log and its backend hold.
    ///
    /// # Errors
    ///
    /// When the two do not fit together, or stored state is damaged.
    pub fn new(view: &dyn ReadView, start: Start, options: MemberOptions) -> Result<Self, StartError> {
        let applier = Applier::restore(view, options.applier)?;
        let (applied, _) = applier.machine().applied();
        let (config, restored) =
            start.check(applied, convert::conf_state_raft(applier.machine().conf_state()))?;
        let snapshot_index = restored.snapshot.index;
        let consensus = Consensus::new(config, restored)?;
        Ok(Self {
            consensus,
            applier,
            waiters: Waiters::new(options.member_id, options.start_ms),
            reads: ReadQueue::default(),
            limits: options.limits,
            proposals: Vec::new(),
            local: Vec::new(),
            hashes_wanted: Vec::new(),
            hashes_committing: Vec::new(),
            streams: BTreeMap::new(),
            commit: CommitState { snapshot_index, ..CommitState::default() },
            instead: BTreeMap::new(),
            held: BTreeMap::new(),
            outputs: VecDeque::new(),
            announcer: Announcer::new(options.presence, options.member_id),
            self_id: options.member_id,
            leads: false,
            term: 0,
            committed: 0,
            leader: 0,
            failed: 0,
        })
    }

    /// Takes a request; its answer follows as [`Output::Respond`] with the same caller.
    pub fn submit(&mut self, caller: Caller, request: Request, now_ns: u64) {
        match request {
            Request::Propose(command) => self.submit_command(caller, command, now_ns),
            Request::Range(range) => match range.check() {
                Ok(()) => {
                    let local = range.serializable;
                    self.read(Read { caller, kind: ReadKind::Range(range) }, local);
                }
                Err(refusal) => self.respond(caller, Err(refusal.into())),
            },
            Request::Barrier => self.read(Read { caller, kind: ReadKind::Nothing }, false),
            Request::Members { linearizable } => {
                self.read(Read { caller, kind: ReadKind::Members }, !linearizable)
            }
            Request::LeaseRenew { id } => {
                if let Some(ttl) = self.applier.renew_lease(caller, id, now_ns) {
                    let clear = Command::LeaseCheckpoint(vec![(id, 0)]);
                    self.propose_instead(caller, &clear, Instead::Renewed { id, ttl }, now_ns);
                }
            }
            Request::LeaseTimeToLive { id, keys } => {
                let result = self.applier.lease_time_to_live(id, keys, now_ns);
                self.respond(caller, result.map(Answer::LeaseTimeToLive));
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
            Request::MemberAdd { .. }
            | Request::MemberRemove { .. }
            | Request::MemberUpdate { .. }
            | Request::MemberPromote { .. }
            | Request::MoveLeader { .. }
            | Request::Downgrade { .. } => self.respond(caller, Err(ApiError::ProposalDropped)),
        }
    }

    fn submit_command(&mut self, caller: Caller, command: Command, now_ns: u64) {
        let cost = command.quota_cost();
        if cost > 0 && self.applier.machine().quota_exceeded_by(cost) {
            return self.refuse_for_space(caller, now_ns);
        }
        if let Err(refusal) = command.check(&self.limits.command) {
            return self.respond(caller, Err(refusal.into()));
        }
        let is_read_only = matches!(&command, Command::Txn(txn) if txn.is_read_only());
        if is_read_only && let Command::Txn(txn) = command {
            self.read_txn(caller, txn);
        } else {
            self.propose_for(caller, command, now_ns);
        }
    }

    fn read_txn(&mut self, caller: Caller, txn: Txn) {
        let local = txn.is_serializable();
        self.read(Read { caller, kind: ReadKind::Txn(txn) }, local);
    }

    fn read(&mut self, read: Read, local: bool) {
        if local { self.local.push(read) } else { self.reads.push(read) }
    }

    fn propose_for(&mut self, caller: Caller, mut command: Command, now_ns: u64) {
        let lag = self.committed.saturating_sub(self.applier.machine().applied().0);
        if lag > self.limits.apply_lag_max || self.waiters.waiting() >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        if let Command::LeaseGrant { id, .. } = &mut command
            && *id == 0
        {
            *id = self.draw_lease_id();
        }
        let deadline = now_ns + self.limits.request_timeout_ns;
        let id = self.waiters.next_for(caller, deadline);
        let header = Header { request_id: id, ..Header::default() };
        let entry = schema::encode(&header, &command);
        if entry.len() > self.limits.request_bytes_max {
            self.waiters.take(id);
            return self.respond(caller, Err(ApiError::RequestTooLarge));
        }
        self.proposals.push((id, entry));
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
        let header = Header { request_id: id, ..Header::default() };
        self.proposals.push((id, schema::encode(&header, command)));
        id
    }

    /// Proposes a command of the member's own, whose outcome lets a caller be told something else.
    fn propose_instead(&mut self, caller: Caller, command: &Command, instead: Instead, now_ns: u64) {
        if self.waiters.waiting() >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        let id = self.waiters.next_for(caller, now_ns + self.limits.request_timeout_ns);
        self.instead.insert(id, instead);
        let header = Header { request_id: id, ..Header::default() };
        self.proposals.push((id, schema::encode(&header, command)));
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
        self.commit.wanted = true;
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
            WatchCall::Create { .. }
            | WatchCall::Cancel { .. }
            | WatchCall::Progress { .. }
            | WatchCall::Consumed { .. } => {}
        }
        self.applier.watch(call, now_ns);
    }

    /// Time has passed: call it once per heartbeat interval.
    pub fn tick(&mut self, now_ns: u64) {
        self.consensus.tick();
        self.applier.tick(now_ns);
        let late = self.waiters.take_late(now_ns);
        if !late.is_empty() {
            self.instead.retain(|id, _| self.waiters.is_waiting(*id));
        }
        for caller in late {
            self.failed += 1;
            self.respond(caller, Err(ApiError::Timeout));
        }
        for read in self.reads.take_late(now_ns) {
            self.respond(read.caller, Err(ApiError::Timeout));
        }
    }

    /// Stands for election at once; for a cluster of one.
    pub fn campaign(&mut self) {
        self.consensus.campaign();
    }

    /// The write named by `ticket` is done (and synced, if that was asked).
    pub fn on_persisted(&mut self, ticket: u64) {
        self.consensus.on_persisted(ticket);
    }

    /// The commit under way is done; the views given from now on hold it.
    pub fn on_committed(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.applier.on_committed(total_bytes, in_use_bytes);
        self.outputs.extend(std::mem::take(&mut self.hashes_committing).into_iter().map(Output::Hash));
        let snapshot = self.commit.in_flight.take().flatten();
        if let Some(snapshot) = snapshot {
            self.commit.snapshot_index = snapshot.index;
            self.commit.snapshots += 1;
            let is_alone = self.consensus.status().voters.len() <= 1;
            let kept = if is_alone { 0 } else { self.limits.catch_up_entries };
            self.consensus.compact(snapshot.index.saturating_sub(kept));
            self.outputs.push_back(Output::SnapshotTaken(snapshot));
        }
    }

    /// Plans the hashes that were asked for, at the moment at which a batch is taken: the view that they will read is
    /// that of the batch, and a compaction that goes on must not have moved the plan beyond it by then.
    fn plan_hashes(&mut self) {
        for HashWanted { caller, revision } in std::mem::take(&mut self.hashes_wanted) {
            let Some(revision) = revision else {
                self.hashes_committing.push(HashJob::Whole(caller));
                continue;
            };
            match self.applier.machine().store().hash_plan(revision) {
                Ok(HashPlan::Cached(hash)) => self.respond(caller, Ok(Answer::HashKv(hash))),
                Ok(plan) => self.hashes_committing.push(HashJob::Keys(caller, plan)),
                Err(error) => {
                    let error = self.applier.read_error(error.into());
                    self.respond(caller, Err(error));
                }
            }
        }
    }

    /// How large the backend is, before the first commit tells.
    pub fn set_database_size(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.applier.set_database_size(total_bytes, in_use_bytes);
    }

    /// Whether so much waits for the backend that no further requests should be submitted until it has caught up.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.applier.machine().pending_bytes() > self.limits.commit_backlog_bytes_max
    }

    /// Makes the next commit a durable one, with a log snapshot (for a graceful stop).
    pub fn want_snapshot(&mut self) {
        self.commit.wanted = true;
        self.commit.snapshot_wanted = true;
    }

    /// Whether what [`Self::want_snapshot`] asked for is done. What was applied since is in the log.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.commit.in_flight.is_none() && !self.commit.wanted
    }

    /// Answers every caller that still waits with `error`, for the end of the member, whatever its cause.
    /// A command that was proposed may be in the log all the same.
    pub fn refuse_all(&mut self, error: &ApiError) {
        self.proposals.clear();
        self.instead.clear();
        let mut callers = self.waiters.take_all();
        callers.extend(std::mem::take(&mut self.held).into_values());
        let reads = std::mem::take(&mut self.reads).into_reads().chain(std::mem::take(&mut self.local));
        callers.extend(reads.map(|read| read.caller));
        callers.extend(std::mem::take(&mut self.hashes_wanted).into_iter().map(|wanted| wanted.caller));
        callers.extend(std::mem::take(&mut self.hashes_committing).iter().map(HashJob::caller));
        self.drain_applier();
        callers.extend(self.applier.take_callers());
        for caller in callers {
            self.respond(caller, Err(error.clone()));
        }
    }

    /// Works on everything that waits; `true` if there is more to do at once.
    /// The view must hold everything that was reported with [`Self::on_committed`].
    pub fn turn(&mut self, view: &dyn ReadView, now_ns: u64) -> bool {
        self.send_proposals();
        if self.reads.is_collecting() {
            let barrier = self.consensus.barrier();
            self.reads.start(barrier, now_ns + self.limits.request_timeout_ns);
        }
        while let Some(output) = self.consensus.poll() {
            self.on_consensus(view, output, now_ns);
            self.note_status();
        }
        for read in std::mem::take(&mut self.local) {
            self.serve(view, read);
        }
        let more = self.applier.work(view, now_ns);
        self.drain_applier();
        if self.failure().is_some() {
            // An entry may be applied in part: nothing of it may reach the backend.
            return false;
        }
        self.announce(now_ns);
        self.start_commit(now_ns);
        more || !self.proposals.is_empty()
    }

    /// Makes this member known to the cluster, once a leader can be asked to.
    fn announce(&mut self, now_ns: u64) {
        // A member that starts again is known already, but leads only when the rest of its log is applied.
        let is_ready = self.leader() != 0 && (!self.leads || self.applier.is_caught_up());
        if is_ready && let Some(notice) = self.announcer.published(self.applier.machine()) {
            self.outputs.push_back(Output::Notice(notice));
            // Clients that come now are told how large the backend is.
            self.commit.wanted = true;
        }
        if self.leader() == 0 || !self.applier.is_caught_up() {
            return;
        }
        for command in self.announcer.poll(self.applier.machine(), self.leads, now_ns) {
            self.propose(&command);
        }
    }

    fn note_status(&mut self) {
        let status = self.consensus.status();
        self.term = status.term;
        self.committed = status.commit;
        self.leader = status.leader.unwrap_or(0);
    }

    fn send_proposals(&mut self) {
        if self.proposals.is_empty() {
            return;
        }
        let (ids, entries): (Vec<u64>, Vec<Bytes>) = std::mem::take(&mut self.proposals).into_iter().unzip();
        if self.consensus.propose(entries).is_err() {
            self.failed += ids.len() as u64;
            for id in ids {
                self.instead.remove(&id);
                if let Some(caller) = self.waiters.take(id) {
                    self.respond(caller, Err(ApiError::ProposalDropped));
                }
            }
        }
    }

    fn on_consensus(&mut self, view: &dyn ReadView, output: ConsensusOutput, now_ns: u64) {
        match output {
            ConsensusOutput::Persist { ticket, entries, hard_state, must_sync } => {
                self.commit.snapshot_bytes +=
                    entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
                self.outputs.push_back(Output::Persist(Persist { ticket, entries, hard_state, must_sync }));
            }
            ConsensusOutput::Send(messages) => self.outputs.push_back(Output::Send(messages)),
            ConsensusOutput::Apply(entries) => self.apply(view, &entries, now_ns),
            ConsensusOutput::BarrierReached(barrier, index) => {
                self.reads.on_reached(barrier, index);
                self.serve_ready(view);
            }
            ConsensusOutput::BarrierLost(barrier) => {
                for read in self.reads.on_lost(barrier) {
                    self.respond(read.caller, Err(ApiError::LeaderChanged));
                }
            }
            ConsensusOutput::Role { leads, leader } => self.on_role(leads, leader),
        }
    }

    fn on_role(&mut self, leads: bool, leader: u64) {
        let term = self.consensus.status().term;
        if leads && !self.leads {
            self.outputs.push_back(Output::Notice(Notice::BecameLeader { term }));
        } else if !leads {
            self.outputs.push_back(Output::Notice(Notice::LeaderChanged { leader, term }));
        }
        if self.leads && !leads {
            self.applier.demote();
        }
        self.leads = leads;
    }

    fn apply(&mut self, view: &dyn ReadView, entries: &[Entry], now_ns: u64) {
        for entry in entries {
            match entry.kind {
                EntryKind::Normal => self.applier.apply(view, entry, now_ns),
                EntryKind::ConfChange | EntryKind::ConfChangeV2 => self.apply_conf_change(entry, now_ns),
            }
            // The empty entry of this member's own term tells that its leadership is established.
            // Consensus may put another empty one in the place of a change of membership that it refuses.
            let is_established = self.applier.is_caught_up();
            let is_own = entry.data.is_empty() && entry.term == self.consensus.status().term;
            if self.leads && is_own && !is_established {
                self.applier.promote(now_ns);
            }
        }
        if let Some(last) = entries.last() {
            self.consensus.on_applied(last.index);
        }
        self.applier.publish(view);
        self.drain_applier();
        self.serve_ready(view);
    }

    fn apply_conf_change(&mut self, entry: &Entry, now_ns: u64) {
        let change = ConfChange::decode(&entry.data).ok();
        let valid = change.as_ref().filter(|change| self.applier.is_valid_change(change));
        match self.consensus.apply_conf_change(valid) {
            Ok(conf_state) => self.applier.apply_conf_change(entry, change.as_ref(), &conf_state, now_ns),
            Err(error) => self.applier.fail(error.into()),
        }
    }

    fn serve_ready(&mut self, view: &dyn ReadView) {
        let (applied, _) = self.applier.machine().applied();
        for read in self.reads.take_ready(applied) {
            self.serve(view, read);
        }
    }

    fn serve(&mut self, view: &dyn ReadView, read: Read) {
        let caller = read.caller;
        match read.kind {
            ReadKind::Range(range) => self.applier.range(view, caller, range),
            ReadKind::Txn(txn) => {
                let result = self.applier.read_txn(view, &txn);
                self.respond(caller, result);
            }
            ReadKind::Members => {
                let members = self.applier.members();
                self.respond(caller, Ok(Answer::Members(members)));
            }
            ReadKind::Nothing => self.respond(caller, Ok(Answer::Done)),
        }
    }

    fn drain_applier(&mut self) {
        while let Some(output) = self.applier.poll() {
            match output {
                ApplierOutput::Outcome { request_id, result } => self.on_outcome(request_id, result),
                ApplierOutput::Held { request_id } => {
                    if let Some(caller) = self.waiters.take(request_id) {
                        self.held.insert(request_id, caller);
                    }
                }
                ApplierOutput::Respond { caller, result } => self.respond(caller, result),
                ApplierOutput::Deliver(delivery) => {
                    if let Some(front) = self.streams.get(&delivery.stream) {
                        self.outputs.push_back(Output::Deliver(Deliver {
                            front: *front,
                            stream: delivery.stream,
                            bytes: delivery.bytes,
                            raft_term: self.term,
                            response: delivery.response,
                        }));
                    }
                }
                ApplierOutput::Propose(command) => {
                    self.propose(&command);
                }
                ApplierOutput::Notice(notice) => self.outputs.push_back(Output::Notice(notice)),
            }
        }
    }

    fn on_outcome(&mut self, request_id: u64, result: Result<Outcome, Refusal>) {
        let instead = self.instead.remove(&request_id);
        let caller = self.waiters.take(request_id).or_else(|| self.held.remove(&request_id));
        let Some(caller) = caller else { return };
        let result = match instead {
            None => result.map(Answer::Applied).map_err(ApiError::from),
            Some(Instead::NoSpace) => Err(Refusal::NoSpace.into()),
            Some(Instead::Renewed { id, ttl }) => {
                // It may have been revoked meanwhile.
                let is_alive = self.applier.machine().leases().contains(id);
                Ok(Answer::LeaseRenewed { ttl: if is_alive { ttl } else { 0 } })
            }
        };
        self.respond(caller, result);
    }

    fn respond(&mut self, caller: Caller, result: Result<Answer, ApiError>) {
        let (revision, raft_term) = self.stamp();
        self.outputs.push_back(Output::Respond(Respond { caller, revision, raft_term, result }));
    }

    /// Sends what is pending to the backend when it is time, one batch at a time.
    fn start_commit(&mut self, now_ns: u64) {
        if self.commit.in_flight.is_some() {
            return;
        }
        let pending = self.applier.machine().pending_bytes();
        if pending > 0 && self.commit.since_ns.is_none() {
            self.commit.since_ns = Some(now_ns);
        }
        let (index, term) = self.applier.machine().applied();
        let entries = index.saturating_sub(self.commit.snapshot_index);
        let snapshot_due = self.commit.snapshot_wanted
            || entries >= self.limits.snapshot_entries
            || self.commit.snapshot_bytes >= self.limits.snapshot_bytes;
        let old = self.commit.since_ns.is_some_and(|since| now_ns - since >= self.limits.commit_interval_ns);
        let due = self.commit.wanted
            || self.applier.wants_commit()
            || snapshot_due
            || old
            || pending >= self.limits.commit_bytes_max;
        if due {
            let snapshot = (snapshot_due && entries > 0).then(|| LogSnapshot {
                index,
                term,
                conf_state: convert::conf_state_raft(self.applier.machine().conf_state()),
            });
            let batch = Arc::new(self.applier.take_batch());
            self.plan_hashes();
            self.commit.in_flight = Some(snapshot.clone());
            self.commit.since_ns = None;
            self.commit.wanted = false;
            self.commit.snapshot_wanted = false;
            if snapshot.is_some() {
                self.commit.snapshot_bytes = 0;
            }
            self.outputs.push_back(Output::Commit(Commit { batch, snapshot }));
        }
    }

    /// What a response header says now: the store's revision and the Raft term.
    #[must_use]
    pub fn stamp(&self) -> (i64, u64) {
        (self.applier.machine().store().revision(), self.term)
    }

    /// What the member says of itself.
    #[must_use]
    pub fn report(&self) -> StatusReport {
        let status = self.consensus.status();
        let mut report = self.applier.report();
        report.leader = status.leader.unwrap_or(0);
        report.is_leader = self.leads;
        report.raft_term = status.term;
        report.raft_committed = status.commit;
        report.counters.leader_changes = self.consensus.leader_changes();
        report.counters.proposals_committed = status.commit;
        report.counters.proposals_pending = self.waiters.waiting() as u64;
        report.counters.proposals_failed = self.failed;
        report.counters.snapshots = self.commit.snapshots;
        report
    }

    /// What made it impossible to go on: the process must end.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.applier.failure()
    }

    /// When the member wants a turn although nothing arrives, if ever; ticks are apart from this.
    #[must_use]
    pub fn next_turn_ns(&self) -> Option<u64> {
        self.applier.compaction_due_ns()
    }

    /// The leader's id, 0 if none is known.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.leader
    }

    /// The next thing that the shell must do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
