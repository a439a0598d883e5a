//! The index: a B+tree by user key whose nodes know how many live keys lie below them, and how many bytes.
//!
//! Nodes are cut when they are full and joined with a neighbour when they are nearly empty; nothing else is balanced.
//! Appending at the right end leaves full nodes behind.
//! All leaves are at the same depth.

mod block;
mod build;
#[cfg(test)]
mod tests;
mod walk;

use alloc::boxed::Box;
use alloc::vec::Vec;

use block::{KeyBlock, reserve};
pub(crate) use block::{KeyParts, shared_len};
pub(crate) use build::TreeBuilder;
pub(crate) use walk::{Bounds, Upper, Walk};

use crate::entry::{Entry, Weight};

/// Most entries of a leaf and children of an inner node.
const FANOUT: usize = 64;

/// Most bytes of keys of a node with more than two of them.
const KEY_BYTES: usize = 32 * 1024;

/// A node with fewer looks for a neighbour to join.
const SPARSE: usize = FANOUT / 4;

/// Neighbours are joined if they come to no more than this.
const JOINED_MAX: usize = FANOUT * 3 / 4;

/// Keys and their newest versions, in the order of the keys.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Node,
    weight: Weight,
    entries: usize,
}

#[derive(Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

#[derive(Debug, Default)]
struct Leaf {
    keys: KeyBlock,
    entries: Vec<Entry>,
}

/// Child `i` has the keys from separator `i - 1` on, and below separator `i`.
#[derive(Debug, Default)]
struct Inner {
    separators: KeyBlock,
    weights: Vec<Weight>,
    children: Vec<Node>,
}

/// What an update did to a node, for the node above.
struct Updated<R> {
    result: R,
    before: Weight,
    after: Weight,
    /// The right half, if the node was cut, and the key where it begins.
    cut: Option<(Vec<u8>, Node)>,
    /// How many entries there are more than before: 1, 0 or -1.
    entries: isize,
    fill: Fill,
}

/// Whether a node can stay as it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fill {
    Enough,
    /// It looks for a neighbour to join.
    Sparse,
    /// It has no keys and is to go.
    Empty,
}

impl Fill {
    fn of(len: usize) -> Self {
        match len {
            0 => Self::Empty,
            1..SPARSE => Self::Sparse,
            SPARSE.. => Self::Enough,
        }
    }
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { root: Node::Leaf(Box::default()), weight: Weight::default(), entries: 0 }
    }

    /// How many keys there are, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// The sums over all live keys.
    pub(crate) fn weight(&self) -> Weight {
        self.weight
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => node = &inner.children[inner.child_for(key)],
                Node::Leaf(leaf) => return leaf.keys.search(key).ok().map(|at| &leaf.entries[at]),
            }
        }
    }

    /// Gives `change` the entry of `key` and puts in its place what `change` returns.
    pub(crate) fn update<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(Option<Entry>) -> (Option<Entry>, R),
    ) -> R {
        let updated = self.root.update(key, true, change);
        self.weight = self.weight.plus(updated.after).minus(updated.before);
        self.entries =
            self.entries.checked_add_signed(updated.entries).expect("only what is there is removed");
        if let Some((separator, right)) = updated.cut {
            let left = core::mem::replace(&mut self.root, Node::Leaf(Box::default()));
            let mut inner = Inner::default();
            inner.separators.push(&separator);
            inner.weights.extend([left.weight(), right.weight()]);
            inner.children.extend([left, right]);
            self.root = Node::Inner(Box::new(inner));
        }
        if updated.fill == Fill::Empty {
            self.root = Node::Leaf(Box::default());
        }
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() == 1
        {
            self.root = inner.children.pop().expect("there is one child");
        }
        updated.result
    }

    /// The sums over the live keys within the bounds.
    pub(crate) fn weight_within(&self, bounds: &Bounds<'_>) -> Weight {
        if bounds.is_empty() {
            return Weight::default();
        }
        let end = match bounds.upper {
            Upper::None => self.weight,
            Upper::Before(key) => self.weight_before(key, false),
            Upper::Through(key) => self.weight_before(key, true),
        };
        end.minus(self.weight_before(bounds.lower, false))
    }

    /// The sums over the live keys in front of `key`, and over `key` itself if `with_key`.
    fn weight_before(&self, key: &[u8], with_key: bool) -> Weight {
        let mut weight = Weight::default();
        let mut node = &self.root;
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = inner.child_for(key);
                    weight = inner.weights[..at].iter().fold(weight, |sum, part| sum.plus(*part));
                    node = &inner.children[at];
                }
                Node::Leaf(leaf) => {
                    let end = leaf.keys.search(key).map_or_else(|at| at, |at| at + usize::from(with_key));
                    return leaf.entries[..end].iter().fold(weight, |sum, entry| sum.plus(entry.weight()));
                }
            }
        }
    }

    /// The entries within the bounds, in the order of their keys.
    pub(crate) fn walk<'a>(&'a self, bounds: Bounds<'a>) -> Walk<'a> {
        Walk::new(&self.root, bounds)
    }

    /// Bytes that the nodes take, without what the allocator adds.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

