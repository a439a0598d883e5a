//! Reading ranges: what etcd's `Range` does, rule by rule.

use alloc::vec::Vec;
use core::cmp::Ordering;

use bytes::Bytes;
use etched_backend::{BackendError, ReadView};
use etched_key_range::KeyRange;

use crate::Store;
use crate::codec::Record;
use crate::entry::{Version, Weight};
use crate::tree::{Bounds, KeyParts};

/// What to read, and how the answer is to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// The keys.
    pub range: KeyRange,
    /// At which revision; current if not positive.
    pub revision: i64,
    /// Most records of the answer; no limit if not positive.
    pub limit: i64,
    /// How the answer is sorted.
    pub order: SortOrder,
    /// By what.
    pub target: SortTarget,
    /// Leaves values out, and leases too unless values are sorted by.
    pub keys_only: bool,
    /// Leaves all records out.
    pub count_only: bool,
    /// Passes over records whose modification is before this revision; 0 is off.
    pub mod_revision_min: i64,
    /// Passes over records whose modification is after this revision; 0 is off.
    pub mod_revision_max: i64,
    /// Passes over records whose creation is before this revision; 0 is off.
    pub create_revision_min: i64,
    /// Passes over records whose creation is after this revision; 0 is off.
    pub create_revision_max: i64,
}

impl RangeQuery {
    /// All of `range` at the current revision, in the order of keys.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            revision: 0,
            limit: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            mod_revision_min: 0,
            mod_revision_max: 0,
            create_revision_min: 0,
            create_revision_max: 0,
        }
    }

    fn is_filtered(&self) -> bool {
        let Self { mod_revision_min, mod_revision_max, create_revision_min, create_revision_max, .. } = *self;
        [mod_revision_min, mod_revision_max, create_revision_min, create_revision_max] != [0; 4]
    }

    fn lets_pass(&self, version: &Version) -> bool {
        let is_within = |revision, min, max| (min == 0 || revision >= min) && (max == 0 || revision <= max);
        is_within(version.revision.main, self.mod_revision_min, self.mod_revision_max)
            && is_within(version.create, self.create_revision_min, self.create_revision_max)
    }

    /// The limit as a number of records.
    fn records_max(&self) -> usize {
        if self.limit > 0 { usize::try_from(self.limit).unwrap_or(usize::MAX) } else { usize::MAX }
    }

    /// How many live keys have to be looked at, if the limit may be applied while reading.
    ///
    /// One more than the limit shows whether there are more.
    fn looked_at_max(&self) -> usize {
        let is_in_key_order = match (self.order, self.target) {
            // Whatever the target: an answer without an order is cut first and sorted then, as in etcd.
            (SortOrder::None, _) | (SortOrder::Ascend, SortTarget::Key) => true,
            (SortOrder::Ascend | SortOrder::Descend, _) => false,
        };
        if is_in_key_order && !self.is_filtered() { self.records_max().saturating_add(1) } else { usize::MAX }
    }
}

/// The order of an answer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// None asked for: by key, or rising if there is another target.
    #[default]
    None,
    /// Rising.
    Ascend,
    /// Falling; what is equal stays in the order of keys.
    Descend,
}

/// What an answer is sorted by.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How many puts the key has had.
    Version,
    /// The revision of its creation.
    Create,
    /// The revision of its last modification.
    Mod,
    /// The value.
    Value,
}

/// The answer to a [`RangeQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeOutput {
    /// The records: canonical bytes of key-values.
    pub records: Vec<Bytes>,
    /// The limit cut the answer.
    pub more: bool,
    /// How many live keys the range has, whatever limit and filters say.
    pub count: i64,
    /// The current revision, not the one that was asked for.
    pub revision: i64,
}

/// How much a range holds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSize {
    /// Live keys.
    pub count: i64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Bytes of their records as fields of a message: each behind a byte of tag and its length.
    pub framed_bytes: u64,
}

/// A part of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The records, in the order of keys.
    pub records: Vec<Bytes>,
    /// Their bytes.
    pub bytes: usize,
    /// Where the rest begins, if there is any.
    pub next: Option<Bytes>,
}

/// Why a read was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The revision is below the last compaction.
    #[error("the required revision has been compacted")]
    Compacted,
    /// The revision is above the current one.
    #[error("the required revision is a future revision")]
    FutureRevision,
    /// The backend failed, or lacks a record.
    #[error("a record could not be read")]
    Backend(#[from] BackendError),
}

/// A live version that an answer may have.
#[derive(Copy, Clone)]
struct Found<'a> {
    key: KeyParts<'a>,
    version: Version,
}

