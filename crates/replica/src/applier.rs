//! The half of a member that applies entries and answers reads: keys, leases, alarms, members and watches.
//!
//! It knows nothing of Raft but the order of the entries.
//! It holds the replicated [`StateMachine`], and beside it what only this member has: the hub of its watch streams,
//! the leader's clock over leases, and the jobs that are worked on in slices (compactions, large reads, history for
//! watchers that are behind).

mod auto_compaction;
mod identity;
mod leases;
mod ranges;
mod upkeep;
mod watches;

use std::collections::VecDeque;

use etched_auth::{Principal, Refusal as AuthRefusal};
use etched_backend::{BackendError, Batch, ReadView};
use etched_lease::{ClockOptions, LeaseClock};
use etched_mvcc::Change;
use etched_raft_core::{ConfChange, ConfState, Entry};
use etched_state_machine::v2store::{self, Depth, Event};
use etched_state_machine::{
    AlarmRequest, Applied, ApplyError, Command, Effects, Operations, Options, Outcome, ReadError, Refusal,
    RestoreError, StateMachine, Txn,
};
use etched_watch::{Delivery, Hub, HubOptions};

pub use auto_compaction::AutoCompaction;

use crate::convert;
use crate::measures::{Measure, MeasureOptions, Measures, ReadTimes, Remark};
use crate::options::StartError;
use crate::output::Notice;
use crate::request::{Answer, ApiError, Caller, MemberEntry};
use crate::status::StatusReport;
use crate::versions::VersionTooLow;

/// Settings of the applying half.
#[derive(Clone, Debug)]
pub struct ApplierOptions {
    /// Settings of the state machine.
    pub machine: Options,
    /// Settings of the hub of watch streams.
    pub hub: HubOptions,
    /// Nanoseconds by which the life of leases is extended when this member becomes leader (an election's length).
    pub lease_extension_ns: u64,
    /// Keys (revisions) that one slice of a compaction visits (`--compaction-batch-limit`).
    pub compaction_keys: usize,
    /// Nanoseconds between slices of a compaction (`--compaction-sleep-interval`).
    pub compaction_pause_ns: u64,
    /// When to compact without being asked.
    pub auto_compaction: AutoCompaction,
    /// What is measured.
    pub measures: MeasureOptions,
    /// Nanoseconds for which a token that stands for a user lives after its last use (`--auth-token-ttl`).
    pub token_life_ns: u64,
}

/// What the member must do for its applying half.
#[derive(Debug)]
pub(crate) enum ApplierOutput {
    /// An entry has its outcome; who waits for `request_id` is answered.
    Outcome { request_id: u64, index: u64, result: Result<Outcome, Refusal> },
    /// An entry has its outcome, which is held back until a compaction is finished, however long that takes.
    Held { request_id: u64 },
    /// Answer a caller.
    Respond { caller: Caller, result: Result<Answer, ApiError> },
    /// Give a response to a watch stream.
    Deliver(Delivery),
    /// Propose a command of the member's own.
    Propose(Command),
    /// Propose what only a leader may decide.
    ProposeAsLeader(Command),
    /// The tree of the v2 API has changed.
    V2Event(Box<Event>),
    /// The tree of the v2 API was replaced.
    V2Replaced,
    /// Another member keeps the tree of the v2 API.
    V2SpeakersChanged,
    /// Tell operators.
    Notice(Notice),
}

/// The applying half of a member, without I/O.
pub(crate) struct Applier {
    machine: StateMachine,
    hub: Hub,
    tokens: identity::Tokens,
    /// Changes of watched keys that are applied but not yet published.
    unpublished: Vec<Change>,
    published: i64,
    clock: LeaseClock,
    lease_jobs: leases::LeaseJobs,
    range_jobs: ranges::RangeJobs,
    upkeep: upkeep::Upkeep,
    auto_compaction: auto_compaction::AutoCompactor,
    /// The revisions that the batch under way and all before it reach.
    revision_taken: i64,
    counts: Counts,
    measures: Measures,
    /// Ranges of one key that were read and refused since the last look at the clock.
    ranged: (u64, u64),
    lease_extension_ns: u64,
    is_leader: bool,
    /// Whether no lease runs out for now, since it is not sure that this member still leads.
    are_leases_held: bool,
    members_changed: bool,
    options: Options,
    outputs: VecDeque<ApplierOutput>,
    failure: Option<Failure>,
}