impl Node {
    fn weight(&self) -> Weight {
        match self {
            Self::Leaf(leaf) => {
                leaf.entries.iter().fold(Weight::default(), |sum, entry| sum.plus(entry.weight()))
            }
            Self::Inner(inner) => inner.weights.iter().fold(Weight::default(), |sum, part| sum.plus(*part)),
        }
    }

    fn update<R>(
        &mut self,
        key: &[u8],
        is_rightmost: bool,
        change: impl FnOnce(Option<Entry>) -> (Option<Entry>, R),
    ) -> Updated<R> {
        match self {
            Self::Leaf(leaf) => leaf.update(key, is_rightmost, change),
            Self::Inner(inner) => {
                let at = inner.child_for(key);
                let is_rightmost = is_rightmost && at + 1 == inner.children.len();
                let updated = inner.children[at].update(key, is_rightmost, change);
                inner.after_update(at, is_rightmost, updated)
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => {
                size_of::<Leaf>() + leaf.keys.heap_bytes() + leaf.entries.capacity() * size_of::<Entry>()
            }
            Self::Inner(inner) => {
                size_of::<Inner>()
                    + inner.separators.heap_bytes()
                    + inner.weights.capacity() * size_of::<Weight>()
                    + inner.children.capacity() * size_of::<Self>()
                    + inner.children.iter().map(Self::heap_bytes).sum::<usize>()
            }
        }
    }
}

impl Leaf {
    fn update<R>(
        &mut self,
        key: &[u8],
        is_rightmost: bool,
        change: impl FnOnce(Option<Entry>) -> (Option<Entry>, R),
    ) -> Updated<R> {
        let place = self.keys.search(key);
        let old = place.ok().map(|at| self.entries[at]);
        let (new, result) = change(old);
        let weight = |entry: Option<Entry>| entry.map_or_else(Weight::default, |entry| entry.weight());
        let mut updated = Updated {
            result,
            before: weight(old),
            after: weight(new),
            cut: None,
            entries: 0,
            fill: Fill::Enough,
        };
        match (place, new) {
            (Ok(at), Some(entry)) => self.entries[at] = entry,
            (Err(at), Some(entry)) => {
                self.keys.insert(at, key);
                reserve(&mut self.entries, 1, 8);
                self.entries.insert(at, entry);
                updated.entries = 1;
                if self.is_overfull() {
                    let is_appended = is_rightmost && at + 1 == self.entries.len();
                    let half = self.entries.len() / 2;
                    let right = self.split_off(if is_appended { at } else { half });
                    let separator = separator(&self.keys, &right.keys);
                    updated.cut = Some((separator, Node::Leaf(Box::new(right))));
                }
            }
            (Ok(at), None) => {
                self.keys.remove(at);
                self.entries.remove(at);
                updated.entries = -1;
                updated.fill = Fill::of(self.entries.len());
            }
            (Err(_), None) => {}
        }
        updated
    }

    fn is_overfull(&self) -> bool {
        self.entries.len() > FANOUT || (self.entries.len() > 2 && self.keys.byte_len() > KEY_BYTES)
    }

