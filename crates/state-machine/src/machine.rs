//! The machine itself: entries in, answers out, a batch of writes now and then.

use alloc::vec::Vec;

use bytes::Bytes;
use etched_auth::Auth;
use etched_backend::{BackendError, Batch, ReadView, Table};
use etched_lease::Leases;
use etched_mvcc::{Change, CompactionProgress, Store, StoreOptions};

use crate::alarms::{AlarmKind, Alarms};
use crate::applied::{Applied, Effects, Operations, Outcome};
use crate::command::{Command, Header, alarm, auth, cluster, compact, delete, lease, put, txn, v2};
use crate::members::{ConfChangeRecord, ConfState, Downgrade, Members};
use crate::permission;
use crate::read::ReadError;
use crate::refusal::Refusal;
use crate::schema::{self, DecodeError};
use crate::v2::V2State;
use crate::version::Version;

mod membership;
mod restore;

pub(crate) use restore::Meta;

/// The quota of a member that names none: 2 GiB.
const QUOTA_BYTES_DEFAULT: i64 = 2 << 30;

/// What a member is set to. Those marked (all) must be the same on all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for values of keys that are also stored, in bytes.
    pub value_cache_bytes: usize,
    /// The bytes in use in the database at which writes are refused: 0 is 2 GiB, a negative number is no limit.
    pub quota_bytes: i64,
    /// The smallest time to live of a lease in seconds; a smaller one is raised to it when the grant is applied (all).
    pub lease_ttl_min: i64,
    /// This member.
    pub member_id: u64,
    /// How many learners the cluster may have (all).
    pub learners_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            value_cache_bytes: 64 << 20,
            quota_bytes: 0,
            lease_ttl_min: etched_lease::ttl_min_seconds(10, 100),
            member_id: 0,
            learners_max: 1,
        }
    }
}

/// The replicated state of a member. See the [crate] for the order of calls.
pub struct StateMachine {
    pub(crate) state: State,
    options: Options,
    index: u64,
    term: u64,
    conf_state: ConfState,
    /// What is to be stored, but for the index.
    batch: Batch,
    is_index_taken: bool,
    is_conf_state_taken: bool,
    /// The revision that the last taken batch reaches.
    revision_taken: i64,
    database: DatabaseSize,
}

/// What commands read and change.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) leases: Leases,
    pub(crate) auth: Auth,
    pub(crate) alarms: Alarms,
    pub(crate) members: Members,
    pub(crate) cluster_version: Option<Version>,
    pub(crate) storage_version: Option<Version>,
    pub(crate) downgrade: Option<Downgrade>,
    pub(crate) v2: V2State,
}

/// The size of the store, as the shell last measured it.
#[derive(Copy, Clone, Debug, Default)]
struct DatabaseSize {
    total_bytes: u64,
    in_use_bytes: u64,
}

/// Why a member must stop at an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The entry is of a form that this version does not know: another member speaks a newer one.
    #[error("the entry at index {index} cannot be understood by this version")]
    Undecodable {
        /// The entry's index.
        index: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The store failed.
    #[error("the store could not be read while the entry at index {index} was applied")]
    Backend {
        /// The entry's index.
        index: u64,
        /// What failed.
        source: BackendError,
    },
}

