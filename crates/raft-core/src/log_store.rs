//! The log in memory: what the `raft` crate reads its entries from.
//!
//! It holds the entries since the last compaction. What is in it may not be on the disk yet; how far the disk is,
//! the outbox knows.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, StorageError};

use crate::entry::payload;
use crate::{ConfState, Entry, HardState, Restored, SnapshotMeta};

/// Why what a log held cannot be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Entries are missing, or out of order.
    #[error("entry {found} stands where entry {expected} should")]
    Gap {
        /// The index that should be there.
        expected: u64,
        /// The index that is there.
        found: u64,
    },
    /// The term of an entry is smaller than that of the one before, or larger than the member's own.
    #[error("entry {index} has term {term}, which does not fit")]
    Term {
        /// The entry's index.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// The log says that more is committed than it holds.
    #[error("index {commit} is committed, but the log ends at {last_index}")]
    CommitBeyondLog {
        /// The committed index.
        commit: u64,
        /// The end of the log.
        last_index: u64,
    },
    /// More was applied than the log holds: it lost entries that were acknowledged.
    #[error("index {applied} was applied, but the log ends at {last_index}")]
    AppliedBeyondLog {
        /// The applied index.
        applied: u64,
        /// The end of the log.
        last_index: u64,
    },
    /// Entries between the applied index and the first of the log are missing.
    #[error("index {applied} was applied, but the log begins after {snapshot_index}")]
    AppliedBeforeLog {
        /// The applied index.
        applied: u64,
        /// The index before the first entry.
        snapshot_index: u64,
    },
    /// No cluster can be in this configuration.
    #[error("the configuration cannot be: {0}")]
    ConfState(&'static str),
}

/// Entries, hard state, configuration and the newest snapshot that can be sent.
pub(crate) struct LogStore {
    hard_state: HardState,
    conf_state: ConfState,
    /// The place before the first entry.
    base: (u64, u64),
    entries: VecDeque<eraftpb::Entry>,
    /// Bytes of the entries' payloads.
    bytes: u64,
    supplied: Option<eraftpb::Snapshot>,
    /// Who needs a snapshot that is not there. A cell, since the `raft` crate asks through a shared reference.
    wanted: Cell<BTreeSet<u64>>,
}

impl LogStore {
    /// Checks that what was restored fits together and with what was applied.
    pub(crate) fn new(restored: Restored, applied: u64) -> Result<Self, RestoreError> {
        let Restored { mut hard_state, snapshot, entries } = restored;
        if let Some(fault) = snapshot.conf_state.fault() {
            return Err(RestoreError::ConfState(fault));
        }
        let (mut index, mut term) = (snapshot.index, snapshot.term);
        for entry in &entries {
            if entry.index != index + 1 {
                return Err(RestoreError::Gap { expected: index + 1, found: entry.index });
            }
            if entry.term < term {
                return Err(RestoreError::Term { index: entry.index, term: entry.term });
            }
            (index, term) = (entry.index, entry.term);
        }
        if term > hard_state.term {
            return Err(RestoreError::Term { index, term });
        }
        if hard_state.commit > index {
            return Err(RestoreError::CommitBeyondLog { commit: hard_state.commit, last_index: index });
        }
        if applied > index {
            return Err(RestoreError::AppliedBeyondLog { applied, last_index: index });
        }
        if applied < snapshot.index {
            return Err(RestoreError::AppliedBeforeLog { applied, snapshot_index: snapshot.index });
        }
        // The commit index is written without a sync of its own; what was applied was committed.
        hard_state.commit = hard_state.commit.max(applied).max(snapshot.index);
        Ok(Self {
            hard_state,
            conf_state: snapshot.conf_state,
            base: (snapshot.index, snapshot.term),
            bytes: entries.iter().map(|entry| entry.data.len() as u64).sum(),
            entries: entries.into_iter().map(Entry::into_raft).collect(),
            supplied: None,
            wanted: Cell::default(),
        })
    }

    /// Takes in new entries; what stands from the first one's index on is replaced.
    pub(crate) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        let kept = first.index.checked_sub(self.base.0 + 1).expect("compacted entries are committed");
        assert!(kept <= self.entries.len() as u64, "a log has no gaps");
        let kept = self.position(first.index);
        self.bytes -= self.entries.range(kept..).map(payload_bytes).sum::<u64>();
        self.entries.truncate(kept);
        self.bytes += entries.iter().map(payload_bytes).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Replaces everything by a snapshot.
    pub(crate) fn install(&mut self, meta: &SnapshotMeta) {
        self.base = (meta.index, meta.term);
        self.entries.clear();
        self.bytes = 0;
        self.conf_state = meta.conf_state.clone();
        self.supplied = None;
    }

    /// Forgets the entries up to `index`, as far as there are any.
    pub(crate) fn compact(&mut self, index: u64) {
        while let Some(entry) = self.entries.front()
            && entry.index <= index
        {
            self.base = (entry.index, entry.term);
            self.bytes -= payload_bytes(entry);
            self.entries.pop_front();
        }
    }

    /// Keeps a snapshot for whoever wants one.
    pub(crate) fn supply(&mut self, meta: &SnapshotMeta, data: Bytes) {
        let mut snapshot = eraftpb::Snapshot { data, ..eraftpb::Snapshot::default() };
        snapshot.set_metadata(meta.to_raft());
        self.supplied = Some(snapshot);
    }

    /// Who asked for a snapshot that was not there, since the last call.
    pub(crate) fn take_wanted(&self) -> BTreeSet<u64> {
        self.wanted.take()
    }

    /// Bytes of the payloads of all entries.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.base.0 - 1).expect("entries in memory fit into it")
    }
}

impl raft::Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.to_raft(), self.conf_state.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        assert!(low <= high && high <= self.last() + 1, "entries {low}..{high} of {}", self.last());
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0_u64;
        let within = |entry: &&eraftpb::Entry| {
            let first = size == 0;
            size = size.saturating_add(ENTRY_OVERHEAD_BYTES + payload(entry).len() as u64);
            first || size <= max_size
        };
        let range = self.position(low)..self.position(high);
        Ok(self.entries.range(range).take_while(within).cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        let entry = self.entries.get(self.position(index));
        entry.map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        // A snapshot older than the log's beginning would leave the follower with a gap.
        let least = request_index.max(self.base.0);
        match &self.supplied {
            Some(snapshot) if snapshot.get_metadata().index >= least => Ok(snapshot.clone()),
            Some(_) | None => {
                let mut wanted = self.wanted.take();
                wanted.insert(to);
                self.wanted.set(wanted);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

fn payload_bytes(entry: &eraftpb::Entry) -> u64 {
    payload(entry).len() as u64
}

/// What an entry takes in a message beside its payload, at most.
const ENTRY_OVERHEAD_BYTES: u64 = 32;
