//! Looking at every page of a file: what bbolt's own check reports, and how the space is used.

use std::fmt;

use bytes::Bytes;
use etched_disk::DiskError;

use crate::error::{Flaw, ReadError};
use crate::format::{COUNT_IN_FIRST_ELEMENT, FREELIST, HEAD_BYTES, PageId, u64_at};
use crate::page::{Kind, Node};
use crate::reader::{BoltFile, Bucket, DEPTH_MAX, Tree, Window};

/// Findings that are kept; of more there is only the number.
const FINDINGS_MAX: usize = 1000;
/// Bytes of the freelist that are looked at at once.
const FREELIST_STEP_BYTES: usize = 64 << 10;

/// What a check saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, at most 1,000 of it. A sound file has no findings.
    pub findings: Vec<Finding>,
    /// How many findings there were beyond those.
    pub findings_left_out: u64,
    /// Where the pages of the file went.
    pub pages: PageCounts,
    /// Every bucket below the bucket of buckets, each before those within it.
    pub buckets: Vec<BucketSummary>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The page that is concerned.
    pub page: PageId,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Its content is not what it must be. What lies below it was not looked at.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// More than one page leads to it.
    #[error("more than one page leads to it")]
    ReachedTwice,
    /// It is in use and listed as free.
    #[error("it is in use, and listed as free")]
    ReachedAndFree,
    /// It is listed as free more than once.
    #[error("it is listed as free more than once")]
    FreeTwice,
    /// It is neither in use nor listed as free.
    #[error("it and the {more} pages after it are neither in use nor listed as free")]
    Lost {
        /// How many pages after it are lost as well.
        more: u64,
    },
}

/// Pages by what they are used for.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// All pages of the file, the two meta pages included.
    pub total: u64,
    /// Branches, with their overflow pages.
    pub branch: u64,
    /// Leaves, with their overflow pages.
    pub leaf: u64,
    /// The freelist itself.
    pub freelist: u64,
    /// Listed as free, or not reached in a file without a freelist.
    pub free: u64,
}

/// A bucket and what it holds, buckets within it not included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSummary {
    /// Its name, after those of the buckets that it is within.
    pub path: Vec<Bytes>,
    /// Its sequence number.
    pub sequence: u64,
    /// Its root page, unless it lies within an entry of the bucket above.
    pub root: Option<PageId>,
    /// Key-value pairs and buckets.
    pub entries: u64,
    /// Bytes of all keys.
    pub keys_bytes: u64,
    /// Bytes of all values, those of buckets within included.
    pub values_bytes: u64,
    /// Branches, with their overflow pages.
    pub branch_pages: u64,
    /// Leaves, with their overflow pages.
    pub leaf_pages: u64,
    /// Levels of the tree; 0 if it has no pages.
    pub depth: usize,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.problem)
    }
}

impl BoltFile {
    /// Looks at every page. Takes a bit of memory for each page of the file, and two with a freelist.
    ///
    /// # Errors
    /// The disk failed. Damage is no error but a finding.
    pub fn check(&self) -> Result<Report, DiskError> {
        let total = self.meta().high_water.0;
        let mut check = Check {
            file: self,
            window: Window::default(),
            reached: PageSet::new(total),
            free: PageSet::new(total),
            visits: Vec::new(),
            report: Report { pages: PageCounts { total, ..PageCounts::default() }, ..Report::default() },
        };
        check.trees()?;
        check.freelist()?;
        check.lost();
        Ok(check.report)
    }
}

/// A check under way.
struct Check<'a> {
    file: &'a BoltFile,
    window: Window,
    reached: PageSet,
    free: PageSet,
    visits: Vec<Visit>,
    report: Report,
}

/// A page that is still to be looked at.
struct Visit {
    place: Tree,
    /// Of the bucket, in the report; `None` for the bucket of buckets.
    bucket: Option<usize>,
    depth: usize,
    lower: Option<Bytes>,
    upper: Option<Bytes>,
}

