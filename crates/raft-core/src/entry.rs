//! What the log holds: entries, the hard state, configurations, and the place where a snapshot stands.

use bytes::Bytes;
use raft::eraftpb::EntryType;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place in the log; the first is 1.
    pub index: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// The payload; empty in the entry with which a leader opens its term.
    pub data: Bytes,
}

/// What an entry carries. The numbers are etcd's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A command, or nothing.
    Normal,
    /// An encoded [`crate::ConfChange`].
    ConfChange,
    /// An encoded change of the second form, which etcd never writes.
    ConfChangeV2,
}

impl EntryKind {
    /// The number in etcd's log and messages.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::ConfChange => 1,
            Self::ConfChangeV2 => 2,
        }
    }

    /// The kind of that number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Normal),
            1 => Some(Self::ConfChange),
            2 => Some(Self::ConfChangeV2),
            _ => None,
        }
    }
}

/// What a member must not forget beside its entries.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term that the member knows.
    pub term: u64,
    /// For whom it voted in that term; zero is nobody.
    pub vote: u64,
    /// The last index that it knows to be committed.
    pub commit: u64,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Members that vote.
    pub voters: Vec<u64>,
    /// Members that receive the log and do not vote.
    pub learners: Vec<u64>,
    /// While two configurations are joined: the voters of the old one.
    pub voters_outgoing: Vec<u64>,
    /// Voters of the old configuration that become learners when it is left.
    pub learners_next: Vec<u64>,
    /// Whether a joint configuration is left by itself.
    pub auto_leave: bool,
}

/// The place in the log at which a snapshot was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last index that the snapshot holds.
    pub index: u64,
    /// The term of the entry at `index`.
    pub term: u64,
    /// The configuration at `index`.
    pub conf_state: ConfState,
}

/// What a member's log held when it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The last hard state that was written.
    pub hard_state: HardState,
    /// The place before the first of `entries`; all zero for a log from its beginning.
    ///
    /// Its configuration is the one in force after `Config::applied`, which is later than `index` when the state
    /// machine had gone on: the changes up to there are not handed out again.
    pub snapshot: SnapshotMeta,
    /// The entries after `snapshot.index`, without a gap.
    pub entries: Vec<Entry>,
}

/// What the `raft` crate is shown of a configuration change of the second form that has changes: one, to nobody.
const CHANGE_TO_NOBODY: &[u8] = &[0x12, 0];

impl Entry {
    pub(crate) fn from_raft(mut entry: raft::eraftpb::Entry) -> Self {
        let data = std::mem::take(match entry.entry_type {
            EntryType::EntryNormal => &mut entry.data,
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => &mut entry.context,
        });
        let kind = EntryKind::from_raft(entry.entry_type);
        Self { term: entry.term, index: entry.index, kind, data }
    }

    /// The form that the `raft` crate keeps.
    ///
    /// The crate parses the data of a proposed configuration change, with a parser that does not know etcd's kinds
    /// of change and is not safe against hostile bytes. So it gets a stand-in that says no more than whether there
    /// is any change at all, and the data travels in the context, which nobody else uses.
    pub(crate) fn into_raft(self) -> raft::eraftpb::Entry {
        let (data, context) = match self.kind {
            EntryKind::Normal => (self.data, Bytes::new()),
            EntryKind::ConfChange => (Bytes::new(), self.data),
            EntryKind::ConfChangeV2 if self.data.is_empty() => (Bytes::new(), self.data),
            EntryKind::ConfChangeV2 => (Bytes::from_static(CHANGE_TO_NOBODY), self.data),
        };
        raft::eraftpb::Entry {
            entry_type: self.kind.to_raft(),
            term: self.term,
            index: self.index,
            data,
            context,
            ..raft::eraftpb::Entry::default()
        }
    }
}

/// The payload of an entry in the form of the `raft` crate.
pub(crate) fn payload(entry: &raft::eraftpb::Entry) -> &Bytes {
    match entry.entry_type {
        EntryType::EntryNormal => &entry.data,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => &entry.context,
    }
}

