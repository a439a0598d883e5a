//! The parsers below the server.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use etched_backend::{Backend, Batch, Durability, MemoryBackend, Table};
use etched_bolt::{BoltFile, PageSize, encode_tables, plan_tables};
use etched_disk::{Disk, SimDisk};
use etched_key_range::KeyRange;
use etched_replica::raft::Message as PeerMessage;
use etched_state_machine::{Command, Header, Limits, Options, Put, StateMachine, schema};
use etched_wal::{Entry, HardState, SnapshotRecord, Wal, WalOptions, snapshot_file};

use super::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "wal-segment", run: wal_segment, examples: segments },
    Target { name: "snapshot-file", run: read_snapshot_file, examples: snapshot_files },
    Target { name: "bolt-file", run: bolt_file, examples: bolt_files },
    Target { name: "entry", run: entry, examples: entries },
    Target { name: "stored-records", run: stored_records, examples: records },
    Target { name: "peer-message", run: peer_message, examples: peer_messages },
    Target { name: "key-range", run: key_range, examples: ranges },
];

const DIR: &str = "/fuzz";
const SEGMENT: &str = "/fuzz/0000000000000000-0000000000000000.wal";
const OPTIONS: WalOptions = WalOptions { segment_bytes: 4_096 };

/// A log whose only segment is this; where it opens it goes on.
fn wal_segment(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new(DIR)).expect("a fresh disk makes a directory");
    disk.put_contents(Path::new(SEGMENT), bytes);
    let _listed_or_refused = Wal::snapshots(&disk, Path::new(DIR));
    let from = SnapshotRecord::default();
    let Ok((mut wal, recovered)) = Wal::open(Arc::new(disk.clone()), Path::new(DIR), &from, OPTIONS) else {
        return;
    };
    let last = wal.last_index();
    if last == u64::MAX || recovered.hard_state.term == u64::MAX {
        return;
    }
    let state =
        HardState { term: recovered.hard_state.term + 1, vote: 0, commit: recovered.hard_state.commit };
    let entry = Entry { term: state.term, index: last + 1, kind: 0, data: Bytes::from_static(b"more") };
    wal.append(&[entry], Some(&state));
    wal.sync().expect("the disk works");
    drop(wal);
    let again = Wal::open(Arc::new(disk), Path::new(DIR), &from, OPTIONS);
    let (wal, _) = again.expect("what was opened and written opens again");
    assert_eq!(wal.last_index(), last + 1);
}

fn segments() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    let made = Wal::create(Arc::new(disk.clone()), Path::new(DIR), b"\x08\x01\x10\x02", OPTIONS);
    let mut wal = made.expect("a fresh disk takes a log");
    let mut found = vec![disk.contents(Path::new(SEGMENT)).expect("the first segment")];
    for index in 1..=3 {
        let data = Bytes::from(vec![7; 30 * usize::try_from(index).expect("a small number")]);
        let state = HardState { term: index, vote: 1, commit: index - 1 };
        wal.append(&[Entry { term: index, index, kind: 0, data }], Some(&state));
        if index == 2 {
            wal.append_snapshot(&SnapshotRecord { index: 1, term: 1, conf_state: None });
        }
        wal.sync().expect("the disk works");
        found.push(disk.contents(Path::new(SEGMENT)).expect("the first segment"));
    }
    found
}

fn read_snapshot_file(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    let path = Path::new("/fuzz/0000000000000001-0000000000000005.snap");
    disk.put_contents(path, bytes);
    let _read_or_damaged = snapshot_file::read(&disk, path).expect("the disk works");
}

fn snapshot_files() -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new(DIR)).expect("a fresh disk makes a directory");
    let conf_state = Bytes::from_static(&[0x08, 7]);
    let file = snapshot_file::SnapshotFile { index: 5, term: 1, conf_state, data: Bytes::from_static(b"{}") };
    let path = snapshot_file::write(&disk, Path::new(DIR), &file).expect("the disk works");
    disk.contents(&path).into_iter().collect()
}

