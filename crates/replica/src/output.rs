//! What a member wants done: values that the shell carries out, in order.

use std::sync::Arc;

use bytes::Bytes;
use etched_backend::Batch;
use etched_raft_core::{ConfState, Entry, HardState, Message, SnapshotMeta};
use etched_state_machine::HashPlan;
use etched_watch::{Response, StreamId};

use crate::request::{Answer, ApiError, Caller, MemberEntry};

/// What the shell must do; the order of the outputs is the order of the work.
#[derive(Debug)]
pub enum Output {
    /// Append to the log.
    Persist(Persist),
    /// Send to peers; never a snapshot.
    Send(Vec<Message>),
    /// Send a snapshot to a peer: the message, and the state that it announces.
    SendSnapshot(SendSnapshot),
    /// Replace the backend by the leader's snapshot, then report with [`crate::Member::on_installed`].
    Install(Install),
    /// Who the members are: after each applied change, and once after the start.
    MembersChanged(Vec<MemberEntry>),
    /// Answer a caller.
    Respond(Respond),
    /// Give a response to a watch stream.
    Deliver(Deliver),
    /// Commit to the backend, then report with [`crate::Member::on_committed`].
    Commit(Commit),
    /// The backend holds everything up to this point durably: note it in the log and let older segments go.
    SnapshotTaken(LogSnapshot),
    /// Compute a hash over a view that holds all that is committed now, then answer the caller.
    Hash(HashJob),
    /// Something that operators want to read in the log.
    Notice(Notice),
}

/// Entries and hard state to write to the log.
#[derive(Debug)]
pub struct Persist {
    /// Names this write for [`crate::Member::on_persisted`].
    pub ticket: u64,
    /// Entries in order; they replace any with the same or a higher index.
    pub entries: Vec<Entry>,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// Whether it must be on disk before `on_persisted`.
    pub must_sync: bool,
}

/// A snapshot on its way to a follower that lags further than the log reaches.
///
/// When this comes out, the newest view that was given to the member is the state at `index`, no more and no less.
/// How it went is reported with [`crate::Member::on_snapshot_sent`].
#[derive(Debug)]
pub struct SendSnapshot {
    /// The follower.
    pub to: u64,
    /// The message that announces it.
    pub message: Message,
    /// The last index that the snapshot holds.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
}

/// A leader's snapshot that takes the place of the whole log and the whole state.
///
/// The [`Output::Persist`] with the same ticket follows.
/// Until that is synced, together with the log's record of the snapshot, the old backend must still be found by a
/// start after a crash; from then on the new one.
#[derive(Clone, Debug)]
pub struct Install {
    /// The ticket of the write that follows.
    pub ticket: u64,
    /// Where the snapshot stands.
    pub meta: SnapshotMeta,
    /// What the leader put into its message; etcd puts the members of its v2 store there.
    pub data: Bytes,
}

/// The answer to one caller.
#[derive(Debug)]
pub struct Respond {
    /// Who asked.
    pub caller: Caller,
    /// The index of the entry that holds the request; 0 if none does.
    pub index: u64,
    /// The store's revision now.
    pub revision: i64,
    /// The Raft term now.
    pub raft_term: u64,
    /// The answer, or why there is none.
    pub result: Result<Answer, ApiError>,
}

/// A response of a watch stream.
#[derive(Debug)]
pub struct Deliver {
    /// The front that opened the stream.
    pub front: u64,
    /// The stream.
    pub stream: StreamId,
    /// What counts against the stream's budget until it is consumed.
    pub bytes: usize,
    /// The Raft term now.
    pub raft_term: u64,
    /// The response.
    pub response: Response,
}

/// A batch on its way to the backend; only one is under way at a time.
#[derive(Debug)]
pub struct Commit {
    /// All changes since the last one, with the applied index among them.
    pub batch: Arc<Batch>,
    /// If set, the commit must be durable, and then a snapshot file for this point is written.
    pub snapshot: Option<LogSnapshot>,
}

/// A point of the log that the backend covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSnapshot {
    /// The last index covered.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The membership at it.
    pub conf_state: ConfState,
    /// What etcd puts into a snapshot's file: the members as its v2 store keeps them.
    pub data: Bytes,
}

/// A hash that is computed away from the member.
#[derive(Debug)]
pub enum HashJob {
    /// Over all tables.
    Whole(Caller),
    /// Over the key space, by a plan of the store.
    Keys(Caller, HashPlan),
}

impl HashJob {
    /// Who asked.
    #[must_use]
    pub fn caller(&self) -> Caller {
        match self {
            Self::Whole(caller) | Self::Keys(caller, _) => *caller,
        }
    }
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This member became leader in this term.
    BecameLeader {
        /// The term.
        term: u64,
    },
    /// Another leader is known, or none (0).
    LeaderChanged {
        /// Its id.
        leader: u64,
        /// The term.
        term: u64,
    },
    /// A member was added by a configuration change.
    MemberAdded {
        /// Its id.
        id: u64,
        /// Its peer URLs.
        peer_urls: Vec<String>,
    },
    /// A member left for good.
    MemberRemoved {
        /// Its id.
        id: u64,
    },
    /// This member itself was removed, and the others had time to hear of it: the process ends.
    Removed,
    /// A downgrade was allowed, down to this version, or called off (none).
    DowngradeSet(Option<String>),
    /// The member's own name and client URLs are known to the cluster.
    Published,
    /// The cluster's version was set.
    ClusterVersionSet(String),
    /// A compaction finished physically.
    CompactionFinished {
        /// At this revision.
        revision: i64,
        /// Nanoseconds from its first slice to its last.
        took_ns: u64,
    },
    /// A lease ran out and its revocation was proposed.
    LeaseExpired(i64),
    /// The quota is used up.
    QuotaExceeded,
    /// An alarm was raised or cleared.
    AlarmsChanged,
    /// Authentication was turned on or off.
    AuthSwitched(bool),
}
