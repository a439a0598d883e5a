//! Reading entries in the order of their keys.

use alloc::vec::Vec;

use etched_key_range::{KeyRange, RangeEnd};

use super::{Inner, KeyParts, Leaf, Node};
use crate::entry::Entry;

/// A range of keys, borrowed.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) lower: &'a [u8],
    pub(crate) upper: Upper<'a>,
}

/// Where a range of keys ends.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Upper<'a> {
    None,
    Before(&'a [u8]),
    Through(&'a [u8]),
}

impl<'a> Bounds<'a> {
    pub(crate) const ALL: Bounds<'static> = Bounds { lower: &[], upper: Upper::None };

    pub(crate) fn of(range: &'a KeyRange) -> Self {
        let upper = match &range.end {
            RangeEnd::Single => Upper::Through(&range.start),
            RangeEnd::Before(end) => Upper::Before(end),
            RangeEnd::Unbounded => Upper::None,
        };
        Self { lower: &range.start, upper }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.lower <= key
            && match self.upper {
                Upper::None => true,
                Upper::Before(end) => key < end,
                Upper::Through(last) => key <= last,
            }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self.upper {
            Upper::None => false,
            Upper::Before(end) => end <= self.lower,
            Upper::Through(last) => last < self.lower,
        }
    }
}

/// The entries within some bounds, one after the other.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    /// Inner nodes on the way down, and which child is next.
    above: Vec<(&'a Inner, usize)>,
    leaf: Option<&'a Leaf>,
    at: usize,
    /// Where the walk leaves the leaf.
    end: usize,
    upper: Upper<'a>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Node, bounds: Bounds<'a>) -> Self {
        let mut walk = Self { above: Vec::new(), leaf: None, at: 0, end: 0, upper: bounds.upper };
        if bounds.is_empty() {
            return walk;
        }
        let mut node = root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = inner.child_for(bounds.lower);
                    walk.above.push((inner, at + 1));
                    node = &inner.children[at];
                }
                Node::Leaf(leaf) => {
                    walk.enter(leaf);
                    walk.at = leaf.keys.search(bounds.lower).unwrap_or_else(|at| at);
                    return walk;
                }
            }
        }
    }

    fn enter(&mut self, leaf: &'a Leaf) {
        self.leaf = Some(leaf);
        self.at = 0;
        self.end = match self.upper {
            Upper::None => leaf.entries.len(),
            Upper::Before(key) => leaf.keys.search(key).unwrap_or_else(|at| at),
            Upper::Through(key) => leaf.keys.search(key).map_or_else(|at| at, |at| at + 1),
        };
    }

    fn enter_next(&mut self) {
        let Some(leaf) = self.leaf.take() else { return };
        if self.end < leaf.entries.len() {
            return;
        }
        while let Some((inner, at)) = self.above.pop() {
            let Some(mut node) = inner.children.get(at) else { continue };
            self.above.push((inner, at + 1));
            loop {
                match node {
                    Node::Inner(inner) => {
                        self.above.push((inner, 1));
                        node = &inner.children[0];
                    }
                    Node::Leaf(leaf) => return self.enter(leaf),
                }
            }
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (KeyParts<'a>, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let leaf = self.leaf?;
            if self.at < self.end {
                let at = self.at;
                self.at += 1;
                return Some((leaf.keys.key(at), &leaf.entries[at]));
            }
            self.enter_next();
        }
    }
}
