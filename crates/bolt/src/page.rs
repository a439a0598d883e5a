//! A branch or leaf page, checked when it is made: whoever holds a [`Node`] can take every element without a check.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::error::Flaw;
use crate::format::{
    BRANCH, BUCKET_FLAG, BUCKET_HEAD_BYTES, ELEMENT_BYTES, HEAD_BYTES, Head, LEAF, PageId, u32_at, u64_at,
};

/// The two kinds of page that make up a tree.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
}

impl Kind {
    pub(crate) fn of(head: Head) -> Result<Self, Flaw> {
        match head.flags {
            BRANCH => Ok(Self::Branch),
            LEAF => Ok(Self::Leaf),
            other => Err(Flaw::Kind(other)),
        }
    }
}

/// A page whose keys and values are known to lie within its bytes, in order.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    kind: Kind,
    count: usize,
    /// The page from its head on, at least as far as its elements reach.
    bytes: Bytes,
}

/// Where key and value of an element are, in bytes from the start of the page.
#[derive(Copy, Clone, Debug)]
struct Extent {
    start: u64,
    key: u64,
    value: u64,
}

impl Extent {
    fn end(self) -> u64 {
        self.start + self.key + self.value
    }
}

/// Bytes from the start of a page to the end of its elements.
pub(crate) fn table_bytes(count: u16) -> usize {
    HEAD_BYTES + ELEMENT_BYTES * usize::from(count)
}

/// Bytes from the start of a page to the end of its last key or value, as its elements say.
///
/// `table` reaches to the end of the elements at least.
pub(crate) fn extent_bytes(kind: Kind, count: u16, table: &[u8]) -> u64 {
    let ends = (0..usize::from(count)).map(|element| extent(kind, table, element).end());
    ends.max().unwrap_or(0).max(table_bytes(count) as u64)
}

fn extent(kind: Kind, bytes: &[u8], element: usize) -> Extent {
    let at = HEAD_BYTES + ELEMENT_BYTES * element;
    let word = |index: usize| u64::from(u32_at(bytes, at + 4 * index));
    match kind {
        Kind::Branch => Extent { start: at as u64 + word(0), key: word(1), value: 0 },
        Kind::Leaf => Extent { start: at as u64 + word(1), key: word(2), value: word(3) },
    }
}

impl Node {
    /// Checks a page: elements, keys and values within `bytes` and one behind the other, keys rising.
    ///
    /// All bbolts write them without a gap; that being so shows a wrong count and most wrong lengths.
    pub(crate) fn parse(kind: Kind, count: u16, bytes: Bytes) -> Result<Self, Flaw> {
        let table = table_bytes(count);
        if table > bytes.len() {
            return Err(Flaw::Count(count));
        }
        let node = Self { kind, count: usize::from(count), bytes };
        let mut end = table as u64;
        for element in 0..node.count {
            let extent = extent(kind, &node.bytes, element);
            if extent.start != end || extent.end() > node.bytes.len() as u64 {
                return Err(Flaw::ElementBounds { element });
            }
            end = extent.end();
            if element > 0 && node.key(element - 1) >= node.key(element) {
                return Err(Flaw::Order { element });
            }
            node.check_element(element)?;
        }
        if kind == Kind::Branch && count == 0 {
            return Err(Flaw::EmptyBranch);
        }
        Ok(node)
    }

    /// The page of an inline bucket, which is all of `bytes`.
    pub(crate) fn parse_inline(bytes: Bytes) -> Result<Self, Flaw> {
        if bytes.len() < HEAD_BYTES {
            return Err(Flaw::Count(0));
        }
        let head = Head::parse(&bytes);
        if head.flags != LEAF {
            return Err(Flaw::Kind(head.flags));
        }
        if head.id != PageId(0) {
            return Err(Flaw::OtherId(head.id));
        }
        if head.overflow != 0 {
            return Err(Flaw::Overflow(head.overflow));
        }
        Self::parse(Kind::Leaf, head.count, bytes)
    }

    fn check_element(&self, element: usize) -> Result<(), Flaw> {
        match self.kind {
            Kind::Branch => Ok(()),
            Kind::Leaf => match self.flags(element) {
                0 => Ok(()),
                BUCKET_FLAG if self.value_range(element).len() >= BUCKET_HEAD_BYTES => Ok(()),
                BUCKET_FLAG => Err(Flaw::Bucket { element }),
                flags => Err(Flaw::ElementFlags { element, flags }),
            },
        }
    }

    /// Checks that all keys are at or above `lower` and below `upper`.
    pub(crate) fn check_bounds(&self, lower: Option<&[u8]>, upper: Option<&[u8]>) -> Result<(), Flaw> {
        if self.count == 0 {
            return Ok(());
        }
        if lower.is_some_and(|lower| self.key(0) < lower) {
            return Err(Flaw::OutsideBranch { element: 0 });
        }
        let last = self.count - 1;
        if upper.is_some_and(|upper| self.key(last) >= upper) {
            return Err(Flaw::OutsideBranch { element: last });
        }
        Ok(())
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes from the start of the page to the end of the last key or value.
    pub(crate) fn used_bytes(&self) -> usize {
        match self.count.checked_sub(1) {
            None => HEAD_BYTES,
            Some(last) => to_usize(self.checked_extent(last).end()),
        }
    }

    pub(crate) fn key(&self, element: usize) -> &[u8] {
        &self.bytes[self.key_range(element)]
    }

    /// The same as [`Node::key`], sharing the page's bytes.
    pub(crate) fn shared_key(&self, element: usize) -> Bytes {
        self.bytes.slice(self.key_range(element))
    }

    /// The value of a leaf's element, sharing the page's bytes.
    pub(crate) fn shared_value(&self, element: usize) -> Bytes {
        self.bytes.slice(self.value_range(element))
    }

    /// The length of the value of a leaf's element.
    pub(crate) fn value_bytes(&self, element: usize) -> usize {
        self.value_range(element).len()
    }

    /// Whether the value of a leaf's element is a bucket; if so it has at least the head of one.
    pub(crate) fn is_bucket(&self, element: usize) -> bool {
        assert_eq!(self.kind, Kind::Leaf, "a branch has no values");
        self.flags(element) == BUCKET_FLAG
    }

    /// The page that a branch's element leads to.
    pub(crate) fn child(&self, element: usize) -> PageId {
        assert_eq!(self.kind, Kind::Branch, "a leaf has no children");
        assert!(element < self.count, "there is no such element");
        PageId(u64_at(&self.bytes, HEAD_BYTES + ELEMENT_BYTES * element + 8))
    }

    /// The element of that key, or the first one above it.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The element of a branch below which `key` is, if it is anywhere.
    pub(crate) fn search_child(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(element) => element,
            Err(element) => element.saturating_sub(1),
        }
    }

    fn flags(&self, element: usize) -> u32 {
        u32_at(&self.bytes, HEAD_BYTES + ELEMENT_BYTES * element)
    }

    fn key_range(&self, element: usize) -> std::ops::Range<usize> {
        let extent = self.checked_extent(element);
        let start = to_usize(extent.start);
        start..start + to_usize(extent.key)
    }

    fn value_range(&self, element: usize) -> std::ops::Range<usize> {
        let extent = self.checked_extent(element);
        let start = to_usize(extent.start + extent.key);
        start..start + to_usize(extent.value)
    }

    fn checked_extent(&self, element: usize) -> Extent {
        assert!(element < self.count, "there is no such element");
        extent(self.kind, &self.bytes, element)
    }
}

/// A place within a page that is in memory.
fn to_usize(place: u64) -> usize {
    usize::try_from(place).expect("it was compared with the length of the page")
}
