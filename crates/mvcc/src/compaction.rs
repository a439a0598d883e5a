//! Forgetting: old versions are refused at once, and dropped piece by piece.
//!
//! A compaction at C keeps of each key what readers at C and above can see: of the first generation that reaches C
//! the newest version up to C, and everything behind it.
//! A generation that ended before C goes as a whole; a deletion exactly at C stays, since a watch from C has to see
//! it.
//!
//! ```text
//! compact(C) ──► prune the index ──► trim recent changes ──► scan the table up to C ──► finishedCompactRev = C
//!  readers < C    only keys that       what watchers can       hash all of it, delete
//!  are refused    C drops a version of no longer ask for       what was pruned
//! ```
//!
//! Pruning visits the changes up to C that made something droppable, and no key besides.
//! The scan reads every stored revision up to C, for the hash that members compare; without a hash to make (the
//! compaction before was not finished) what was pruned is deleted without it.
//! Each step takes the rows of what it deletes out of the catalog.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use crate::codec::{StoredRevision, deletion_key, revision_key};
use crate::entry::{Entry, KeyHistory, Past};
use crate::hash::{Digest, HashKv};
use crate::{RangeError, Store};

/// Key of the table `Meta`: the revision of the newest compaction.
pub(crate) const SCHEDULED: &str = "scheduledCompactRev";

/// Key of the table `Meta`: the revision of the newest compaction that is finished.
pub(crate) const FINISHED: &str = "finishedCompactRev";

/// How many hashes of finished compactions are kept.
const HASHES_MAX: usize = 10;

/// Leaving the queue of recent changes costs so much less than dropping a version.
const TRIMMED_PER_KEY: usize = 8;

/// Taking rows out of another block of the catalog costs as much as deleting so many records.
const BLOCK_KEYS: usize = 32;

/// Why a compaction was refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// A compaction has been at this revision or above.
    #[error("the required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("the required revision is a future revision")]
    FutureRevision,
}

/// What a step of a compaction has come to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CompactionProgress {
    /// There is more to do.
    More,
    /// The compaction is finished, once the batch is committed.
    Finished {
        /// The revision of the compaction.
        revision: i64,
        /// How many revisions it has dropped.
        dropped: u64,
    },
}

/// Compactions to be done, first in first out, and the hashes of those that were.
#[derive(Debug)]
pub(crate) struct Compactions {
    jobs: VecDeque<Job>,
    /// By rising revision, at most `HASHES_MAX`.
    hashes: Vec<HashKv>,
    /// Revisions whose deletion a view may not show yet, and the revision at which it was written; none if no batch
    /// has been taken since.
    deleted: BTreeMap<StoredRevision, Option<i64>>,
}

#[derive(Debug)]
struct Job {
    revision: i64,
    /// The compaction before.
    previous: i64,
    phase: Phase,
    /// Whether a hash is made.
    is_hashed: bool,
    /// What was pruned and is not yet deleted.
    dropped: BTreeSet<StoredRevision>,
    dropped_total: u64,
}

#[derive(Debug)]
enum Phase {
    /// `kept` touches at the front were visited and are needed by the next compaction too.
    Prune {
        kept: usize,
    },
    Trim,
    Scan {
        /// The last key that was scanned.
        after: Option<Bytes>,
        digest: Digest,
    },
    Delete,
}

impl Compactions {
    pub(crate) const fn new() -> Self {
        Self { jobs: VecDeque::new(), hashes: Vec::new(), deleted: BTreeMap::new() }
    }

    /// Adds a compaction.
    ///
    /// It makes a hash if all before it are finished and it was not interrupted itself.
    pub(crate) fn push(&mut self, revision: i64, previous: i64, is_resumed: bool) {
        let is_hashed = self.jobs.is_empty() && !is_resumed;
        let phase = Phase::Prune { kept: 0 };
        self.jobs.push_back(Job {
            revision,
            previous,
            phase,
            is_hashed,
            dropped: BTreeSet::new(),
            dropped_total: 0,
        });
    }

    /// What is no longer in the index and may still be stored.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = StoredRevision> {
        self.jobs.iter().flat_map(|job| job.dropped.iter().copied())
    }

    /// All deletions so far are in a batch that is taken at `revision`.
    pub(crate) fn on_written(&mut self, revision: i64) {
        self.deleted.values_mut().filter(|written| written.is_none()).for_each(|it| *it = Some(revision));
    }

    /// Batches that were taken at or below `revision` are in the views from here on.
    pub(crate) fn on_committed(&mut self, revision: i64) {
        self.deleted.retain(|_, written| written.is_none_or(|written| written > revision));
    }

    /// The hash of the compaction at exactly that revision, if it is among the newest.
    pub(crate) fn hash(&self, revision: i64) -> Option<HashKv> {
        self.hashes.iter().find(|hash| hash.hash_revision == revision).copied()
    }

    fn keep_hash(&mut self, hash: HashKv) {
        self.hashes.push(hash);
        self.hashes.sort_by_key(|hash| hash.hash_revision);
        let surplus = self.hashes.len().saturating_sub(HASHES_MAX);
        self.hashes.drain(..surplus);
    }
}

