//! Writing a planned file, front to back.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::format::{
    BRANCH, BUCKET_FLAG, ELEMENT_BYTES, ELEMENTS_MIN, FREELIST, HEAD_BYTES, Head, LEAF, PageId, PageSize,
    bucket_head,
};
use crate::layout::{BranchFill, BranchSink, Branches, LeafFill};
use crate::plan::{
    BucketLayout, FREELIST_PAGE, Fingerprint, Layout, Place, PlanError, TXID, check_key, check_value,
};

/// A planned file that is being written.
///
/// It is fed the same buckets and entries as the plan was, and gives the bytes of the file to `sink`, in chunks of at
/// most `chunk_bytes`, in order.
/// A key and a value are copied once, from what is given into the chunk; a page is moved once more within the chunk
/// if it turns out to have another number of entries than the one before.
/// What is not yet given out is less than a chunk and a page.
///
/// The file is whole when [`Encoder::finish`] has returned without an error; the first chunks, which hold the
/// meta pages, are given out long before.
#[derive(Debug)]
pub struct Encoder<S> {
    layout: Layout,
    chunk_bytes: usize,
    sink: S,
    /// What comes next; begins at a page.
    buffer: Vec<u8>,
    /// The number of the page at the end of the buffer.
    next: PageId,
    /// How many buckets were begun.
    begun: usize,
    open: OpenBucket,
    /// The entries of the bucket of buckets so far.
    roots: Vec<Vec<u8>>,
    stopped: bool,
}

/// The bucket whose entries are coming.
#[derive(Debug)]
struct OpenBucket {
    leaf: OpenLeaf,
    branches: Branches,
    last_key: Vec<u8>,
    entries: Fingerprint,
}

/// The leaf in the making, which is the end of the buffer.
#[derive(Debug)]
struct OpenLeaf {
    fill: LeafFill,
    /// Where it begins in the buffer.
    start: usize,
    /// For how many elements there is room before the first key.
    slots: usize,
    /// Flags, key and value length of each element.
    elements: Vec<(u32, u32, u32)>,
}

/// Why a file could not be written as planned. What was given out of it is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// What came is not what was planned.
    #[error("bucket {bucket:?} is not the one that was planned: {what}")]
    Differs {
        /// The bucket that came.
        bucket: Bytes,
        /// The difference.
        what: &'static str,
    },
    /// The keys of a bucket do not rise.
    #[error("a key of bucket {bucket:?} is not above the one before it")]
    KeyOrder {
        /// The bucket.
        bucket: Bytes,
    },
    /// A key or value that can be in no file.
    #[error(transparent)]
    Entry(#[from] PlanError),
    /// The sink wants no more.
    #[error("the file was not wanted any more")]
    Stopped,
}

impl<S: FnMut(Bytes) -> ControlFlow<()>> Encoder<S> {
    /// Begins a file; `sink` gets its bytes, and may break when it wants no more.
    ///
    /// # Panics
    /// If a chunk is shorter than a page.
    pub fn new(layout: Layout, chunk_bytes: usize, sink: S) -> Self {
        let size = layout.size;
        assert!(chunk_bytes >= size.bytes(), "a chunk holds a page at least");
        let mut encoder = Self {
            open: OpenBucket::new(size),
            buffer: Vec::with_capacity(capacity(chunk_bytes, size)),
            layout,
            chunk_bytes,
            sink,
            next: PageId(0),
            begun: 0,
            roots: Vec::new(),
            stopped: false,
        };
        encoder.write_first_pages();
        encoder
    }

