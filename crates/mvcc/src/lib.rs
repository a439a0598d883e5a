//! Keys with history: put, delete, range at a revision, compaction, hash.
//!
//! A [`Store`] is etcd's multi-version key space without anything around it: no clock, no lock, no disk.
//! Every transaction that changes something gets the next *main revision*, and each of its changes a *sub revision*;
//! until a compaction takes them away, all versions of a key can be read at the revision that they were current at.
//!
//! **Encode once.**
//! A put makes the canonical bytes of etcd's `mvccpb.KeyValue`, and these bytes, counted by reference, are what the
//! batch stores under the revision, what a range returns, what a watch sends and what the hash covers.
//! [`Record`] reads them.
//!
//! **The index** is in memory: a B+tree by key whose nodes know how many live keys lie below them.
//! The newest version of a key is inline; older ones stand aside, for those keys only that have any.
//! So a page out of a million keys with its exact count costs as much as a page out of a thousand.
//!
//! **Values** stay in memory until the backend has them ([`Store::on_committed`]), and after that as the budget
//! allows; the others are read from a [`ReadView`](etched_backend::ReadView) by their revision.
//! The newest changes lie in a queue in the order of revisions, from where watchers that are a little behind catch
//! up ([`Store::history`]).
//!
//! **A component never commits.**
//! Writes add to a [`Batch`](etched_backend::Batch) that the caller owns, commits when it likes, and reports.
//!
//! **The catalog** is the index as it is stored: what it knows of each revision, packed into blocks that go into the
//! same batches as the records ([`Store::write_catalog`]).
//! A restart makes the index from it and reads no value.
//!
//! **Compaction** is logical at once and physical in steps of bounded length ([`Store::compaction_step`]).
//!
//! What the crate refuses: rules about requests (who may, what is a valid transaction) are the state machine's.
//!
//! ```
//! use etched_backend::{Backend, Batch, Durability, MemoryBackend};
//! use etched_key_range::KeyRange;
//! use etched_mvcc::{RangeQuery, Record, Store, StoreOptions};
//!
//! let backend = MemoryBackend::new();
//! let mut store = Store::new(StoreOptions { value_cache_bytes: 1 << 20 });
//!
//! let mut batch = Batch::new();
//! let mut txn = store.begin();
//! txn.put("fox".into(), "red".into(), 0);
//! txn.put("owl".into(), "grey".into(), 0);
//! let changes = txn.finish(&mut batch);
//! assert_eq!((changes.len(), changes[1].revision.main, changes[1].revision.sub), (2, 2, 1));
//!
//! let mut txn = store.begin();
//! assert_eq!(txn.delete_range(&KeyRange::single("fox".into())), 1);
//! txn.finish(&mut batch);
//! store.write_catalog(&mut batch);
//! backend.commit(&batch, Durability::Buffered)?;
//! store.on_committed(3);
//!
//! let view = backend.view()?;
//! let now = store.range(&view, &RangeQuery::new(KeyRange::all()))?;
//! assert_eq!((now.count, now.revision), (1, 3));
//! let before = RangeQuery { revision: 2, ..RangeQuery::new(KeyRange::all()) };
//! let before = store.range(&view, &before)?;
//! assert_eq!((before.count, before.revision), (2, 3));
//! assert_eq!(Record::decode(&before.records[0])?.value, b"red");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]

extern crate alloc;

mod cache;
mod catalog;
mod codec;
mod compaction;
mod entry;
mod hash;
mod history;
mod load;
mod queue;
mod raise;
mod range;
mod restore;
mod slab;
mod statistics;
mod store;
mod tree;
mod txn;

pub use catalog::{CatalogMaker, record_lengths};
pub use codec::{Record, RecordError};
pub use compaction::{CompactError, CompactionProgress};
pub use hash::{HashKv, HashPlan, HashWalk};
pub use history::History;
pub use raise::{RaiseError, newest_stored_revision, raise_revision};
pub use range::{Chunk, RangeError, RangeOutput, RangeQuery, RangeSize, SortOrder, SortTarget};
pub use restore::{IndexSource, RestoreError};
pub use statistics::Statistics;
pub use store::{KeyMeta, Revision, Store, StoreOptions};
pub use txn::{Change, ChangeKind, WriteTxn};
