//! How entries are put into pages: the one rule that planning and writing follow, so that they cannot disagree.
//!
//! A leaf takes entries while they fit into a page, and two in any case; what does not fit makes it as many pages as
//! it needs. As soon as a leaf is complete it gets the next number, and its first key goes to the branch above.
//! A branch is complete when it is full and two more children have come: held back, these make sure that no branch
//! has a single child, with which bbolt could not delete keys below it ("parent must have at least 2 children").
//! So pages come out in the order of their numbers, each after all that it points to, and all that has to be
//! remembered is one branch for each level.
//!
//! Pages are filled to the brim. In `key`, where nearly all is, etcd only ever appends and deletes.

use crate::format::{ELEMENT_BYTES, ELEMENTS_MAX, ELEMENTS_MIN, HEAD_BYTES, PageId, PageSize};

/// How full a leaf is.
#[derive(Copy, Clone, Debug)]
pub(crate) struct LeafFill {
    pub(crate) elements: usize,
    /// Of the head, the elements, keys and values.
    pub(crate) bytes: usize,
}

impl LeafFill {
    pub(crate) const EMPTY: Self = Self { elements: 0, bytes: HEAD_BYTES };

    /// Whether an entry goes into this leaf, and not into the next.
    pub(crate) fn admits(self, size: PageSize, key_bytes: usize, value_bytes: usize) -> bool {
        self.elements < ELEMENTS_MIN
            || (self.elements < ELEMENTS_MAX && self.with(key_bytes, value_bytes).bytes <= size.bytes())
    }

    pub(crate) fn with(self, key_bytes: usize, value_bytes: usize) -> Self {
        Self { elements: self.elements + 1, bytes: self.bytes + ELEMENT_BYTES + key_bytes + value_bytes }
    }

    /// Whether a bucket that has this leaf and nothing else lies within the entry of the bucket above: as in bbolt,
    /// if it takes at most a quarter of a page.
    pub(crate) fn is_inline(self, size: PageSize) -> bool {
        self.bytes <= size.bytes() / 4
    }
}

/// Branch pages that are complete or still to be filled, level by level from the leaves up.
#[derive(Clone, Debug)]
pub(crate) struct Branches {
    size: PageSize,
    levels: Vec<Level>,
}

/// The branches of one level.
#[derive(Clone, Debug, Default)]
struct Level {
    /// The next page.
    head: BranchFill,
    /// What comes after it, held back so that no page gets a single child.
    tail: BranchFill,
    children: u64,
}

/// A branch page in the making. Planning leaves the keys out.
#[derive(Clone, Debug, Default)]
pub(crate) struct BranchFill {
    pub(crate) children: Vec<Child>,
    /// The keys of all children, one behind the other.
    pub(crate) keys: Vec<u8>,
    keys_bytes: usize,
}

/// A child of a branch.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Child {
    pub(crate) page: PageId,
    pub(crate) key_bytes: usize,
}

/// Where complete branches go.
pub(crate) trait BranchSink {
    /// Takes a page and gives it its number.
    fn branch(&mut self, branch: &BranchFill) -> PageId;
}