impl Store {
    /// Answers a query.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future; the backend failed, or lacks a record.
    pub fn range(&self, view: &dyn ReadView, query: &RangeQuery) -> Result<RangeOutput, RangeError> {
        let revision = self.resolve(query.revision)?;
        let bounds = Bounds::of(&query.range);
        let output = RangeOutput { revision: self.revision, ..RangeOutput::default() };
        if query.count_only {
            return Ok(RangeOutput { count: self.count_at(&bounds, revision), ..output });
        }
        let looked_at_max = query.looked_at_max();
        let mut looked_at = 0;
        let mut found = Vec::new();
        for live in self.walk_at(bounds, revision).take(looked_at_max) {
            looked_at += 1;
            if query.lets_pass(&live.version) {
                found.push(live);
            }
        }
        let count = if looked_at < looked_at_max {
            i64::try_from(looked_at).expect("memory ends long before")
        } else {
            self.count_at(&bounds, revision)
        };
        let (records, more) = self.assemble(view, query, found)?;
        Ok(RangeOutput { records, more, count, ..output })
    }

    /// How much a range holds at `revision` (current if not positive).
    ///
    /// At the current revision this takes as long as finding a key does; at an older one it depends on how many
    /// changes there were since, or on how many keys the range has, whichever is less.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future.
    pub fn count(&self, range: &KeyRange, revision: i64) -> Result<RangeSize, RangeError> {
        let revision = self.resolve(revision)?;
        let weight = self.weight_at(&Bounds::of(range), revision);
        let Weight { keys: _, bytes, framed_bytes } = weight;
        Ok(RangeSize { count: weight.count(), bytes, framed_bytes })
    }

    /// The first records of a range at `revision` (current if not positive), at most `limit` of them, and no more
    /// than come to `bytes_max`, but at least one if there is any.
    ///
    /// This is how large ranges are read piece by piece.
    /// It does not ask whether the revision is compacted: the caller knows which revisions it reads at, and takes
    /// no [`Store::compaction_step`] while one of them is below the compaction.
    ///
    /// # Errors
    ///
    /// The revision is in the future; the backend failed, or lacks a record.
    pub fn chunk(
        &self,
        view: &dyn ReadView,
        range: &KeyRange,
        revision: i64,
        limit: usize,
        bytes_max: usize,
        keys_only: bool,
    ) -> Result<Chunk, RangeError> {
        let revision = self.resolve_pinned(revision)?;
        let mut chunk = Chunk::default();
        let mut found = Vec::new();
        for live in self.walk_at(Bounds::of(range), revision) {
            let len = if keys_only { live.key_record_len() } else { live.version.len as usize };
            if found.len() >= limit.max(1) || (!found.is_empty() && chunk.bytes + len > bytes_max) {
                chunk.next = Some(live.key.to_vec().into());
                break;
            }
            chunk.bytes += len;
            found.push(live);
        }
        chunk.records = if keys_only {
            found.iter().map(Found::key_record).collect()
        } else {
            self.load_found(view, &found)?
        };
        Ok(chunk)
    }

    /// The live versions within the bounds at a revision.
    fn walk_at<'a>(&'a self, bounds: Bounds<'a>, revision: i64) -> impl Iterator<Item = Found<'a>> {
        self.tree
            .walk(bounds)
            .filter_map(move |(key, entry)| Some(Found { key, version: self.live_at(entry, revision)? }))
    }

    /// How many keys were live at a revision.
    fn count_at(&self, bounds: &Bounds<'_>, revision: i64) -> i64 {
        let current = self.tree.weight_within(bounds).count();
        if revision == self.revision {
            return current;
        }
        self.count_by_lives(bounds, revision, current)
            .unwrap_or_else(|| self.walk_at(*bounds, revision).map(|_| 1).sum())
    }

    /// Goes back from the current number by the keys that were made and deleted since, if those are known.
    fn count_by_lives(&self, bounds: &Bounds<'_>, revision: i64, current: i64) -> Option<i64> {
        /// Most changes are of keys that stay, and are passed over faster than a key is walked over.
        const KEYS_PER_CHANGE: usize = 4;
        let changes = self.cache.count_above(revision).saturating_mul(KEYS_PER_CHANGE);
        if self.cache.recent_above() > revision
            || i64::try_from(changes).is_ok_and(|changes| changes > current)
        {
            return None;
        }
        let mut count = current;
        for life in self.cache.lives_above(revision) {
            if bounds.contains(Record::decode_key(life.record?)) {
                count += if life.is_deletion { 1 } else { -1 };
            }
        }
        Some(count)
    }

