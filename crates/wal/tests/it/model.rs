//! What a log must hold, kept in the plainest way.

use bytes::Bytes;
use etched_wal::{Entry, HardState, Recovered, SnapshotRecord};

pub(crate) const METADATA: &[u8] = &[0x08, 1, 0x10, 2];

/// One record of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Entry(Entry),
    State(HardState),
    Snapshot(SnapshotRecord),
}

/// What opening gives after all records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) entries: Vec<Entry>,
    pub(crate) state: HardState,
    pub(crate) snapshot: SnapshotRecord,
}

impl Model {
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                self.entries.retain(|old| old.index < entry.index);
                self.entries.push(entry.clone());
            }
            Record::State(state) => self.state = *state,
            Record::Snapshot(snapshot) => self.snapshot = snapshot.clone(),
        }
    }

    /// What comes back when the log is opened from `from`.
    pub(crate) fn after(&self, from: &SnapshotRecord) -> (HardState, Vec<Entry>) {
        (self.state, self.entries.iter().filter(|entry| entry.index > from.index).cloned().collect())
    }

    /// The states that a log may be in when the last batch is there in part. Entries of a term that the hard state
    /// does not know do not come back.
    pub(crate) fn prefixes(&self, batch: &[Record]) -> Vec<Self> {
        let mut states = vec![self.clone()];
        let mut next = self.clone();
        for record in batch {
            next.apply(record);
            if next.entries.iter().all(|entry| entry.term <= next.state.term) {
                states.push(next.clone());
            }
        }
        states
    }
}

pub(crate) fn entry(term: u64, index: u64, data: impl Into<Bytes>) -> Entry {
    Entry { term, index, kind: 0, data: data.into() }
}

pub(crate) fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

pub(crate) fn content(recovered: &Recovered) -> (HardState, Vec<Entry>) {
    (recovered.hard_state, recovered.entries.clone())
}