    fn split_off(&mut self, at: usize) -> Self {
        let right = Self { keys: self.keys.split_off(at), entries: self.entries.split_off(at) };
        self.entries.shrink_to_fit();
        right
    }
}

impl Inner {
    /// The child that has `key` or would have it.
    fn child_for(&self, key: &[u8]) -> usize {
        self.separators.search(key).map_or_else(|at| at, |at| at + 1)
    }

    fn after_update<R>(&mut self, at: usize, is_rightmost: bool, mut updated: Updated<R>) -> Updated<R> {
        self.weights[at] = self.weights[at].plus(updated.after).minus(updated.before);
        if let Some((separator, right)) = updated.cut.take() {
            let weight = right.weight();
            self.weights[at] = self.weights[at].minus(weight);
            self.separators.insert(at, &separator);
            self.weights.insert(at + 1, weight);
            self.children.insert(at + 1, right);
            if self.children.len() > FANOUT
                || (self.children.len() > 2 && self.separators.byte_len() > KEY_BYTES)
            {
                let is_appended = is_rightmost && at + 2 == self.children.len();
                let half = self.children.len() / 2;
                updated.cut = Some(self.split_off(if is_appended { at + 1 } else { half }));
            }
        }
        match updated.fill {
            Fill::Enough => return updated,
            Fill::Sparse => self.join_around(at),
            Fill::Empty => self.remove_child(at),
        }
        updated.fill = Fill::of(self.children.len());
        updated
    }

    /// Keeps the first `at` children and returns the rest, with the key where they begin.
    fn split_off(&mut self, at: usize) -> (Vec<u8>, Node) {
        let mut separators = self.separators.split_off(at - 1);
        let separator = separators.key(0).to_vec();
        separators.remove(0);
        let (weights, children) = (self.weights.split_off(at), self.children.split_off(at));
        (separator, Node::Inner(Box::new(Self { separators, weights, children })))
    }

    fn remove_child(&mut self, at: usize) {
        if self.separators.len() > 0 {
            self.separators.remove(at.saturating_sub(1));
        }
        self.weights.remove(at);
        self.children.remove(at);
    }

    /// Joins the child with one of its neighbours, if the two together are small enough.
    fn join_around(&mut self, at: usize) {
        let mut lefts = [Some(at), at.checked_sub(1)].into_iter().flatten();
        let Some(left) = lefts.find(|left| left + 1 < self.children.len() && self.fits(*left)) else {
            return;
        };
        let separator = self.separators.key(left).to_vec();
        self.separators.remove(left);
        let right = self.children.remove(left + 1);
        let weight = self.weights.remove(left + 1);
        self.weights[left] = self.weights[left].plus(weight);
        match (&mut self.children[left], right) {
            (Node::Leaf(leaf), Node::Leaf(right)) => {
                leaf.keys.append(&right.keys);
                leaf.keys.compress();
                leaf.entries.extend(right.entries);
            }
            (Node::Inner(inner), Node::Inner(right)) => {
                inner.separators.push(&separator);
                inner.separators.append(&right.separators);
                inner.separators.compress();
                inner.weights.extend(right.weights);
                inner.children.extend(right.children);
            }
            (Node::Leaf(_), Node::Inner(_)) | (Node::Inner(_), Node::Leaf(_)) => {
                unreachable!("all leaves are at the same depth")
            }
        }
    }

    /// Whether the child and the one behind it may become one.
    fn fits(&self, left: usize) -> bool {
        let size = |node: &Node| match node {
            Node::Leaf(leaf) => (leaf.entries.len(), leaf.keys.byte_len()),
            Node::Inner(inner) => (inner.children.len(), inner.separators.byte_len()),
        };
        let (a, b) = (size(&self.children[left]), size(&self.children[left + 1]));
        a.0 + b.0 <= JOINED_MAX && a.1 + b.1 <= KEY_BYTES
    }
}

/// The shortest key that is above all of `left` and not above any of `right`.
fn separator(left: &KeyBlock, right: &KeyBlock) -> Vec<u8> {
    let last = left.key(left.len() - 1).to_vec();
    let mut first = right.key(0).to_vec();
    first.truncate(shared_len(&last, &first) + 1);
    first
}
