//! Planning a file: from the lengths of its entries to its size and the place of every page.

use bytes::Bytes;

use crate::format::{BUCKET_HEAD_BYTES, HEAD_BYTES, KEY_BYTES_MAX, Meta, PageId, PageSize, VALUE_BYTES_MAX};
use crate::layout::{BranchFill, BranchSink, Branches, LeafFill};

/// The page of the freelist, and the first one behind it.
pub(crate) const FREELIST_PAGE: PageId = PageId(2);
const FIRST_PAGE: PageId = PageId(3);
/// The transaction that the first meta page tells of; the second one tells of the one before, which was equal.
pub(crate) const TXID: u64 = 2;

/// A file that is being planned.
///
/// Buckets come in the order of their names, and after each its entries, in the order of their keys.
/// Only lengths are given; that the keys rise is seen when they are written.
/// A plan remembers a few hundred bytes for each bucket and a page for each level of the tree, whatever it is told.
#[derive(Clone, Debug)]
pub struct Plan {
    size: PageSize,
    done: Vec<BucketLayout>,
    open: Option<OpenBucket>,
    pages: Pages,
}

/// The bucket whose entries are coming.
#[derive(Clone, Debug)]
struct OpenBucket {
    name: Bytes,
    sequence: u64,
    /// Length of the first key of the leaf in the making.
    first_key_bytes: usize,
    leaf: LeafFill,
    branches: Branches,
    entries: Fingerprint,
}

/// A file of which everything is known but keys and values.
///
/// Made by [`Plan::finish`], carried out by an [`Encoder`](crate::Encoder).
#[derive(Clone, Debug)]
pub struct Layout {
    pub(crate) size: PageSize,
    pub(crate) buckets: Vec<BucketLayout>,
    /// The root page of the bucket of buckets.
    pub(crate) root: PageId,
    pub(crate) high_water: PageId,
}

/// A bucket of a [`Layout`].
#[derive(Clone, Debug)]
pub(crate) struct BucketLayout {
    pub(crate) name: Bytes,
    pub(crate) sequence: u64,
    pub(crate) entries: Fingerprint,
    pub(crate) place: Place,
}

/// Where the entries of a bucket are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below this page.
    Root(PageId),
    /// In the entry of the bucket of buckets, as a page of so many bytes.
    Inline { bytes: usize },
}

/// The lengths of all entries of a bucket, in short: two buckets that differ in them have different fingerprints.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) count: u64,
    digest: u64,
}

