//! The bytes: page heads, elements, meta pages, and the numbers that bound them.
//!
//! All integers are little-endian, whatever the machine; bbolt itself writes those of its machine, and no etcd that
//! is in use runs on a big-endian one.
//!
//! ```text
//! page       id u64 | flags u16 | count u16 | overflow u32 | elements | keys and values
//! leaf       element:  flags u32 | pos u32 | key length u32 | value length u32
//! branch     element:  pos u32 | key length u32 | child u64
//! freelist   element:  page u64            (count 0xFFFF: the first element is the count)
//! meta       magic u32 | version u32 | page size u32 | flags u32 | root u64 | sequence u64
//!            | freelist u64 | high water u64 | txid u64 | FNV-1a-64 of the 56 bytes before u64
//! bucket     root u64 | sequence u64 | if root is 0: a leaf page, as long as it needs
//! ```
//!
//! `pos` counts from the element itself; the value stands right behind its key.

use std::fmt;

/// Bytes of a page's head.
pub(crate) const HEAD_BYTES: usize = 16;
/// Bytes of an element of a leaf or a branch.
pub(crate) const ELEMENT_BYTES: usize = 16;
/// Bytes of a bucket's head, which is the value of its entry in the bucket above.
pub(crate) const BUCKET_HEAD_BYTES: usize = 16;
/// Bytes of a meta page that mean something, its head included.
pub(crate) const META_BYTES: usize = HEAD_BYTES + 64;
/// Most elements that a page may have: bbolt refuses to write a page of 0xFFFF.
pub(crate) const ELEMENTS_MAX: usize = 0xFFFE;
/// A leaf or branch takes two elements whatever their size, since bbolt keeps at least as many.
pub(crate) const ELEMENTS_MIN: usize = 2;
/// The count of a freelist page whose first element is the true count.
pub(crate) const COUNT_IN_FIRST_ELEMENT: u16 = 0xFFFF;
/// The freelist's page of a file that has none.
pub(crate) const NO_FREELIST: u64 = u64::MAX;
/// The flag of a leaf element whose value is a bucket.
pub(crate) const BUCKET_FLAG: u32 = 0x01;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;

/// Most bytes of a key, and of a bucket's name.
pub const KEY_BYTES_MAX: usize = 32_768;
/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 2;

const _: () = assert!(ELEMENTS_MAX < COUNT_IN_FIRST_ELEMENT as usize);
const _: () = assert!(META_BYTES <= PageSize::MIN as usize);
// Two of the largest entries in one page: the position of the second still fits into 32 bits.
const _: () =
    assert!((HEAD_BYTES + 2 * ELEMENT_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64 <= u32::MAX as u64);

/// The number of a page; it stands at this multiple of the page size in the file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u64);

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes of a page: a power of two, usually that of the machine which made the file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// The page size of nearly every etcd, 4096 bytes.
    pub const USUAL: Self = Self(4096);
    /// The smallest, in bytes, at which bbolt looks for a second meta page.
    const MIN: u32 = 1 << 10;
    /// The largest, in bytes, at which bbolt looks for a second meta page.
    const MAX: u32 = 1 << 24;

    /// A page size, unless `bytes` is not a power of two from 1 KiB to 16 MiB.
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (Self::MIN..=Self::MAX).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }

    /// All that there are, smallest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::MIN), |bytes| Some(bytes * 2)).map_while(Self::new)
    }

    /// Where a page begins in the file, in bytes; `None` if no file is that long.
    pub(crate) fn offset(self, page: PageId) -> Option<u64> {
        page.0.checked_mul(u64::from(self.0))
    }

    /// How many pages `bytes` take.
    pub(crate) fn pages(self, bytes: usize) -> u64 {
        (bytes as u64).div_ceil(u64::from(self.0))
    }
}

/// What a meta page says: which pages make up the file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of each page.
    pub page_size: PageSize,
    /// The root page of the bucket of buckets.
    pub root: PageId,
    /// The sequence number of the bucket of buckets; bbolt does not use it.
    pub root_sequence: u64,
    /// The page that lists the free pages; without one, the pages that are not reached are free.
    pub freelist: Option<PageId>,
    /// The first page behind all pages in use.
    pub high_water: PageId,
    /// The number of the transaction that wrote this.
    pub txid: u64,
}

/// Why a meta page does not count.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaFlaw {
    /// The file ends before it.
    #[error("the file ends before it")]
    Missing,
    /// It has not bbolt's magic number.
    #[error("it has not the magic number of bbolt")]
    Magic,
    /// It is of another version of the format.
    #[error("it is of version {0} of the format, and only {VERSION} is known")]
    Version(u32),
    /// Its checksum is wrong.
    #[error("its checksum is wrong")]
    Checksum,
    /// The size of pages that it states is none, or not that of the other meta page.
    #[error("it states pages of {0} bytes")]
    PageSize(u32),
}

