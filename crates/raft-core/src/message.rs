//! A message between members.

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};

use crate::codec::{DecodeError, Fields, Writer, entry_len, read_entry, write_entry};
use crate::entry::payload;
use crate::{ConfState, Entry, EntryKind, SnapshotMeta};

/// A message from one member to another, well-formed and not yet judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub(crate) inner: eraftpb::Message,
}

impl Eq for Message {}

/// What a [`Message`] says. The numbers are etcd's.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageKind {
    /// Entries that somebody wants the leader to append.
    Propose,
    /// Entries of the leader's log.
    Append,
    /// How far the follower's log agrees.
    AppendResponse,
    /// A candidate asks for a vote.
    Vote,
    /// The vote.
    VoteResponse,
    /// A snapshot takes the place of entries that the leader has no more.
    Snapshot,
    /// The leader is there.
    Heartbeat,
    /// The follower is there.
    HeartbeatResponse,
    /// Leadership is to go to the sender.
    TransferLeader,
    /// The receiver is to campaign at once.
    TimeoutNow,
    /// What is the index that a read has to wait for?
    ReadIndex,
    /// That index.
    ReadIndexResponse,
    /// Would the receiver vote for the sender?
    PreVote,
    /// Whether it would.
    PreVoteResponse,
}

impl MessageKind {
    const ALL: [Self; 14] = [
        Self::Propose,
        Self::Append,
        Self::AppendResponse,
        Self::Vote,
        Self::VoteResponse,
        Self::Snapshot,
        Self::Heartbeat,
        Self::HeartbeatResponse,
        Self::TransferLeader,
        Self::TimeoutNow,
        Self::ReadIndex,
        Self::ReadIndexResponse,
        Self::PreVote,
        Self::PreVoteResponse,
    ];

    /// The number in etcd's messages.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Propose => 2,
            Self::Append => 3,
            Self::AppendResponse => 4,
            Self::Vote => 5,
            Self::VoteResponse => 6,
            Self::Snapshot => 7,
            Self::Heartbeat => 8,
            Self::HeartbeatResponse => 9,
            Self::TransferLeader => 13,
            Self::TimeoutNow => 14,
            Self::ReadIndex => 15,
            Self::ReadIndexResponse => 16,
            Self::PreVote => 17,
            Self::PreVoteResponse => 18,
        }
    }

    /// The kind of that number.
    ///
    /// # Errors
    ///
    /// etcd has no such type, or it is not one that members send to each other.
    pub fn from_number(number: u64) -> Result<Self, DecodeError> {
        let local = match number {
            0 => "MsgHup",
            1 => "MsgBeat",
            10 => "MsgUnreachable",
            11 => "MsgSnapStatus",
            12 => "MsgCheckQuorum",
            19 => "MsgStorageAppend",
            20 => "MsgStorageAppendResp",
            21 => "MsgStorageApply",
            22 => "MsgStorageApplyResp",
            23 => "MsgForgetLeader",
            _ => {
                let kind = Self::ALL.into_iter().find(|kind| kind.number() == number);
                return kind.ok_or(DecodeError::UnknownType { what: "a message", number });
            }
        };
        Err(DecodeError::UnsupportedMessage(local))
    }

    const fn to_raft(self) -> MessageType {
        match self {
            Self::Propose => MessageType::MsgPropose,
            Self::Append => MessageType::MsgAppend,
            Self::AppendResponse => MessageType::MsgAppendResponse,
            Self::Vote => MessageType::MsgRequestVote,
            Self::VoteResponse => MessageType::MsgRequestVoteResponse,
            Self::Snapshot => MessageType::MsgSnapshot,
            Self::Heartbeat => MessageType::MsgHeartbeat,
            Self::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
            Self::TransferLeader => MessageType::MsgTransferLeader,
            Self::TimeoutNow => MessageType::MsgTimeoutNow,
            Self::ReadIndex => MessageType::MsgReadIndex,
            Self::ReadIndexResponse => MessageType::MsgReadIndexResp,
            Self::PreVote => MessageType::MsgRequestPreVote,
            Self::PreVoteResponse => MessageType::MsgRequestPreVoteResponse,
        }
    }

    /// The kind of a message of the `raft` crate; `None` for those that it sends to itself.
    const fn from_raft(message_type: MessageType) -> Option<Self> {
        match message_type {
            MessageType::MsgPropose => Some(Self::Propose),
            MessageType::MsgAppend => Some(Self::Append),
            MessageType::MsgAppendResponse => Some(Self::AppendResponse),
            MessageType::MsgRequestVote => Some(Self::Vote),
            MessageType::MsgRequestVoteResponse => Some(Self::VoteResponse),
            MessageType::MsgSnapshot => Some(Self::Snapshot),
            MessageType::MsgHeartbeat => Some(Self::Heartbeat),
            MessageType::MsgHeartbeatResponse => Some(Self::HeartbeatResponse),
            MessageType::MsgTransferLeader => Some(Self::TransferLeader),
            MessageType::MsgTimeoutNow => Some(Self::TimeoutNow),
            MessageType::MsgReadIndex => Some(Self::ReadIndex),
            MessageType::MsgReadIndexResp => Some(Self::ReadIndexResponse),
            MessageType::MsgRequestPreVote => Some(Self::PreVote),
            MessageType::MsgRequestPreVoteResponse => Some(Self::PreVoteResponse),
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum => None,
        }
    }
}

impl Message {
    /// Wraps a message that the `raft` crate wants to send, without what etcd's messages do not have.
    pub(crate) fn from_raft(mut inner: eraftpb::Message) -> Self {
        let kind = MessageKind::from_raft(inner.msg_type).expect("local messages are never sent");
        if !matches!(kind, MessageKind::Append | MessageKind::Heartbeat) {
            inner.commit = 0;
            inner.commit_term = 0;
        }
        Self { inner }
    }

