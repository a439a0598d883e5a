//! One member: consensus and applier, joined by values, without I/O.
//!
//! The shell calls [`Member::submit`], [`Member::watch`], [`Member::step`], [`Member::tick`] with what arrived, then
//! [`Member::turn`], then [`Member::poll`] until there is nothing left, and reports back what it carried out.
//! Everything that waits is taken in one turn: one proposal message, one read barrier, one publication to watchers.

mod apply_waits;
mod commit;
mod guard;
mod leadership;
mod membership;
mod outcomes;
mod peers;
mod requests;
mod snapshots;
mod v2;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use etched_auth::Principal;
use etched_backend::ReadView;
use etched_raft_core::{Entry, EntryKind};
use etched_watch::StreamId;

use crate::applier::{Applier, ApplierOutput, Failure};
use crate::consensus::{Consensus, ConsensusOutput};
use crate::convert;
use crate::measures::{Measure, ReadTimes, Remark};
use crate::options::{Limits, MemberOptions, Start, StartError};
use crate::output::{Deliver, HashJob, Notice, Output, Persist, Respond};
use crate::presence::Announcer;
use crate::reads::{Read, ReadKind, ReadQueue};
use crate::request::{Answer, ApiError, Caller};
use crate::status::StatusReport;
use crate::versions::Versions;
use crate::waiters::{Waiter, Waiters};

/// Barriers under way at once: reads that come while there are so many share the next one.
const BARRIERS_MAX: usize = 4;

/// The write at the start with which a member makes itself the only one.
const FORCED_TICKET: u64 = 0;

/// One member without I/O.
pub struct Member {
    consensus: Consensus,
    applier: Applier,
    waiters: Waiters,
    reads: ReadQueue,
    limits: Limits,
    v2: v2::V2Front,
    proposals: Vec<requests::Proposal>,
    conf_changes: membership::ConfChanges,
    local: Vec<Read>,
    /// What waits until its token is known here.
    parked: guard::Parked,
    /// What waits until that is applied which was committed when it was asked.
    apply_waits: apply_waits::ApplyWaits,
    hashes_wanted: Vec<commit::HashWanted>,
    /// Hashes over what is on its way to the backend.
    hashes_committing: Vec<HashJob>,
    streams: BTreeMap<StreamId, u64>,
    commit: commit::CommitState,
    snapshots: snapshots::Snapshots,
    leadership: leadership::Leadership,
    /// Proposals whose callers are told something else than the outcome.
    instead: BTreeMap<u64, outcomes::Instead>,
    /// Callers whose outcome is known and held back until a compaction is finished.
    held: BTreeMap<u64, Caller>,
    /// Commands of the member's own under way: their field in an entry, and when they were proposed.
    own: BTreeMap<u64, (u32, u64)>,
    outputs: VecDeque<Output>,
    announcer: Announcer,
    versions: Versions,
    /// When the shell is told that this member was removed.
    removal_due_ns: Option<u64>,
    /// Whether the entries that make this member the only one are still to be written.
    is_forcing: bool,
    strict_reconfig_check: bool,
    self_id: u64,
    leads: bool,
    /// Term, commit index and leader as of the last poll of consensus.
    term: u64,
    committed: u64,
    leader: u64,
    failed: u64,
    reads_failed: u64,
    reads_slow: u64,
    /// The time of the turn or tick under way.
    turn_ns: u64,
}

