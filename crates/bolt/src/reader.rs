//! Opening a file, its buckets, and single keys.

use std::sync::Arc;

use bytes::Bytes;
use etched_disk::DiskFile;

use crate::entries::Entries;
use crate::error::{Flaw, ReadError};
use crate::format::{
    BUCKET_HEAD_BYTES, HEAD_BYTES, Head, META_BYTES, Meta, MetaFlaw, PageId, PageSize, u64_at,
};
use crate::page::{Kind, Node, extent_bytes, table_bytes};

/// Most levels of a tree. A tree of the largest file has not half of them.
pub(crate) const DEPTH_MAX: usize = 64;
/// Bytes that are read at once where pages are read one after the other.
const WINDOW_BYTES: usize = 256 << 10;
/// A page counts as the next one if it begins at most so many bytes behind the last.
const WINDOW_GAP_BYTES: u64 = 64 << 10;

/// A bbolt file that is open to read.
///
/// Opening reads the two meta pages; everything else is read and checked when it is asked for.
/// The file must not be written to meanwhile; a database that etcd has open is not for this.
/// Any number of threads may read.
#[derive(Clone, Debug)]
pub struct BoltFile {
    file: Arc<dyn DiskFile>,
    meta: Meta,
    /// The two meta pages, as they were found.
    metas: [Result<Meta, MetaFlaw>; 2],
}

/// A bucket of an open file.
#[derive(Clone, Debug)]
pub struct Bucket<'a> {
    pub(crate) file: &'a BoltFile,
    pub(crate) tree: Tree,
    sequence: u64,
}

/// Where the entries of a bucket are.
#[derive(Clone, Debug)]
pub(crate) enum Tree {
    /// In the pages below this one.
    Paged(PageId),
    /// In the entry of the bucket above, which stands in the page `holder`.
    Inline { page: Node, holder: PageId },
}

/// What a key stands for.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A value.
    Value(Bytes),
    /// A bucket; etcd has them only in the bucket of buckets.
    Bucket(Bucket<'a>),
}

/// A key of a bucket with what it stands for.
///
/// The bytes share the memory that the file was read into, up to 256 KiB: copy what is kept for long.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: Bytes,
    /// What it stands for.
    pub content: Content<'a>,
}

impl BoltFile {
    /// Opens a file by its newer valid meta page. Bytes behind the last page, such as a checksum, are left alone.
    ///
    /// # Errors
    /// The disk failed, no meta page is valid, the pages of the newer one make no sense or are not all there.
    pub fn open(file: Arc<dyn DiskFile>) -> Result<Self, ReadError> {
        let first = read_meta(&*file, 0)?;
        let second = match first {
            Ok(meta) => read_second_meta(&*file, meta.page_size)?,
            Err(_) => find_second_meta(&*file)?,
        };
        let meta = match (first, second) {
            (Ok(first), Ok(second)) if second.txid > first.txid => second,
            (Ok(first), _) => first,
            (Err(_), Ok(second)) => second,
            (Err(first), Err(second)) => return Err(ReadError::NoMeta { first, second }),
        };
        let opened = Self { file, meta, metas: [first, second] };
        let wanted = meta.page_size.offset(meta.high_water).unwrap_or(u64::MAX);
        let len = opened.file.len()?;
        if len < wanted {
            return Err(ReadError::Truncated { len, wanted });
        }
        for page in [Some(meta.root), meta.freelist].into_iter().flatten() {
            opened.check_range(page).map_err(|why| ReadError::damaged(page, why))?;
        }
        Ok(opened)
    }

    /// The meta page that counts.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Both meta pages, as they were found.
    pub fn metas(&self) -> &[Result<Meta, MetaFlaw>; 2] {
        &self.metas
    }

    /// Bytes of all pages; a file may be longer.
    #[must_use]
    pub fn pages_bytes(&self) -> u64 {
        self.meta.page_size.offset(self.meta.high_water).expect("the file is at least that long")
    }

