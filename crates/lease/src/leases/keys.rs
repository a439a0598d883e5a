//! The keys of one lease: often one, sometimes a hundred thousand.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;

/// A set of keys; up to one key needs no allocation of its own.
#[derive(Clone, Debug, Default)]
pub(super) enum Keys {
    #[default]
    None,
    One(Bytes),
    Many(BTreeSet<Bytes>),
}

impl Keys {
    pub(super) fn insert(&mut self, key: Bytes) {
        match self {
            Self::None => *self = Self::One(key),
            Self::One(held) if *held == key => {}
            Self::One(held) => *self = Self::Many(BTreeSet::from([mem::take(held), key])),
            Self::Many(held) => {
                held.insert(key);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        match self {
            Self::None => {}
            Self::One(held) if held == key => *self = Self::None,
            Self::One(_) => {}
            Self::Many(held) => {
                held.remove(key);
                if held.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(key) => (Some(key), None),
            Self::Many(keys) => (None, Some(keys)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn into_sorted(self) -> Vec<Bytes> {
        match self {
            Self::None => Vec::new(),
            Self::One(key) => vec![key],
            Self::Many(keys) => keys.into_iter().collect(),
        }
    }
}

impl PartialEq for Keys {
    /// Equal sets are equal, however they are kept.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Keys {}