impl Member {
    /// A member that goes on from what its log and its backend hold.
    ///
    /// # Errors
    ///
    /// When the two do not fit together, stored state is damaged, or the cluster has gone on to a newer version.
    pub fn new(view: &dyn ReadView, start: Start, options: MemberOptions) -> Result<Self, StartError> {
        let versions = Versions::new(&options.presence.cluster_version);
        let applier = Applier::restore(view, options.applier)?;
        versions.check_own(applier.machine())?;
        let (config, restored, forced) = start.check(applier.machine())?;
        let snapshot_index = restored.snapshot.index;
        let hard_state = restored.hard_state;
        let retry_ticks = (leadership::BARRIER_RETRY_NS / options.tick_ns.max(1)).max(1);
        let consensus = Consensus::new(config, restored, retry_ticks)?;
        let mut member = Self {
            consensus,
            applier,
            waiters: Waiters::new(options.member_id, options.start_ms),
            reads: ReadQueue::default(),
            limits: options.limits,
            v2: v2::V2Front::default(),
            proposals: Vec::new(),
            conf_changes: membership::ConfChanges::default(),
            local: Vec::new(),
            parked: guard::Parked::default(),
            apply_waits: apply_waits::ApplyWaits::default(),
            hashes_wanted: Vec::new(),
            hashes_committing: Vec::new(),
            streams: BTreeMap::new(),
            commit: commit::CommitState::new(snapshot_index),
            snapshots: snapshots::Snapshots::default(),
            leadership: leadership::Leadership::new(
                options.tick_ns,
                options.election_ns,
                options.advance_election,
            ),
            instead: BTreeMap::new(),
            held: BTreeMap::new(),
            own: BTreeMap::new(),
            outputs: VecDeque::new(),
            announcer: Announcer::new(options.presence, options.member_id),
            versions,
            removal_due_ns: None,
            is_forcing: false,
            strict_reconfig_check: options.strict_reconfig_check,
            self_id: options.member_id,
            leads: false,
            term: 0,
            committed: 0,
            leader: 0,
            failed: 0,
            reads_failed: 0,
            reads_slow: 0,
            turn_ns: 0,
        };
        member.note_consensus();
        member.tell_members();
        if member.applier.machine().members().was_removed(member.self_id) {
            member.removal_due_ns = Some(0);
        }
        if !forced.is_empty() {
            member.is_forcing = true;
            member.outputs.push_back(Output::Persist(Persist {
                ticket: FORCED_TICKET,
                entries: forced,
                hard_state: Some(hard_state),
                must_sync: true,
            }));
        }
        Ok(member)
    }

    /// Time has passed: call it once per heartbeat interval.
    pub fn tick(&mut self, now_ns: u64) {
        self.turn_ns = now_ns;
        self.doubt_after_pause(now_ns);
        self.leadership.on_tick(now_ns);
        self.consensus.tick();
        self.applier.tick(now_ns);
        self.answer_late(now_ns);
        self.refuse_late_parked(now_ns);
        self.refuse_late_apply_waits(now_ns);
        if self.removal_due_ns.is_some_and(|due| due <= now_ns) {
            self.removal_due_ns = None;
            self.outputs.push_back(Output::Notice(Notice::Removed));
        }
    }

    /// Stands for election at once, if this member is the only one that votes; else nothing happens.
    pub fn campaign(&mut self) {
        self.consensus.campaign_alone();
    }

    /// The write named by `ticket` is done (and synced, if that was asked).
    pub fn on_persisted(&mut self, ticket: u64) {
        if ticket == FORCED_TICKET {
            self.is_forcing = false;
        } else {
            self.consensus.on_persisted(ticket);
        }
    }

    /// Works on everything that waits; `true` if there is more to do at once.
    /// The view must hold everything that was reported with [`Self::on_committed`].
    pub fn turn(&mut self, view: &dyn ReadView, now_ns: u64) -> bool {
        self.turn_ns = now_ns;
        if self.is_forcing {
            return false;
        }
        self.send_proposals();
        self.send_conf_changes();
        self.drain_consensus(view, now_ns);
        let local = std::mem::take(&mut self.local);
        self.serve_all(view, local, now_ns);
        let more = self.applier.work(view, now_ns);
        self.drain_applier();
        if self.failure().is_some() {
            // An entry may be applied in part: nothing of it may reach the backend.
            return false;
        }
        self.announce(now_ns);
        self.release_v2(now_ns);
        self.start_commit(now_ns);
        more || (!self.proposals.is_empty() && self.leader != 0)
    }

    fn drain_consensus(&mut self, view: &dyn ReadView, now_ns: u64) {
        loop {
            if self.reads.is_collecting() && self.consensus.barriers_under_way() < BARRIERS_MAX {
                let barrier = self.consensus.barrier();
                self.reads.start(barrier);
            }
            let Some(output) = self.consensus.poll() else { break };
            self.note_consensus();
            self.on_consensus(view, output, now_ns);
        }
        self.note_consensus();
    }

    fn note_consensus(&mut self) {
        self.term = self.consensus.term();
        self.committed = self.consensus.committed();
        self.leader = self.consensus.leader();
    }

