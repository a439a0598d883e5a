//! Reading a file while it comes in, front to back, without having it as a whole.
//!
//! A bbolt file can be read so only if each page comes after all that it points to, as in a file of an
//! [`Encoder`](crate::Encoder), and if it is known beforehand where the tree of each bucket ends: its root is the last
//! of its pages. [`Roots`] says that in a line of text, to be told beside the file.
//!
//! Every page is looked at as when a file is opened, keys have to rise, no page may be missing, and at the end the
//! bucket of buckets has to name the roots that were told. A file of another writer is refused, not misread.

use std::fmt;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use etched_backend::{Batch, Table};

use crate::error::{Flaw, ReadError};
use crate::format::{
    BUCKET_HEAD_BYTES, FREELIST, HEAD_BYTES, Head, META, META_BYTES, Meta, MetaFlaw, PageId, PageSize, u64_at,
};
use crate::page::{Kind, Node};
use crate::plan::{Layout, Place};

/// Where the trees of the buckets end, of those that have pages of their own.
///
/// As text: `4096;key=381;lease=390`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    size: PageSize,
    /// By rising page.
    trees: Vec<(Table, PageId)>,
}

/// A text says nothing of roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are not the roots of buckets")]
pub struct RootsError;

impl Roots {
    /// Those of a planned file; `None` if it has buckets that are no tables.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let mut trees = Vec::new();
        for bucket in &layout.buckets {
            let table = table_of(&bucket.name)?;
            match bucket.place {
                Place::Root(root) => trees.push((table, root)),
                Place::Inline { .. } => {}
            }
        }
        Some(Self { size: layout.size, trees })
    }
}

fn table_of(name: &[u8]) -> Option<Table> {
    std::str::from_utf8(name).ok().and_then(Table::from_name).filter(|table| !table.is_derived())
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.size.bytes())?;
        self.trees.iter().try_for_each(|(table, root)| write!(f, ";{}={root}", table.name()))
    }
}

impl FromStr for Roots {
    type Err = RootsError;

    fn from_str(text: &str) -> Result<Self, RootsError> {
        let mut parts = text.split(';');
        let size = parts.next().and_then(|size| size.parse().ok()).and_then(PageSize::new);
        let mut trees: Vec<(Table, PageId)> = Vec::new();
        for part in parts {
            let (name, root) = part.split_once('=').ok_or(RootsError)?;
            let table = table_of(name.as_bytes()).ok_or(RootsError)?;
            let root = PageId(root.parse().map_err(|_| RootsError)?);
            let rises = trees.last().is_none_or(|(_, before)| *before < root);
            if !rises || trees.iter().any(|(known, _)| *known == table) {
                return Err(RootsError);
            }
            trees.push((table, root));
        }
        Ok(Self { size: size.ok_or(RootsError)?, trees })
    }
}

/// A file that comes in piece by piece.
///
/// What is kept of it is less than a page; a page is as long as its two longest entries.
#[derive(Debug)]
pub struct Incremental {
    roots: Roots,
    meta: Option<Meta>,
    /// The beginning of a page that is not complete.
    rest: BytesMut,
    /// The number of the page that comes next.
    next: PageId,
    /// How many of the trees are complete.
    done: usize,
    /// Of the tree that is coming: its pages, how many of them branches name, and the last key of its leaves.
    nodes: u64,
    children: u64,
    last_key: Bytes,
    /// How many of the roots the bucket of buckets has named.
    named: usize,
    has_root: bool,
}