    /// Begins the next bucket, and ends the one before.
    ///
    /// # Errors
    /// It is not the planned one, or the one before had not the planned entries; or the sink wants no more.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), EncodeError> {
        self.close_bucket()?;
        let planned = self.layout.buckets.get(self.begun);
        if planned.is_none_or(|planned| planned.name != name) {
            return Err(differs(name, "another one, or none, should have come"));
        }
        self.begun += 1;
        Ok(())
    }

    /// Adds an entry to the bucket begun last.
    ///
    /// # Errors
    /// The key does not follow on the one before, there are more entries than planned, or the sink wants no more.
    ///
    /// # Panics
    /// If no bucket was begun.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        let planned = self.begun.checked_sub(1).expect("a bucket is begun before its entries come");
        check_key(key.len())?;
        check_value(value.len())?;
        if self.open.entries.count > 0 && *self.open.last_key >= *key {
            return Err(EncodeError::KeyOrder { bucket: self.layout.buckets[planned].name.clone() });
        }
        if self.open.entries.count >= self.layout.buckets[planned].entries.count {
            return Err(differs(&self.layout.buckets[planned].name, "it has more entries"));
        }
        self.open.last_key.clear();
        self.open.last_key.extend_from_slice(key);
        self.open.entries.add(key.len(), value.len());
        self.add(0, key, value);
        self.check_stopped()
    }

    /// Ends the file and gives out the rest of it.
    ///
    /// # Errors
    /// Buckets or entries are missing, or the sink wants no more.
    pub fn finish(mut self) -> Result<(), EncodeError> {
        self.close_bucket()?;
        if let Some(missing) = self.layout.buckets.get(self.begun) {
            return Err(differs(&missing.name, "it did not come"));
        }
        let names: Vec<Bytes> = self.layout.buckets.iter().map(|bucket| bucket.name.clone()).collect();
        for (name, value) in names.iter().zip(std::mem::take(&mut self.roots)) {
            self.add(BUCKET_FLAG, name, &value);
        }
        let root = self.close_tree();
        assert_eq!(root, self.layout.root, "the bucket of buckets is where it was planned");
        assert_eq!(self.next, self.layout.high_water, "the file is as long as it was planned");
        self.give_out();
        self.check_stopped()
    }

    fn write_first_pages(&mut self) {
        let page_bytes = self.layout.size.bytes();
        for (page, txid) in [(PageId(0), TXID), (PageId(1), TXID - 1)] {
            self.buffer.extend_from_slice(&self.layout.meta(txid).encode(page));
            self.buffer.resize(page_bytes * (self.buffer.len().div_ceil(page_bytes)), 0);
        }
        let freelist = Head { id: FREELIST_PAGE, flags: FREELIST, count: 0, overflow: 0 };
        self.buffer.extend_from_slice(&freelist.encode());
        self.buffer.resize(3 * page_bytes, 0);
        self.next = PageId(3);
    }

    /// Puts an entry into the leaf in the making, or into the next.
    fn add(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        let size = self.layout.size;
        if !self.open.leaf.fill.admits(size, key.len(), value.len()) {
            self.close_leaf();
        }
        let leaf = &mut self.open.leaf;
        if leaf.fill.elements == 0 {
            self.buffer = give_room(std::mem::take(&mut self.buffer), self.chunk_bytes, size);
            leaf.start = self.buffer.len();
            self.buffer.resize(leaf.start + leaf.data_offset(), 0);
        }
        leaf.fill = leaf.fill.with(key.len(), value.len());
        if leaf.fill.bytes > size.bytes() {
            // Such a leaf takes two entries, so the place of what is large is known before it is copied.
            leaf.set_slots(ELEMENTS_MIN, &mut self.buffer);
        }
        let (key_bytes, value_bytes) = (to_u32(key.len()), to_u32(value.len()));
        leaf.elements.push((flags, key_bytes, value_bytes));
        self.buffer.reserve(key.len() + value.len());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
    }

    /// Completes the leaf in the making, which may be empty, and hands it to the branches.
    fn close_leaf(&mut self) {
        let page = self.next;
        let pages = self.open.leaf.complete(page, self.layout.size, &mut self.buffer);
        self.next = PageId(page.0 + pages);
        let leaf = &self.open.leaf;
        let key_start = leaf.start + leaf.data_offset();
        let key_bytes = leaf.elements.first().map_or(0, |element| element.1 as usize);
        let key = self.buffer[key_start..key_start + key_bytes].to_vec();
        let mut sink =
            BranchWriter { size: self.layout.size, buffer: &mut self.buffer, next: &mut self.next };
        self.open.branches.add_leaf(page, &key, key_bytes, &mut sink);
        self.open.leaf.clear();
        if self.buffer.len() >= self.chunk_bytes {
            self.give_out();
        }
    }

    /// Completes all pages of a tree, and returns the number of its root.
    fn close_tree(&mut self) -> PageId {
        if self.open.leaf.fill.elements > 0 {
            self.close_leaf();
        } else if self.open.branches.is_empty() {
            self.open.leaf.start = self.buffer.len();
            self.buffer.resize(self.buffer.len() + self.open.leaf.data_offset(), 0);
            self.close_leaf();
        }
        let mut sink =
            BranchWriter { size: self.layout.size, buffer: &mut self.buffer, next: &mut self.next };
        self.open.branches.finish(&mut sink)
    }

    fn close_bucket(&mut self) -> Result<(), EncodeError> {
        let Some(at) = self.begun.checked_sub(1) else { return Ok(()) };
        if self.roots.len() > at {
            return Ok(());
        }
        let planned: BucketLayout = self.layout.buckets[at].clone();
        if planned.entries != self.open.entries {
            let what = if planned.entries.count == self.open.entries.count {
                "its keys and values have other lengths"
            } else {
                "it has fewer entries"
            };
            return Err(differs(&planned.name, what));
        }
        let value = match planned.place {
            Place::Inline { bytes } => {
                let mut value = bucket_head(PageId(0), planned.sequence).to_vec();
                value.extend_from_slice(&self.open.leaf.take_inline(&mut self.buffer));
                assert_eq!(value.len(), HEAD_BYTES + bytes, "an inline bucket is as long as it was planned");
                value
            }
            Place::Root(root) => {
                let written = self.close_tree();
                assert_eq!(written, root, "equal lengths make equal pages");
                bucket_head(root, planned.sequence).to_vec()
            }
        };
        self.roots.push(value);
        self.open = OpenBucket::new(self.layout.size);
        self.check_stopped()
    }

    /// Gives complete pages to the sink.
    fn give_out(&mut self) {
        let mut bytes = Bytes::from(std::mem::take(&mut self.buffer));
        while !bytes.is_empty() && !self.stopped {
            let chunk = bytes.split_to(bytes.len().min(self.chunk_bytes));
            self.stopped = (self.sink)(chunk).is_break();
        }
    }

    fn check_stopped(&self) -> Result<(), EncodeError> {
        if self.stopped { Err(EncodeError::Stopped) } else { Ok(()) }
    }
}