impl Check<'_> {
    fn trees(&mut self) -> Result<(), DiskError> {
        self.visit_bucket(&self.file.root(), None);
        while let Some(visit) = self.visits.pop() {
            match self.look(&visit) {
                Ok(()) => {}
                Err(ReadError::Damaged { page, why }) => self.find(page, why),
                Err(ReadError::Disk(error)) => return Err(error),
                Err(ReadError::NoMeta { .. } | ReadError::Truncated { .. }) => {
                    unreachable!("these are found by opening")
                }
            }
        }
        Ok(())
    }

    fn visit_bucket(&mut self, bucket: &Bucket<'_>, at: Option<usize>) {
        let place = bucket.tree.clone();
        self.visits.push(Visit { place, bucket: at, depth: 1, lower: None, upper: None });
    }

    /// Looks at a page, and plans visits of those below it.
    fn look(&mut self, visit: &Visit) -> Result<(), ReadError> {
        let page = match &visit.place {
            Tree::Inline { page, holder } => return self.look_at_entries(*holder, page, visit.bucket),
            Tree::Paged(page) => *page,
        };
        let head = self.file.head(&mut self.window, page)?;
        let pages = u64::from(head.overflow) + 1;
        if !self.reached.insert_all(page, pages) {
            self.find(page, Problem::ReachedTwice);
            return Ok(());
        }
        if visit.depth > DEPTH_MAX {
            return Err(ReadError::damaged(page, Flaw::Depth));
        }
        let node = self.file.node(&mut self.window, page)?;
        self.count(visit, node.kind(), pages);
        let used = self.file.meta().page_size.pages(node.used_bytes());
        if pages > used + 1 {
            // Older versions took one page too many where a page was full to the last byte.
            self.find(page, Flaw::Overflow(head.overflow));
        }
        let bounds = node.check_bounds(visit.lower.as_deref(), visit.upper.as_deref());
        bounds.map_err(|why| ReadError::damaged(page, why))?;
        match node.kind() {
            Kind::Leaf => self.look_at_entries(page, &node, visit.bucket),
            Kind::Branch => {
                for element in (0..node.count()).rev() {
                    let upper = if element + 1 < node.count() {
                        Some(node.shared_key(element + 1))
                    } else {
                        visit.upper.clone()
                    };
                    self.visits.push(Visit {
                        place: Tree::Paged(node.child(element)),
                        bucket: visit.bucket,
                        depth: visit.depth + 1,
                        lower: Some(node.shared_key(element)),
                        upper,
                    });
                }
                Ok(())
            }
        }
    }

    fn count(&mut self, visit: &Visit, kind: Kind, pages: u64) {
        let summary = visit.bucket.map(|at| &mut self.report.buckets[at]);
        let of_file = match kind {
            Kind::Branch => &mut self.report.pages.branch,
            Kind::Leaf => &mut self.report.pages.leaf,
        };
        *of_file += pages;
        if let Some(summary) = summary {
            let of_bucket = match kind {
                Kind::Branch => &mut summary.branch_pages,
                Kind::Leaf => &mut summary.leaf_pages,
            };
            *of_bucket += pages;
            summary.depth = summary.depth.max(visit.depth);
        }
    }

    fn look_at_entries(&mut self, page: PageId, node: &Node, at: Option<usize>) -> Result<(), ReadError> {
        for element in 0..node.count() {
            let is_bucket = node.is_bucket(element);
            if let Some(at) = at {
                let summary = &mut self.report.buckets[at];
                summary.entries += 1;
                summary.keys_bytes += node.key(element).len() as u64;
                summary.values_bytes += node.value_bytes(element) as u64;
            } else if !is_bucket {
                self.find(page, Flaw::NotABucket { element });
            }
            if !is_bucket {
                continue;
            }
            match self.file.bucket_of(page, node, element) {
                Ok(bucket) => {
                    let mut path = at.map(|at| self.report.buckets[at].path.clone()).unwrap_or_default();
                    path.push(Bytes::copy_from_slice(node.key(element)));
                    let (sequence, root) = (bucket.sequence(), bucket.root_page());
                    self.visit_bucket(&bucket, Some(self.report.buckets.len()));
                    let summary = BucketSummary { path, sequence, root, ..BucketSummary::default() };
                    self.report.buckets.push(summary);
                }
                Err(ReadError::Damaged { page, why }) => self.find(page, why),
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn freelist(&mut self) -> Result<(), DiskError> {
        let Some(page) = self.file.meta().freelist else { return Ok(()) };
        match self.look_at_freelist(page) {
            Ok(()) => Ok(()),
            Err(ReadError::Damaged { page, why }) => {
                self.find(page, why);
                Ok(())
            }
            Err(ReadError::Disk(error)) => Err(error),
            Err(ReadError::NoMeta { .. } | ReadError::Truncated { .. }) => {
                unreachable!("these are found by opening")
            }
        }
    }

    fn look_at_freelist(&mut self, page: PageId) -> Result<(), ReadError> {
        let head = self.file.head(&mut self.window, page)?;
        if head.flags != FREELIST {
            return Err(ReadError::damaged(page, Flaw::Kind(head.flags)));
        }
        let pages = u64::from(head.overflow) + 1;
        if !self.reached.insert_all(page, pages) {
            self.find(page, Problem::ReachedTwice);
        }
        self.report.pages.freelist = pages;
        let size = self.file.meta().page_size;
        let start = size.offset(page).expect("the page lies within the file");
        let room = (pages * size.bytes() as u64 - HEAD_BYTES as u64) / 8;
        let (mut first, mut count) = (start + HEAD_BYTES as u64, u64::from(head.count));
        let mut most = room;
        if head.count == COUNT_IN_FIRST_ELEMENT {
            count = u64_at(&self.window.read_at(self.file, first, 8)?, 0);
            first += 8;
            most -= 1;
        }
        if count > most {
            return Err(ReadError::damaged(page, Flaw::Count(head.count)));
        }
        let (mut at, end) = (first, first + 8 * count);
        while at < end {
            let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(FREELIST_STEP_BYTES);
            let bytes = self.window.read_at(self.file, at, step)?;
            for id in bytes.chunks_exact(8) {
                self.look_at_free_page(page, PageId(u64_at(id, 0)));
            }
            at += step as u64;
        }
        Ok(())
    }

    fn look_at_free_page(&mut self, freelist: PageId, id: PageId) {
        if self.file.check_range(id).is_err() {
            self.find(freelist, Flaw::FreePage(id));
        } else if !self.free.insert(id) {
            self.find(id, Problem::FreeTwice);
        } else if self.reached.contains(id) {
            self.find(id, Problem::ReachedAndFree);
        } else {
            self.report.pages.free += 1;
        }
    }

    /// Looks for pages that are neither reached nor free, unless there is no freelist: then they are free.
    fn lost(&mut self) {
        let (mut page, end) = (2, self.file.meta().high_water.0);
        while page < end {
            let is_lost = |page| !self.reached.contains(PageId(page)) && !self.free.contains(PageId(page));
            let lost = (page..end).take_while(|&page| is_lost(page)).count() as u64;
            if lost > 0 && self.file.meta().freelist.is_some() {
                self.find(PageId(page), Problem::Lost { more: lost - 1 });
            } else {
                self.report.pages.free += lost;
            }
            page += lost + 1;
        }
    }

    fn find(&mut self, page: PageId, problem: impl Into<Problem>) {
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(Finding { page, problem: problem.into() });
        } else {
            self.report.findings_left_out += 1;
        }
    }
}

/// Some of the pages of a file, one bit each.
struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    fn new(pages: u64) -> Self {
        let words = usize::try_from(pages / 64 + 1).expect("the file has a bit of room for each page");
        Self { words: vec![0; words] }
    }

    fn place(page: PageId) -> (usize, u64) {
        (usize::try_from(page.0 / 64).expect("the set was made for this page"), 1 << (page.0 % 64))
    }

    fn contains(&self, page: PageId) -> bool {
        let (word, bit) = Self::place(page);
        self.words[word] & bit != 0
    }

    /// Adds a page, and says whether it is new.
    fn insert(&mut self, page: PageId) -> bool {
        let (word, bit) = Self::place(page);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Adds pages that follow each other, and says whether all are new.
    fn insert_all(&mut self, first: PageId, count: u64) -> bool {
        let mut all_new = true;
        for page in first.0..first.0 + count {
            all_new &= self.insert(PageId(page));
        }
        all_new
    }
}