impl Incremental {
    /// A file with these roots, of which nothing has come.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            meta: None,
            rest: BytesMut::new(),
            next: PageId(0),
            done: 0,
            nodes: 0,
            children: 0,
            last_key: Bytes::new(),
            named: 0,
            has_root: false,
        }
    }

    /// Takes the next piece, and puts what it completes into `batch`, as puts: of each table in the order of its keys.
    /// The puts share the memory of the piece.
    ///
    /// # Errors
    /// The file is damaged, or not as was told; nothing more should be taken then.
    pub fn push(&mut self, mut piece: Bytes, batch: &mut Batch) -> Result<(), ReadError> {
        while !piece.is_empty() {
            if self.rest.is_empty()
                && let Some(len) = self.page_bytes(&piece)?
                && len <= piece.len()
            {
                let page = piece.split_to(len);
                self.on_page(page, batch)?;
                continue;
            }
            // What is copied is the page at the border of two pieces.
            let wanted = match self.page_bytes(&self.rest)? {
                Some(len) => len - self.rest.len(),
                None => HEAD_BYTES - self.rest.len(),
            };
            self.rest.extend_from_slice(&piece.split_to(wanted.min(piece.len())));
            if self.page_bytes(&self.rest)? == Some(self.rest.len()) {
                let page = self.rest.split().freeze();
                self.on_page(page, batch)?;
            }
        }
        Ok(())
    }

    /// The file is complete.
    ///
    /// # Errors
    /// It is not: pages are missing, or it has not the roots that were told.
    pub fn finish(self) -> Result<(), ReadError> {
        let Some(meta) = self.meta else {
            return Err(ReadError::NoMeta { first: MetaFlaw::Missing, second: MetaFlaw::Missing });
        };
        let len = self.next.0.saturating_mul(self.roots.size.bytes() as u64) + self.rest.len() as u64;
        if self.next != meta.high_water || !self.rest.is_empty() {
            let wanted = self.roots.size.offset(meta.high_water).unwrap_or(u64::MAX);
            return Err(ReadError::Truncated { len, wanted });
        }
        if !self.has_root || self.named != self.roots.trees.len() {
            return Err(ReadError::damaged(meta.root, Flaw::OutOfRange));
        }
        Ok(())
    }

    /// The length of the page that begins so, with its further pages, as soon as its head is there.
    fn page_bytes(&self, begin: &[u8]) -> Result<Option<usize>, ReadError> {
        if begin.len() < HEAD_BYTES {
            return Ok(None);
        }
        let head = Head::parse(begin);
        let fail = |why| Err(ReadError::damaged(self.next, why));
        if head.id != self.next {
            return fail(Flaw::OtherId(head.id));
        }
        let end = self.next.0 + 1 + u64::from(head.overflow);
        if head.overflow > 0 && self.meta.is_none_or(|meta| end > meta.high_water.0) {
            return fail(Flaw::Overflow(head.overflow));
        }
        let len = usize::try_from(head.overflow).ok().and_then(|overflow| overflow.checked_add(1));
        match len.and_then(|pages| pages.checked_mul(self.roots.size.bytes())) {
            Some(len) => Ok(Some(len)),
            None => fail(Flaw::Overflow(head.overflow)),
        }
    }

    fn on_page(&mut self, page: Bytes, batch: &mut Batch) -> Result<(), ReadError> {
        let (id, head) = (self.next, Head::parse(&page));
        let fail = |why| ReadError::damaged(id, why);
        self.next = PageId(id.0 + 1 + u64::from(head.overflow));
        if id.0 < 2 {
            return self.on_meta(id, head, &page);
        }
        if self.meta.is_none_or(|meta| id >= meta.high_water) {
            return Err(fail(Flaw::OutOfRange));
        }
        if head.flags == FREELIST {
            return Ok(());
        }
        let kind = Kind::of(head).map_err(fail)?;
        let node = Node::parse(kind, head.count, page).map_err(fail)?;
        match (kind, self.roots.trees.get(self.done).map(|(table, _)| *table)) {
            (Kind::Branch, _) => self.children += node.count() as u64,
            (Kind::Leaf, Some(table)) => {
                self.check_order(&node).map_err(fail)?;
                put_all(&node, table, batch);
            }
            (Kind::Leaf, None) => {
                self.check_order(&node).map_err(fail)?;
                self.on_buckets(&node, batch).map_err(fail)?;
            }
        }
        self.nodes += 1;
        self.end_tree(id)
    }

    /// The two meta pages, of which the first counts: the second is that of the transaction before.
    fn on_meta(&mut self, id: PageId, head: Head, page: &Bytes) -> Result<(), ReadError> {
        if head.flags != META {
            return Err(ReadError::damaged(id, Flaw::Kind(head.flags)));
        }
        let parsed = Meta::parse(&page[..META_BYTES]);
        let parsed = parsed.and_then(|meta| {
            let size = meta.page_size;
            if size == self.roots.size { Ok(meta) } else { Err(MetaFlaw::PageSize(size.as_u32())) }
        });
        match parsed {
            Ok(meta) if self.meta.is_none_or(|first| first.root == meta.root) => {
                self.meta.get_or_insert(meta);
                Ok(())
            }
            Ok(_) => Err(ReadError::damaged(id, Flaw::OutOfRange)),
            Err(flaw) => Err(ReadError::NoMeta { first: flaw, second: flaw }),
        }
    }

    fn check_order(&mut self, node: &Node) -> Result<(), Flaw> {
        let Some(last) = node.count().checked_sub(1) else { return Ok(()) };
        if !self.last_key.is_empty() && node.key(0) <= &self.last_key[..] {
            return Err(Flaw::Order { element: 0 });
        }
        // Copied, so that it does not keep the whole piece.
        self.last_key = Bytes::copy_from_slice(node.key(last));
        Ok(())
    }

    /// A leaf of the bucket of buckets.
    fn on_buckets(&mut self, node: &Node, batch: &mut Batch) -> Result<(), Flaw> {
        for element in 0..node.count() {
            if !node.is_bucket(element) {
                return Err(Flaw::NotABucket { element });
            }
            let (table, value) = (table_of(node.key(element)), node.shared_value(element));
            let root = PageId(u64_at(&value, 0));
            if root == PageId(0) {
                let page = Node::parse_inline(value.slice(BUCKET_HEAD_BYTES..));
                let page = page.map_err(|_| Flaw::Bucket { element })?;
                // Buckets that no table is for are passed over.
                if let Some(table) = table {
                    put_all(&page, table, batch);
                }
            } else if self.roots.trees.iter().any(|(told, at)| Some(*told) == table && *at == root) {
                self.named += 1;
            } else {
                return Err(Flaw::Bucket { element });
            }
        }
        Ok(())
    }

    /// Looks whether the page is the last of its tree.
    fn end_tree(&mut self, id: PageId) -> Result<(), ReadError> {
        let is_last = match self.roots.trees.get(self.done) {
            Some((_, root)) => id == *root,
            None => self.meta.is_some_and(|meta| id == meta.root),
        };
        if !is_last {
            let is_behind = self.roots.trees.get(self.done).is_some_and(|(_, root)| id > *root);
            return if is_behind { Err(ReadError::damaged(id, Flaw::OutOfRange)) } else { Ok(()) };
        }
        if self.children + 1 != self.nodes {
            return Err(ReadError::damaged(id, Flaw::OutOfRange));
        }
        self.has_root = self.done == self.roots.trees.len();
        (self.nodes, self.children, self.last_key) = (0, 0, Bytes::new());
        self.done += 1;
        Ok(())
    }
}

/// Puts what a leaf holds; buckets within buckets are passed over, as etcd does.
fn put_all(node: &Node, table: Table, batch: &mut Batch) {
    for element in 0..node.count() {
        if !node.is_bucket(element) {
            batch.put(table, node.shared_key(element), node.shared_value(element));
        }
    }
}

#[cfg(test)]
mod tests;
