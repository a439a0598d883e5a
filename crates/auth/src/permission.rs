//! What a role allows on which keys.

use bytes::Bytes;
use etched_key_range::KeyRange;

/// What may be done.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and watching.
    Read,
    /// Putting and deleting.
    Write,
    /// Both.
    ReadWrite,
    /// A kind that this version does not know, by its number on the wire: it allows nothing, and is kept.
    Unknown(i32),
}

impl Access {
    /// The kind of a number on the wire.
    pub fn from_wire(number: i32) -> Self {
        match number {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::ReadWrite,
            number => Self::Unknown(number),
        }
    }

    /// The number on the wire.
    pub fn to_wire(self) -> i32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::ReadWrite => 2,
            Self::Unknown(number) => number,
        }
    }

    pub(crate) fn allows_reading(self) -> bool {
        match self {
            Self::Read | Self::ReadWrite => true,
            Self::Write | Self::Unknown(_) => false,
        }
    }

    pub(crate) fn allows_writing(self) -> bool {
        match self {
            Self::Write | Self::ReadWrite => true,
            Self::Read | Self::Unknown(_) => false,
        }
    }
}

/// One permission of a role, with the two ends of its range as they came: they are compared and stored so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What may be done.
    pub access: Access,
    /// The key, or the first one of the range.
    pub key: Bytes,
    /// Empty for one key, one zero byte for all keys from `key` on, else the first key that is not meant.
    pub range_end: Bytes,
}

impl Permission {
    /// The keys that it is for.
    pub(crate) fn range(&self) -> KeyRange {
        KeyRange::from_wire(self.key.clone(), self.range_end.clone())
    }

    /// Whether it is for any key at all; one that is not is never granted.
    pub(crate) fn is_valid(&self) -> bool {
        !self.key.is_empty() && !self.range().is_empty()
    }
}
