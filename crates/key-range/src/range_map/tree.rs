//! A balanced search tree of ranges, in which each node knows the furthest end of the ranges below it.
//!
//! Nodes are ordered by start, then end.
//! A lookup goes left only where some range reaches beyond the key, and right only where ranges start at or before it:
//!
//! ```text
//!                 [d, m)  furthest z
//!                /                 \
//!      [a, z) furthest z        [f, g) furthest q
//!                                        \
//!                                     [p, q) furthest q
//!
//!   key "n": d <= n, so both sides may hold it; right: q > n, f <= n, g <= n; p > n, so not [p, q).
//! ```
//!
//! The balance is that of an AVL tree: the heights of two siblings differ by one at most.

use super::values::{Removal, Values};
use crate::{KeyRange, RangeEnd};
use alloc::boxed::Box;
use core::cmp::Ordering;

type Link<V> = Option<Box<Node<V>>>;

#[derive(Clone, Debug)]
struct Node<V> {
    range: KeyRange,
    values: Values<V>,
    /// The largest end in this subtree.
    furthest: RangeEnd,
    height: u8,
    left: Link<V>,
    right: Link<V>,
}

#[derive(Clone, Debug)]
pub(super) struct Tree<V> {
    root: Link<V>,
}

impl<V: Ord> Tree<V> {
    pub(super) fn new() -> Self {
        Self { root: None }
    }

    /// Adds a pair; `false` if it was there.
    pub(super) fn insert(&mut self, range: KeyRange, value: V) -> bool {
        assert!(!range.is_single(), "single keys are not kept in the tree");
        insert(&mut self.root, range, value)
    }

    /// Takes a pair out, and its node with it if no value is left there.
    pub(super) fn remove(&mut self, range: &KeyRange, value: &V) -> Removal {
        remove(&mut self.root, range, value)
    }

    pub(super) fn values(&self, range: &KeyRange) -> Option<&Values<V>> {
        let mut link = &self.root;
        while let Some(node) = link {
            match range.cmp(&node.range) {
                Ordering::Less => link = &node.left,
                Ordering::Equal => return Some(&node.values),
                Ordering::Greater => link = &node.right,
            }
        }
        None
    }

    pub(super) fn for_each_containing<'a>(&'a self, key: &[u8], visit: &mut impl FnMut(&'a V)) {
        find(&self.root, key, &mut |values| {
            values.iter().for_each(&mut *visit);
            false
        });
    }

    pub(super) fn any_containing(&self, key: &[u8], predicate: &mut impl FnMut(&V) -> bool) -> bool {
        find(&self.root, key, &mut |values| values.iter().any(&mut *predicate))
    }

    /// Panics unless order, balance and furthest ends are right.
    #[cfg(test)]
    pub(super) fn check(&self) {
        fn check<V: Ord>(link: &Link<V>) -> u8 {
            let Some(node) = link else { return 0 };
            let (left, right) = (check(&node.left), check(&node.right));
            assert!(left.abs_diff(right) <= 1, "unbalanced");
            assert_eq!(node.height, left.max(right) + 1);
            assert!(node.left.as_ref().is_none_or(|left| left.range < node.range));
            assert!(node.right.as_ref().is_none_or(|right| right.range > node.range));
            let below = [&node.left, &node.right].into_iter().flatten().map(|child| &child.furthest);
            assert_eq!(Some(&node.furthest), below.chain([&node.range.end]).max());
            node.height
        }
        check(&self.root);
    }
}

fn reaches_beyond(end: &RangeEnd, key: &[u8]) -> bool {
    match end {
        RangeEnd::Single => false,
        RangeEnd::Before(end) => key < end.as_ref(),
        RangeEnd::Unbounded => true,
    }
}

