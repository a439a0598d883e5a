//! A tree from keys that are already in order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::block::KeyBlock;
use super::{FANOUT, Inner, KEY_BYTES, Leaf, Node, Tree, Weight, shared_len};
use crate::entry::Entry;

/// How full nodes are made: room for a few more before they are cut.
const FILL: usize = FANOUT * 7 / 8;

/// Takes keys in rising order.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    /// Keys of the leaf under way, one behind the other, and where each ends.
    keys: Vec<u8>,
    ends: Vec<usize>,
    leaf: Vec<Entry>,
    /// Nodes of one level, each but the first with the key where it begins.
    nodes: Vec<(Vec<u8>, Node)>,
    separator: Vec<u8>,
    entries: usize,
}

impl TreeBuilder {
    /// Adds a key that is above all so far.
    pub(crate) fn push(&mut self, key: &[u8], entry: Entry) {
        let is_full =
            self.leaf.len() == FILL || (self.leaf.len() >= 2 && self.keys.len() + key.len() > KEY_BYTES);
        if is_full {
            let start = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at]);
            let shared = shared_len(&self.keys[start..], key);
            self.close_leaf(key[..=shared].to_vec());
        }
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len());
        self.leaf.push(entry);
        self.entries += 1;
    }

    /// Makes a leaf of what has gathered; the next one begins at a key that is above all of it.
    fn close_leaf(&mut self, next: Vec<u8>) {
        let leaf = Leaf { keys: KeyBlock::from_sorted(&self.keys, &self.ends), entries: self.leaf.clone() };
        self.keys.clear();
        self.ends.clear();
        self.leaf.clear();
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