    /// The bucket of buckets.
    #[must_use]
    pub fn root(&self) -> Bucket<'_> {
        Bucket { file: self, tree: Tree::Paged(self.meta.root), sequence: self.meta.root_sequence }
    }

    /// The buckets, in the order of their names. After an error there is nothing more.
    pub fn buckets(&self) -> impl Iterator<Item = Result<(Bytes, Bucket<'_>), ReadError>> {
        let mut entries = self.root().entries();
        std::iter::from_fn(move || {
            let entry = match entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            match entry.content {
                Content::Bucket(bucket) => Some(Ok((entry.key, bucket))),
                Content::Value(_) => Some(Err(entries.stop_at_value())),
            }
        })
    }

    /// The bucket of that name.
    ///
    /// # Errors
    /// The disk failed, or a page on the way is damaged.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_>>, ReadError> {
        match self.root().find(name)? {
            None => Ok(None),
            Some((_, _, Content::Bucket(bucket))) => Ok(Some(bucket)),
            Some((page, element, Content::Value(_))) => {
                Err(ReadError::damaged(page, Flaw::NotABucket { element }))
            }
        }
    }

    /// Whether `page` may hold anything but a meta page.
    pub(crate) fn check_range(&self, page: PageId) -> Result<(), Flaw> {
        if page.0 >= 2 && page < self.meta.high_water { Ok(()) } else { Err(Flaw::OutOfRange) }
    }

    /// Reads the head of a page; its number and its further pages are sound then.
    pub(crate) fn head(&self, window: &mut Window, page: PageId) -> Result<Head, ReadError> {
        self.check_range(page).map_err(|why| ReadError::damaged(page, why))?;
        let head = Head::parse(&window.read(self, page, HEAD_BYTES)?);
        if head.id != page {
            return Err(ReadError::damaged(page, Flaw::OtherId(head.id)));
        }
        if u64::from(head.overflow) >= self.meta.high_water.0 - page.0 {
            return Err(ReadError::damaged(page, Flaw::Overflow(head.overflow)));
        }
        Ok(head)
    }

    /// Reads a branch or leaf page, as far as its elements reach.
    pub(crate) fn node(&self, window: &mut Window, page: PageId) -> Result<Node, ReadError> {
        let fail = |why| ReadError::damaged(page, why);
        let head = self.head(window, page)?;
        let kind = Kind::of(head).map_err(fail)?;
        let page_bytes = self.meta.page_size.bytes();
        let bytes = if head.overflow == 0 {
            window.read(self, page, page_bytes)?
        } else {
            let room = (u64::from(head.overflow) + 1) * page_bytes as u64;
            let table = table_bytes(head.count);
            if table as u64 > room {
                return Err(fail(Flaw::Count(head.count)));
            }
            let extent = extent_bytes(kind, head.count, &window.read(self, page, table)?);
            // What reaches beyond the pages is found by the check of the elements.
            let len = usize::try_from(extent.min(room)).map_err(|_| fail(Flaw::Overflow(head.overflow)))?;
            window.read(self, page, len)?
        };
        Node::parse(kind, head.count, bytes).map_err(fail)
    }

    /// The bucket that is the value of an element, which is one.
    pub(crate) fn bucket_of(
        &self,
        holder: PageId,
        node: &Node,
        element: usize,
    ) -> Result<Bucket<'_>, ReadError> {
        let value = node.shared_value(element);
        let (root, sequence) = (PageId(u64_at(&value, 0)), u64_at(&value, 8));
        let tree = if root == PageId(0) {
            let page = Node::parse_inline(value.slice(BUCKET_HEAD_BYTES..))
                .map_err(|_| ReadError::damaged(holder, Flaw::Bucket { element }))?;
            Tree::Inline { page, holder }
        } else {
            Tree::Paged(root)
        };
        Ok(Bucket { file: self, tree, sequence })
    }

    /// What an element of a leaf holds.
    pub(crate) fn content(
        &self,
        page: PageId,
        node: &Node,
        element: usize,
    ) -> Result<Content<'_>, ReadError> {
        if node.is_bucket(element) {
            self.bucket_of(page, node, element).map(Content::Bucket)
        } else {
            Ok(Content::Value(node.shared_value(element)))
        }
    }
}

impl<'a> Bucket<'a> {
    /// The sequence number; etcd does not use it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The root page, or `None` if the bucket is so small that it lies within an entry of the bucket above.
    #[must_use]
    pub fn root_page(&self) -> Option<PageId> {
        match self.tree {
            Tree::Paged(page) => Some(page),
            Tree::Inline { .. } => None,
        }
    }

