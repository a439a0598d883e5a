//! Walking a bucket in the order of its keys.

use bytes::Bytes;

use crate::error::{Flaw, ReadError};
use crate::format::PageId;
use crate::page::{Kind, Node};
use crate::reader::{BoltFile, Bucket, DEPTH_MAX, Entry, Tree, Window};

/// The entries of a bucket, in the order of their keys.
///
/// Holds a page for each level of the tree and the part of the file that was read last.
/// No file makes this run for ever: the keys of a page must lie between those of the branch above that lead to it and
/// to its neighbour, so no page is entered twice, and a tree has at most 64 levels.
#[derive(Debug)]
pub struct Entries<'a> {
    file: &'a BoltFile,
    window: Window,
    /// The branches from the root down, each with the part of it that is still to come.
    branches: Vec<Branch>,
    leaf: Option<Leaf>,
    /// Where to begin.
    start: Bytes,
    /// A page that was not read yet.
    next: Option<Next>,
    /// The place of the entry that was given last.
    last: (PageId, usize),
}

#[derive(Debug)]
struct Branch {
    node: Node,
    /// The next element to follow.
    element: usize,
    /// All keys below this branch are smaller.
    upper: Option<Bytes>,
}

#[derive(Debug)]
struct Leaf {
    page: PageId,
    node: Node,
    element: usize,
}

#[derive(Debug)]
struct Next {
    page: PageId,
    lower: Option<Bytes>,
    upper: Option<Bytes>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(bucket: &Bucket<'a>, start: Option<&[u8]>) -> Self {
        let start = Bytes::copy_from_slice(start.unwrap_or_default());
        let (leaf, next) = match &bucket.tree {
            Tree::Paged(root) => (None, Some(Next { page: *root, lower: None, upper: None })),
            Tree::Inline { page, holder } => {
                let element = page.search(&start).unwrap_or_else(|element| element);
                (Some(Leaf { page: *holder, node: page.clone(), element }), None)
            }
        };
        let last = (PageId(0), 0);
        Self { file: bucket.file, window: Window::default(), branches: Vec::new(), leaf, start, next, last }
    }

    /// Ends the walk, because the entry given last is a value and should have been a bucket.
    pub(crate) fn stop_at_value(&mut self) -> ReadError {
        self.stop();
        let (page, element) = self.last;
        ReadError::damaged(page, Flaw::NotABucket { element })
    }

    fn stop(&mut self) {
        self.branches.clear();
        self.leaf = None;
        self.next = None;
    }

    fn advance(&mut self) -> Result<Option<Entry<'a>>, ReadError> {
        loop {
            if let Some(next) = self.next.take() {
                self.enter(next)?;
                continue;
            }
            if let Some(leaf) = &mut self.leaf {
                if leaf.element < leaf.node.count() {
                    self.last = (leaf.page, leaf.element);
                    let content = self.file.content(leaf.page, &leaf.node, leaf.element)?;
                    let key = leaf.node.shared_key(leaf.element);
                    leaf.element += 1;
                    return Ok(Some(Entry { key, content }));
                }
                self.leaf = None;
            }
            let Some(branch) = self.branches.last_mut() else { return Ok(None) };
            if branch.element < branch.node.count() {
                self.next = Some(branch.follow());
            } else {
                self.branches.pop();
            }
        }
    }

    fn enter(&mut self, next: Next) -> Result<(), ReadError> {
        let page = next.page;
        if self.branches.len() >= DEPTH_MAX {
            return Err(ReadError::damaged(page, Flaw::Depth));
        }
        let node = self.file.node(&mut self.window, page)?;
        node.check_bounds(next.lower.as_deref(), next.upper.as_deref())
            .map_err(|why| ReadError::damaged(page, why))?;
        match node.kind() {
            Kind::Branch => {
                let element = node.search_child(&self.start);
                self.branches.push(Branch { node, element, upper: next.upper });
            }
            Kind::Leaf => {
                let element = node.search(&self.start).unwrap_or_else(|element| element);
                self.leaf = Some(Leaf { page, node, element });
            }
        }
        Ok(())
    }
}

impl Branch {
    /// The page that the next element leads to, with the bounds of its keys.
    fn follow(&mut self) -> Next {
        let (page, lower) = (self.node.child(self.element), self.node.shared_key(self.element));
        self.element += 1;
        let upper = if self.element < self.node.count() {
            Some(self.node.shared_key(self.element))
        } else {
            self.upper.clone()
        };
        Next { page, lower: Some(lower), upper }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance();
        if advanced.is_err() {
            self.stop();
        }
        advanced.transpose()
    }
}

impl std::iter::FusedIterator for Entries<'_> {}