    fn on_consensus(&mut self, view: &dyn ReadView, output: ConsensusOutput, now_ns: u64) {
        match output {
            ConsensusOutput::Persist { ticket, entries, hard_state, must_sync } => {
                self.commit.on_entries(&entries);
                self.outputs.push_back(Output::Persist(Persist { ticket, entries, hard_state, must_sync }));
            }
            ConsensusOutput::Send(messages) => self.outputs.push_back(Output::Send(messages)),
            ConsensusOutput::SnapshotWanted => self.supply_snapshot(),
            ConsensusOutput::SendSnapshot(message) => self.hold_snapshot(message),
            ConsensusOutput::Install { ticket, meta, data } => self.begin_install(ticket, meta, data),
            ConsensusOutput::Apply(entries) => self.apply(view, entries, now_ns),
            ConsensusOutput::BarrierReached(barrier, index) => {
                self.reads.on_reached(barrier, index);
                self.serve_ready(view, now_ns);
            }
            ConsensusOutput::BarrierLost(barrier) => {
                for read in self.reads.on_lost(barrier) {
                    self.fail_read(read, ApiError::LeaderChanged, now_ns);
                }
            }
            ConsensusOutput::Role { leads, term, leader } => self.on_role(leads, term, leader, now_ns),
        }
    }

    fn apply(&mut self, view: &dyn ReadView, entries: Vec<Entry>, now_ns: u64) {
        if self.snapshots.is_installing() {
            return self.snapshots.defer(entries);
        }
        self.applier.measures().mark();
        for entry in &entries {
            match entry.kind {
                EntryKind::Normal => self.applier.apply(view, entry, now_ns),
                EntryKind::ConfChange | EntryKind::ConfChangeV2 => self.apply_conf_change(entry, now_ns),
            }
            // The empty entry of this member's own term tells that its leadership is established.
            // Consensus may put another empty one in the place of a change of membership that it refuses.
            let is_established = self.applier.is_caught_up();
            let is_own = entry.data.is_empty() && entry.term == self.consensus.term();
            if self.leads && is_own && !is_established {
                self.applier.promote(now_ns);
            }
        }
        if let Some(last) = entries.last() {
            self.consensus.on_applied(last.index);
        }
        self.applier.publish(view);
        self.drain_applier();
        self.note_members(now_ns);
        self.check_versions();
        self.release_parked(now_ns);
        self.release_apply_waits(now_ns);
        self.serve_ready(view, now_ns);
    }

    fn serve_ready(&mut self, view: &dyn ReadView, now_ns: u64) {
        let (applied, _) = self.applier.machine().applied();
        let ready = self.reads.take_ready(applied);
        self.serve_all(view, ready, now_ns);
    }

    fn serve_all(&mut self, view: &dyn ReadView, reads: Vec<Read>, now_ns: u64) {
        if reads.is_empty() {
            return;
        }
        let begun_ns = self.applier.measures().now();
        for read in reads {
            self.serve(view, read, now_ns);
        }
        self.applier.note_ranged(begun_ns);
    }

    fn serve(&mut self, view: &dyn ReadView, read: Read, now_ns: u64) {
        let caller = read.caller;
        let principal = match self.admit_read(&read, now_ns) {
            Ok(principal) => principal,
            Err(error) => return self.respond(caller, Err(error)),
        };
        let started_ns = self.started_of(&read);
        let times = ReadTimes { started_ns, served_ns: now_ns };
        match read.kind {
            ReadKind::Range(range) => self.applier.range(view, caller, range, principal, times),
            ReadKind::Txn(txn) => {
                let result = self.applier.read_txn(view, &txn, principal.as_ref(), times);
                self.respond(caller, result);
            }
            ReadKind::PasswordHash(name) => {
                let result = self.applier.password_hash(&name);
                self.respond(caller, result);
            }
            ReadKind::Members => {
                let members = self.applier.members();
                self.respond(caller, Ok(Answer::Members(members)));
            }
            ReadKind::Downgrade { action, target } => self.downgrade(caller, action, target, now_ns),
            ReadKind::V2(read) => self.read_v2(caller, &read),
            ReadKind::Nothing => self.respond(caller, Ok(Answer::Done)),
            ReadKind::Leadership => self.confirm_leadership(now_ns),
        }
    }

    /// Asks who wants to read, and whether he may.
    fn admit_read(&mut self, read: &Read, now_ns: u64) -> Result<Option<Principal>, ApiError> {
        if !self.applier.is_guarded() {
            return Ok(None);
        }
        match &read.kind {
            ReadKind::Range(range) => {
                let principal = self.identify(&read.credentials, now_ns)?;
                self.applier.machine().permit_range(principal.as_ref(), range)?;
                Ok(principal)
            }
            ReadKind::Txn(txn) => {
                let principal = self.identify(&read.credentials, now_ns)?;
                self.applier.machine().permit_txn(principal.as_ref(), txn)?;
                Ok(principal)
            }
            ReadKind::Members => {
                self.require(&read.credentials, guard::Requirement::Somebody, now_ns)?;
                Ok(None)
            }
            // Asked before; or the question is the member's own.
            ReadKind::Downgrade { .. }
            | ReadKind::V2(_)
            | ReadKind::PasswordHash(_)
            | ReadKind::Nothing
            | ReadKind::Leadership => Ok(None),
        }
    }