    /// All entries, in the order of their keys. After an error there is nothing more.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(self, None)
    }

    /// The entries whose key is `start` or above, in order.
    #[must_use]
    pub fn entries_from(&self, start: &[u8]) -> Entries<'a> {
        Entries::new(self, Some(start))
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// The disk failed, or a page on the way is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Content<'a>>, ReadError> {
        Ok(self.find(key)?.map(|(_, _, content)| content))
    }

    /// What `key` stands for, with the page and the element that hold it.
    fn find(&self, key: &[u8]) -> Result<Option<(PageId, usize, Content<'a>)>, ReadError> {
        let mut window = Window::default();
        let (mut lower, mut upper): (Option<Bytes>, Option<Bytes>) = (None, None);
        let (mut page, mut node) = match &self.tree {
            Tree::Paged(root) => (*root, self.file.node(&mut window, *root)?),
            Tree::Inline { page, holder } => (*holder, page.clone()),
        };
        for _ in 0..DEPTH_MAX {
            node.check_bounds(lower.as_deref(), upper.as_deref())
                .map_err(|why| ReadError::damaged(page, why))?;
            match node.kind() {
                Kind::Leaf => {
                    let Ok(element) = node.search(key) else { return Ok(None) };
                    let content = self.file.content(page, &node, element)?;
                    return Ok(Some((page, element, content)));
                }
                Kind::Branch => {
                    let element = node.search_child(key);
                    lower = Some(node.shared_key(element));
                    if element + 1 < node.count() {
                        upper = Some(node.shared_key(element + 1));
                    }
                    page = node.child(element);
                    node = self.file.node(&mut window, page)?;
                }
            }
        }
        Err(ReadError::damaged(page, Flaw::Depth))
    }
}

/// Bytes of the file that were read last; where pages follow each other they are read many at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Bytes,
    /// The end of what was asked for last.
    last_end: u64,
}

impl Window {
    /// The first `len` bytes of a page, which lie within the file's pages.
    pub(crate) fn read(&mut self, bolt: &BoltFile, page: PageId, len: usize) -> Result<Bytes, ReadError> {
        let offset = bolt.meta.page_size.offset(page).expect("the page lies within the file");
        self.read_at(bolt, offset, len)
    }

    /// `len` bytes from `offset`, which lie within the file's pages.
    pub(crate) fn read_at(&mut self, bolt: &BoltFile, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        let pages_bytes = bolt.pages_bytes();
        assert!(offset + len as u64 <= pages_bytes, "a read past the last page");
        let follows = offset >= self.last_end && offset - self.last_end <= WINDOW_GAP_BYTES;
        self.last_end = offset + len as u64;
        if let Some(bytes) = self.held(offset, len) {
            return Ok(bytes);
        }
        let wanted = if follows { len.max(WINDOW_BYTES) } else { len.max(bolt.meta.page_size.bytes()) };
        let rest = usize::try_from(pages_bytes - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; wanted.min(rest)];
        bolt.file.read_exact_at(&mut bytes, offset)?;
        (self.start, self.bytes) = (offset, bytes.into());
        Ok(self.bytes.slice(..len))
    }

    fn held(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

fn read_meta(file: &dyn DiskFile, offset: u64) -> Result<Result<Meta, MetaFlaw>, ReadError> {
    let mut page = [0; META_BYTES];
    let len = file.read_at(&mut page, offset)?;
    Ok(Meta::parse(&page[..len]))
}

/// The second meta page of a file whose page size is known.
fn read_second_meta(file: &dyn DiskFile, size: PageSize) -> Result<Result<Meta, MetaFlaw>, ReadError> {
    let meta = read_meta(file, size.bytes() as u64)?;
    Ok(meta.and_then(|meta| {
        if meta.page_size == size { Ok(meta) } else { Err(MetaFlaw::PageSize(meta.page_size.as_u32())) }
    }))
}

/// The second meta page of a file whose first one is of no use: it is where its own page size says.
fn find_second_meta(file: &dyn DiskFile) -> Result<Result<Meta, MetaFlaw>, ReadError> {
    let mut usual = Err(MetaFlaw::Missing);
    for size in PageSize::all() {
        let meta = read_second_meta(file, size)?;
        if meta.is_ok() {
            return Ok(meta);
        }
        if size == PageSize::USUAL {
            usual = meta;
        }
    }
    Ok(usual)
}