    /// The sums over the versions that were live at a revision.
    fn weight_at(&self, bounds: &Bounds<'_>, revision: i64) -> Weight {
        let current = self.tree.weight_within(bounds);
        if revision == self.revision {
            return current;
        }
        self.weight_by_changes(bounds, revision, current).unwrap_or_else(|| {
            self.walk_at(*bounds, revision)
                .fold(Weight::default(), |sum, live| sum.plus(live.version.weight()))
        })
    }

    /// Goes back from the current sums by the changes since; not if they are many or no longer in memory.
    fn weight_by_changes(&self, bounds: &Bounds<'_>, revision: i64, current: Weight) -> Option<Weight> {
        /// A change costs as much as walking over so many keys.
        const KEYS_PER_CHANGE: u64 = 32;
        let changes = self.cache.count_above(revision) as u64;
        if self.cache.recent_above() > revision || changes * KEYS_PER_CHANGE > current.keys {
            return None;
        }
        let mut weight = current;
        for change in self.cache.changes_above(revision) {
            let key = Record::decode_key(change.record?);
            if !bounds.contains(key) {
                continue;
            }
            let entry = self.tree.get(key)?;
            // A key that has changed several times counts once, at its newest change.
            if entry.revision() == change.revision {
                let past =
                    self.live_at(entry, revision).map_or_else(Weight::default, |version| version.weight());
                weight = weight.plus(past).minus(entry.weight());
            }
        }
        Some(weight)
    }

    /// Sorts, cuts and loads.
    fn assemble(
        &self,
        view: &dyn ReadView,
        query: &RangeQuery,
        mut found: Vec<Found<'_>>,
    ) -> Result<(Vec<Bytes>, bool), BackendError> {
        let is_falling = match query.order {
            SortOrder::None | SortOrder::Ascend => false,
            SortOrder::Descend => true,
        };
        let more = found.len() > query.records_max();
        let sort_by = |number: fn(&Found<'_>) -> i64, found: &mut Vec<Found<'_>>| {
            found.sort_by(|a, b| directed(number(a).cmp(&number(b)), is_falling));
        };
        match query.target {
            SortTarget::Key if is_falling => found.reverse(),
            SortTarget::Key => {}
            SortTarget::Version => sort_by(|found| found.version.version, &mut found),
            SortTarget::Create => sort_by(|found| found.version.create, &mut found),
            SortTarget::Mod => sort_by(|found| found.version.revision.main, &mut found),
            SortTarget::Value => {
                let mut records = self.load_found(view, &found)?;
                records.sort_by(|a, b| directed(value_of(a).cmp(value_of(b)), is_falling));
                records.truncate(query.records_max());
                if query.keys_only {
                    records.iter_mut().for_each(|record| *record = without_value(record));
                }
                return Ok((records, more));
            }
        }
        found.truncate(query.records_max());
        if query.keys_only {
            return Ok((found.iter().map(Found::key_record).collect(), more));
        }
        Ok((self.load_found(view, &found)?, more))
    }

    fn load_found(&self, view: &dyn ReadView, found: &[Found<'_>]) -> Result<Vec<Bytes>, BackendError> {
        self.load_all(view, found.iter().map(|found| found.version))
    }
}

impl<'a> Found<'a> {
    /// The record as `keys_only` shows it: from the index, so without value and lease.
    fn key_record(&self) -> Bytes {
        self.with_key_record(&self.key.to_vec(), Record::encode)
    }

    fn key_record_len(&self) -> usize {
        self.with_key_record(&self.key.to_vec(), Record::encoded_len)
    }

    fn with_key_record<'k, R>(&self, key: &'k [u8], with: impl Fn(&Record<'k>) -> R) -> R {
        let Version { revision, create: create_revision, version, len: _, slot: _ } = self.version;
        with(&Record { key, create_revision, mod_revision: revision.main, version, ..Record::default() })
    }
}

impl Weight {
    fn count(&self) -> i64 {
        i64::try_from(self.keys).expect("memory ends long before")
    }
}

fn directed(order: Ordering, is_falling: bool) -> Ordering {
    if is_falling { order.reverse() } else { order }
}

/// The value of a record; restoring has checked that all of them can be read.
fn value_of(record: &[u8]) -> &[u8] {
    Record::decode(record).unwrap_or_default().value
}

fn without_value(record: &[u8]) -> Bytes {
    Record { value: &[], ..Record::decode(record).unwrap_or_default() }.encode()
}
