//! The tree against an ordered map, and its inner order after every change.

use alloc::collections::BTreeMap;
use alloc::{format, vec};
use core::ops::Bound;

use etched_key_range::{KeyRange, RangeEnd};
use proptest::prelude::*;

use super::*;
use crate::codec::Revision32;

type Map = BTreeMap<Vec<u8>, Entry>;

fn entry(main: i64, len: usize) -> Entry {
    Entry::put(Revision32 { main, sub: 0 }, main, 1, 0, len)
}

fn deleted(main: i64) -> Entry {
    Entry::deletion(Revision32 { main, sub: 0 }, 0)
}

/// Checks order, depth and sums of everything below, and returns the depth and the number of entries.
fn check_node(node: &Node, lower: Option<&[u8]>, upper: Option<&[u8]>, is_root: bool) -> (usize, usize) {
    let check_keys = |keys: &KeyBlock| {
        keys.check();
        for at in 0..keys.len() {
            let key = keys.key(at).to_vec();
            assert!(lower.is_none_or(|lower| lower <= &key[..]));
            assert!(upper.is_none_or(|upper| &key[..] < upper));
        }
    };
    match node {
        Node::Leaf(leaf) => {
            check_keys(&leaf.keys);
            assert_eq!(leaf.keys.len(), leaf.entries.len());
            assert!(leaf.entries.len() <= FANOUT);
            assert!(is_root || !leaf.entries.is_empty());
            (0, leaf.entries.len())
        }
        Node::Inner(inner) => {
            check_keys(&inner.separators);
            assert_eq!(inner.separators.len() + 1, inner.children.len());
            assert_eq!(inner.weights.len(), inner.children.len());
            assert!(inner.children.len() <= FANOUT);
            assert!(!is_root || inner.children.len() > 1);
            let separators: Vec<_> =
                (0..inner.separators.len()).map(|at| inner.separators.key(at).to_vec()).collect();
            let mut entries = 0;
            let mut depths = Vec::new();
            for (at, child) in inner.children.iter().enumerate() {
                let lower = at.checked_sub(1).map_or(lower, |before| Some(&separators[before]));
                let upper = separators.get(at).map_or(upper, |separator| Some(separator));
                let (depth, count) = check_node(child, lower, upper, false);
                assert_eq!(inner.weights[at], child.weight());
                depths.push(depth);
                entries += count;
            }
            assert!(depths.iter().all(|depth| *depth == depths[0]), "all leaves are at the same depth");
            (depths[0] + 1, entries)
        }
    }
}

fn check(tree: &Tree) {
    let (_, entries) = check_node(&tree.root, None, None, true);
    assert_eq!((tree.len(), tree.weight()), (entries, tree.root.weight()));
}

fn weigh<'a>(entries: impl Iterator<Item = &'a Entry>) -> Weight {
    entries.fold(Weight::default(), |sum, entry| sum.plus(entry.weight()))
}

fn set(tree: &mut Tree, map: &mut Map, key: &[u8], new: Option<Entry>) {
    let old = tree.update(key, |old| (new, old));
    let expected = match new {
        Some(entry) => map.insert(key.to_vec(), entry),
        None => map.remove(key),
    };
    assert_eq!(old, expected);
}

fn compare(tree: &Tree, map: &Map, range: &KeyRange) {
    let bounds = Bounds::of(range);
    let walked: Vec<_> = tree.walk(bounds).map(|(key, entry)| (key.to_vec(), *entry)).collect();
    let expected: Vec<_> = map
        .range::<[u8], _>((Bound::Included(&range.start[..]), Bound::Unbounded))
        .filter(|(key, _)| range.contains(key))
        .map(|(key, entry)| (key.clone(), *entry))
        .collect();
    assert_eq!(walked, expected);
    assert_eq!(tree.weight_within(&bounds), weigh(expected.iter().map(|(_, entry)| entry)));
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(prop::sample::select(b"ab\0\xff".to_vec()), 0..7),
        4 => (0..4_u8, 0..300_u16).prop_map(|(a, b)| format!("/registry/{a}/pods/{b}").into_bytes()),
        1 => (0..30_usize).prop_map(|len| vec![b'a'; len * 700]),
    ]
}

fn entries() -> impl Strategy<Value = Option<Entry>> {
    prop_oneof![
        5 => (1..1000_i64, 0..70_000_usize).prop_map(|(main, len)| Some(entry(main, len))),
        1 => (1..1000_i64).prop_map(|main| Some(deleted(main))),
        3 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_what_an_ordered_map_does(
        changes in prop::collection::vec((keys(), entries()), 1..900),
        ranges in prop::collection::vec((keys(), keys()), 12),
        is_bulk in any::<bool>(),
    ) {
        let (mut tree, mut map) = (Tree::new(), Map::new());
        let (first, rest) = changes.split_at(changes.len() / 3);
        if is_bulk {
            map = first.iter().filter_map(|(key, entry)| entry.map(|entry| (key.clone(), entry))).collect();
            let mut builder = TreeBuilder::default();
            map.iter().for_each(|(key, entry)| builder.push(key, *entry));
            tree = builder.finish();
        } else {
            first.iter().for_each(|(key, entry)| set(&mut tree, &mut map, key, *entry));
        }
        check(&tree);
        for (turn, (key, entry)) in rest.iter().enumerate() {
            set(&mut tree, &mut map, key, *entry);
            if turn % 50 == 0 {
                check(&tree);
            }
        }
        check(&tree);
        for (key, end) in ranges {
            prop_assert_eq!(tree.get(&key), map.get(&key));
            compare(&tree, &map, &KeyRange::from_wire(key.clone().into(), end.into()));
            compare(&tree, &map, &KeyRange::single(key.into()));
        }
        compare(&tree, &map, &KeyRange { start: Default::default(), end: RangeEnd::Unbounded });
        let all: Vec<Vec<u8>> = map.keys().cloned().collect();
        for (turn, key) in all.iter().enumerate() {
            set(&mut tree, &mut map, key, None);
            if turn % 50 == 0 {
                check(&tree);
            }
        }
        check(&tree);
        prop_assert_eq!(tree.len(), 0);
    }
}

#[test]
fn ten_thousand_keys_in_any_order_make_the_same_walk() {
    let name = |at: u32| format!("/registry/pods/{at:08}").into_bytes();
    let orders: [Box<dyn Fn(u32) -> u32>; 3] =
        [Box::new(|at| at), Box::new(|at| 9_999 - at), Box::new(|at| at * 7919 % 10_000)];
    for order in orders {
        let (mut tree, mut map) = (Tree::new(), Map::new());
        for at in (0..10_000).map(order) {
            set(&mut tree, &mut map, &name(at), Some(entry(i64::from(at) + 1, at as usize % 700)));
        }
        check(&tree);
        compare(&tree, &map, &KeyRange::prefix(b"/registry/pods/0000"));
        compare(&tree, &map, &KeyRange::prefix(b"/registry/"));
        assert_eq!(tree.weight().keys, 10_000);
    }
}

#[test]
fn keys_that_come_in_order_leave_full_leaves() {
    let mut tree = Tree::new();
    for at in 0..64_000_u32 {
        tree.update(format!("/registry/pods/namespace-{at:08}").as_bytes(), |_| (Some(entry(2, 9)), ()));
    }
    check(&tree);
    let per_key = tree.heap_bytes() / tree.len();
    assert!(per_key < 64, "{per_key} bytes a key");
}