impl Store {
    /// Compacts at `revision`: reads below it are refused from here on, and what only they could see is dropped by
    /// later calls of [`Store::compaction_step`].
    ///
    /// # Errors
    ///
    /// The revision is not above the last compaction, or in the future.
    pub fn compact(&mut self, revision: i64, batch: &mut Batch) -> Result<(), CompactError> {
        assert!(!self.is_writing, "the last transaction was finished");
        if revision <= self.compact_revision {
            return Err(CompactError::Compacted);
        }
        if revision > self.revision {
            return Err(CompactError::FutureRevision);
        }
        self.compactions.push(revision, self.compact_revision, false);
        self.compact_revision = revision;
        batch.put(Table::Meta, SCHEDULED, revision_key(revision, 0).to_vec());
        Ok(())
    }

    /// The hashes of the newest compactions that were finished, up to ten, by rising revision.
    ///
    /// Compactions before the start of the process, and those that did not run through in one go, have none.
    #[must_use]
    pub fn compaction_hashes(&self) -> &[HashKv] {
        &self.compactions.hashes
    }

    /// The revision of the first compaction that is not finished.
    #[must_use]
    pub fn compaction_pending(&self) -> Option<i64> {
        self.compactions.jobs.front().map(|job| job.revision)
    }

    /// Does a piece of the first compaction that is not finished: about `keys_max` keys' worth.
    ///
    /// The view must hold everything up to its revision; deletions go into `batch`.
    /// With no compaction to be done, nothing is done, and the last one is reported as finished.
    ///
    /// # Errors
    ///
    /// The backend failed, or a stored revision is damaged; the compaction stays where it is.
    pub fn compaction_step(
        &mut self,
        view: &dyn ReadView,
        keys_max: usize,
        batch: &mut Batch,
    ) -> Result<CompactionProgress, BackendError> {
        let Some(mut job) = self.compactions.jobs.pop_front() else {
            return Ok(CompactionProgress::Finished { revision: self.compact_revision, dropped: 0 });
        };
        let result = self.advance(&mut job, view, keys_max.max(1), batch);
        self.count_keys();
        self.count_residents();
        let is_finished = match result {
            Ok(is_finished) => is_finished,
            Err(error) => {
                self.compactions.jobs.push_front(job);
                return Err(error);
            }
        };
        if !is_finished {
            self.compactions.jobs.push_front(job);
            return Ok(CompactionProgress::More);
        }
        assert!(job.dropped.is_empty(), "all that was pruned is deleted");
        batch.put(Table::Meta, FINISHED, revision_key(job.revision, 0).to_vec());
        self.statistics.compactions += 1;
        self.statistics.compacted_revisions += job.dropped_total;
        Ok(CompactionProgress::Finished { revision: job.revision, dropped: job.dropped_total })
    }

    /// Does a piece of a compaction and says whether it was the last.
    fn advance(
        &mut self,
        job: &mut Job,
        view: &dyn ReadView,
        keys_max: usize,
        batch: &mut Batch,
    ) -> Result<bool, BackendError> {
        match &mut job.phase {
            Phase::Prune { .. } => {
                if self.prune(job, keys_max) {
                    job.dropped_total = job.dropped.len() as u64;
                    job.phase = Phase::Trim;
                }
            }
            Phase::Trim => {
                if self.cache.retire_below(job.revision, keys_max.saturating_mul(TRIMMED_PER_KEY)) {
                    job.phase = if job.is_hashed {
                        Phase::Scan { after: None, digest: Digest::new(job.previous) }
                    } else {
                        Phase::Delete
                    };
                }
            }
            Phase::Scan { .. } => {
                let mut deleted = Vec::new();
                let hash = scan(job, view, keys_max, &self.compactions.deleted, &mut deleted)?;
                self.delete(view, &deleted, batch)?;
                if let Some(hash) = hash {
                    self.compactions.keep_hash(hash);
                    job.phase = Phase::Delete;
                }
            }
            Phase::Delete => {
                let deleted = self.take_dropped(job, keys_max);
                self.delete(view, &deleted, batch)?;
            }
        }
        Ok(matches!(job.phase, Phase::Delete) && job.dropped.is_empty())
    }

    /// Takes revisions that were pruned, about `keys_max` keys' worth.
    fn take_dropped(&self, job: &mut Job, keys_max: usize) -> Vec<StoredRevision> {
        let mut taken = Vec::new();
        let mut block = None;
        let mut left = keys_max;
        while left > 0 {
            let Some(revision) = job.dropped.pop_first() else { break };
            let of_revision = Some(self.catalog.block_of(&revision));
            let cost = if of_revision == block { 1 } else { BLOCK_KEYS };
            block = of_revision;
            left = left.saturating_sub(cost);
            taken.push(revision);
        }
        taken
    }