impl Meta {
    /// Reads the first [`META_BYTES`] of a meta page.
    pub(crate) fn parse(page: &[u8]) -> Result<Self, MetaFlaw> {
        let Some(meta) = page.get(HEAD_BYTES..META_BYTES) else { return Err(MetaFlaw::Missing) };
        if u32_at(meta, 0) != MAGIC {
            return Err(MetaFlaw::Magic);
        }
        if u32_at(meta, 4) != VERSION {
            return Err(MetaFlaw::Version(u32_at(meta, 4)));
        }
        if u64_at(meta, 56) != fnv1a(&meta[..56]) {
            return Err(MetaFlaw::Checksum);
        }
        let page_size = PageSize::new(u32_at(meta, 8)).ok_or(MetaFlaw::PageSize(u32_at(meta, 8)))?;
        let freelist = u64_at(meta, 32);
        Ok(Self {
            page_size,
            root: PageId(u64_at(meta, 16)),
            root_sequence: u64_at(meta, 24),
            freelist: (freelist != NO_FREELIST).then_some(PageId(freelist)),
            high_water: PageId(u64_at(meta, 40)),
            txid: u64_at(meta, 48),
        })
    }

    /// The first [`META_BYTES`] of the meta page `id`; zeros follow.
    pub(crate) fn encode(&self, id: PageId) -> [u8; META_BYTES] {
        let mut page = [0; META_BYTES];
        page[..HEAD_BYTES].copy_from_slice(&Head { id, flags: META, count: 0, overflow: 0 }.encode());
        let meta = &mut page[HEAD_BYTES..];
        meta[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        meta[4..8].copy_from_slice(&VERSION.to_le_bytes());
        meta[8..12].copy_from_slice(&self.page_size.0.to_le_bytes());
        let words = [
            self.root.0,
            self.root_sequence,
            self.freelist.map_or(NO_FREELIST, |page| page.0),
            self.high_water.0,
            self.txid,
        ];
        for (at, word) in words.into_iter().enumerate() {
            meta[16 + 8 * at..24 + 8 * at].copy_from_slice(&word.to_le_bytes());
        }
        let checksum = fnv1a(&meta[..56]);
        meta[56..].copy_from_slice(&checksum.to_le_bytes());
        page
    }
}

/// The head of a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: PageId,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// How many further pages belong to this one.
    pub(crate) overflow: u32,
}

impl Head {
    pub(crate) fn encode(self) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.id.0.to_le_bytes());
        head[8..10].copy_from_slice(&self.flags.to_le_bytes());
        head[10..12].copy_from_slice(&self.count.to_le_bytes());
        head[12..].copy_from_slice(&self.overflow.to_le_bytes());
        head
    }

    /// Reads the first [`HEAD_BYTES`] of `page`.
    pub(crate) fn parse(page: &[u8]) -> Self {
        Self {
            id: PageId(u64_at(page, 0)),
            flags: u16::from_le_bytes([page[8], page[9]]),
            count: u16::from_le_bytes([page[10], page[11]]),
            overflow: u32_at(page, 12),
        }
    }
}

/// The value of a bucket's entry: its root and sequence number; an inline page may follow.
pub(crate) fn bucket_head(root: PageId, sequence: u64) -> [u8; BUCKET_HEAD_BYTES] {
    let mut head = [0; BUCKET_HEAD_BYTES];
    head[..8].copy_from_slice(&root.0.to_le_bytes());
    head[8..].copy_from_slice(&sequence.to_le_bytes());
    head
}

/// The integer at `at`, which must lie within `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("the caller has looked at the length");
    u32::from_le_bytes(*word)
}

/// The integer at `at`, which must lie within `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("the caller has looked at the length");
    u64::from_le_bytes(*word)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        page_size: PageSize::USUAL,
        root: PageId(7),
        root_sequence: 3,
        freelist: None,
        high_water: PageId(9),
        txid: 11,
    };

    #[test]
    fn a_meta_page_reads_as_it_was_written_and_every_damaged_byte_of_it_is_found() {
        let page = META.encode(PageId(1));
        assert_eq!(Meta::parse(&page), Ok(META));
        let with = Meta { freelist: Some(PageId(2)), ..META };
        assert_eq!(Meta::parse(&with.encode(PageId(0))), Ok(with));
        for at in HEAD_BYTES..META_BYTES {
            for mask in [1, 0x80, 0xff] {
                let mut damaged = page;
                damaged[at] ^= mask;
                assert!(Meta::parse(&damaged).is_err(), "byte {at}");
            }
        }
        for len in 0..META_BYTES {
            assert_eq!(Meta::parse(&page[..len]), Err(MetaFlaw::Missing));
        }
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn page_sizes_are_powers_of_two() {
        let all: Vec<usize> = PageSize::all().map(PageSize::bytes).collect();
        assert_eq!((all[0], all[2], all.len()), (1024, 4096, 15));
        for bytes in [0, 1, 512, 4095, 4097, 1 << 25] {
            assert_eq!(PageSize::new(bytes), None);
        }
    }
}
