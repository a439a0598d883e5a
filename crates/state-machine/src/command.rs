//! The commands of the log, as values: what a client asked for, without the wire.
//!
//! Each family has a file below this one, with its *check* (before the proposal), *admit* (all reasons to refuse at its
//! place in the log) and *execute*.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_auth::Operation;
use etched_key_range::KeyRange;
use etched_mvcc::RangeQuery;

use crate::alarms::AlarmKind;
use crate::refusal::Refusal;
use crate::schema;

pub(crate) mod alarm;
pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod lease;
pub(crate) mod put;
pub(crate) mod range;
pub(crate) mod txn;
mod txn_duplicates;
pub(crate) mod v2;

pub use v2::{V2Command, V2Done};

/// What travels with a command in its entry, besides the command.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// The ticket of the caller who waits at the member that proposed the entry; 0 if nobody waits.
    pub request_id: u64,
    /// Who asks, by the authentication of the proposing member; empty without authentication.
    pub username: String,
    /// The revision of users and roles that `username` was authenticated at.
    pub auth_revision: u64,
}

/// One operation of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes a key.
    Put(Put),
    /// Deletes the keys of a range.
    DeleteRange(DeleteRange),
    /// Compares, then does one of two lists of operations, all or nothing.
    Txn(Txn),
    /// Forgets the history before a revision.
    Compact(Compact),
    /// Creates a lease. The id is drawn by the member that proposes; a `ttl` below the smallest allowed one is raised
    /// to it when the entry is applied.
    LeaseGrant {
        /// The lease's id; any number but 0.
        id: i64,
        /// Its time to live, in seconds.
        ttl: i64,
    },
    /// Ends a lease and deletes the keys that are attached to it.
    LeaseRevoke {
        /// The lease's id.
        id: i64,
    },
    /// Notes the remaining life of leases, as (id, seconds) pairs; 0 seconds clears the note.
    LeaseCheckpoint(Vec<(i64, i64)>),
    /// Lists, raises or clears alarms.
    Alarm(AlarmRequest),
    /// Sets the version that all members can speak.
    ClusterVersionSet {
        /// `major.minor.patch`.
        version: String,
    },
    /// Publishes how a member is called and where clients find it.
    MemberAttributes {
        /// The member that publishes itself.
        member_id: u64,
        /// Its name. A member without a name counts as not started.
        name: String,
        /// The addresses it serves clients at.
        client_urls: Vec<String>,
    },
    /// Allows members of an older version into the cluster, or forbids them again.
    DowngradeSet {
        /// Whether a downgrade is under way.
        enabled: bool,
        /// The version to go down to, `major.minor.patch`.
        version: String,
    },
    /// A question of old versions that went through the log; changes nothing and answers nothing.
    Range(Range),
    /// A marker that tests of etcd write to make a log unreadable for older versions; changes nothing.
    DowngradeVersionTest {
        /// The marker's text.
        version: String,
    },
    /// An operation on users and roles.
    Auth(Operation),
    /// An operation on the tree of the v2 API.
    V2(V2Command),
}

/// Writes a key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Put {
    /// The key; never empty in a checked command.
    pub key: Bytes,
    /// The new value.
    pub value: Bytes,
    /// The lease to attach the key to; 0 for none.
    pub lease: i64,
    /// Whether the answer shall hold the record that was replaced.
    pub prev_kv: bool,
    /// Keep the value that the key has; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease that the key has; the key must exist.
    pub ignore_lease: bool,
}

/// Deletes the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// What to delete.
    pub range: KeyRange,
    /// Whether the answer shall hold the deleted records.
    pub prev_kv: bool,
}

/// Forgets the history before a revision, which itself stays readable.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Compact {
    /// The oldest revision that shall stay readable.
    pub revision: i64,
    /// Whether the caller waits until the space is free, too.
    pub physical: bool,
}

/// Reads the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// What to read.
    pub query: RangeQuery,
    /// Whether the answer may be older than the newest acknowledged write.
    pub serializable: bool,
    /// The sort order and target as they came, if one of them is no known number. Then [`Range::check`] refuses, and
    /// the order and target of `query` mean nothing.
    pub unknown_sort: Option<(i32, i32)>,
}

/// Compares, then does one of two lists of operations.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Txn {
    /// All must hold for `success` to be done; none is given: they hold.
    pub compares: Vec<Compare>,
    /// Done if the compares hold.
    pub success: Vec<TxnOp>,
    /// Done otherwise.
    pub failure: Vec<TxnOp>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Reads, with the writes before it in the same transaction.
    Range(Range),
    /// Writes a key.
    Put(Put),
    /// Deletes keys.
    DeleteRange(DeleteRange),
    /// A transaction inside; its compares see the state before the outermost one.
    Txn(Txn),
    /// The request named no operation. It is always refused.
    Absent,
}