impl OpenBucket {
    fn new(size: PageSize) -> Self {
        let leaf = OpenLeaf { fill: LeafFill::EMPTY, start: 0, slots: ELEMENTS_MIN, elements: Vec::new() };
        Self { leaf, branches: Branches::new(size), last_key: Vec::new(), entries: Fingerprint::default() }
    }
}

impl OpenLeaf {
    /// Where keys and values begin, from the start of the page.
    fn data_offset(&self) -> usize {
        HEAD_BYTES + ELEMENT_BYTES * self.slots
    }

    /// Makes room for so many elements, and moves keys and values accordingly.
    fn set_slots(&mut self, slots: usize, buffer: &mut Vec<u8>) {
        let from = self.start + self.data_offset();
        self.slots = slots;
        let to = self.start + self.data_offset();
        let end = buffer.len();
        if to > from {
            buffer.resize(end + (to - from), 0);
        }
        buffer.copy_within(from..end, to);
        buffer.truncate(end + to - from);
    }

    /// Writes head and elements.
    fn fill_in(&mut self, head: Head, buffer: &mut Vec<u8>) {
        if self.slots != self.elements.len() {
            self.set_slots(self.elements.len(), buffer);
        }
        let page = &mut buffer[self.start..];
        page[..HEAD_BYTES].copy_from_slice(&head.encode());
        let mut data_at = self.data_offset();
        for (at, &(flags, key_bytes, value_bytes)) in self.elements.iter().enumerate() {
            let element_at = HEAD_BYTES + ELEMENT_BYTES * at;
            let element = &mut page[element_at..element_at + ELEMENT_BYTES];
            element[0..4].copy_from_slice(&flags.to_le_bytes());
            element[4..8].copy_from_slice(&to_u32(data_at - element_at).to_le_bytes());
            element[8..12].copy_from_slice(&key_bytes.to_le_bytes());
            element[12..].copy_from_slice(&value_bytes.to_le_bytes());
            data_at += key_bytes as usize + value_bytes as usize;
        }
        assert_eq!(data_at, self.fill.bytes, "the leaf is as full as was counted");
        assert_eq!(self.start + data_at, buffer.len(), "the leaf is the end of the buffer");
    }

