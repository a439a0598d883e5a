//! What consensus wants done, and what it says about itself.

use bytes::Bytes;

use crate::{Entry, HardState, Message, SnapshotMeta};

/// Something that has to be done, or has become known. See [`crate::RaftCore::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Entries and hard state to be written to the log, behind all that earlier effects had written.
    ///
    /// The first entry may stand at or before the end of the log: what is there from its index on is replaced.
    Persist {
        /// What [`crate::RaftCore::on_persisted`] is told when it is on the disk; tickets rise.
        ticket: u64,
        /// The entries, without a gap.
        entries: Vec<Entry>,
        /// The hard state, if it changed.
        hard_state: Option<HardState>,
        /// Whether it has to be synced. If not, only the commit index moved: it is written with the next sync, and
        /// nothing has to be reported.
        must_sync: bool,
    },
    /// Messages to be sent now. What they depend on has been persisted.
    Send(Vec<Message>),
    /// Entries to be applied, in order: committed, and persisted here.
    Apply(Vec<Entry>),
    /// A read may be answered once `index` is applied.
    ReadReady {
        /// The read.
        ticket: ReadTicket,
        /// What has to be applied first.
        index: u64,
    },
    /// A read will not be answered; whoever asked may ask again.
    ReadLost(ReadTicket),
    /// The role, the term or the leader changed.
    Role {
        /// The member's own role.
        role: Role,
        /// The newest term it knows.
        term: u64,
        /// The leader of that term, if it is known.
        leader: Option<u64>,
    },
    /// A snapshot is wanted, is to be sent, or came in.
    Snapshot(SnapshotEffect),
}

/// What has to be done about snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotEffect {
    /// A follower is further behind than the log reaches.
    ///
    /// [`crate::RaftCore::supply_snapshot`] answers it, at any later time.
    Wanted {
        /// The follower.
        to: u64,
    },
    /// The message that announces a snapshot is to be sent, with the state that belongs to it.
    ///
    /// [`crate::RaftCore::on_snapshot_sent`] reports how it went.
    Send(Message),
    /// A leader's snapshot is to be installed in place of the whole log and the whole state.
    ///
    /// The [`Effect::Persist`] that follows has the same ticket; it is reported when both are on the disk, and until
    /// then the member does not campaign.
    Install {
        /// The ticket of the next [`Effect::Persist`].
        ticket: u64,
        /// Where the snapshot stands.
        meta: SnapshotMeta,
        /// What the leader put into its message.
        data: Bytes,
    },
}

/// A read that waits for its index.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadTicket(pub u64);

/// What a member is at the moment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it could win an election.
    PreCandidate,
    /// It asks for votes.
    Candidate,
    /// It leads.
    Leader,
}

/// What consensus knows at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The member's own id.
    pub id: u64,
    /// Its role.
    pub role: Role,
    /// The newest term it knows.
    pub term: u64,
    /// For whom it voted in that term.
    pub vote: Option<u64>,
    /// The leader of that term, if it is known.
    pub leader: Option<u64>,
    /// To whom leadership is being handed over.
    pub transferee: Option<u64>,
    /// The last index known to be committed.
    pub commit: u64,
    /// The last index reported as applied.
    pub applied: u64,
    /// The last index that is on the own disk.
    pub persisted: u64,
    /// The first index that is still in memory.
    pub first_index: u64,
    /// The last index of the own log.
    pub last_index: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who learns.
    pub learners: Vec<u64>,
    /// How far the others are; empty unless this member leads.
    pub followers: Vec<FollowerStatus>,
    /// Bytes of own proposals that are not committed.
    pub uncommitted_bytes: usize,
}

/// How far a leader knows a follower to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The follower.
    pub id: u64,
    /// The last index that is on its disk.
    pub matched: u64,
    /// The next index to be sent to it.
    pub next: u64,
    /// Whether it was heard of since the last check of the quorum.
    pub active: bool,
    /// Whether it waits for a snapshot.
    pub awaits_snapshot: bool,
}