impl BranchFill {
    /// Of the head, the elements and keys.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_BYTES + ELEMENT_BYTES * self.children.len() + self.keys_bytes
    }

    fn add(&mut self, child: Child, key: &[u8]) {
        self.children.push(child);
        self.keys.extend_from_slice(key);
        self.keys_bytes += child.key_bytes;
    }

    fn admits(&self, size: PageSize, child: Child) -> bool {
        self.children.len() < ELEMENTS_MIN
            || (self.children.len() < ELEMENTS_MAX
                && self.bytes() + ELEMENT_BYTES + child.key_bytes <= size.bytes())
    }

    /// The first key and its length; planning has only the length.
    fn first(&self) -> (&[u8], usize) {
        let key_bytes = self.children[0].key_bytes;
        (self.keys.get(..key_bytes).unwrap_or_default(), key_bytes)
    }

    fn clear(&mut self) {
        self.children.clear();
        self.keys.clear();
        self.keys_bytes = 0;
    }

    /// Moves the last child to the front of `target`, which has one.
    fn hand_last(&mut self, target: &mut Self) {
        let child = self.children.pop().expect("a page that hands a child over has some");
        self.keys_bytes -= child.key_bytes;
        let key = self.keys.split_off(self.keys.len().saturating_sub(child.key_bytes));
        target.children.insert(0, child);
        target.keys.splice(0..0, key);
        target.keys_bytes += child.key_bytes;
    }

    fn append(&mut self, other: &mut Self) {
        self.children.append(&mut other.children);
        self.keys.append(&mut other.keys);
        self.keys_bytes += std::mem::take(&mut other.keys_bytes);
    }
}

impl Branches {
    pub(crate) fn new(size: PageSize) -> Self {
        Self { size, levels: Vec::new() }
    }

    /// Whether no page was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Adds a leaf. Planning has the length of its first key only, and gives an empty one.
    pub(crate) fn add_leaf(
        &mut self,
        page: PageId,
        key: &[u8],
        key_bytes: usize,
        sink: &mut impl BranchSink,
    ) {
        self.add(0, Child { page, key_bytes }, key, sink);
    }

    /// Completes all pages, and returns the number of the root.
    pub(crate) fn finish(&mut self, sink: &mut impl BranchSink) -> PageId {
        assert!(!self.is_empty(), "a tree has at least one leaf");
        let mut at = 0;
        loop {
            let level = &mut self.levels[at];
            if level.children == 1 {
                let root = level.head.children[0].page;
                self.levels.clear();
                return root;
            }
            level.settle();
            let Level { mut head, mut tail, .. } = std::mem::take(level);
            for fill in [&mut head, &mut tail] {
                if !fill.children.is_empty() {
                    let page = sink.branch(fill);
                    let (key, key_bytes) = fill.first();
                    self.add(at + 1, Child { page, key_bytes }, key, sink);
                }
            }
            at += 1;
        }
    }

    /// Adds a child to a level, and what gets complete by that to the levels above.
    fn add(&mut self, mut at: usize, mut child: Child, key: &[u8], sink: &mut impl BranchSink) {
        let mut complete: Option<BranchFill> = None;
        loop {
            if at == self.levels.len() {
                self.levels.push(Level::default());
            }
            let key = complete.as_ref().map_or(key, |fill| fill.first().0);
            let next = self.levels[at].add(self.size, child, key);
            if let Some(fill) = complete.take() {
                self.levels[at - 1].give_back(fill);
            }
            let Some(fill) = next else { return };
            child = Child { page: sink.branch(&fill), key_bytes: fill.first().1 };
            complete = Some(fill);
            at += 1;
        }
    }
}

impl Level {
    /// Adds a child, and returns the page that is complete by that.
    fn add(&mut self, size: PageSize, child: Child, key: &[u8]) -> Option<BranchFill> {
        self.children += 1;
        if self.tail.children.is_empty() && self.head.admits(size, child) {
            self.head.add(child, key);
            return None;
        }
        self.tail.add(child, key);
        if self.tail.children.len() < ELEMENTS_MIN {
            return None;
        }
        let tail = std::mem::take(&mut self.tail);
        Some(std::mem::replace(&mut self.head, tail))
    }

    /// Takes the memory of a page that was written.
    fn give_back(&mut self, mut fill: BranchFill) {
        if self.tail.children.is_empty() {
            fill.clear();
            self.tail = fill;
        }
    }

    /// Divides what is left at the end so that no page has a single child.
    fn settle(&mut self) {
        if self.tail.children.len() == 1 {
            if self.head.children.len() > ELEMENTS_MIN {
                self.head.hand_last(&mut self.tail);
            } else {
                self.head.append(&mut self.tail);
            }
        }
    }
}
