//! Changes of who takes part.
//!
//! etcd numbers four kinds of change, the `raft` crate three and in another order, so the bytes of a change are only
//! ever read here.

use bytes::Bytes;

use crate::codec::{DecodeError, Fields, Value, Writer};

/// One change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfChange {
    /// What the proposer knows it by.
    pub id: u64,
    /// What is done.
    pub kind: ConfChangeKind,
    /// To which member; zero is nobody, and nothing changes.
    pub node_id: u64,
    /// What the state machine has to know about it.
    pub context: Bytes,
}

/// What a [`ConfChange`] does. The numbers are etcd's.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ConfChangeKind {
    /// The member votes from here on; a learner is promoted.
    AddNode,
    /// The member takes no part any more.
    RemoveNode,
    /// Something else about the member changes; who takes part does not.
    UpdateNode,
    /// The member receives the log and does not vote.
    AddLearnerNode,
}

impl ConfChangeKind {
    /// The number in etcd's log.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::AddNode => 0,
            Self::RemoveNode => 1,
            Self::UpdateNode => 2,
            Self::AddLearnerNode => 3,
        }
    }

    /// The kind of that number, if there is one.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::AddNode),
            1 => Some(Self::RemoveNode),
            2 => Some(Self::UpdateNode),
            3 => Some(Self::AddLearnerNode),
            _ => None,
        }
    }

    fn decode(field: u32, value: Value) -> Result<Self, DecodeError> {
        let number = value.number(field)?;
        Self::from_number(number).ok_or(DecodeError::UnknownType { what: "a configuration change", number })
    }
}

impl ConfChange {
    /// The bytes of etcd's `raftpb.ConfChange`, which an entry of kind `ConfChange` carries.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.number(1, self.id);
        writer.number(2, self.kind.number());
        writer.number(3, self.node_id);
        writer.bytes(4, &self.context);
        writer.finish()
    }

    /// Reads the bytes of etcd's `raftpb.ConfChange`.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or the kind of change is not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut change = Self { id: 0, kind: ConfChangeKind::AddNode, node_id: 0, context: Bytes::new() };
        let mut fields = Fields::new(&Bytes::copy_from_slice(bytes));
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => change.id = value.number(field)?,
                2 => change.kind = ConfChangeKind::decode(field, value)?,
                3 => change.node_id = value.number(field)?,
                4 => change.context = value.bytes(field)?,
                _ => {}
            }
        }
        Ok(change)
    }

    /// Reads the bytes of etcd's `raftpb.ConfChangeV2`, which an entry of kind `ConfChangeV2` carries: all its changes,
    /// each with the context of the whole. None at all asks for a joint configuration to be left.
    ///
    /// # Errors
    ///
    /// The bytes are not such a message, or a kind of change is not known.
    pub fn decode_v2(bytes: &Bytes) -> Result<Vec<Self>, DecodeError> {
        let mut changes = Vec::new();
        let mut context = Bytes::new();
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => changes.push(Self::decode_single(&value.bytes(field)?)?),
                3 => context = value.bytes(field)?,
                _ => {}
            }
        }
        for change in &mut changes {
            change.context = context.clone();
        }
        Ok(changes)
    }

    fn decode_single(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut change = Self { id: 0, kind: ConfChangeKind::AddNode, node_id: 0, context: Bytes::new() };
        let mut fields = Fields::new(bytes);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => change.kind = ConfChangeKind::decode(field, value)?,
                2 => change.node_id = value.number(field)?,
                _ => {}
            }
        }
        Ok(change)
    }

    /// The form that the `raft` crate applies, or `None` if who takes part does not change.
    pub(crate) fn to_raft(&self) -> Option<raft::eraftpb::ConfChange> {
        use raft::eraftpb::ConfChangeType;
        let change_type = match self.kind {
            ConfChangeKind::AddNode => ConfChangeType::AddNode,
            ConfChangeKind::RemoveNode => ConfChangeType::RemoveNode,
            ConfChangeKind::AddLearnerNode => ConfChangeType::AddLearnerNode,
            ConfChangeKind::UpdateNode => return None,
        };
        (self.node_id != 0).then(|| raft::eraftpb::ConfChange {
            change_type,
            node_id: self.node_id,
            ..raft::eraftpb::ConfChange::default()
        })
    }
}

/// Reads the bytes of etcd's `raftpb.ConfChangeV2` into the form that the `raft` crate applies.
pub(crate) fn decode_v2(bytes: &Bytes) -> Result<raft::eraftpb::ConfChangeV2, DecodeError> {
    use raft::eraftpb::ConfChangeTransition;
    let mut change = raft::eraftpb::ConfChangeV2::default();
    let mut fields = Fields::new(bytes);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => {
                let number = value.number(field)?;
                change.transition = match number {
                    0 => ConfChangeTransition::Auto,
                    1 => ConfChangeTransition::Implicit,
                    2 => ConfChangeTransition::Explicit,
                    _ => return Err(DecodeError::UnknownType { what: "a transition", number }),
                };
            }
            2 => change.mut_changes().push(decode_single(&value.bytes(field)?)?),
            3 => value.bytes(field).map(|_| ())?,
            _ => {}
        }
    }
    Ok(change)
}

fn decode_single(bytes: &Bytes) -> Result<raft::eraftpb::ConfChangeSingle, DecodeError> {
    let change = ConfChange::decode_single(bytes)?;
    // A change without effect names nobody.
    let single = change.to_raft().unwrap_or_default();
    Ok(raft::eraftpb::ConfChangeSingle {
        change_type: single.change_type,
        node_id: single.node_id,
        ..raft::eraftpb::ConfChangeSingle::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_etcds_numbers() {
        let change = ConfChange {
            id: 300,
            kind: ConfChangeKind::AddLearnerNode,
            node_id: 7,
            context: Bytes::from_static(b"{}"),
        };
        let bytes = change.encode();
        assert_eq!(&bytes[..], [0x08, 0xac, 0x02, 0x10, 3, 0x18, 7, 0x22, 2, b'{', b'}']);
        assert_eq!(ConfChange::decode(&bytes).unwrap(), change);
    }

    #[test]
    fn changes_of_the_second_form_share_their_context() {
        let bytes = [0x08, 1, 0x12, 4, 0x08, 3, 0x10, 7, 0x12, 2, 0x10, 8, 0x1a, 2, b'{', b'}'];
        let context = Bytes::from_static(b"{}");
        let change = |kind, node_id| ConfChange { id: 0, kind, node_id, context: context.clone() };
        let expected = [change(ConfChangeKind::AddLearnerNode, 7), change(ConfChangeKind::AddNode, 8)];
        assert_eq!(ConfChange::decode_v2(&Bytes::copy_from_slice(&bytes)).unwrap(), expected);
        assert_eq!(ConfChange::decode_v2(&Bytes::new()).unwrap(), []);
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let expected = DecodeError::UnknownType { what: "a configuration change", number: 4 };
        assert_eq!(ConfChange::decode(&[0x10, 4]), Err(expected));
    }
}
