//! Ordered tables with atomic batches: what the state machine keeps its state in.
//!
//! The crate is a port and two things behind it.
//! The port is three small traits and the values that cross them: a [`Batch`] of puts and deletes goes in as one
//! atomic [`Backend::commit`]; a [`ReadView`] is one consistent state to read at, whatever is committed later.
//! Behind it stand [`MemoryBackend`] (feature `std`), for tests and simulation, and `RedbBackend` (feature `redb`),
//! the file that a member keeps.
//! Without features the crate is `no_std` and holds the port alone, which is all that the pure crates see.
//!
//! The log is the durability, a backend is a checkpoint.
//! So there are two ways to commit: [`Durability::Buffered`] makes a batch visible and leaves it to a later commit to
//! bring it to the disk, [`Durability::Synced`] brings it and everything before it there.
//! After a crash a backend holds the state after *some* commit, one that is not older than the last synced one, and
//! never a part of a batch.
//! Whoever needs to know which commit puts an index into each batch; the state machine does.
//!
//! Tables are fixed ([`Table`]) and have the names of etcd's buckets, so that snapshots map one to one.
//! Keys and values are bytes; what they mean is the business of the crates that write them.
//!
//! What the port refuses: transactions that read and write, iteration backwards, and any error that could be tried
//! again. A backend that failed once says so for ever ([`BackendError::Poisoned`]): after a failed sync nobody knows
//! what is on the disk, and the process has to end.
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use etched_backend::{Backend, Batch, Durability, MemoryBackend, ReadView, Table};
//!
//! let backend = MemoryBackend::new();
//! let before = backend.view()?;
//!
//! let mut batch = Batch::new();
//! batch.put(Table::Meta, "consistent_index", 7_u64.to_be_bytes().to_vec());
//! backend.commit(&batch, Durability::Synced)?;
//!
//! assert_eq!(before.get(Table::Meta, b"consistent_index")?, None);
//! let stored = backend.view()?.get(Table::Meta, b"consistent_index")?;
//! assert_eq!(stored.as_deref(), Some(&7_u64.to_be_bytes()[..]));
//! # }
//! # Ok::<(), etched_backend::BackendError>(())
//! ```

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "std")]
mod memory;
#[cfg(feature = "redb")]
mod on_redb;
mod port;
mod table;

pub use batch::{Batch, Op};
#[cfg(feature = "std")]
pub use memory::{MemoryBackend, MemoryView};
#[cfg(feature = "redb")]
pub use on_redb::{
    CreateError, Integrity, OpenError, RedbBackend, RedbOptions, RedbView, Scrub, ScrubCursor,
};
pub use port::{Backend, BackendError, Durability, ReadView, Sizes};
pub use table::Table;
