//! What is asked of a message before the `raft` crate may see it.
//!
//! The crate panics on many messages that no sound member sends, and a member must not be stopped by what another
//! one sends to it. So everything that it takes for granted is checked here first.

use bytes::Bytes;
use raft::{Raft, StateRole};

use crate::codec::DecodeError;
use crate::conf_change::{ConfChange, decode_v2};
use crate::entry::payload;
use crate::log_store::LogStore;
use crate::{Message, MessageKind, SnapshotMeta};

/// Terms and indices above this are refused, so that adding to them is safe.
const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();
/// Bytes of the context of a read.
const READ_CONTEXT_BYTES_MAX: usize = 1024;

/// Why a message was not taken. The member goes on as if it had not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The message is for another member.
    #[error("the message is for member {to:x}")]
    Misaddressed {
        /// The member that it is for.
        to: u64,
    },
    /// The message is from nobody, or from the member itself.
    #[error("the message cannot be from member {from:x}")]
    ImpossibleSender {
        /// The member that it says it is from.
        from: u64,
    },
    /// An answer from a member that does not take part.
    #[error("member {from:x} does not take part")]
    UnknownSender {
        /// The member that it is from.
        from: u64,
    },
    /// The message contradicts itself.
    #[error("the message contradicts itself: {0}")]
    Malformed(&'static str),
    /// The change of configuration that is proposed cannot be read.
    #[error("the proposed change of configuration cannot be read")]
    ConfChange(#[source] DecodeError),
    /// The leader believes that this member has entries that it has not: the member lost a part of its log.
    #[error(
        "the leader says index {commit} is committed here, but the log ends at {last_index}: entries were lost"
    )]
    CommitBeyondLog {
        /// What the leader says.
        commit: u64,
        /// The end of the own log.
        last_index: u64,
    },
    /// The leader sends another entry than the one that is committed here.
    #[error("the leader's entry {index} is not the one that is committed here")]
    ConflictsWithCommitted {
        /// The entry's index.
        index: u64,
    },
    /// A follower acknowledges what this leader has not sent.
    #[error("index {index} is acknowledged, but the log ends at {last_index}")]
    AcknowledgesTooMuch {
        /// What the follower says.
        index: u64,
        /// The end of the own log.
        last_index: u64,
    },
    /// An answer to a question that was not asked yet, or is not asked any more.
    #[error("nothing was asked that this answers")]
    Unasked,
    /// A proposal that was passed on cannot be taken.
    #[error("the proposal was dropped")]
    ProposalDropped,
    /// Anything else that the `raft` crate does not like.
    #[error("the message was refused: {0}")]
    Refused(String),
}

/// Checks a message against what the member knows.
pub(crate) fn check(message: &Message, raft: &Raft<LogStore>, may_win: bool) -> Result<(), StepError> {
    check_address(message, raft.id)?;
    check_numbers(message)?;
    match message.kind() {
        MessageKind::Propose => check_proposal(message),
        MessageKind::Append => check_append(message, raft),
        MessageKind::AppendResponse => check_append_response(message, raft),
        MessageKind::Snapshot => check_snapshot(message),
        MessageKind::Heartbeat => check_heartbeat(message, raft),
        MessageKind::ReadIndex | MessageKind::ReadIndexResponse => check_read(message),
        MessageKind::VoteResponse | MessageKind::PreVoteResponse => {
            // The questions leave when the log is on the disk, so no answer comes before that.
            let asked = raft.raft_log.persisted == raft.raft_log.last_index();
            if asked || raft.state == StateRole::Leader { Ok(()) } else { Err(StepError::Unasked) }
        }
        MessageKind::TimeoutNow => {
            if may_win {
                Ok(())
            } else {
                Err(StepError::Unasked)
            }
        }
        MessageKind::TransferLeader => {
            if message.term() == 0 || message.term() == raft.term {
                Ok(())
            } else {
                Err(StepError::Unasked)
            }
        }
        MessageKind::Vote | MessageKind::PreVote | MessageKind::HeartbeatResponse => Ok(()),
    }
}

fn check_address(message: &Message, id: u64) -> Result<(), StepError> {
    if message.to() != id {
        return Err(StepError::Misaddressed { to: message.to() });
    }
    // These are passed on with the sender kept, and may come back to it.
    let passed_on =
        matches!(message.kind(), MessageKind::Propose | MessageKind::ReadIndex | MessageKind::TransferLeader);
    if message.from() == 0 || (message.from() == id && !passed_on) {
        return Err(StepError::ImpossibleSender { from: message.from() });
    }
    Ok(())
}

