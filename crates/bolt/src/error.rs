//! Why a file cannot be read.

use etched_disk::DiskError;

use crate::format::{MetaFlaw, PageId};

/// A failed read of a bbolt file.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Neither meta page counts: the file is not bbolt's, or damaged at its very beginning.
    #[error("no valid meta page: of the first, {first}; of the second, {second}")]
    NoMeta {
        /// What is wrong with the first.
        first: MetaFlaw,
        /// What is wrong with the second.
        second: MetaFlaw,
    },
    /// The file ends before the pages that it says it has.
    #[error("the file is {len} bytes long and says that it has {wanted}")]
    Truncated {
        /// The length in bytes.
        len: u64,
        /// The length in bytes that it should have at least.
        wanted: u64,
    },
    /// A page is not what it must be.
    #[error("page {page} is damaged")]
    Damaged {
        /// The page.
        page: PageId,
        /// What is wrong with it.
        #[source]
        why: Flaw,
    },
}

impl ReadError {
    pub(crate) fn damaged(page: PageId, why: Flaw) -> Self {
        Self::Damaged { page, why }
    }
}

/// What is wrong with a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// A pointer leads to it that cannot be one: a meta page, or a page behind the last.
    #[error("there can be no such page")]
    OutOfRange,
    /// Its head has another number.
    #[error("it says that it is page {0}")]
    OtherId(PageId),
    /// It is not of a kind that may stand here.
    #[error("its flags {0:#x} are not those of a page that may stand here")]
    Kind(u16),
    /// It goes on behind the last page of the file.
    #[error("it has {0} overflow pages, which go past the last page")]
    Overflow(u32),
    /// It has more elements than there is room for.
    #[error("it has {0} elements, for which there is no room")]
    Count(u16),
    /// A branch without elements.
    #[error("it is a branch without elements")]
    EmptyBranch,
    /// An element has flags that nobody knows.
    #[error("element {element} has the unknown flags {flags:#x}")]
    ElementFlags {
        /// Counted from 0.
        element: usize,
        /// The flags.
        flags: u32,
    },
    /// The key or value of an element lies outside of the page, or where something else lies.
    #[error("the key and value of element {element} are not where they can be")]
    ElementBounds {
        /// Counted from 0.
        element: usize,
    },
    /// A key does not follow on the key before it.
    #[error("the key of element {element} is not above the one before it")]
    Order {
        /// Counted from 0.
        element: usize,
    },
    /// A key is not in the part of the tree where it belongs.
    #[error("the key of element {element} does not belong into this part of the tree")]
    OutsideBranch {
        /// Counted from 0.
        element: usize,
    },
    /// The value of a bucket's entry is no bucket.
    #[error("element {element} should be a bucket and is none")]
    Bucket {
        /// Counted from 0.
        element: usize,
    },
    /// The bucket of buckets holds something else.
    #[error("element {element} of the bucket of buckets is not a bucket")]
    NotABucket {
        /// Counted from 0.
        element: usize,
    },
    /// More levels than a tree of any size has: a circle.
    #[error("it lies deeper in the tree than any page can")]
    Depth,
    /// A freelist holds a number that is no page.
    #[error("it lists {0} as a free page")]
    FreePage(PageId),
}