/// One condition of a transaction: `actual result given`, for every key of the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys that must meet the condition; a range without keys is compared like one missing key.
    pub range: KeyRange,
    /// The relation, as its number on the wire: 0 equal, 1 greater, 2 less, 3 not equal; any other always holds.
    pub result: i32,
    /// What is compared, and with what.
    pub target: CompareTarget,
}

/// What a condition looks at, and the value given by the client.
///
/// A request whose value is absent or of another kind than its target means the zero of the target's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// How often the key was put since it was created.
    Version(i64),
    /// The revision that created the key.
    CreateRevision(i64),
    /// The revision that changed the key last.
    ModRevision(i64),
    /// The value, as unsigned bytes.
    Value(Bytes),
    /// The lease that the key is attached to.
    Lease(i64),
    /// A target that this version does not know, by its number on the wire: it compares as equal.
    Unknown(i32),
}

/// Lists, raises or clears alarms. Numbers stand as they came: an unknown one changes nothing and is answered with
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AlarmRequest {
    /// 0 list, 1 raise, 2 clear.
    pub action: i32,
    /// Whose alarm to raise or clear.
    pub member_id: u64,
    /// 0 none (list: all), 1 no space, 2 corrupt.
    pub alarm: i32,
}

/// What the member that takes a request allows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most compares, or operations of one branch, that a transaction may have, nested ones counted along each path.
    pub txn_ops_max: usize,
    /// The largest encoded entry, in bytes. The caller compares; see [`Limits::check_size`].
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { txn_ops_max: 128, request_bytes_max: 1_572_864 }
    }
}

impl Limits {
    /// Refuses an encoded entry that is too large.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestTooLarge`].
    pub fn check_size(&self, entry: &Bytes) -> Result<(), Refusal> {
        if entry.len() > self.request_bytes_max { Err(Refusal::RequestTooLarge) } else { Ok(()) }
    }
}

impl Command {
    /// The command that raises the alarm of a member that is out of space.
    pub fn raise_no_space(member_id: u64) -> Self {
        Self::Alarm(AlarmRequest { action: alarm::RAISE, member_id, alarm: AlarmKind::NoSpace.to_wire() })
    }

    /// The number of the command's field in `InternalRaftRequest`.
    pub fn field(&self) -> u32 {
        schema::field_number(self)
    }

    /// Refuses a malformed request, before it is proposed.
    ///
    /// # Errors
    ///
    /// The first fault, in etcd's order.
    pub fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        match self {
            Self::Put(put) => put.check(),
            Self::DeleteRange(delete) => delete.check(),
            Self::Txn(txn) => txn.check(limits),
            Self::Range(range) => range.check(),
            Self::V2(command) => command.check(),
            Self::ClusterVersionSet { version } => cluster::check_version(version),
            Self::DowngradeSet { enabled, version } => cluster::check_downgrade(*enabled, version),
            Self::Compact(_)
            | Self::LeaseGrant { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseCheckpoint(_)
            | Self::Alarm(_)
            | Self::MemberAttributes { .. }
            | Self::DowngradeVersionTest { .. }
            | Self::Auth(_) => Ok(()),
        }
    }

    /// How much the database may grow by this command, in bytes; 0 for one that may pass when it is full.
    pub fn quota_cost(&self) -> u64 {
        match self {
            Self::Put(put) => put.quota_cost(),
            Self::Txn(txn) => txn.quota_cost(),
            Self::LeaseGrant { .. } => lease::QUOTA_COST,
            Self::V2(command) => command.quota_cost(),
            Self::DeleteRange(_)
            | Self::Compact(_)
            | Self::LeaseRevoke { .. }
            | Self::LeaseCheckpoint(_)
            | Self::Alarm(_)
            | Self::ClusterVersionSet { .. }
            | Self::MemberAttributes { .. }
            | Self::DowngradeSet { .. }
            | Self::Range(_)
            | Self::DowngradeVersionTest { .. }
            | Self::Auth(_) => 0,
        }
    }

    /// Whether a cluster with a corrupt member refuses this command.
    pub(crate) fn is_refused_when_corrupt(&self) -> bool {
        match self {
            Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Txn(_)
            | Self::Compact(_)
            | Self::LeaseGrant { .. }
            | Self::LeaseRevoke { .. } => true,
            Self::V2(command) => command.is_refused_when_corrupt(),
            Self::LeaseCheckpoint(_)
            | Self::Alarm(_)
            | Self::ClusterVersionSet { .. }
            | Self::MemberAttributes { .. }
            | Self::DowngradeSet { .. }
            | Self::Range(_)
            | Self::DowngradeVersionTest { .. }
            | Self::Auth(_) => false,
        }
    }
}
