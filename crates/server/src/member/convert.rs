//! Between the values of the log and those of consensus.

use bytes::Bytes;
use etched_replica::LogSnapshot;
use etched_replica::raft::{ConfState, Entry, EntryKind, HardState};
use etched_wal::SnapshotRecord;
use etched_wal::snapshot_file::SnapshotFile;

pub(crate) fn entry_to_log(entry: &Entry) -> etched_wal::Entry {
    etched_wal::Entry {
        term: entry.term,
        index: entry.index,
        kind: entry.kind.number(),
        data: entry.data.clone(),
    }
}

/// `None` if the entry is of a kind that no version of etcd writes.
pub(crate) fn entry_from_log(entry: etched_wal::Entry) -> Option<Entry> {
    let kind = EntryKind::from_number(entry.kind)?;
    Some(Entry { term: entry.term, index: entry.index, kind, data: entry.data })
}

pub(crate) fn hard_state_to_log(state: &HardState) -> etched_wal::HardState {
    etched_wal::HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn hard_state_from_log(state: etched_wal::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn snapshot_record(snapshot: &LogSnapshot) -> SnapshotRecord {
    SnapshotRecord {
        index: snapshot.index,
        term: snapshot.term,
        conf_state: Some(snapshot.conf_state.encode()),
    }
}

pub(crate) fn snapshot_file(snapshot: &LogSnapshot) -> SnapshotFile {
    SnapshotFile {
        index: snapshot.index,
        term: snapshot.term,
        conf_state: snapshot.conf_state.encode(),
        data: snapshot.data.clone(),
    }
}

/// The configuration of a snapshot file; an undecodable one is reported by the caller.
pub(crate) fn conf_state(bytes: &Bytes) -> Option<ConfState> {
    ConfState::decode(bytes).ok()
}
