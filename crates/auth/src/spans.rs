//! Sets of keys made of ranges, merged so that each question is one search.

use alloc::vec::Vec;

use bytes::Bytes;
use etched_key_range::{KeyRange, RangeEnd};

/// Keys from `start` up to `end`, which is not meant any more; without an end all keys from `start` on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: Bytes,
    end: Option<Bytes>,
}

/// A set of keys: spans in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    spans: Vec<Span>,
}

impl Spans {
    /// The union of the ranges. Empty ranges, and those that begin at no possible key, are left out.
    pub(crate) fn new(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        let mut spans: Vec<Span> = ranges.into_iter().filter_map(span).collect();
        spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| *end >= span.start) => {
                    // A span without an end cannot grow.
                    if let Some(end) = &last.end
                        && span.end.as_ref().is_none_or(|other| other > end)
                    {
                        last.end = span.end;
                    }
                }
                Some(_) | None => merged.push(span),
            }
        }
        Self { spans: merged }
    }

    /// Whether all keys of the range are in the set.
    ///
    /// Of an inverted range, which has no key, the start must be in the set, as etcd wants it: asking for nothing gives
    /// no right.
    pub(crate) fn covers(&self, range: &KeyRange) -> bool {
        let Some(span) = self.span_at(&range.start) else { return false };
        match (&range.end, &span.end) {
            (RangeEnd::Single, _) | (RangeEnd::Before(_) | RangeEnd::Unbounded, None) => true,
            (RangeEnd::Before(asked), Some(end)) => asked <= end,
            (RangeEnd::Unbounded, Some(_)) => false,
        }
    }

    /// The span that the key is in.
    fn span_at(&self, key: &[u8]) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.start.as_ref() <= key);
        let span = &self.spans[after.checked_sub(1)?];
        span.end.as_ref().is_none_or(|end| key < end.as_ref()).then_some(span)
    }
}

fn span(range: KeyRange) -> Option<Span> {
    if range.start.is_empty() || range.is_empty() {
        return None;
    }
    let end = match range.end {
        RangeEnd::Single => {
            let mut end = range.start.to_vec();
            end.push(0);
            Some(end.into())
        }
        RangeEnd::Before(end) => Some(end),
        RangeEnd::Unbounded => None,
    };
    Some(Span { start: range.start, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(key.into(), end.into())
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let spans = Spans::new([range("c", "e"), range("a", "c"), range("e", ""), range("e\0", "f")]);
        assert_eq!(spans.spans, [Span { start: "a".into(), end: Some("f".into()) }]);
        assert!(
            spans.covers(&range("a", "f")) && spans.covers(&range("b", "d")) && spans.covers(&range("e", ""))
        );
        assert!(!spans.covers(&range("a", "f\0")) && !spans.covers(&range("a", "\0")));
        assert!(!spans.covers(&range("f", "")));
    }

    #[test]
    fn a_single_key_is_not_a_range_from_it_on() {
        let spans = Spans::new([range("a", "")]);
        assert!(spans.covers(&range("a", "")) && spans.covers(&range("a", "a\0")));
        assert!(!spans.covers(&range("a", "\0")) && !spans.covers(&range("a", "b")));
        let spans = Spans::new([range("a", "\0")]);
        assert!(
            spans.covers(&range("a", "\0"))
                && spans.covers(&range("z", "zz"))
                && !spans.covers(&range("A", ""))
        );
    }

    #[test]
    fn empty_ranges_give_nothing() {
        let spans = Spans::new([range("b", "a"), range("c", "c"), range("", "\0"), range("", "")]);
        assert_eq!(spans, Spans::default());
        assert!(!Spans::default().covers(&range("b", "a")));
        let spans = Spans::new([range("b", "d")]);
        assert!(spans.covers(&range("c", "a")), "who may read the start may ask for nothing");
        assert!(!spans.covers(&range("d", "b")) && !spans.covers(&range("e", "c")));
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a')], 1..4)
    }

    fn end() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![Just(vec![]), Just(vec![0]), key()]
    }

    /// All keys of up to four of the letters that tests are made of.
    fn universe() -> Vec<Vec<u8>> {
        let mut all = vec![vec![]];
        for start in 0..(1 + 3 + 9 + 27) {
            let shorter: Vec<u8> = Vec::clone(&all[start]);
            for letter in [0, 1, b'a'] {
                let mut longer = shorter.clone();
                longer.push(letter);
                all.push(longer);
            }
        }
        all.retain(|key| !key.is_empty());
        all
    }

    proptest! {
        /// The model asks each key of a small world: all keys of the range must be in one of the given ranges.
        #[test]
        fn a_range_is_covered_when_each_of_its_keys_is(given in prop::collection::vec((key(), end()), 0..6), asked in (key(), end())) {
            let wire = |(key, end): (Vec<u8>, Vec<u8>)| KeyRange::from_wire(key.into(), end.into());
            let given: Vec<KeyRange> = given.into_iter().map(wire).collect();
            let asked = wire(asked);
            prop_assume!(!asked.is_empty());
            let spans = Spans::new(given.clone());
            let inside: Vec<Vec<u8>> = universe().into_iter().filter(|key| asked.contains(key)).collect();
            let all_given = inside.iter().all(|key| given.iter().any(|range| range.contains(key)));
            if spans.covers(&asked) {
                prop_assert!(all_given);
            } else if !inside.is_empty() && asked.end != RangeEnd::Unbounded {
                // Keys that are longer than those of the small world may be missing; a point covers none of them.
                let longer = inside.iter().flat_map(|key| [0, 1, b'a', b'b'].map(|letter| {
                    let mut longer = key.clone();
                    longer.push(letter);
                    longer
                }));
                let missing = inside.iter().cloned().chain(longer).filter(|key| asked.contains(key))
                    .any(|key| !given.iter().any(|range| range.contains(&key)));
                prop_assert!(missing, "{given:?} {asked:?}");
            }
        }
    }
}