    /// Deletes revisions, which rise, with their rows in the catalog.
    fn delete(
        &mut self,
        view: &dyn ReadView,
        revisions: &[StoredRevision],
        batch: &mut Batch,
    ) -> Result<(), BackendError> {
        for &StoredRevision { main, sub, is_deletion } in revisions {
            if is_deletion {
                batch.delete(Table::Key, deletion_key(main, sub).to_vec());
            } else {
                batch.delete(Table::Key, revision_key(main, sub).to_vec());
            }
        }
        self.compactions.deleted.extend(revisions.iter().map(|revision| (*revision, None)));
        self.catalog.remove(view, revisions)
    }

    /// Visits touches up to the job's revision; says whether it has visited all of them.
    fn prune(&mut self, job: &mut Job, keys_max: usize) -> bool {
        let Phase::Prune { kept } = &mut job.phase else { return true };
        let mut left = keys_max;
        while left > 0 {
            let Some(touch) = self.touches.get(*kept).filter(|touch| touch.main <= job.revision) else {
                return true;
            };
            if !self.prune_key(touch.history, job.revision, &mut left, &mut job.dropped) {
                return false;
            }
            left = left.saturating_sub(1);
            if touch.main < job.revision {
                self.touches.pop_front();
            } else {
                *kept += 1;
            }
        }
        false
    }

    /// Drops up to `left` versions of a key; says whether those were all that the compaction drops.
    fn prune_key(
        &mut self,
        at: u32,
        revision: i64,
        left: &mut usize,
        dropped: &mut BTreeSet<StoredRevision>,
    ) -> bool {
        let key = core::mem::take(&mut self.histories.get_mut(at).key);
        // The place may be vacant, or belong to another key since: then there is nothing to do here.
        let Some(head) = self.tree.get(&key).copied().filter(|head| head.history == at) else {
            self.histories.get_mut(at).key = key;
            return true;
        };
        let history = self.histories.get_mut(at);
        while let Some((first, next)) = first_and_next(history, head.main) {
            // Of a generation the last version up to the revision stays, unless the generation ended before it.
            let is_dropped = if first.is_deletion() { first.main < revision } else { next <= revision };
            if !is_dropped {
                history.key = key;
                return true;
            }
            if *left == 0 {
                history.key = key;
                return false;
            }
            *left -= 1;
            history.pop_front();
            self.cache.dropped(first.slot(), first.revision());
            dropped.insert(stored(first.revision().main, first.revision().sub, first.is_deletion()));
        }
        if head.is_deleted() && head.main >= revision {
            history.key = key;
            return true;
        }
        self.tree.update(&key, |entry| {
            let entry = entry.filter(|entry| !entry.is_deleted());
            (entry.map(Entry::without_history), ())
        });
        self.histories.remove(at, KeyHistory::default());
        if head.is_deleted() {
            dropped.insert(stored(head.main, head.revision().sub, true));
        }
        true
    }
}

/// The oldest version in a history, and the main revision of the one behind it.
fn first_and_next(history: &KeyHistory, head: i64) -> Option<(Past, i64)> {
    let (first, rest) = history.pasts().split_first()?;
    Some((*first, rest.first().map_or(head, |next| next.main)))
}

fn stored(main: i64, sub: u32, is_deletion: bool) -> StoredRevision {
    StoredRevision { main, sub, is_deletion }
}

/// Hashes stored revisions up to the job's, and finds those that were pruned; returns the hash at the end.
fn scan(
    job: &mut Job,
    view: &dyn ReadView,
    keys_max: usize,
    deleted_before: &BTreeMap<StoredRevision, Option<i64>>,
    deleted: &mut Vec<StoredRevision>,
) -> Result<Option<HashKv>, BackendError> {
    let Job { revision, previous, phase, dropped, .. } = job;
    let Phase::Scan { after, digest } = phase else { return Ok(None) };
    let end = revision_key(*revision + 1, 0);
    let start = after.clone();
    let lower = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut left = keys_max;
    let mut result = Ok(());
    view.scan(Table::Key, (lower, Bound::Excluded(&end)), &mut |key, value| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        let current = match StoredRevision::decode(key) {
            Ok(current) => current,
            Err(why) => {
                result =
                    Err(BackendError::Damaged { table: Table::Key, key: Bytes::copy_from_slice(key), why });
                return ControlFlow::Break(());
            }
        };
        let is_dropped = dropped.remove(&current);
        // A compaction before may have deleted it a moment ago.
        if !deleted_before.contains_key(&current) {
            digest.add(current, !is_dropped, key, value);
        }
        if is_dropped {
            deleted.push(current);
        }
        if left == 0 {
            *after = Some(Bytes::copy_from_slice(key));
        }
        ControlFlow::Continue(())
    })?;
    result?;
    let hash = digest.finish();
    Ok((left > 0).then_some(HashKv { hash, compact_revision: *previous, hash_revision: *revision }))
}

impl From<CompactError> for RangeError {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::Compacted => Self::Compacted,
            CompactError::FutureRevision => Self::FutureRevision,
        }
    }
}
