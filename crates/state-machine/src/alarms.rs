//! The alarms that members have raised. Each is a record of table `alarm` whose key is the encoded alarm.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use crate::machine::RestoreError;
use crate::schema;

/// The kind of an alarm.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// The member's database is full.
    NoSpace,
    /// The member's data differs from that of the others.
    Corrupt,
}

/// An alarm of a member.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmMember {
    /// The kind.
    pub kind: AlarmKind,
    /// Whose it is; 0 if it is not known which member is wrong.
    pub member_id: u64,
}

/// All alarms. One alarm of a kind, whoever has it, counts for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Alarms {
    raised: BTreeSet<AlarmMember>,
}

impl AlarmKind {
    /// The kind with this number on the wire; 0 and unknown ones are none.
    pub fn from_wire(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::NoSpace),
            2 => Some(Self::Corrupt),
            _ => None,
        }
    }

    /// The kind's number on the wire.
    pub fn to_wire(self) -> i32 {
        match self {
            Self::NoSpace => 1,
            Self::Corrupt => 2,
        }
    }
}

impl Alarms {
    pub(crate) fn restore(view: &dyn ReadView) -> Result<Self, RestoreError> {
        let mut raised = BTreeSet::new();
        let mut damaged = None;
        view.scan(
            Table::Alarm,
            (Bound::Unbounded, Bound::Unbounded),
            &mut |key, _| match schema::decode_alarm(&Bytes::copy_from_slice(key)) {
                Some(alarm) => {
                    raised.insert(alarm);
                    ControlFlow::Continue(())
                }
                None => {
                    damaged = Some(Bytes::copy_from_slice(key));
                    ControlFlow::Break(())
                }
            },
        )?;
        match damaged {
            Some(key) => Err(BackendError::Damaged {
                table: Table::Alarm,
                key,
                why: "the key is no alarm of a known kind",
            }
            .into()),
            None => Ok(Self { raised }),
        }
    }

    /// All alarms, by kind and member.
    pub fn iter(&self) -> impl Iterator<Item = &AlarmMember> {
        self.raised.iter()
    }

    /// Whether any member has an alarm of this kind.
    pub fn has(&self, kind: AlarmKind) -> bool {
        self.raised.iter().any(|alarm| alarm.kind == kind)
    }

    /// Whether this alarm is raised.
    pub fn contains(&self, alarm: AlarmMember) -> bool {
        self.raised.contains(&alarm)
    }

    /// The alarms of one kind, or all.
    pub(crate) fn list(&self, kind: Option<AlarmKind>) -> Vec<AlarmMember> {
        self.iter().copied().filter(|alarm| kind.is_none_or(|kind| alarm.kind == kind)).collect()
    }

    /// Returns whether the alarm is new.
    pub(crate) fn raise(&mut self, alarm: AlarmMember, batch: &mut Batch) -> bool {
        let new = self.raised.insert(alarm);
        if new {
            batch.put(Table::Alarm, schema::encode_alarm(alarm), Bytes::new());
        }
        new
    }

    /// Returns whether the alarm was raised before.
    pub(crate) fn clear(&mut self, alarm: AlarmMember, batch: &mut Batch) -> bool {
        let was = self.raised.remove(&alarm);
        if was {
            batch.delete(Table::Alarm, schema::encode_alarm(alarm));
        }
        was
    }
}
