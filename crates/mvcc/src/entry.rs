//! What the index knows of a key: its newest version inline, older ones aside.

use alloc::boxed::Box;
use alloc::vec::Vec;

use etched_backend::{BackendError, Table};

use crate::codec::{Revision32, SUB_MAX, revision_key, varint_len};
use crate::{KeyMeta, Revision};

/// Stands for "no slot" and "no history".
pub(crate) const NONE: u32 = u32::MAX;

const DELETED: u32 = 1 << 31;
const _: () = assert!(SUB_MAX & DELETED == 0);

/// The newest version of a key, 48 bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) main: i64,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    sub_deleted: u32,
    pub(crate) record_len: u32,
    /// Where the record is in memory, if the slot still holds this revision.
    pub(crate) slot: u32,
    /// Where older versions are; a key that is deleted always has a history, for its name.
    pub(crate) history: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);

impl Entry {
    /// An entry for a put of that revision.
    pub(crate) fn put(at: Revision32, create: i64, version: i64, lease: i64, record_len: usize) -> Self {
        Self {
            main: at.main,
            create,
            version,
            lease,
            sub_deleted: at.sub,
            record_len: u32::try_from(record_len).expect("records are below LEN_MAX"),
            slot: NONE,
            history: NONE,
        }
    }

    /// An entry for a deletion of that revision.
    pub(crate) fn deletion(at: Revision32, history: u32) -> Self {
        let sub_deleted = at.sub | DELETED;
        Self {
            main: at.main,
            create: 0,
            version: 0,
            lease: 0,
            sub_deleted,
            record_len: 0,
            slot: NONE,
            history,
        }
    }

    pub(crate) fn without_history(self) -> Self {
        Self { history: NONE, ..self }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.sub_deleted & DELETED != 0
    }

    pub(crate) fn revision(&self) -> Revision32 {
        Revision32 { main: self.main, sub: self.sub_deleted & !DELETED }
    }

    /// What the key adds to the sums of the tree.
    pub(crate) fn weight(&self) -> Weight {
        if self.is_deleted() {
            return Weight::default();
        }
        let bytes = u64::from(self.record_len);
        Weight { keys: 1, bytes, framed_bytes: framed(bytes) }
    }

    /// The newest version, as readers see it.
    pub(crate) fn live(&self) -> Option<Version> {
        let Self { main: _, create, version, lease: _, sub_deleted: _, record_len: len, slot, history: _ } =
            *self;
        (!self.is_deleted()).then(|| Version { revision: self.revision(), create, version, len, slot })
    }

    pub(crate) fn meta(&self) -> KeyMeta {
        KeyMeta {
            create_revision: self.create,
            mod_revision: Revision::from(self.revision()),
            version: self.version,
            lease: self.lease,
            record_len: self.record_len as usize,
        }
    }

    /// This version as one of the past.
    pub(crate) fn into_past(self) -> Past {
        let Self { main, create, version, lease: _, sub_deleted, record_len: len, slot, history: _ } = self;
        Past { main, create, version, sub_deleted, len, slot }
    }
}

/// A live version of a key, newest or not: all that is needed to read it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: Revision32,
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) len: u32,
    pub(crate) slot: u32,
}

impl Version {
    pub(crate) fn weight(&self) -> Weight {
        let bytes = u64::from(self.len);
        Weight { keys: 1, bytes, framed_bytes: framed(bytes) }
    }

    /// The index names this version and the backend does not have it.
    pub(crate) fn missing(&self) -> BackendError {
        BackendError::Damaged {
            table: Table::Key,
            key: revision_key(self.revision.main, self.revision.sub).to_vec().into(),
            why: "a revision that the index names is not stored",
        }
    }
}

/// A version that is not the newest: a put, or the deletion that ended a generation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) main: i64,
    create: i64,
    version: i64,
    sub_deleted: u32,
    len: u32,
    slot: u32,
}

impl Past {
    pub(crate) fn is_deletion(&self) -> bool {
        self.sub_deleted & DELETED != 0
    }

    pub(crate) fn revision(&self) -> Revision32 {
        Revision32 { main: self.main, sub: self.sub_deleted & !DELETED }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    pub(crate) fn live(&self) -> Option<Version> {
        let Self { main: _, create, version, sub_deleted: _, len, slot } = *self;
        (!self.is_deletion()).then(|| Version { revision: self.revision(), create, version, len, slot })
    }
}

/// The versions before the newest one that no compaction has dropped yet, oldest first.
///
/// A generation is a run of puts that ends with a deletion; where one ends is seen by its deletion.
#[derive(Debug, Default)]
pub(crate) struct KeyHistory {
    pub(crate) key: Box<[u8]>,
    pasts: Vec<Past>,
    /// How many at the front are dropped.
    dropped: usize,
}

impl KeyHistory {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { key: key.into(), pasts: Vec::new(), dropped: 0 }
    }

    pub(crate) fn pasts(&self) -> &[Past] {
        &self.pasts[self.dropped..]
    }

    pub(crate) fn push(&mut self, past: Past) {
        if self.pasts.len() == self.pasts.capacity() {
            if self.dropped * 2 > self.pasts.len() {
                self.forget_dropped();
            } else {
                self.pasts.reserve_exact((self.pasts.len() / 2).max(1));
            }
        }
        self.pasts.push(past);
    }

    /// Takes the oldest version away.
    pub(crate) fn pop_front(&mut self) -> Option<Past> {
        let past = *self.pasts().first()?;
        self.dropped += 1;
        if self.dropped == self.pasts.len() {
            self.forget_dropped();
        }
        Some(past)
    }

    fn forget_dropped(&mut self) {
        self.pasts.drain(..self.dropped);
        self.dropped = 0;
        self.pasts.shrink_to(self.pasts.len() * 2);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.key.len() + self.pasts.capacity() * size_of::<Past>()
    }

    /// What the key was at a revision below its newest one.
    pub(crate) fn live_at(&self, revision: i64) -> Option<Version> {
        let pasts = self.pasts();
        let after = pasts.partition_point(|past| past.main <= revision);
        pasts[..after].last()?.live()
    }
}

/// Sums over live keys, kept by every node of the tree.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    pub(crate) framed_bytes: u64,
}

impl Weight {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            bytes: self.bytes + other.bytes,
            framed_bytes: self.framed_bytes + other.framed_bytes,
        }
    }

    /// The sums without those of a part.
    pub(crate) fn minus(self, part: Self) -> Self {
        Self {
            keys: self.keys - part.keys,
            bytes: self.bytes - part.bytes,
            framed_bytes: self.framed_bytes - part.framed_bytes,
        }
    }
}

/// A record as a field of a message: one byte of tag, its length, itself.
fn framed(bytes: u64) -> u64 {
    1 + varint_len(bytes) as u64 + bytes
}
