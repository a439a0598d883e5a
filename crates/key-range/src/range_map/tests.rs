//! The map against a list of pairs.

use super::*;
use alloc::vec::Vec;
use alloc::{format, vec};
use proptest::prelude::*;

fn found(map: &RangeMap<u32>, key: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    map.for_each_containing(key, |value| found.push(*value));
    found.sort_unstable();
    found
}

fn wire(key: &'static str, end: &'static str) -> KeyRange {
    KeyRange::from_wire(key.into(), end.into())
}

#[test]
fn a_key_finds_its_single_and_all_ranges_around_it() {
    let mut map = RangeMap::new();
    map.insert(wire("b", ""), 1);
    map.insert(wire("a", "c"), 2);
    map.insert(wire("b", "\0"), 3);
    map.insert(wire("c", "d"), 4);
    map.insert(wire("c", "b"), 5);
    assert_eq!(found(&map, b"b"), [1, 2, 3]);
    assert_eq!(found(&map, b"a"), [2]);
    assert_eq!(found(&map, b"c"), [3, 4]);
    assert_eq!(found(&map, b""), [0u32; 0]);
    assert!(map.any_containing(b"c", |value| *value == 4));
    assert!(!map.any_containing(b"c", |value| *value == 5));
}

#[test]
fn a_pair_is_held_once() {
    let mut map = RangeMap::new();
    for range in [wire("a", ""), wire("a", "b")] {
        assert!(map.insert(range.clone(), 1));
        assert!(!map.insert(range.clone(), 1));
        assert!(map.insert(range.clone(), 2));
        assert_eq!(map.values(&range).copied().collect::<Vec<_>>(), [1, 2]);
        assert!(map.remove(&range, &1));
        assert!(!map.remove(&range, &1));
        assert!(map.remove(&range, &2));
        assert_eq!(map.values(&range).count(), 0);
    }
    assert!(map.is_empty());
}

#[test]
fn ten_thousand_equal_ranges_are_one_node() {
    let mut map = RangeMap::new();
    for value in 0..10_000 {
        map.insert(wire("a", "b"), value);
    }
    assert_eq!(map.len(), 10_000);
    assert_eq!(found(&map, b"a").len(), 10_000);
    for value in 0..10_000 {
        assert!(map.remove(&wire("a", "b"), &value));
    }
    assert!(map.is_empty());
}

#[test]
fn nested_ranges_stay_balanced_in_any_order_of_insertion() {
    let mut map = RangeMap::new();
    let range = |n: u32| {
        let n = n.wrapping_mul(2_654_435_761) % 4096;
        KeyRange::from_wire(format!("{n:04}").into(), format!("{:04}", 8192 - n).into())
    };
    for n in 0..4096 {
        map.insert(range(n), n);
    }
    map.ranges.check();
    assert_eq!(found(&map, b"4095").len(), map.len());
    assert_eq!(found(&map, b"0000"), vec![0]);
    for n in 0..4096 {
        assert!(map.remove(&range(n), &n));
    }
    map.ranges.check();
    assert!(map.is_empty());
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)], 0..3)
}

proptest! {
    #[test]
    fn lookups_agree_with_a_list_of_pairs(
        steps in prop::collection::vec((any::<bool>(), key(), key(), 0u32..4), 1..200),
    ) {
        let mut map = RangeMap::new();
        let mut pairs: Vec<(KeyRange, u32)> = Vec::new();
        for (inserts, start, end, value) in steps {
            let range = KeyRange::from_wire(start.clone().into(), end.into());
            let at = pairs.iter().position(|pair| *pair == (range.clone(), value));
            if inserts {
                prop_assert_eq!(map.insert(range.clone(), value), at.is_none());
                if at.is_none() {
                    pairs.push((range, value));
                }
            } else {
                prop_assert_eq!(map.remove(&range, &value), at.is_some());
                if let Some(at) = at {
                    pairs.swap_remove(at);
                }
            }
            map.ranges.check();
            prop_assert_eq!(map.len(), pairs.len());
            let mut expected: Vec<u32> =
                pairs.iter().filter(|(range, _)| range.contains(&start)).map(|(_, value)| *value).collect();
            expected.sort_unstable();
            prop_assert_eq!(found(&map, &start), expected.clone());
            prop_assert_eq!(map.any_containing(&start, |_| true), !expected.is_empty());
        }
    }
}
