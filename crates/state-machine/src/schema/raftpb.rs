//! Who takes part in consensus, and changes of that, as the log's own messages (`raftpb`).

use bytes::Bytes;

use super::DecodeError;
use super::wire::{Backward, Field, Fields};
use crate::members::{ConfChangeKind, ConfChangeRecord, ConfState};
use crate::refusal::Refusal;

impl ConfState {
    /// The bytes of etcd's `raftpb.ConfState`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Backward::with_capacity(64);
        // Written even if it is not set, as etcd has always done.
        writer.u64_present(5, self.auto_leave.into());
        let lists = [&self.learners_next, &self.voters_outgoing, &self.learners, &self.voters];
        for (number, ids) in [4, 3, 2, 1].into_iter().zip(lists) {
            for id in ids.iter().rev() {
                writer.u64_present(number, *id);
            }
        }
        writer.finish()
    }

    /// Reads the bytes of etcd's `raftpb.ConfState`; none if they are something else.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut conf_state = Self::default();
        let mut fields = Fields::new("ConfState", bytes);
        while let Some(field) = fields.next().ok()? {
            match field.number {
                1 => conf_state.voters.push(field.u64().ok()?),
                2 => conf_state.learners.push(field.u64().ok()?),
                3 => conf_state.voters_outgoing.push(field.u64().ok()?),
                4 => conf_state.learners_next.push(field.u64().ok()?),
                5 => conf_state.auto_leave = field.bool().ok()?,
                _ => return None,
            }
        }
        Some(conf_state)
    }
}

impl ConfChangeRecord {
    /// The bytes of etcd's `raftpb.ConfChange`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Backward::with_capacity(self.context.len() + 48);
        if !self.context.is_empty() {
            writer.bytes_present(4, &self.context);
        }
        writer.u64_present(3, self.node_id);
        writer.u64_present(2, number(self.kind));
        writer.u64_present(1, self.id);
        writer.finish()
    }

    /// Reads the bytes of etcd's `raftpb.ConfChange`.
    ///
    /// # Errors
    ///
    /// [`Refusal::MalformedMember`] if they are something else.
    pub fn decode(bytes: &Bytes) -> Result<Self, Refusal> {
        Self::read(bytes).map_err(|_| Refusal::MalformedMember)
    }

    fn read(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut record = Self::default();
        let mut fields = Fields::new("ConfChange", bytes);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => record.id = field.u64()?,
                2 => record.kind = kind(field)?,
                3 => record.node_id = field.u64()?,
                4 => record.context = field.bytes()?,
                _ => return field.unknown(),
            }
        }
        Ok(record)
    }
}

fn number(kind: ConfChangeKind) -> u64 {
    match kind {
        ConfChangeKind::AddNode => 0,
        ConfChangeKind::RemoveNode => 1,
        ConfChangeKind::UpdateNode => 2,
        ConfChangeKind::AddLearnerNode => 3,
    }
}

fn kind(field: Field<'_>) -> Result<ConfChangeKind, DecodeError> {
    Ok(match field.u64()? {
        0 => ConfChangeKind::AddNode,
        1 => ConfChangeKind::RemoveNode,
        2 => ConfChangeKind::UpdateNode,
        3 => ConfChangeKind::AddLearnerNode,
        _ => return Err(DecodeError::Malformed),
    })
}