/// Why a stored state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The store failed, or a record is damaged.
    #[error("the stored state could not be read")]
    Backend(#[from] BackendError),
    /// The keys do not fit together.
    #[error("the stored keys could not be restored")]
    Store(#[from] etched_mvcc::RestoreError),
    /// The tree of the v2 API does not fit together.
    #[error("the stored tree of the v2 API could not be restored")]
    V2(#[from] etched_v2store::RestoreError),
    /// The leases do not fit together.
    #[error("the stored leases could not be restored")]
    Leases(#[from] etched_lease::RestoreError),
    /// The users and roles do not make sense.
    #[error("the stored users and roles could not be restored")]
    Auth(#[from] etched_auth::RestoreError),
}

impl StateMachine {
    /// Takes up the state that a view shows; an empty one gives a fresh machine.
    ///
    /// # Errors
    ///
    /// If the store fails or its records do not make sense.
    pub fn restore(view: &dyn ReadView, options: Options) -> Result<Self, RestoreError> {
        let meta = Meta::read(view)?;
        let state = restore::state(view, StoreOptions { value_cache_bytes: options.value_cache_bytes })?;
        Ok(Self {
            revision_taken: state.store.revision(),
            state,
            options,
            index: meta.index,
            term: meta.term,
            conf_state: meta.conf_state,
            batch: Batch::new(),
            is_index_taken: true,
            is_conf_state_taken: true,
            database: DatabaseSize::default(),
        })
    }

    /// Applies the next entry; empty `data` is the entry that opens a leader's term.
    ///
    /// # Errors
    ///
    /// The member must stop. The machine is not usable any more.
    ///
    /// # Panics
    ///
    /// If `index` does not follow [`applied`](Self::applied), or `term` is lower than that of the entry before.
    pub fn apply(
        &mut self,
        view: &dyn ReadView,
        index: u64,
        term: u64,
        data: &Bytes,
    ) -> Result<Applied, ApplyError> {
        if data.is_empty() {
            self.advance(index, term);
            return Ok(self.applied_as(0, Ok(Outcome::Nothing), Progress::default()));
        }
        let (header, command) =
            schema::decode(data).map_err(|source| ApplyError::Undecodable { index, source })?;
        self.advance(index, term);
        let is_over_quota = self.quota_exceeded_by(command.quota_cost());
        let mut progress = Progress { field: command.field(), ..Progress::default() };
        let mut outcome = match self.run(view, &header, command, &mut progress) {
            Ok(outcome) => Ok(outcome),
            Err(ReadError::Refused(refusal)) => Err(refusal),
            Err(ReadError::Backend(source)) => return Err(ApplyError::Backend { index, source }),
        };
        if is_over_quota && outcome.is_ok() {
            // As in etcd, the write stands, but its caller learns that there is no more room.
            outcome = Err(Refusal::NoSpace);
            progress.effects.raise_no_space = !self.state.alarms.has(AlarmKind::NoSpace);
        }
        Ok(self.applied_as(header.request_id, outcome, progress))
    }

    /// Asks whether a change of the cluster is valid at this place of the log. One that is not must be given to
    /// consensus as a change of nothing, and all the same to [`apply_conf_change`](Self::apply_conf_change).
    ///
    /// # Errors
    ///
    /// The reason, equal on all members.
    pub fn admit_conf_change(&self, change: &ConfChangeRecord) -> Result<(), Refusal> {
        self.state.members.admit(change, self.options.learners_max).map(|_| ())
    }

    /// Applies the next entry, which changes the cluster; `conf_state` is what consensus made of it.
    ///
    /// # Panics
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_conf_change(
        &mut self,
        index: u64,
        term: u64,
        change: &ConfChangeRecord,
        conf_state: ConfState,
    ) -> Applied {
        self.advance(index, term);
        let mut progress = Progress::default();
        let outcome = match self.state.members.admit(change, self.options.learners_max) {
            Err(refusal) => Err(refusal),
            Ok(change) => {
                progress.effects.members_changed = true;
                progress.effects.member_removed = change.removed();
                if let Some(id) = change.removed() {
                    self.state.v2.on_removed(id, &mut self.batch);
                }
                self.state.members.execute(change, &mut self.batch);
                Ok(Outcome::Members)
            }
        };
        let conf_state = conf_state.sorted();
        if self.conf_state != conf_state {
            self.conf_state = conf_state;
            self.is_conf_state_taken = false;
        }
        self.applied_as(change.id, outcome, progress)
    }

    /// Index and term of the last applied entry; zeros before the first.
    pub fn applied(&self) -> (u64, u64) {
        (self.index, self.term)
    }

    /// Everything to be stored since the last call, with the index that it is complete up to. It must be committed
    /// whole, and in the order of the calls. Empty if there is nothing new.
    pub fn take_batch(&mut self) -> Batch {
        let mut batch = core::mem::take(&mut self.batch);
        if !batch.is_empty() || !self.is_index_taken {
            self.state.auth.store_revision(&mut batch);
        }
        self.state.store.write_catalog(&mut batch);
        if !self.is_index_taken {
            batch.put(Table::Meta, schema::CONSISTENT_INDEX, schema::encode_u64(self.index));
            batch.put(Table::Meta, schema::TERM, schema::encode_u64(self.term));
            self.is_index_taken = true;
        }
        if !self.is_conf_state_taken {
            batch.put(Table::Meta, schema::CONF_STATE, self.conf_state.to_json());
            self.is_conf_state_taken = true;
        }
        self.revision_taken = self.revision();
        batch
    }

    /// The size of what [`take_batch`](Self::take_batch) would give, in bytes.
    pub fn pending_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Tells that all batches that were taken at or before `revision` are visible in every view from now on.
    ///
    /// # Panics
    ///
    /// If no batch that reaches `revision` was taken.
    pub fn on_committed(&mut self, revision: i64) {
        assert!(revision <= self.revision_taken, "revision {revision} is in no batch that was taken");
        self.state.store.on_committed(revision);
    }

    /// Frees some history below the pending compaction; the changes go into the next batch.
    ///
    /// The view must show every record up to the compaction's revision.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub fn compaction_step(
        &mut self,
        view: &dyn ReadView,
        keys_max: usize,
    ) -> Result<CompactionProgress, BackendError> {
        self.state.store.compaction_step(view, keys_max, &mut self.batch)
    }

    /// Tells how large the store is, in bytes, after a commit: all of it, and what is in use.
    pub fn set_database_size(&mut self, total: u64, in_use: u64) {
        self.database = DatabaseSize { total_bytes: total, in_use_bytes: in_use };
    }

    /// The size of the store, in bytes, as last told: all, and in use.
    pub fn database_size(&self) -> (u64, u64) {
        (self.database.total_bytes, self.database.in_use_bytes)
    }

    /// Whether a command of this [cost](Command::quota_cost) does not fit into the member's quota.
    pub fn quota_exceeded_by(&self, cost: u64) -> bool {
        let quota = match self.options.quota_bytes {
            0 => QUOTA_BYTES_DEFAULT,
            quota => quota,
        };
        // A negative quota is none.
        let Ok(quota) = u64::try_from(quota) else { return false };
        // What is in use counts: space that was freed is written to again without a defragmentation.
        cost > 0 && self.database.in_use_bytes.saturating_add(cost) >= quota
    }

    /// The quota as it was set, in bytes: 0 is the default, a negative number is none.
    pub fn quota_bytes(&self) -> i64 {
        self.options.quota_bytes
    }

    /// This member.
    pub fn member_id(&self) -> u64 {
        self.options.member_id
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.state.store.revision()
    }

    /// The keys.
    pub fn store(&self) -> &Store {
        &self.state.store
    }

    /// The keys, for their housekeeping. Commands alone may change them.
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.state.store
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.state.leases
    }

    /// The alarms.
    pub fn alarms(&self) -> &Alarms {
        &self.state.alarms
    }

    /// The members.
    pub fn members(&self) -> &Members {
        &self.state.members
    }

    /// The configuration of consensus after the last applied change.
    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// The version that all members can speak; none until they agreed on one.
    pub fn cluster_version(&self) -> Option<Version> {
        self.state.cluster_version
    }

    /// The version of the stored data; none in data older than 3.6.
    pub fn storage_version(&self) -> Option<Version> {
        self.state.storage_version
    }

    /// The downgrade that is allowed, if one is.
    pub fn downgrade(&self) -> Option<Downgrade> {
        self.state.downgrade
    }

    fn advance(&mut self, index: u64, term: u64) {
        assert_eq!(index, self.index + 1, "entries are applied one after the other");
        assert!(term >= self.term, "terms do not fall: {term} after {}", self.term);
        self.index = index;
        self.term = term;
        self.is_index_taken = false;
    }

    fn applied_as(&self, request_id: u64, outcome: Result<Outcome, Refusal>, progress: Progress) -> Applied {
        Applied {
            index: self.index,
            request_id,
            outcome,
            revision: self.revision(),
            changes: progress.changes,
            effects: progress.effects,
            operations: progress.operations,
            field: progress.field,
        }
    }

    fn run(
        &mut self,
        view: &dyn ReadView,
        header: &Header,
        command: Command,
        progress: &mut Progress,
    ) -> Result<Outcome, ReadError> {
        self.admit_alarms(&command)?;
        permission::admit(header, &command, &self.state)?;
        let state = &mut self.state;
        let batch = &mut self.batch;
        match command {
            Command::Put(command) => put::apply(command, state, view, batch, progress),
            Command::DeleteRange(command) => delete::apply(&command, state, view, batch, progress),
            Command::Txn(command) => txn::apply(command, state, view, batch, progress),
            Command::Compact(command) => Ok(compact::apply(&command, state, batch, progress)?),
            Command::LeaseGrant { id, ttl } => {
                let ttl = ttl.max(self.options.lease_ttl_min);
                Ok(lease::grant(id, ttl, state, batch, progress)?)
            }
            Command::LeaseRevoke { id } => Ok(lease::revoke(id, state, batch, progress)?),
            Command::LeaseCheckpoint(notes) => Ok(lease::checkpoint(notes, state, batch, progress)?),
            Command::Alarm(request) => Ok(alarm::apply(&request, state, batch, progress)),
            Command::ClusterVersionSet { version } => {
                Ok(cluster::set_version(&version, state, batch, progress)?)
            }
            Command::MemberAttributes { member_id, name, client_urls } => {
                progress.effects.members_changed =
                    state.members.describe(member_id, name, client_urls, batch);
                Ok(Outcome::Nothing)
            }
            Command::DowngradeSet { enabled, version } => {
                Ok(cluster::set_downgrade(enabled, &version, state, batch, progress)?)
            }
            Command::Range(_) | Command::DowngradeVersionTest { .. } => Ok(Outcome::Nothing),
            Command::V2(command) => Ok(v2::apply(command, self.index, state, batch, progress)?),
            Command::Auth(operation) => Ok(auth::apply(&operation, self.index, state, batch, progress)?),
        }
    }

    /// What the alarms of any member forbid on all members.
    fn admit_alarms(&self, command: &Command) -> Result<(), Refusal> {
        if self.state.alarms.has(AlarmKind::Corrupt) && command.is_refused_when_corrupt() {
            return Err(Refusal::Corrupt);
        }
        if self.state.alarms.has(AlarmKind::NoSpace) && command.quota_cost() > 0 {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }
}

/// What one entry has done so far.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Effects,
    pub(crate) operations: Operations,
    pub(crate) field: u32,
}
