//! The hash by which members compare what they have: etcd's `HashKV`.
//!
//! A CRC-32C over the word `key` and then every stored revision up to R, key and value, in order, except
//!
//! - those up to the last compaction that a compaction at R would not keep; but if it would keep no revision at all
//!   they are hashed, every one (so does etcd);
//! - a deletion exactly at the last compaction.

use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use etched_backend::{BackendError, ReadView, Table};

use crate::codec::{Revision32, StoredRevision, revision_key};
use crate::entry::{Entry, NONE, Past};
use crate::tree::Bounds;
use crate::{RangeError, Store};

/// A hash over the history up to a revision.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The CRC-32C.
    pub hash: u32,
    /// The last compaction when the hash was taken; -1 if there was none.
    pub compact_revision: i64,
    /// The revision that was hashed up to.
    pub hash_revision: i64,
}

/// How a hash is to be had.
#[derive(Debug)]
pub enum HashPlan {
    /// It was computed when the revision was compacted.
    Cached(HashKv),
    /// The whole table has to be read.
    Walk(HashWalk),
}

/// All that is needed to compute a hash apart from the store.
#[derive(Debug)]
pub struct HashWalk {
    revision: i64,
    compact_revision: i64,
    /// Revisions up to the last compaction that a compaction at `revision` would not keep.
    passed_over: Vec<StoredRevision>,
}

/// A hash on the way.
#[derive(Debug)]
pub(crate) struct Digest {
    compact_revision: i64,
    /// Without revisions that are not kept, and with them.
    kept: u32,
    all: u32,
    has_kept: bool,
}

impl Digest {
    pub(crate) fn new(compact_revision: i64) -> Self {
        let start = crc32c(b"key");
        Self { compact_revision, kept: start, all: start, has_kept: false }
    }

    /// Adds the next stored revision.
    pub(crate) fn add(&mut self, revision: StoredRevision, is_kept: bool, key: &[u8], value: &[u8]) {
        self.has_kept |= is_kept;
        if revision.main == self.compact_revision && revision.is_deletion {
            return;
        }
        let before = self.all;
        let add = |crc| crc32c_append(crc32c_append(crc, key), value);
        self.all = add(before);
        if is_kept || revision.main > self.compact_revision {
            self.kept = if self.kept == before { self.all } else { add(self.kept) };
        }
    }

    /// The hash so far.
    pub(crate) fn finish(&self) -> u32 {
        if self.has_kept { self.kept } else { self.all }
    }
}

impl Store {
    /// How to get the hash over the history up to `revision`; 0 is the current one.
    ///
    /// A walk is to run on a view that holds every batch up to here, and none with the deletions of later
    /// compactions.
    /// Making the plan visits the index; it is not for every second.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future.
    /// A negative one is not refused: its hash is that of nothing, as in etcd.
    pub fn hash_plan(&self, revision: i64) -> Result<HashPlan, RangeError> {
        if let Some(hash) = self.compactions.hash(revision) {
            return Ok(HashPlan::Cached(hash));
        }
        let revision = if revision == 0 { self.revision } else { revision };
        if revision > 0 && revision < self.compact_revision {
            return Err(RangeError::Compacted);
        }
        if revision > self.revision {
            return Err(RangeError::FutureRevision);
        }
        let passed_over = if revision > 0 { self.passed_over(revision) } else { Vec::new() };
        Ok(HashPlan::Walk(HashWalk { revision, compact_revision: self.compact_revision, passed_over }))
    }

    /// Revisions up to the last compaction that a compaction at `revision` would not keep.
    fn passed_over(&self, revision: i64) -> Vec<StoredRevision> {
        let mut passed_over: Vec<StoredRevision> = self.compactions.dropped().collect();
        let mut keeps_any = false;
        for (_, entry) in self.tree.walk(Bounds::ALL) {
            if entry.history == NONE {
                keeps_any |= entry.main <= revision;
                continue;
            }
            let pasts = self.histories.get(entry.history).pasts();
            let kept = kept_at(pasts, entry, revision);
            keeps_any |= kept.is_some();
            let pasts = pasts.iter().map(|past| (past.revision(), past.is_deletion()));
            let versions = pasts.chain([(entry.revision(), entry.is_deleted())]);
            passed_over.extend(
                versions
                    .take_while(|(version, _)| version.main <= self.compact_revision)
                    .filter(|(version, _)| kept != Some(*version))
                    .map(|(Revision32 { main, sub }, is_deletion)| StoredRevision { main, sub, is_deletion }),
            );
        }
        if keeps_any { passed_over } else { Vec::new() }
    }
}

/// What a compaction at `revision` would keep of a key as the newest version up to it, if that is not a deletion.
fn kept_at(pasts: &[Past], newest: &Entry, revision: i64) -> Option<Revision32> {
    // Generations that ended before the revision do not count, and of the others only the first one.
    let first =
        pasts.iter().rposition(|past| past.is_deletion() && past.main < revision).map_or(0, |at| at + 1);
    let mut kept = None;
    for past in &pasts[first..] {
        if past.main > revision {
            return kept;
        }
        if past.is_deletion() {
            return None;
        }
        kept = Some(past.revision());
    }
    if newest.main > revision {
        return kept;
    }
    (!newest.is_deleted()).then(|| newest.revision())
}

impl HashWalk {
    /// Reads the table and computes the hash.
    ///
    /// # Errors
    ///
    /// The backend failed, or a stored revision is damaged.
    pub fn run(mut self, view: &dyn ReadView) -> Result<HashKv, BackendError> {
        self.passed_over.sort_unstable();
        let mut passed_over = self.passed_over.iter().copied().peekable();
        let mut digest = Digest::new(self.compact_revision);
        let keeps_all = self.passed_over.is_empty();
        let mut result = Ok(());
        if self.revision > 0 {
            let end = revision_key(self.revision + 1, 0);
            view.scan(Table::Key, (Bound::Unbounded, Bound::Excluded(&end)), &mut |key, value| {
                match StoredRevision::decode(key) {
                    Ok(revision) => {
                        while passed_over.next_if(|passed| *passed < revision).is_some() {}
                        let is_passed_over = passed_over.next_if_eq(&revision).is_some();
                        digest.add(revision, !is_passed_over, key, value);
                        ControlFlow::Continue(())
                    }
                    Err(why) => {
                        let key = Bytes::copy_from_slice(key);
                        result = Err(BackendError::Damaged { table: Table::Key, key, why });
                        ControlFlow::Break(())
                    }
                }
            })?;
        }
        result?;
        let hash = if keeps_all { digest.all } else { digest.kept };
        Ok(HashKv { hash, compact_revision: self.compact_revision, hash_revision: self.revision })
    }
}
