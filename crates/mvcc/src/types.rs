//! Signatures.
#![expect(clippy::todo, unused_variables, missing_docs, clippy::missing_errors_doc, reason = "bodies follow")]
use alloc::vec::Vec;
use bytes::Bytes;
use core::ops::ControlFlow;
use etched_backend::{BackendError, Batch, ReadView};
use etched_key_range::KeyRange;

#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Revision {
    pub main: i64,
    pub sub: i64,
}
#[derive(Copy, Clone, Debug)]
pub struct StoreOptions {
    pub value_cache_bytes: usize,
}
#[derive(Debug)]
pub struct Store;
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KeyMeta {
    pub create_revision: i64,
    pub mod_revision: Revision,
    pub version: i64,
    pub lease: i64,
    /// Length of the canonical KeyValue bytes.
    pub record_len: usize,
}
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSize {
    pub count: i64,
    /// Sum of the record lengths.
    pub bytes: u64,
    /// The same records as fields of a message: each with one byte of tag and its length before it.
    pub framed_bytes: u64,
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    pub records: Vec<Bytes>,
    pub bytes: usize,
    pub next: Option<Bytes>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub changes: Vec<Change>,
    pub next: i64,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    pub kind: ChangeKind,
    pub revision: Revision,
    /// Canonical KeyValue bytes; of a deletion: {key, mod_revision}.
    pub record: Bytes,
    /// After the change; 0 of a deletion.
    pub lease: i64,
    /// Before the change; 0 in changes that come from `history`.
    pub lease_before: i64,
    pub created: bool,
}
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Put,
    Delete,
}
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    #[default]
    None,
    Ascend,
    Descend,
}
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    pub range: KeyRange,
    pub revision: i64,
    pub limit: i64,
    pub order: SortOrder,
    pub target: SortTarget,
    pub keys_only: bool,
    pub count_only: bool,
    pub mod_revision_min: i64,
    pub mod_revision_max: i64,
    pub create_revision_min: i64,
    pub create_revision_max: i64,
}
impl RangeQuery {
    /// All of `range` at the newest revision, in key order.
    pub fn new(range: KeyRange) -> Self {
        todo!()
    }
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeOutput {
    pub records: Vec<Bytes>,
    pub more: bool,
    pub count: i64,
    /// The current revision, not the one asked for.
    pub revision: i64,
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("the revision has been compacted")]
    Compacted,
    #[error("the revision is in the future")]
    FutureRevision,
    #[error(transparent)]
    Backend(#[from] BackendError),
}
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error("the revision has been compacted")]
    Compacted,
    #[error("the revision is in the future")]
    FutureRevision,
}
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    #[error("a stored revision is damaged: {why} (key {key:?})")]
    Damaged { key: Bytes, why: &'static str },
    #[error(transparent)]
    Backend(#[from] BackendError),
}
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum CompactionProgress {
    More,
    Finished { revision: i64, dropped: u64 },
}
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HashKv {
    pub hash: u32,
    pub compact_revision: i64,
    pub hash_revision: i64,
}
#[derive(Debug)]
pub enum HashPlan {
    Cached(HashKv),
    Walk(HashWalk),
}
#[derive(Debug)]
pub struct HashWalk;
impl HashWalk {
    pub fn run(self, view: &dyn ReadView) -> Result<HashKv, BackendError> {
        todo!()
    }
}
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub keys: u64,
    pub live_bytes: u64,
    pub puts: u64,
    pub deletes: u64,
    pub txns: u64,
    pub resident_records: u64,
    pub resident_bytes: u64,
    pub compactions: u64,
    pub compacted_revisions: u64,
}
impl Store {
    pub fn new(options: StoreOptions) -> Self {
        todo!()
    }
    pub fn restore(
        view: &dyn ReadView,
        options: StoreOptions,
        on_key: &mut dyn FnMut(&Bytes, i64),
    ) -> Result<Self, RestoreError> {
        todo!()
    }
    pub fn revision(&self) -> i64 {
        todo!()
    }
    pub fn compact_revision(&self) -> i64 {
        todo!()
    }
    pub fn current(&self, key: &[u8]) -> Option<KeyMeta> {
        todo!()
    }
    pub fn record(&self, view: &dyn ReadView, key: &[u8]) -> Result<Option<Bytes>, BackendError> {
        todo!()
    }
    pub fn record_at(&self, view: &dyn ReadView, key: &[u8], revision: i64) -> Result<Option<Bytes>, RangeError> {
        todo!()
    }
    pub fn range(&self, view: &dyn ReadView, query: &RangeQuery) -> Result<RangeOutput, RangeError> {
        todo!()
    }
    pub fn count(&self, range: &KeyRange, revision: i64) -> Result<RangeSize, RangeError> {
        todo!()
    }
    pub fn chunk(
        &self,
        view: &dyn ReadView,
        range: &KeyRange,
        revision: i64,
        limit: usize,
        bytes_max: usize,
        keys_only: bool,
    ) -> Result<Chunk, RangeError> {
        todo!()
    }
    pub fn for_each_current(
        &self,
        range: &KeyRange,
        visit: &mut dyn FnMut(&[u8], &KeyMeta) -> ControlFlow<()>,
    ) {
        todo!()
    }
    pub fn begin(&mut self) -> WriteTxn<'_> {
        todo!()
    }
    pub fn history(
        &self,
        view: &dyn ReadView,
        from: i64,
        to: i64,
        filter: &mut dyn FnMut(&[u8]) -> bool,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Result<History, RangeError> {
        todo!()
    }
    pub fn on_committed(&mut self, revision: i64) {
        todo!()
    }
    pub fn compact(&mut self, revision: i64, batch: &mut Batch) -> Result<(), CompactError> {
        todo!()
    }
    pub fn compaction_pending(&self) -> Option<i64> {
        todo!()
    }
    pub fn compaction_step(
        &mut self,
        view: &dyn ReadView,
        keys_max: usize,
        batch: &mut Batch,
    ) -> Result<CompactionProgress, BackendError> {
        todo!()
    }
    pub fn hash_plan(&self, revision: i64) -> Result<HashPlan, RangeError> {
        todo!()
    }
    pub fn statistics(&self) -> &Statistics {
        todo!()
    }
}
#[derive(Debug)]
pub struct WriteTxn<'a> {
    store: &'a mut Store,
}
impl WriteTxn<'_> {
    pub fn begin_revision(&self) -> i64 {
        todo!()
    }
    pub fn changed(&self) -> bool {
        todo!()
    }
    pub fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        todo!()
    }
    pub fn delete_range(&mut self, range: &KeyRange) -> i64 {
        todo!()
    }
    /// The store with the writes of this transaction so far.
    pub fn store(&self) -> &Store {
        self.store
    }
    pub fn finish(self, batch: &mut Batch) -> Vec<Change> {
        todo!()
    }
}