/// Why something cannot be in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The buckets do not come in the order of their names, or two have the same.
    #[error("bucket {name:?} does not come after bucket {previous:?}")]
    BucketOrder {
        /// The bucket before.
        previous: Bytes,
        /// The one that came.
        name: Bytes,
    },
    /// A key, or the name of a bucket, is empty or too long.
    #[error("a key of {bytes} bytes: it may have 1 to {KEY_BYTES_MAX}")]
    KeyLength {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A value is too long.
    #[error("a value of {bytes} bytes: it may have up to {VALUE_BYTES_MAX}")]
    ValueLength {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl Plan {
    /// A file without buckets.
    #[must_use]
    pub fn new(size: PageSize) -> Self {
        Self { size, done: Vec::new(), open: None, pages: Pages { size, next: FIRST_PAGE } }
    }

    /// Begins the next bucket, and ends the one before.
    ///
    /// # Errors
    /// The name cannot be a key, or does not come after the one before.
    pub fn bucket(&mut self, name: &[u8], sequence: u64) -> Result<(), PlanError> {
        check_key(name.len())?;
        let previous = self.open.as_ref().map(|open| &open.name);
        if let Some(previous) = previous.filter(|previous| ***previous >= *name) {
            let previous = previous.clone();
            return Err(PlanError::BucketOrder { previous, name: Bytes::copy_from_slice(name) });
        }
        self.close_bucket();
        self.open = Some(OpenBucket::new(self.size, Bytes::copy_from_slice(name), sequence));
        Ok(())
    }

    /// Adds an entry to the bucket begun last.
    ///
    /// # Errors
    /// The key or the value has a length that it cannot have.
    ///
    /// # Panics
    /// If no bucket was begun.
    pub fn entry(&mut self, key_bytes: usize, value_bytes: usize) -> Result<(), PlanError> {
        check_key(key_bytes)?;
        check_value(value_bytes)?;
        let open = self.open.as_mut().expect("a bucket is begun before its entries come");
        open.entries.add(key_bytes, value_bytes);
        open.add(self.size, key_bytes, value_bytes, &mut self.pages);
        Ok(())
    }

    /// Ends the last bucket; the layout of the file is known then.
    #[must_use]
    pub fn finish(mut self) -> Layout {
        self.close_bucket();
        let mut names = OpenBucket::new(self.size, Bytes::new(), 0);
        for bucket in &self.done {
            let inline_bytes = match bucket.place {
                Place::Root(_) => 0,
                Place::Inline { bytes } => bytes,
            };
            names.add(self.size, bucket.name.len(), BUCKET_HEAD_BYTES + inline_bytes, &mut self.pages);
        }
        let root = names.close(&mut self.pages);
        Layout { size: self.size, buckets: self.done, root, high_water: self.pages.next }
    }

    fn close_bucket(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        let place = if open.branches.is_empty() && open.leaf.is_inline(self.size) {
            Place::Inline { bytes: open.leaf.bytes }
        } else {
            Place::Root(open.close(&mut self.pages))
        };
        let OpenBucket { name, sequence, entries, .. } = open;
        self.done.push(BucketLayout { name, sequence, entries, place });
    }
}

impl OpenBucket {
    fn new(size: PageSize, name: Bytes, sequence: u64) -> Self {
        Self {
            name,
            sequence,
            first_key_bytes: 0,
            leaf: LeafFill::EMPTY,
            branches: Branches::new(size),
            entries: Fingerprint::default(),
        }
    }

    fn add(&mut self, size: PageSize, key_bytes: usize, value_bytes: usize, pages: &mut Pages) {
        if !self.leaf.admits(size, key_bytes, value_bytes) {
            self.close_leaf(pages);
        }
        if self.leaf.elements == 0 {
            self.first_key_bytes = key_bytes;
        }
        self.leaf = self.leaf.with(key_bytes, value_bytes);
    }

    fn close_leaf(&mut self, pages: &mut Pages) {
        let page = pages.take(self.leaf.bytes);
        self.branches.add_leaf(page, &[], self.first_key_bytes, pages);
        self.leaf = LeafFill::EMPTY;
    }

    /// Completes all pages, and returns the number of the root.
    fn close(&mut self, pages: &mut Pages) -> PageId {
        if self.leaf.elements > 0 || self.branches.is_empty() {
            self.close_leaf(pages);
        }
        self.branches.finish(pages)
    }
}

impl Layout {
    /// The length of the file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.size.offset(self.high_water).expect("a plan is of entries that exist")
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.size
    }

    /// The meta page of that number.
    pub(crate) fn meta(&self, txid: u64) -> Meta {
        Meta {
            page_size: self.size,
            root: self.root,
            root_sequence: 0,
            freelist: Some(FREELIST_PAGE),
            high_water: self.high_water,
            txid,
        }
    }
}

impl Fingerprint {
    pub(crate) fn add(&mut self, key_bytes: usize, value_bytes: usize) {
        self.count += 1;
        let lengths = (key_bytes as u64) << 32 | value_bytes as u64;
        self.digest = (self.digest.rotate_left(29) ^ lengths).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Gives out the numbers of pages.
#[derive(Clone, Debug)]
struct Pages {
    size: PageSize,
    next: PageId,
}

impl Pages {
    fn take(&mut self, bytes: usize) -> PageId {
        let page = self.next;
        self.next = PageId(page.0 + self.size.pages(bytes.max(HEAD_BYTES)));
        page
    }
}

impl BranchSink for Pages {
    fn branch(&mut self, branch: &BranchFill) -> PageId {
        self.take(branch.bytes())
    }
}

pub(crate) fn check_key(bytes: usize) -> Result<(), PlanError> {
    if (1..=KEY_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(PlanError::KeyLength { bytes }) }
}

pub(crate) fn check_value(bytes: usize) -> Result<(), PlanError> {
    if bytes <= VALUE_BYTES_MAX { Ok(()) } else { Err(PlanError::ValueLength { bytes }) }
}
