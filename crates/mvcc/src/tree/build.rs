//! A tree from keys that are already in order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{FANOUT, Inner, KEY_BYTES, Leaf, Node, Tree, Weight, separator};
use crate::entry::Entry;

/// How full nodes are made: room for a few more before they are cut.
const FILL: usize = FANOUT * 7 / 8;

/// Takes keys in rising order.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    leaf: Leaf,
    /// Nodes of one level, each but the first with the key where it begins.
    nodes: Vec<(Vec<u8>, Node)>,
    separator: Vec<u8>,
    entries: usize,
}

impl TreeBuilder {
    /// Adds a key that is above all so far.
    pub(crate) fn push(&mut self, key: &[u8], entry: Entry) {
        let is_full = self.leaf.entries.len() == FILL
            || (self.leaf.entries.len() >= 2 && self.leaf.keys.byte_len() + key.len() > KEY_BYTES);
        if is_full {
            let mut next = Leaf::default();
            next.keys.push(key);
            let separator = separator(&self.leaf.keys, &next.keys);
            self.close_leaf(separator);
        }
        if self.leaf.entries.is_empty() {
            self.leaf.entries.reserve_exact(FILL);
        }
        self.leaf.keys.push(key);
        self.leaf.entries.push(entry);
        self.entries += 1;
    }

    fn close_leaf(&mut self, next: Vec<u8>) {
        let mut leaf = core::mem::take(&mut self.leaf);
        leaf.keys.compress();
        let begins = core::mem::replace(&mut self.separator, next);
        self.nodes.push((begins, Node::Leaf(Box::new(leaf))));
    }

    pub(crate) fn finish(mut self) -> Tree {
        self.close_leaf(Vec::new());
        while self.nodes.len() > 1 {
            let mut above: Vec<(Vec<u8>, Node)> = Vec::new();
            let count = self.nodes.len().div_ceil(FILL);
            let (each, more) = (self.nodes.len() / count, self.nodes.len() % count);
            let mut nodes = self.nodes.into_iter();
            for at in 0..count {
                let mut inner = Inner::default();
                let mut begins = Vec::new();
                for (separator, node) in nodes.by_ref().take(each + usize::from(at < more)) {
                    if inner.children.is_empty() {
                        begins = separator;
                    } else {
                        inner.separators.push(&separator);
                    }
                    inner.weights.push(node.weight());
                    inner.children.push(node);
                }
                inner.separators.compress();
                above.push((begins, Node::Inner(Box::new(inner))));
            }
            self.nodes = above;
        }
        let (_, root) = self.nodes.pop().expect("at least one leaf was closed");
        let weight: Weight = root.weight();
        Tree { root, weight, entries: self.entries }
    }
}
