//! One range of keys, in the three shapes that the wire knows.

use bytes::Bytes;
use core::ops::Bound;

/// The range end that the wire uses for "all keys from the start on".
const WIRE_UNBOUNDED: &[u8] = &[0];

/// A set of keys: one key, or all keys from a start up to an end.
///
/// The order is that of the start, then of the end; it serves maps and has no other meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key that may belong to the range.
    pub start: Bytes,
    /// Where the range ends.
    pub end: RangeEnd,
}

/// Where a [`KeyRange`] ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeEnd {
    /// The range is exactly its start.
    Single,
    /// The range ends before this key; it is empty when this key is not after the start.
    Before(Bytes),
    /// The range has no end.
    Unbounded,
}

impl KeyRange {
    /// Reads the pair of a request: an empty end is a single key, one zero byte is no end, else the end is exclusive.
    ///
    /// The range may be inverted, which is not an error on the wire: it is empty.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = if range_end.is_empty() {
            RangeEnd::Single
        } else if range_end == WIRE_UNBOUNDED {
            RangeEnd::Unbounded
        } else {
            RangeEnd::Before(range_end)
        };
        Self { start: key, end }
    }

    /// The pair `(key, range_end)` of a request: the exact inverse of [`KeyRange::from_wire`].
    ///
    /// The ends `""` and `"\0"` have no form of their own on the wire; `from_wire` never makes them, and they contain
    /// no key that can exist, so they are written as an inverted range.
    pub fn to_wire(&self) -> (Bytes, Bytes) {
        match &self.end {
            RangeEnd::Single => (self.start.clone(), Bytes::new()),
            RangeEnd::Before(end) if end.as_ref() <= WIRE_UNBOUNDED => {
                (Bytes::from_static(&[0, 0]), Bytes::from_static(&[0, 0]))
            }
            RangeEnd::Before(end) => (self.start.clone(), end.clone()),
            RangeEnd::Unbounded => (self.start.clone(), Bytes::from_static(WIRE_UNBOUNDED)),
        }
    }

    /// Exactly this key.
    pub fn single(key: Bytes) -> Self {
        Self { start: key, end: RangeEnd::Single }
    }

    /// All keys that begin with `prefix`; all keys if it is empty.
    pub fn prefix(prefix: &[u8]) -> Self {
        if prefix.is_empty() {
            return Self::all();
        }
        let end = match prefix.iter().rposition(|&byte| byte < 0xff) {
            Some(last) => {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                // A prefix of zero bytes ends in 0x01, so the end is never the wire's "no end".
                RangeEnd::Before(end.into())
            }
            None => RangeEnd::Unbounded,
        };
        Self { start: Bytes::copy_from_slice(prefix), end }
    }

    /// All keys that can exist: those from `"\0"` on, since no key is empty.
    pub fn all() -> Self {
        Self { start: Bytes::from_static(&[0]), end: RangeEnd::Unbounded }
    }

    /// Whether `key` belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => self.start == key,
            RangeEnd::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            RangeEnd::Unbounded => self.start.as_ref() <= key,
        }
    }

    /// Whether no key can belong to the range.
    pub fn is_empty(&self) -> bool {
        match &self.end {
            RangeEnd::Single | RangeEnd::Unbounded => false,
            RangeEnd::Before(end) => end <= &self.start,
        }
    }

    /// Whether the range is one key by its form (a real range that happens to hold one key is not).
    pub fn is_single(&self) -> bool {
        self.end == RangeEnd::Single
    }

    /// The bounds for `BTreeMap::range`; an empty range yields bounds that are empty and never make it panic.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = self.start.as_ref();
        match &self.end {
            RangeEnd::Single => (Bound::Included(start), Bound::Included(start)),
            RangeEnd::Before(end) if end.as_ref() <= start => {
                (Bound::Included(start), Bound::Excluded(start))
            }
            RangeEnd::Before(end) => (Bound::Included(start), Bound::Excluded(end.as_ref())),
            RangeEnd::Unbounded => (Bound::Included(start), Bound::Unbounded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn wire(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(key.into(), end.into())
    }

    #[test]
    fn the_wire_has_three_shapes() {
        assert_eq!(wire("a", "").end, RangeEnd::Single);
        assert_eq!(wire("a", "\0").end, RangeEnd::Unbounded);
        assert_eq!(wire("a", "b").end, RangeEnd::Before("b".into()));
        assert_eq!(wire("a", "\0\0").end, RangeEnd::Before("\0\0".into()));
    }

    #[test]
    fn a_single_key_does_not_cover_the_keys_after_it() {
        let range = wire("a", "");
        assert!(range.contains(b"a"));
        assert!(!range.contains(b"a\0") && !range.contains(b"b"));
        assert!(wire("a", "\0").contains(b"b"));
    }

    #[test]
    fn an_inverted_range_is_empty() {
        for (key, end) in [("b", "a"), ("b", "b"), ("a", "\0\0")] {
            let range = wire(key, end);
            assert!(range.is_empty(), "{range:?}");
            assert!(!range.contains(key.as_bytes()) && !range.contains(end.as_bytes()));
        }
        assert!(!wire("", "").is_empty() && !wire("a", "\0").is_empty());
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_can_grow() {
        assert_eq!(KeyRange::prefix(b"ab"), wire("ab", "ac"));
        assert_eq!(
            KeyRange::prefix(&[1, 0xff, 0xff]).to_wire(),
            (Bytes::from_static(&[1, 0xff, 0xff]), Bytes::from_static(&[2]))
        );
        assert_eq!(KeyRange::prefix(&[0xff]).end, RangeEnd::Unbounded);
        assert_eq!(KeyRange::prefix(b""), KeyRange::all());
        assert_eq!(KeyRange::all().to_wire(), ("\0".into(), "\0".into()));
    }

    #[test]
    fn ends_without_a_wire_form_are_written_as_an_empty_range() {
        for end in ["", "\0"] {
            let range = KeyRange { start: "a".into(), end: RangeEnd::Before(end.into()) };
            let (key, range_end) = range.to_wire();
            assert!(KeyRange::from_wire(key, range_end).is_empty());
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)], 0..4)
    }

    proptest! {
        #[test]
        fn to_wire_is_the_inverse_of_from_wire(start in key(), end in key()) {
            let range = KeyRange::from_wire(start.clone().into(), end.clone().into());
            prop_assert_eq!(range.to_wire(), (Bytes::from(start), Bytes::from(end)));
        }

        #[test]
        fn contains_agrees_with_the_wire_and_with_the_bounds(start in key(), end in key(), probes in prop::collection::btree_set(key(), 0..20)) {
            let range = KeyRange::from_wire(start.clone().into(), end.clone().into());
            let by_bounds: BTreeSet<_> = probes.range::<[u8], _>(range.bounds()).cloned().collect();
            for probe in &probes {
                let meant = match end.as_slice() {
                    [] => *probe == start,
                    [0] => *probe >= start,
                    end => *probe >= start && probe.as_slice() < end,
                };
                prop_assert_eq!(range.contains(probe), meant);
                prop_assert_eq!(by_bounds.contains(probe), meant);
                prop_assert!(!(meant && range.is_empty()));
            }
        }

        #[test]
        fn a_prefix_contains_what_begins_with_it(prefix in key(), probe in key()) {
            prop_assume!(!probe.is_empty());
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&probe), probe.starts_with(&prefix));
        }
    }
}
