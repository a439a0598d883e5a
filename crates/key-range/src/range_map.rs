//! Many ranges with values, found by a key that they contain.

mod tree;
mod values;

#[cfg(test)]
mod tests;

use crate::{KeyRange, RangeEnd};
use alloc::collections::BTreeMap;
use bytes::Bytes;
use tree::Tree;
use values::{Removal, Values};

/// A set of pairs (range, value), asked which values have a range that contains a given key.
///
/// A pair is held once, however often it is inserted.
/// Inserting, removing and looking up cost `O(log n)` in the number of *different* ranges, and `O(log m)` in the
/// number of values with the same range; a lookup also visits each value that it finds.
#[derive(Clone, Debug)]
pub struct RangeMap<V> {
    singles: BTreeMap<Bytes, Values<V>>,
    ranges: Tree<V>,
    len: usize,
}

impl<V: Ord> RangeMap<V> {
    /// A map without ranges.
    pub fn new() -> Self {
        Self { singles: BTreeMap::new(), ranges: Tree::new(), len: 0 }
    }

    /// Adds a pair; `false` if it was there.
    pub fn insert(&mut self, range: KeyRange, value: V) -> bool {
        let inserted = match range.end {
            RangeEnd::Single => match self.singles.get_mut(&range.start) {
                Some(values) => values.insert(value),
                None => {
                    self.singles.insert(range.start, Values::One(value));
                    true
                }
            },
            RangeEnd::Before(_) | RangeEnd::Unbounded => self.ranges.insert(range, value),
        };
        self.len += usize::from(inserted);
        inserted
    }

    /// Takes a pair out; `false` if it was not there.
    pub fn remove(&mut self, range: &KeyRange, value: &V) -> bool {
        let removal = match range.end {
            RangeEnd::Single => match self.singles.get_mut(&range.start) {
                Some(values) => values.remove(value),
                None => Removal::Absent,
            },
            RangeEnd::Before(_) | RangeEnd::Unbounded => self.ranges.remove(range, value),
        };
        match removal {
            Removal::Absent => return false,
            Removal::Removed => {}
            Removal::WasLast => {
                // The tree has unlinked its own node.
                if range.is_single() {
                    self.singles.remove(&range.start);
                }
            }
        }
        self.len -= 1;
        true
    }

    /// Visits each value whose range contains `key`; the order is the same in each run, and not specified.
    pub fn for_each_containing<'a>(&'a self, key: &[u8], mut visit: impl FnMut(&'a V)) {
        if let Some(values) = self.singles.get(key) {
            values.iter().for_each(&mut visit);
        }
        self.ranges.for_each_containing(key, &mut visit);
    }

    /// Whether a value that satisfies `predicate` has a range that contains `key`.
    pub fn any_containing(&self, key: &[u8], mut predicate: impl FnMut(&V) -> bool) -> bool {
        if self.singles.get(key).is_some_and(|values| values.iter().any(&mut predicate)) {
            return true;
        }
        self.ranges.any_containing(key, &mut predicate)
    }

    /// The values of exactly this range, in their order.
    pub fn values(&self, range: &KeyRange) -> impl Iterator<Item = &V> {
        match range.end {
            RangeEnd::Single => self.singles.get(&range.start),
            RangeEnd::Before(_) | RangeEnd::Unbounded => self.ranges.values(range),
        }
        .into_iter()
        .flat_map(Values::iter)
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<V: Ord> Default for RangeMap<V> {
    fn default() -> Self {
        Self::new()
    }
}