    /// What it says.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        MessageKind::from_raft(self.inner.msg_type).expect("both ways to build a message check its type")
    }

    /// The member that it is for.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.inner.to
    }

    /// The member that it is from, or the member that is to lead.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.inner.from
    }

    /// The term in which it was sent; zero if it is only passed on.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.inner.term
    }

    /// The index that it is about.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.inner.index
    }

    /// How far the sender says the log is committed.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.inner.commit
    }

    /// Whether it says no.
    #[must_use]
    pub fn is_reject(&self) -> bool {
        self.inner.reject
    }

    /// How many entries it carries.
    #[must_use]
    pub fn entries_len(&self) -> usize {
        self.inner.entries.len()
    }

    /// Bytes of the payloads of its entries.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.inner.entries.iter().map(|entry| payload(entry).len()).sum()
    }

    /// Where the snapshot stands that it announces.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotMeta> {
        (self.kind() == MessageKind::Snapshot)
            .then(|| SnapshotMeta::from_raft(self.inner.get_snapshot().get_metadata()))
    }

    /// The same message about a later snapshot, for a sender that makes the snapshot only when it goes out.
    ///
    /// # Panics
    ///
    /// If the message is no snapshot's, or the snapshot is older than the one that it had.
    #[must_use]
    pub fn with_snapshot(mut self, meta: &SnapshotMeta, data: Bytes) -> Self {
        let had = self.snapshot().expect("the message announces a snapshot");
        assert!(meta.index >= had.index && meta.term >= had.term, "snapshots do not go back");
        let mut snapshot = eraftpb::Snapshot { data, ..eraftpb::Snapshot::default() };
        snapshot.set_metadata(meta.to_raft());
        self.inner.set_snapshot(snapshot);
        self
    }

    /// What the sender of a snapshot put beside it.
    #[must_use]
    pub fn snapshot_data(&self) -> Option<Bytes> {
        (self.kind() == MessageKind::Snapshot).then(|| self.inner.get_snapshot().data.clone())
    }

    /// The bytes of etcd's `raftpb.Message`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let inner = &self.inner;
        let entries_bytes: usize = inner.entries.iter().map(|entry| 32 + payload(entry).len()).sum();
        let mut writer = Writer::with_capacity(96 + entries_bytes + inner.context.len());
        writer.number(1, self.kind().number());
        writer.number(2, inner.to);
        writer.number(3, inner.from);
        writer.number(4, inner.term);
        writer.number(5, inner.log_term);
        writer.number(6, inner.index);
        for entry in inner.entries.iter() {
            let (kind, data) = (EntryKind::from_raft(entry.entry_type), payload(entry));
            writer.open_message(7, entry_len(kind, entry.term, entry.index, data));
            write_entry(&mut writer, kind, entry.term, entry.index, data);
        }
        writer.number(8, inner.commit);
        if self.kind() == MessageKind::Snapshot {
            writer.message(9, &encode_snapshot(inner.get_snapshot()));
        }
        writer.number(10, u64::from(inner.reject));
        writer.number(11, inner.reject_hint);
        writer.bytes(12, &inner.context);
        writer.finish()
    }

    /// Reads the bytes of etcd's `raftpb.Message`; payloads share the memory of `bytes`.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or its type is not one that members send to each other.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut inner = eraftpb::Message::default();
        let mut number = 0;
        let mut entries = Vec::new();
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => number = value.number(field)?,
                2 => inner.to = value.number(field)?,
                3 => inner.from = value.number(field)?,
                4 => inner.term = value.number(field)?,
                5 => inner.log_term = value.number(field)?,
                6 => inner.index = value.number(field)?,
                7 => entries.push(read_entry(&value.bytes(field)?).map(Entry::into_raft)?),
                8 => inner.commit = value.number(field)?,
                9 => inner.set_snapshot(decode_snapshot(&value.bytes(field)?)?),
                10 => inner.reject = value.number(field)? != 0,
                11 => inner.reject_hint = value.number(field)?,
                12 => inner.context = value.bytes(field)?,
                _ => {}
            }
        }
        let kind = MessageKind::from_number(number)?;
        inner.msg_type = kind.to_raft();
        inner.set_entries(entries.into());
        if kind != MessageKind::Snapshot {
            // Old members put an empty one into every message.
            inner.clear_snapshot();
        } else if !inner.has_snapshot() {
            inner.set_snapshot(decode_snapshot(&Bytes::new())?);
        }
        Ok(Self { inner })
    }
}

fn encode_snapshot(snapshot: &eraftpb::Snapshot) -> Bytes {
    let meta = SnapshotMeta::from_raft(snapshot.get_metadata());
    let mut metadata = Writer::default();
    metadata.message(1, &meta.conf_state.encode());
    metadata.number(2, meta.index);
    metadata.number(3, meta.term);
    let mut writer = Writer::default();
    writer.bytes(1, &snapshot.data);
    writer.message(2, &metadata.finish());
    writer.finish()
}

fn decode_snapshot(bytes: &Bytes) -> Result<eraftpb::Snapshot, DecodeError> {
    let mut snapshot = eraftpb::Snapshot::default();
    let mut meta = SnapshotMeta::default();
    let mut fields = Fields::new(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => snapshot.data = value.bytes(field)?,
            2 => {
                let mut metadata = Fields::new(&value.bytes(field)?);
                while let Some((field, value)) = metadata.next()? {
                    match field {
                        1 => meta.conf_state = ConfState::decode(&value.bytes(field)?)?.sorted(),
                        2 => meta.index = value.number(field)?,
                        3 => meta.term = value.number(field)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    snapshot.set_metadata(meta.to_raft());
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