fn check_numbers(message: &Message) -> Result<(), StepError> {
    let inner = &message.inner;
    let own = [inner.term, inner.log_term, inner.index, inner.commit, inner.reject_hint];
    let mut entries = inner.entries.iter().flat_map(|entry| [entry.term, entry.index]);
    if own.into_iter().any(|number| number > NUMBER_MAX) || entries.any(|number| number > NUMBER_MAX) {
        return Err(StepError::Malformed("a term or an index is too large"));
    }
    let passed_on = match message.kind() {
        MessageKind::Propose | MessageKind::ReadIndex => true,
        MessageKind::TransferLeader => return Ok(()),
        MessageKind::Append
        | MessageKind::AppendResponse
        | MessageKind::Vote
        | MessageKind::VoteResponse
        | MessageKind::Snapshot
        | MessageKind::Heartbeat
        | MessageKind::HeartbeatResponse
        | MessageKind::TimeoutNow
        | MessageKind::ReadIndexResponse
        | MessageKind::PreVote
        | MessageKind::PreVoteResponse => false,
    };
    if passed_on == (inner.term == 0) {
        Ok(())
    } else {
        Err(StepError::Malformed("the term is wrong for its type"))
    }
}

fn check_proposal(message: &Message) -> Result<(), StepError> {
    use raft::eraftpb::EntryType;
    if message.inner.entries.is_empty() {
        return Err(StepError::Malformed("nothing is proposed"));
    }
    for entry in message.inner.entries.iter() {
        match entry.entry_type {
            EntryType::EntryNormal => {}
            EntryType::EntryConfChange => {
                ConfChange::decode(payload(entry)).map_err(StepError::ConfChange)?;
            }
            EntryType::EntryConfChangeV2 => {
                decode_v2(payload(entry)).map(|_| ()).map_err(StepError::ConfChange)?
            }
        }
    }
    Ok(())
}

fn check_append(message: &Message, raft: &Raft<LogStore>) -> Result<(), StepError> {
    let inner = &message.inner;
    if (inner.index == 0) != (inner.log_term == 0) {
        return Err(StepError::Malformed("the entry before has an index or a term, not both"));
    }
    let (mut index, mut term) = (inner.index, inner.log_term);
    for entry in inner.entries.iter() {
        if entry.index != index + 1 {
            return Err(StepError::Malformed("the entries have a gap"));
        }
        if entry.term == 0 || entry.term < term {
            return Err(StepError::Malformed("the terms of the entries fall"));
        }
        (index, term) = (entry.index, entry.term);
    }
    if term > inner.term {
        return Err(StepError::Malformed("an entry is newer than its leader"));
    }
    if inner.term < raft.term {
        return Ok(());
    }
    let committed = raft.raft_log.committed;
    let base = (inner.index, inner.log_term);
    let known = inner
        .entries
        .iter()
        .map(|entry| (entry.index, entry.term))
        .take_while(|(index, _)| *index <= committed);
    for (index, term) in std::iter::once(base).chain(known) {
        let is_held = (raft.raft_log.first_index()..=committed).contains(&index);
        if is_held && raft.raft_log.term(index).is_ok_and(|own| own != term) {
            return Err(StepError::ConflictsWithCommitted { index });
        }
    }
    Ok(())
}

fn check_append_response(message: &Message, raft: &Raft<LogStore>) -> Result<(), StepError> {
    let last_index = raft.raft_log.last_index();
    let counts = raft.state == StateRole::Leader && message.term() == raft.term;
    if counts && !message.is_reject() && message.index() > last_index {
        return Err(StepError::AcknowledgesTooMuch { index: message.index(), last_index });
    }
    Ok(())
}

fn check_snapshot(message: &Message) -> Result<(), StepError> {
    let meta = SnapshotMeta::from_raft(message.inner.get_snapshot().get_metadata());
    if meta.index == 0 || meta.term == 0 {
        return Err(StepError::Malformed("the snapshot is empty"));
    }
    if meta.index > NUMBER_MAX || meta.term > message.term() {
        return Err(StepError::Malformed("the snapshot is newer than its leader"));
    }
    if meta.conf_state.voters.is_empty() {
        return Err(StepError::Malformed("nobody votes in the snapshot"));
    }
    match meta.conf_state.fault() {
        Some(fault) => Err(StepError::Malformed(fault)),
        None => Ok(()),
    }
}

fn check_heartbeat(message: &Message, raft: &Raft<LogStore>) -> Result<(), StepError> {
    let last_index = raft.raft_log.last_index();
    if message.term() >= raft.term && message.commit() > last_index {
        return Err(StepError::CommitBeyondLog { commit: message.commit(), last_index });
    }
    Ok(())
}

fn check_read(message: &Message) -> Result<(), StepError> {
    match read_context(message) {
        Some(context) if (1..=READ_CONTEXT_BYTES_MAX).contains(&context.len()) => Ok(()),
        Some(_) | None => Err(StepError::Malformed("a read has exactly one context")),
    }
}

/// The context of a message about a read.
pub(crate) fn read_context(message: &Message) -> Option<&Bytes> {
    match message.inner.get_entries() {
        [entry] => Some(&entry.data),
        _ => None,
    }
}