    /// Completes the page with the number `id`, and returns how many pages it takes.
    fn complete(&mut self, id: PageId, size: PageSize, buffer: &mut Vec<u8>) -> u64 {
        let pages = size.pages(self.fill.bytes);
        self.fill_in(head(id, LEAF, self.elements.len(), pages), buffer);
        buffer.resize(buffer.len().next_multiple_of(size.bytes()), 0);
        pages
    }

    /// Takes the page out of the buffer again, as that of an inline bucket.
    fn take_inline(&mut self, buffer: &mut Vec<u8>) -> Vec<u8> {
        if self.elements.is_empty() {
            return head(PageId(0), LEAF, 0, 1).encode().to_vec();
        }
        self.fill_in(head(PageId(0), LEAF, self.elements.len(), 1), buffer);
        buffer.split_off(self.start)
    }

    /// Makes ready for the next leaf, which will likely have as many elements.
    fn clear(&mut self) {
        self.slots = self.elements.len().max(ELEMENTS_MIN);
        self.fill = LeafFill::EMPTY;
        self.elements.clear();
    }
}

/// Puts branches at the end of the buffer.
struct BranchWriter<'a> {
    size: PageSize,
    buffer: &'a mut Vec<u8>,
    next: &'a mut PageId,
}

impl BranchSink for BranchWriter<'_> {
    fn branch(&mut self, branch: &BranchFill) -> PageId {
        let (id, pages) = (*self.next, self.size.pages(branch.bytes()));
        *self.next = PageId(id.0 + pages);
        self.buffer.extend_from_slice(&head(id, BRANCH, branch.children.len(), pages).encode());
        let mut key_at = HEAD_BYTES + ELEMENT_BYTES * branch.children.len();
        for (at, child) in branch.children.iter().enumerate() {
            let element_at = HEAD_BYTES + ELEMENT_BYTES * at;
            self.buffer.extend_from_slice(&to_u32(key_at - element_at).to_le_bytes());
            self.buffer.extend_from_slice(&to_u32(child.key_bytes).to_le_bytes());
            self.buffer.extend_from_slice(&child.page.0.to_le_bytes());
            key_at += child.key_bytes;
        }
        self.buffer.extend_from_slice(&branch.keys);
        self.buffer.resize(self.buffer.len().next_multiple_of(self.size.bytes()), 0);
        id
    }
}

fn head(id: PageId, flags: u16, count: usize, pages: u64) -> Head {
    let count = u16::try_from(count).expect("a page never gets more elements than it can have");
    let overflow = u32::try_from(pages - 1).expect("the largest two entries take fewer pages");
    Head { id, flags, count, overflow }
}

fn differs(bucket: &[u8], what: &'static str) -> EncodeError {
    EncodeError::Differs { bucket: Bytes::copy_from_slice(bucket), what }
}

fn to_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("keys, values and what holds two of them are shorter than 4 GiB")
}

/// Room for a chunk, and for what a page takes beyond its size until it is complete.
fn capacity(chunk_bytes: usize, size: PageSize) -> usize {
    chunk_bytes.next_multiple_of(size.bytes()) + 2 * size.bytes()
}

/// The buffer, with memory if it was given away.
fn give_room(buffer: Vec<u8>, chunk_bytes: usize, size: PageSize) -> Vec<u8> {
    if buffer.capacity() == 0 { Vec::with_capacity(capacity(chunk_bytes, size)) } else { buffer }
}
