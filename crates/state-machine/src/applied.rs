//! What an applied entry gave: the answer for the caller, and what the shell has to do.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_auth::{Done, TokenChange};
use etched_mvcc::{Change, RangeOutput};
use etched_v2store::Event;

use crate::alarms::AlarmMember;
use crate::command::V2Done;
use crate::refusal::Refusal;
use crate::version::Version;

/// The result of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's index.
    pub index: u64,
    /// The ticket of the caller; 0 if nobody waits.
    pub request_id: u64,
    /// The answer. Equal on all members, but for [`Refusal::NoSpace`] out of the member's own quota.
    pub outcome: Result<Outcome, Refusal>,
    /// The revision of the store after the entry.
    pub revision: i64,
    /// What changed, in order; all of one revision.
    pub changes: Vec<Change>,
    /// What the shell has to do or to tell.
    pub effects: Effects,
    /// What was asked of the keys.
    pub operations: Operations,
    /// The number of the command's field in `InternalRaftRequest`; 0 for an entry without a command.
    pub field: u32,
}

/// How often the keys were asked for what, counted as etcd does: each compare of a transaction and each look at the
/// record before a put is a range, and a transaction is whatever asks more than once.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub struct Operations {
    /// Ranges.
    pub ranges: u64,
    /// Puts.
    pub puts: u64,
    /// Bytes of the keys and values put.
    pub put_bytes: u64,
    /// Deletes of ranges, however many keys they found.
    pub deletes: u64,
    /// Transactions of more than one operation.
    pub txns: u64,
}

impl Operations {
    /// Adds what another one counted.
    pub fn add(&mut self, other: Self) {
        self.ranges += other.ranges;
        self.puts += other.puts;
        self.put_bytes += other.put_bytes;
        self.deletes += other.deletes;
        self.txns += other.txns;
    }

    /// The end of one transaction of the store.
    pub(crate) fn end(mut self) -> Self {
        self.txns += u64::from(self.ranges + self.puts + self.deletes > 1);
        self
    }
}

/// What an entry did besides changing keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// A lease was created: (id, effective time to live in seconds).
    pub lease_granted: Option<(i64, i64)>,
    /// A lease was revoked.
    pub lease_revoked: Option<i64>,
    /// The remaining lives that were noted: (id, seconds; 0 = note cleared).
    pub leases_checkpointed: Vec<(i64, i64)>,
    /// The set of alarms is another one.
    pub alarms_changed: bool,
    /// This member is out of space and no such alarm is raised: the shell shall propose one for it.
    pub raise_no_space: bool,
    /// A compaction up to this revision is scheduled: the shell shall run its steps.
    pub compaction_scheduled: Option<i64>,
    /// The caller wants an answer only when the compaction of this revision, and all before it, is finished.
    pub wait_for_compaction: Option<i64>,
    /// The cluster's version is another one.
    pub cluster_version: Option<Version>,
    /// A downgrade was allowed or called off.
    pub downgrade_changed: bool,
    /// Members joined, left, or are described otherwise.
    pub members_changed: bool,
    /// A member was removed for good.
    pub member_removed: Option<u64>,
    /// What changed in the tree of the v2 API, in order.
    pub v2_events: Vec<Event>,
    /// Another member keeps that tree.
    pub v2_speakers_changed: bool,
    /// Authentication was turned on or off.
    pub auth_switched: Option<bool>,
    /// The tokens that stand for users are other ones.
    pub token_change: Option<TokenChange>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To [`Command::Put`](crate::Command::Put).
    Put(PutDone),
    /// To [`Command::DeleteRange`](crate::Command::DeleteRange).
    DeleteRange(DeleteRangeDone),
    /// To [`Command::Txn`](crate::Command::Txn).
    Txn(TxnDone),
    /// To [`Command::Compact`](crate::Command::Compact).
    Compact {
        /// The current revision.
        revision: i64,
    },
    /// To [`Command::LeaseGrant`](crate::Command::LeaseGrant).
    LeaseGrant {
        /// The current revision.
        revision: i64,
        /// The lease's id.
        id: i64,
        /// The effective time to live in seconds.
        ttl: i64,
    },
    /// To [`Command::LeaseRevoke`](crate::Command::LeaseRevoke).
    LeaseRevoke {
        /// The current revision, that of the deletes if keys were attached.
        revision: i64,
    },
    /// To [`Command::LeaseCheckpoint`](crate::Command::LeaseCheckpoint).
    LeaseCheckpoint {
        /// The current revision.
        revision: i64,
    },
    /// To [`Command::Alarm`](crate::Command::Alarm).
    Alarm {
        /// The current revision.
        revision: i64,
        /// The alarms listed, raised or cleared.
        alarms: Vec<AlarmMember>,
    },
    /// To [`Command::Auth`](crate::Command::Auth).
    Auth {
        /// The current revision.
        revision: i64,
        /// What was done.
        done: Done,
    },
    /// To a change of the cluster, which is answered with the members as they are then.
    Members,
    /// To [`Command::V2`](crate::Command::V2), for those operations that somebody waits for.
    V2 {
        /// The index of the entry.
        raft_index: u64,
        /// What came of it.
        done: Box<V2Done>,
    },
    /// To a leader's empty entry, and to commands that have no answer.
    Nothing,
}

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// The revision of the header.
    pub revision: i64,
    /// The encoded record that was replaced, if asked for and there was one.
    pub previous: Option<Bytes>,
}

/// The answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeDone {
    /// The revision of the header.
    pub revision: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The encoded records that were deleted, in key order, if asked for.
    pub previous: Vec<Bytes>,
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnDone {
    /// The revision of the header; 0 in a nested transaction, whose header is all zero.
    pub revision: i64,
    /// Whether the compares held.
    pub succeeded: bool,
    /// The answers to the operations of the taken branch, in order.
    pub responses: Vec<TxnOpDone>,
}

/// The answer to one operation of a transaction. Their headers hold a revision only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpDone {
    /// To a range.
    Range {
        /// The revision of the header.
        revision: i64,
        /// What was read.
        output: RangeOutput,
    },
    /// To a put.
    Put(PutDone),
    /// To a delete.
    DeleteRange(DeleteRangeDone),
    /// To a nested transaction.
    Txn(TxnDone),
}