/// Why a member must stop.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// An entry cannot be applied.
    #[error("an entry cannot be applied")]
    Apply(#[from] ApplyError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] BackendError),
    /// The cluster went on to a version that this member does not speak.
    #[error(transparent)]
    Version(#[from] VersionTooLow),
}

/// The command that raises the NOSPACE alarm for a member.
pub(crate) fn raise_no_space(member_id: u64) -> Command {
    const ACTIVATE: i32 = 1;
    const NO_SPACE: i32 = 1;
    Command::Alarm(AlarmRequest { action: ACTIVATE, member_id, alarm: NO_SPACE })
}

#[derive(Debug, Default)]
struct Counts {
    operations: Operations,
    leases_granted: u64,
    leases_revoked: u64,
    leases_renewed: u64,
    leases_expired: u64,
    compactions: u64,
    compacted_keys: u64,
}

impl Applier {
    pub(crate) fn restore(view: &dyn ReadView, options: ApplierOptions) -> Result<Self, RestoreError> {
        let machine = StateMachine::restore(view, options.machine.clone())?;
        let revision = machine.revision();
        let mut hub = Hub::new(options.hub, revision);
        hub.on_compacted(machine.store().compact_revision());
        Ok(Self {
            hub,
            tokens: identity::Tokens::new(options.token_life_ns),
            unpublished: Vec::new(),
            published: revision,
            clock: LeaseClock::new(ClockOptions::default()),
            lease_jobs: leases::LeaseJobs::default(),
            range_jobs: ranges::RangeJobs::default(),
            upkeep: upkeep::Upkeep::new(options.compaction_keys, options.compaction_pause_ns),
            auto_compaction: auto_compaction::AutoCompactor::new(options.auto_compaction),
            revision_taken: revision,
            counts: Counts::default(),
            measures: Measures::new(options.measures),
            ranged: (0, 0),
            lease_extension_ns: options.lease_extension_ns,
            is_leader: false,
            are_leases_held: false,
            members_changed: false,
            options: options.machine,
            outputs: VecDeque::new(),
            failure: None,
            machine,
        })
    }

    /// Takes up another state in the place of the own: the leader's snapshot, which reaches at least to `index`.
    ///
    /// Watchers stay: what they have not seen they read from the history of the new state, or are told that it is
    /// compacted.
    pub(crate) fn reinstall(&mut self, view: &dyn ReadView, index: u64) -> Result<(), StartError> {
        let mut machine = StateMachine::restore(view, self.options.clone())?;
        let applied = machine.applied().0;
        let revision = machine.revision();
        if applied < index || revision < self.published {
            return Err(StartError::SnapshotTooOld { index, applied });
        }
        let (total, in_use) = self.machine.database_size();
        machine.set_database_size(total, in_use);
        self.machine = machine;
        self.unpublished.clear();
        self.published = revision;
        self.revision_taken = revision;
        self.hub.on_restored(revision);
        let compacted = self.machine.store().compact_revision();
        self.hub.on_compacted(compacted);
        self.drop_ranges_below(compacted);
        self.end_upkeep();
        self.demote();
        self.members_changed = true;
        self.outputs.push_back(ApplierOutput::V2Replaced);
        Ok(())
    }

    /// Whether a leader's term is established here: what is proposed before would only wait.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.is_leader
    }

    pub(crate) fn machine(&self) -> &StateMachine {
        &self.machine
    }

    /// Applies one entry that is not a change of membership.
    pub(crate) fn apply(&mut self, view: &dyn ReadView, entry: &Entry, now_ns: u64) {
        if entry.index <= self.machine.applied().0 || self.failure.is_some() {
            return;
        }
        match self.machine.apply(view, entry.index, entry.term, &entry.data) {
            Ok(applied) => {
                let took_ns = self.measures.lap();
                self.measures.on_applied(
                    applied.field,
                    &entry.data,
                    applied.outcome.as_ref().err().copied(),
                    took_ns,
                );
                self.on_applied(applied, now_ns);
            }
            Err(error) => self.failure = Some(error.into()),
        }
    }

    fn on_applied(&mut self, applied: Applied, now_ns: u64) {
        let Applied { index, request_id, outcome, changes, effects, operations, .. } = applied;
        self.counts.operations.add(operations);
        self.note_changes(changes);
        if let Some(change) = effects.token_change.clone() {
            self.tokens.on_change(change, now_ns);
        }
        self.on_effects(&effects, now_ns);
        self.outputs.extend(effects.v2_events.into_iter().map(Box::new).map(ApplierOutput::V2Event));
        // A compaction that is long finished has nothing left to wait for.
        let is_compacting = self.machine.store().compaction_pending().is_some();
        match effects.wait_for_compaction {
            Some(revision) if is_compacting => {
                self.upkeep.hold_answer(revision, request_id, index, outcome);
                self.outputs.push_back(ApplierOutput::Held { request_id });
            }
            Some(_) | None => {
                self.outputs.push_back(ApplierOutput::Outcome { request_id, index, result: outcome });
            }
        }
    }

    fn on_effects(&mut self, effects: &Effects, now_ns: u64) {
        if let Some((id, ttl)) = effects.lease_granted {
            self.counts.leases_granted += 1;
            self.measures.push(Measure::Granted { ttl });
            self.clock.on_granted(id, ttl, now_ns);
        }
        if let Some(id) = effects.lease_revoked {
            self.counts.leases_revoked += 1;
            self.clock.on_revoked(id);
            self.on_lease_gone(id);
        }
        if effects.v2_speakers_changed {
            self.outputs.push_back(ApplierOutput::V2SpeakersChanged);
        }
        if effects.raise_no_space {
            self.outputs.push_back(ApplierOutput::Notice(Notice::QuotaExceeded));
            self.outputs.push_back(ApplierOutput::Propose(raise_no_space(self.machine.member_id())));
        }
        if effects.alarms_changed {
            self.outputs.push_back(ApplierOutput::Notice(Notice::AlarmsChanged));
        }
        if effects.compaction_scheduled.is_some() {
            self.hub.on_compacted(self.machine.store().compact_revision());
        }
        self.members_changed |= effects.members_changed;
        if let Some(id) = effects.member_removed {
            self.outputs.push_back(ApplierOutput::Notice(Notice::MemberRemoved { id }));
        }
        if let Some(enabled) = effects.auth_switched {
            self.outputs.push_back(ApplierOutput::Notice(Notice::AuthSwitched(enabled)));
        }
        if effects.downgrade_changed {
            let target = self.machine.downgrade().map(|downgrade| downgrade.target.to_string());
            self.outputs.push_back(ApplierOutput::Notice(Notice::DowngradeSet(target)));
        }
        if let Some(version) = effects.cluster_version {
            self.outputs.push_back(ApplierOutput::Notice(Notice::ClusterVersionSet(version.to_string())));
        }
    }

    /// Whether a change of membership is valid at this place of the log.
    pub(crate) fn is_valid_change(&self, change: &ConfChange) -> bool {
        self.machine.admit_conf_change(&convert::conf_change(change)).is_ok()
    }

    /// Applies an entry that changes the membership; an undecodable one changes nothing.
    pub(crate) fn apply_conf_change(
        &mut self,
        entry: &Entry,
        change: Option<&ConfChange>,
        state: &ConfState,
        now_ns: u64,
    ) {
        if entry.index <= self.machine.applied().0 || self.failure.is_some() {
            return;
        }
        let record = change.map(convert::conf_change).unwrap_or_default();
        let applied = self.machine.apply_conf_change(
            entry.index,
            entry.term,
            &record,
            convert::conf_state_stored(state),
        );
        if applied.outcome.is_ok()
            && let Some(member) = self.machine.members().get(record.node_id)
        {
            let notice = Notice::MemberAdded { id: member.id, peer_urls: member.peer_urls.clone() };
            self.outputs.push_back(ApplierOutput::Notice(notice));
        }
        self.on_applied(applied, now_ns);
    }

    /// Applies an entry that would change the membership in a way that consensus cannot follow: nothing changes.
    pub(crate) fn refuse_conf_change(&mut self, entry: &Entry, request_id: u64, now_ns: u64) {
        if entry.index <= self.machine.applied().0 || self.failure.is_some() {
            return;
        }
        let applied =
            self.machine.refuse_conf_change(entry.index, entry.term, request_id, Refusal::NotEnoughStarted);
        self.on_applied(applied, now_ns);
    }

    /// Whether the members changed since the last call.
    pub(crate) fn take_members_changed(&mut self) -> bool {
        std::mem::take(&mut self.members_changed)
    }

    /// A log snapshot is made: no older entries are left that a lower version could not read.
    pub(crate) fn lower_storage_version(&mut self) {
        self.machine.lower_storage_version();
    }

    /// While held, no lease runs out.
    pub(crate) fn hold_leases(&mut self, held: bool) {
        self.are_leases_held = held;
    }

    /// Becomes the member whose clock decides over leases.
    pub(crate) fn promote(&mut self, now_ns: u64) {
        self.is_leader = true;
        // Voters may have given up on a leader that lives, since they could not reach it; it renews leases until it
        // finds that it has no quorum, two elections later at most, and holders count on what it said.
        let is_alone = self.machine.conf_state().voters.len() <= 1;
        let elections = if is_alone { 1 } else { 2 };
        self.clock.promote(now_ns, elections * self.lease_extension_ns, self.machine.leases());
    }

    /// Another member leads.
    pub(crate) fn demote(&mut self) {
        self.is_leader = false;
        self.clock.demote();
        self.lease_jobs.on_demoted(&mut self.outputs);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        self.hub.on_tick(now_ns);
        self.tokens.tick(now_ns);
        self.tick_leases(now_ns);
        self.tick_auto_compaction(now_ns);
    }

    /// Works on all that is done in slices; `true` if there is more to do at once.
    pub(crate) fn work(&mut self, view: &dyn ReadView, now_ns: u64) -> bool {
        let ranges = self.work_ranges(view);
        let compaction = self.work_compaction(view, now_ns);
        let watches = self.work_watches(view);
        ranges || compaction || watches
    }

    /// All changes since the last call; to be committed whole.
    pub(crate) fn take_batch(&mut self) -> Batch {
        self.revision_taken = self.machine.revision();
        self.upkeep.on_taken();
        self.machine.take_batch()
    }

    /// Everything that was taken is in the views that are given from now on.
    pub(crate) fn on_committed(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.machine.on_committed(self.revision_taken);
        self.set_database_size(total_bytes, in_use_bytes);
        self.on_upkeep_committed(self.revision_taken);
    }

    pub(crate) fn set_database_size(&mut self, total_bytes: u64, in_use_bytes: u64) {
        self.machine.set_database_size(total_bytes, in_use_bytes);
    }

    /// The hash of a password, for who logs in.
    pub(crate) fn password_hash(&self, name: &str) -> Result<Answer, ApiError> {
        let found = self.machine.auth().password_hash(name).map_err(Refusal::from)?;
        let (hash, revision) = found;
        Ok(Answer::PasswordHash { hash, revision })
    }

    pub(crate) fn read_txn(
        &mut self,
        view: &dyn ReadView,
        txn: &Txn,
        principal: Option<&Principal>,
        times: ReadTimes,
    ) -> Result<Answer, ApiError> {
        let begun_ns = self.measures.now();
        let (result, operations) = self.machine.read_txn_counted(view, txn);
        let read_ns = self.measures.now().saturating_sub(begun_ns);
        self.counts.operations.add(operations);
        let waited_ns = times.served_ns.saturating_sub(times.started_ns);
        let took_ns = waited_ns + read_ns;
        self.measures.push(Measure::Read { is_txn: true, is_ok: result.is_ok(), took_ns });
        if self.measures.is_slow(took_ns) {
            let operations = (txn.compares.len(), txn.success.len(), txn.failure.len());
            self.measures.remark(Remark::SlowReadTxn { operations, took_ns, waited_ns });
        }
        let result =
            result.map(|done| Answer::Applied(Outcome::Txn(done))).map_err(|error| self.read_error(error));
        if self.is_outdated(principal) { Err(Refusal::from(AuthRefusal::OldRevision).into()) } else { result }
    }

    pub(crate) fn measures(&mut self) -> &mut Measures {
        &mut self.measures
    }

    pub(crate) fn v2_read(
        &mut self,
        path: &str,
        depth: Depth,
        now_ns: i64,
    ) -> Result<v2store::Reply, v2store::Error> {
        self.machine.v2_read(path, depth, now_ns)
    }

    /// A refusal is the caller's; a store that cannot be read ends the member.
    pub(crate) fn read_error(&mut self, error: ReadError) -> ApiError {
        match error {
            ReadError::Refused(refusal) => ApiError::Refused(refusal),
            ReadError::Backend(error) => {
                let text = error.to_string();
                self.failure = Some(error.into());
                ApiError::Storage(text)
            }
            other => ApiError::Storage(other.to_string()),
        }
    }

    pub(crate) fn members(&self) -> Vec<MemberEntry> {
        self.machine.members().iter().map(convert::member_entry).collect()
    }

    /// Gives up all that is worked on in slices or waits; returns who waits for it.
    pub(crate) fn take_callers(&mut self) -> Vec<Caller> {
        let mut callers = self.range_jobs.take_callers();
        callers.extend(self.lease_jobs.take_callers());
        callers
    }

    /// It is impossible to go on.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// What made it impossible to go on.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    pub(crate) fn report(&self) -> StatusReport {
        let machine = &self.machine;
        let (applied, _) = machine.applied();
        let (total, in_use) = machine.database_size();
        let store = machine.store();
        let hub = self.hub.counters();
        let mut report = StatusReport {
            raft_applied: applied,
            revision: store.revision(),
            compact_revision: store.compact_revision(),
            compaction_hashes: store.compaction_hashes().to_vec(),
            alarms: machine.alarms().iter().copied().collect(),
            database_bytes: total,
            database_bytes_in_use: in_use,
            cluster_version: machine.cluster_version().map(|version| version.to_string()).unwrap_or_default(),
            storage_version: machine.storage_version().map(|version| version.to_string()).unwrap_or_default(),
            is_learner: machine.members().get(machine.member_id()).is_some_and(|member| member.is_learner),
            quota_bytes: machine.quota_bytes(),
            v2_next_expiry_ns: machine.v2().next_expiry_ns(),
            auth_enabled: machine.auth().is_enabled(),
            auth_revision: machine.auth().revision(),
            downgrade_target: machine.downgrade().map(|downgrade| downgrade.target.to_string()),
            ..StatusReport::default()
        };
        let counters = &mut report.counters;
        counters.proposals_applied = applied;
        counters.puts = self.counts.operations.puts;
        counters.put_bytes = self.counts.operations.put_bytes;
        counters.deletes = self.counts.operations.deletes;
        counters.ranges = self.counts.operations.ranges;
        counters.txns = self.counts.operations.txns;
        counters.leases_granted = self.counts.leases_granted;
        counters.leases_revoked = self.counts.leases_revoked;
        counters.leases_renewed = self.counts.leases_renewed;
        counters.leases_expired = self.counts.leases_expired;
        counters.compactions = self.counts.compactions;
        counters.compacted_keys = self.counts.compacted_keys;
        counters.keys = store.statistics().keys;
        counters.watch_streams = hub.streams as u64;
        counters.watchers = hub.watchers as u64;
        counters.slow_watchers = hub.slow_watchers as u64;
        counters.watch_events = hub.events;
        counters.watch_events_pending = hub.pending_events as u64;
        report
    }

    pub(crate) fn poll(&mut self) -> Option<ApplierOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.hub.poll_delivery().map(ApplierOutput::Deliver)
    }
}
