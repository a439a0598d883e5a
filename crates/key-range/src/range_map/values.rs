//! The values of one range: usually one, now and then thousands.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::collections::btree_set;
use core::mem;

/// A set that is never empty; a single value needs no allocation, and is what the size is made for.
#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "sets are rare, and the box lets a single value take half the space"
)]
pub(super) enum Values<V> {
    One(V),
    Many(Box<BTreeSet<V>>),
}

/// What became of a value that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// It was not there.
    Absent,
    /// It is gone, others are left.
    Removed,
    /// It was the last one: the owner must drop the whole set.
    WasLast,
}

impl<V: Ord> Values<V> {
    /// Adds a value; `false` if it was there.
    pub(super) fn insert(&mut self, value: V) -> bool {
        match self {
            Self::One(held) if *held == value => false,
            Self::One(_) => {
                let before = mem::replace(self, Self::Many(Box::new(BTreeSet::from([value]))));
                if let (Self::One(held), Self::Many(many)) = (before, self) {
                    many.insert(held);
                }
                true
            }
            Self::Many(held) => held.insert(value),
        }
    }

    pub(super) fn remove(&mut self, value: &V) -> Removal {
        match self {
            Self::One(held) if held == value => Removal::WasLast,
            Self::One(_) => Removal::Absent,
            Self::Many(held) => match (held.remove(value), held.is_empty()) {
                (false, _) => Removal::Absent,
                (true, false) => Removal::Removed,
                (true, true) => Removal::WasLast,
            },
        }
    }

    pub(super) fn iter(&self) -> Iter<'_, V> {
        match self {
            Self::One(value) => Iter::One(Some(value)),
            Self::Many(values) => Iter::Many(values.iter()),
        }
    }
}

/// The values in order.
pub(super) enum Iter<'a, V> {
    One(Option<&'a V>),
    Many(btree_set::Iter<'a, V>),
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        match self {
            Self::One(value) => value.take(),
            Self::Many(values) => values.next(),
        }
    }
}