    fn drain_applier(&mut self) {
        while let Some(output) = self.applier.poll() {
            match output {
                ApplierOutput::Outcome { request_id, index, result } => {
                    self.on_outcome(request_id, index, result);
                }
                ApplierOutput::Held { request_id } => {
                    if let Some(Waiter { caller, field, started_ns, .. }) = self.waiters.take(request_id) {
                        self.note_proposed(field, true, started_ns);
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
                ApplierOutput::ProposeAsLeader(command) => self.propose_as_leader(&command),
                ApplierOutput::V2Event(event) => self.on_v2_event(&event),
                ApplierOutput::V2Replaced => self.on_v2_replaced(),
                ApplierOutput::V2SpeakersChanged => self.v2.on_members_changed(),
                ApplierOutput::Notice(notice) => self.outputs.push_back(Output::Notice(notice)),
            }
        }
    }

    fn respond(&mut self, caller: Caller, result: Result<Answer, ApiError>) {
        self.respond_at(caller, 0, result);
    }

    fn respond_at(&mut self, caller: Caller, index: u64, result: Result<Answer, ApiError>) {
        let (revision, raft_term) = self.stamp();
        self.outputs.push_back(Output::Respond(Respond { caller, index, revision, raft_term, result }));
    }

    /// Makes this member known to the cluster, once a leader can be asked to, and lets a leader agree on versions.
    fn announce(&mut self, now_ns: u64) {
        // A member that starts again is known already, but leads only when the rest of its log is applied.
        let is_ready = self.leader != 0 && (!self.leads || self.applier.is_caught_up());
        if !is_ready {
            return;
        }
        if let Some(notice) = self.announcer.published(self.applier.machine()) {
            self.outputs.push_back(Output::Notice(notice));
            // Clients that come now are told how large the backend is.
            self.commit.want();
        }
        self.speak_v2(now_ns);
        if let Some(command) = self.announcer.poll(self.applier.machine(), now_ns) {
            self.propose(&command);
        }
        if self.leads
            && let Some(command) = self.versions.poll(self.applier.machine(), self.self_id, now_ns)
        {
            self.propose_as_leader(&command);
        }
    }

    /// What a response header says now: the store's revision and the Raft term.
    #[must_use]
    pub fn stamp(&self) -> (i64, u64) {
        (self.applier.machine().store().revision(), self.term)
    }

    /// Whether authentication is on, as of what is applied.
    #[must_use]
    pub fn is_auth_enabled(&self) -> bool {
        self.applier.machine().auth().is_enabled()
    }

    /// What the member says of itself.
    #[must_use]
    pub fn report(&self) -> StatusReport {
        let mut report = self.applier.report();
        report.leader = self.consensus.leader();
        report.is_leader = self.leads;
        report.raft_term = self.consensus.term();
        report.raft_committed = self.consensus.committed();
        report.counters.leader_changes = self.consensus.leader_changes();
        report.counters.proposals_committed = self.consensus.committed();
        report.counters.proposals_pending = self.waiters.waiting() as u64;
        report.counters.proposals_failed = self.failed;
        report.counters.read_indexes_failed = self.reads_failed;
        report.counters.read_indexes_slow = self.reads_slow;
        report.counters.snapshots = self.commit.snapshots();
        report.v2 = self.v2.counts(self.applier.machine().v2().stats());
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

    /// Exchanges what was measured and remarked since the last call against empty lists.
    pub fn take_measures(&mut self, measures: &mut Vec<Measure>, remarks: &mut Vec<Remark>) {
        self.applier.measures().take(measures, remarks);
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

/// An entry of the log with a command in it.
fn encode(id: u64, command: &etched_state_machine::Command) -> Bytes {
    let header = etched_state_machine::Header { request_id: id, ..Default::default() };
    etched_state_machine::schema::encode(&header, command)
}

fn conf_state_of(applier: &Applier) -> etched_raft_core::ConfState {
    convert::conf_state_raft(applier.machine().conf_state())
}
