//! Between the values of the log and those of consensus.

use etched_replica::LogSnapshot;
use etched_replica::raft::{Entry, EntryKind, HardState};
use etched_wal::SnapshotRecord;
use etched_wal::snapshot_file::SnapshotFile;

pub(super) fn entry_to_log(entry: &Entry) -> etched_wal::Entry {
    let Entry { term, index, kind, data } = entry;
    etched_wal::Entry { term: *term, index: *index, kind: kind.number(), data: data.clone() }
}

pub(super) fn entry_from_log(entry: etched_wal::Entry) -> Option<Entry> {
    let kind = EntryKind::from_number(entry.kind)?;
    Some(Entry { term: entry.term, index: entry.index, kind, data: entry.data })
}

pub(super) fn hard_state_to_log(state: &HardState) -> etched_wal::HardState {
    etched_wal::HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn hard_state_from_log(state: etched_wal::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn snapshot_record(snapshot: &LogSnapshot) -> SnapshotRecord {
    let conf_state = Some(snapshot.conf_state.encode());
    SnapshotRecord { index: snapshot.index, term: snapshot.term, conf_state }
}

pub(super) fn snapshot_file(snapshot: &LogSnapshot) -> SnapshotFile {
    SnapshotFile {
        index: snapshot.index,
        term: snapshot.term,
        conf_state: snapshot.conf_state.encode(),
        data: snapshot.data.clone(),
    }
}
