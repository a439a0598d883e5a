//! Keys with history: put, delete, range at a revision, compaction, hash.
#![no_std]
extern crate alloc;

mod types;
pub use types::*;