impl EntryKind {
    pub(crate) const fn from_raft(entry_type: EntryType) -> Self {
        match entry_type {
            EntryType::EntryNormal => Self::Normal,
            EntryType::EntryConfChange => Self::ConfChange,
            EntryType::EntryConfChangeV2 => Self::ConfChangeV2,
        }
    }

    const fn to_raft(self) -> EntryType {
        match self {
            Self::Normal => EntryType::EntryNormal,
            Self::ConfChange => EntryType::EntryConfChange,
            Self::ConfChangeV2 => EntryType::EntryConfChangeV2,
        }
    }
}

impl HardState {
    pub(crate) fn from_raft(hard_state: &raft::eraftpb::HardState) -> Self {
        Self { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
    }

    pub(crate) fn to_raft(self) -> raft::eraftpb::HardState {
        raft::eraftpb::HardState {
            term: self.term,
            vote: self.vote,
            commit: self.commit,
            ..raft::eraftpb::HardState::default()
        }
    }
}

impl ConfState {
    /// A configuration in which exactly `voters` take part.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = u64>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// The first reason why no cluster can be in this configuration, if there is one.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let all = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        if all.into_iter().flatten().any(|id| *id == 0) {
            return Some("a member has the id zero");
        }
        let repeats = |ids: &Vec<u64>| {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            sorted.windows(2).any(|pair| pair[0] == pair[1])
        };
        if all.into_iter().any(repeats) {
            return Some("a member is listed twice");
        }
        let meet = |some: &[u64], others: &[u64]| some.iter().any(|id| others.contains(id));
        if meet(&self.voters, &self.learners)
            || meet(&self.voters_outgoing, &self.learners)
            || meet(&self.voters, &self.learners_next)
        {
            return Some("a member votes and learns");
        }
        if self.learners_next.iter().any(|id| !self.voters_outgoing.contains(id)) {
            return Some("a member that is to learn did not vote before");
        }
        if self.auto_leave && self.voters_outgoing.is_empty() {
            return Some("there is no joint configuration to leave");
        }
        if self.voters.is_empty() && !(self.learners.is_empty() && self.voters_outgoing.is_empty()) {
            return Some("nobody votes");
        }
        None
    }

    /// The same configuration with the members of each kind in order.
    pub(crate) fn sorted(mut self) -> Self {
        for ids in [&mut self.voters, &mut self.learners, &mut self.voters_outgoing, &mut self.learners_next]
        {
            ids.sort_unstable();
        }
        self
    }

    pub(crate) fn from_raft(conf_state: &raft::eraftpb::ConfState) -> Self {
        // The tracker behind it keeps sets, which have no order that could be relied on.
        Self {
            voters: conf_state.voters.clone(),
            learners: conf_state.learners.clone(),
            voters_outgoing: conf_state.voters_outgoing.clone(),
            learners_next: conf_state.learners_next.clone(),
            auto_leave: conf_state.auto_leave,
        }
        .sorted()
    }

    pub(crate) fn to_raft(&self) -> raft::eraftpb::ConfState {
        raft::eraftpb::ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..raft::eraftpb::ConfState::default()
        }
    }
}

impl SnapshotMeta {
    pub(crate) fn from_raft(metadata: &raft::eraftpb::SnapshotMetadata) -> Self {
        Self {
            index: metadata.index,
            term: metadata.term,
            conf_state: ConfState::from_raft(metadata.get_conf_state()),
        }
    }

    pub(crate) fn to_raft(&self) -> raft::eraftpb::SnapshotMetadata {
        let mut metadata = raft::eraftpb::SnapshotMetadata {
            index: self.index,
            term: self.term,
            ..raft::eraftpb::SnapshotMetadata::default()
        };
        metadata.set_conf_state(self.conf_state.to_raft());
        metadata
    }
}