/// Visits the ranges that contain `key` until `visit` says `true`, which is the result then.
fn find<'a, V>(link: &'a Link<V>, key: &[u8], visit: &mut impl FnMut(&'a Values<V>) -> bool) -> bool {
    let mut link = link;
    while let Some(node) = link {
        if !reaches_beyond(&node.furthest, key) {
            return false;
        }
        if find(&node.left, key, visit) {
            return true;
        }
        if node.range.start.as_ref() > key {
            return false;
        }
        if reaches_beyond(&node.range.end, key) && visit(&node.values) {
            return true;
        }
        link = &node.right;
    }
    false
}

fn insert<V: Ord>(link: &mut Link<V>, range: KeyRange, value: V) -> bool {
    let Some(node) = link else {
        let furthest = range.end.clone();
        let values = Values::One(value);
        *link = Some(Box::new(Node { range, values, furthest, height: 1, left: None, right: None }));
        return true;
    };
    let inserted = match range.cmp(&node.range) {
        Ordering::Less => insert(&mut node.left, range, value),
        Ordering::Equal => return node.values.insert(value),
        Ordering::Greater => insert(&mut node.right, range, value),
    };
    restore_balance(link);
    inserted
}

fn remove<V: Ord>(link: &mut Link<V>, range: &KeyRange, value: &V) -> Removal {
    let Some(node) = link else { return Removal::Absent };
    let removal = match range.cmp(&node.range) {
        Ordering::Less => remove(&mut node.left, range, value),
        Ordering::Greater => remove(&mut node.right, range, value),
        Ordering::Equal => {
            let removal = node.values.remove(value);
            if removal == Removal::WasLast {
                unlink(link);
            }
            removal
        }
    };
    restore_balance(link);
    removal
}

/// Takes the top node of a subtree out.
fn unlink<V>(link: &mut Link<V>) {
    let Some(node) = link.take() else { return };
    let Node { left, mut right, .. } = *node;
    *link = match (left, take_first(&mut right)) {
        (left, None) => left,
        (left, Some(mut first)) => {
            first.left = left;
            first.right = right;
            Some(first)
        }
    };
}

/// Takes the leftmost node of a subtree out.
fn take_first<V>(link: &mut Link<V>) -> Link<V> {
    let node = link.as_mut()?;
    if node.left.is_some() {
        let first = take_first(&mut node.left);
        restore_balance(link);
        return first;
    }
    let mut first = link.take()?;
    *link = first.right.take();
    Some(first)
}

fn height<V>(link: &Link<V>) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

/// Makes the top node right again after one of its subtrees grew or shrank by one level.
fn restore_balance<V>(link: &mut Link<V>) {
    let Some(node) = link else { return };
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        if node.left.as_ref().is_some_and(|left| height(&left.right) > height(&left.left)) {
            rotate_left(&mut node.left);
        }
        rotate_right(link);
    } else if right > left + 1 {
        if node.right.as_ref().is_some_and(|right| height(&right.left) > height(&right.right)) {
            rotate_right(&mut node.right);
        }
        rotate_left(link);
    } else {
        node.summarise();
    }
}

fn rotate_left<V>(link: &mut Link<V>) {
    let Some(mut top) = link.take() else { return };
    let Some(mut risen) = top.right.take() else {
        *link = Some(top);
        return;
    };
    top.right = risen.left.take();
    top.summarise();
    risen.left = Some(top);
    risen.summarise();
    *link = Some(risen);
}

fn rotate_right<V>(link: &mut Link<V>) {
    let Some(mut top) = link.take() else { return };
    let Some(mut risen) = top.left.take() else {
        *link = Some(top);
        return;
    };
    top.left = risen.right.take();
    top.summarise();
    risen.right = Some(top);
    risen.summarise();
    *link = Some(risen);
}

impl<V> Node<V> {
    /// Computes what the node says of its subtree from its children.
    fn summarise(&mut self) {
        self.height = height(&self.left).max(height(&self.right)) + 1;
        let mut furthest = &self.range.end;
        for child in [&self.left, &self.right].into_iter().flatten() {
            furthest = furthest.max(&child.furthest);
        }
        if *furthest != self.furthest {
            self.furthest = furthest.clone();
        }
    }
}