/// A file of etcd's: everything in it is walked and checked.
fn bolt_file(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    let path = Path::new("/fuzz/db");
    disk.put_contents(path, bytes);
    let Ok(file) = BoltFile::open(disk.open_read_only(path).expect("it was put there")) else { return };
    let _checked_or_failed = file.check();
    for bucket in file.buckets() {
        let Ok((_, bucket)) = bucket else { return };
        for entry in bucket.entries() {
            if entry.is_err() {
                break;
            }
        }
    }
}

fn bolt_files() -> Vec<Vec<u8>> {
    let backend = MemoryBackend::new();
    let mut batch = Batch::new();
    for number in 0..40u8 {
        batch.put(Table::Key, vec![number; 17], vec![number; usize::from(number) * 20]);
        batch.put(Table::Lease, vec![number; 8], vec![number]);
    }
    backend.commit(&batch, Durability::Synced).expect("memory takes everything");
    let view = backend.view().expect("memory shows everything");
    let size = PageSize::new(1_024).expect("a size of pages");
    let layout = plan_tables(&view, size).expect("a small file");
    let mut file = Vec::new();
    let encoded = encode_tables(&view, layout, 4_096, |piece: Bytes| {
        file.extend_from_slice(&piece);
        std::ops::ControlFlow::Continue(())
    });
    encoded.expect("a vector takes everything");
    vec![file]
}

/// An entry of the log on its way through the checks and into the state.
fn entry(bytes: &[u8]) {
    let data = Bytes::copy_from_slice(bytes);
    let Ok((_, command)) = schema::decode(&data) else { return };
    // The front asks first; a newer leader may have other rules, so what it refuses is applied too.
    let _fit_or_refused = command.check(&Limits::default());
    let backend = MemoryBackend::new();
    let view = backend.view().expect("memory shows everything");
    let mut machine = StateMachine::restore(&view, options()).expect("nothing is a state");
    for (index, data) in (1..).zip([entry_of(&put("a")), entry_of(&put("b")), data.clone(), data]) {
        let _applied_or_unknown = machine.apply(&view, index, 1, &data);
    }
    backend.commit(&machine.take_batch(), Durability::Synced).expect("memory takes everything");
    let view = backend.view().expect("memory shows everything");
    let _restored = StateMachine::restore(&view, options()).expect("what was applied is restored");
}

fn options() -> Options {
    Options { member_id: 7, value_cache_bytes: 0, ..Options::default() }
}

fn put(key: &str) -> Command {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(b"value"));
    Command::Put(Put { key, value, ..Put::default() })
}

fn entry_of(command: &Command) -> Bytes {
    schema::encode(&Header { request_id: 42, ..Header::default() }, command)
}

fn entries() -> Vec<Vec<u8>> {
    use etched_proto::etcdserverpb as pb;
    use prost::Message as _;
    let put = pb::PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
    let range = pb::RangeRequest { key: "a".into(), range_end: "\0".into(), ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv: true };
    let op = |request| pb::RequestOp { request: Some(request) };
    let compare = pb::Compare {
        result: 0,
        target: 1,
        key: "a".into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(2)),
        range_end: Bytes::new(),
    };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(pb::request_op::Request::RequestPut(put.clone()))],
        failure: vec![op(pb::request_op::Request::RequestRange(range.clone()))],
    };
    let header = Some(pb::RequestHeader { id: 5, ..Default::default() });
    let request =
        |request: pb::InternalRaftRequest| pb::InternalRaftRequest { header: header.clone(), ..request };
    [
        pb::InternalRaftRequest { put: Some(put), ..Default::default() },
        pb::InternalRaftRequest { range: Some(range), ..Default::default() },
        pb::InternalRaftRequest { delete_range: Some(delete), ..Default::default() },
        pb::InternalRaftRequest { txn: Some(txn), ..Default::default() },
        pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision: 2, physical: true }),
            ..Default::default()
        },
        pb::InternalRaftRequest {
            lease_grant: Some(pb::LeaseGrantRequest { ttl: 10, id: 7 }),
            ..Default::default()
        },
        pb::InternalRaftRequest {
            lease_revoke: Some(pb::LeaseRevokeRequest { id: 7 }),
            ..Default::default()
        },
        pb::InternalRaftRequest {
            alarm: Some(pb::AlarmRequest { action: 1, member_id: 7, alarm: 1 }),
            ..Default::default()
        },
        pb::InternalRaftRequest {
            auth_role_add: Some(pb::AuthRoleAddRequest { name: "r".into() }),
            ..Default::default()
        },
    ]
    .map(|one| request(one).encode_to_vec())
    .to_vec()
}

/// Records of a backend, each with its table, the lengths of key and value, and these.
fn stored_records(bytes: &[u8]) {
    let backend = MemoryBackend::new();
    let mut batch = Batch::new();
    let mut rest = bytes;
    while let [table, key_len, value_len, after @ ..] = rest {
        let (key_len, value_len) = (usize::from(*key_len), usize::from(*value_len));
        if after.len() < key_len + value_len {
            break;
        }
        let table = Table::ALL[usize::from(*table) % Table::ALL.len()];
        let (key, after) = after.split_at(key_len);
        let (value, after) = after.split_at(value_len);
        batch.put(table, key.to_vec(), value.to_vec());
        rest = after;
    }
    backend.commit(&batch, Durability::Synced).expect("memory takes everything");
    let view = backend.view().expect("memory shows everything");
    let Ok(mut machine) = StateMachine::restore(&view, options()) else { return };
    let (index, term) = machine.applied();
    if index < u64::MAX && machine.revision() < i64::MAX {
        let _applied_or_refused = machine.apply(&view, index + 1, term.max(1), &entry_of(&put("a")));
    }
}

fn records() -> Vec<Vec<u8>> {
    let backend = MemoryBackend::new();
    let view = backend.view().expect("memory shows everything");
    let mut machine = StateMachine::restore(&view, options()).expect("nothing is a state");
    for (index, data) in (1..).zip(entries()) {
        let _applied_or_refused = machine.apply(&view, index, 1, &Bytes::from(data));
    }
    let mut bytes = Vec::new();
    for op in machine.take_batch().iter() {
        let etched_backend::Op::Put { table, key, value } = op else { continue };
        let number = Table::ALL.iter().position(|known| known == table).expect("all tables are listed");
        let lengths = [number, key.len(), value.len()].map(|length| u8::try_from(length).unwrap_or(0));
        if usize::from(lengths[2]) == value.len() {
            bytes.extend_from_slice(&lengths);
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
    }
    vec![bytes]
}

fn peer_message(bytes: &[u8]) {
    if let Ok(message) = PeerMessage::decode(&Bytes::copy_from_slice(bytes)) {
        let again = PeerMessage::decode(&message.encode());
        assert!(again.is_ok(), "what was read can be written and read again");
    }
}

fn peer_messages() -> Vec<Vec<u8>> {
    // An append of two entries, a vote, a heartbeat.
    vec![
        b"\x08\x03\x10\x01\x18\x02\x20\x05\x28\x04\x30\x07\x3a\x06\x10\x05\x18\x08\x22\x00\x40\x07".to_vec(),
        b"\x08\x05\x10\x01\x18\x02\x20\x05\x28\x04\x30\x07".to_vec(),
        b"\x08\x08\x10\x01\x18\x02\x20\x05\x40\x07".to_vec(),
    ]
}

/// Key and end, parted by the first byte's number.
fn key_range(bytes: &[u8]) {
    let Some((at, rest)) = bytes.split_first() else { return };
    let (key, end) = rest.split_at(usize::from(*at).min(rest.len()));
    let range = KeyRange::from_wire(Bytes::copy_from_slice(key), Bytes::copy_from_slice(end));
    let (key, end) = range.to_wire();
    assert_eq!(KeyRange::from_wire(key.clone(), end), range);
    let _contains_or_not = range.contains(&key);
}

fn ranges() -> Vec<Vec<u8>> {
    vec![b"\x01a".to_vec(), b"\x01ab".to_vec(), b"\x01a\0".to_vec(), b"\x00\0".to_vec()]
}
