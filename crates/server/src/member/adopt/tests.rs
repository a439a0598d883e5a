//! Directories of etcd that are taken over, and ends of the process in between.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use etched_backend::{Backend as _, Integrity, MemoryBackend, Table};
use etched_bolt::PageSize;
use etched_disk::{Faults, SimDisk};
use etched_replica::raft::EntryKind;
use etched_state_machine::schema::{self};
use etched_state_machine::{
    Command, ConfChangeKind, ConfChangeRecord, ConfState, Header, Options, Put, bootstrap_changes,
};
use etched_wal::snapshot_file::SnapshotFile;
use etched_wal::{Entry, HardState, SnapshotRecord, Wal, snapshot_file};

use super::*;

const LOG: WalOptions = WalOptions { segment_bytes: 8192 };
const PUTS: u64 = 40;
/// The last entry that the database holds, of `PUTS + 1`.
const APPLIED: u64 = 30;

fn paths() -> Paths {
    let member = Path::new("/data/member");
    let snap = member.join("snap");
    Paths { member: member.to_owned(), wal: member.join("wal"), db: snap.join("db"), snap }
}

fn options() -> RedbOptions {
    RedbOptions { cache_bytes: 1 << 20, integrity: Integrity::Everything, ..RedbOptions::default() }
}

fn founder() -> ConfChangeRecord {
    let [founder] = &bootstrap_changes(&[("m1".into(), vec!["http://a:2380".into()])], "token")[..] else {
        panic!("there is one member");
    };
    let (kind, node_id, context) = (ConfChangeKind::AddNode, founder.member_id, founder.context.clone());
    ConfChangeRecord { id: 0, kind, node_id, context }
}

fn conf_state() -> ConfState {
    ConfState { voters: vec![founder().node_id], ..ConfState::default() }
}

fn put(index: u64) -> Bytes {
    let put = Put {
        key: format!("key-{}", index % 7).into(),
        value: format!("value-{index}").into(),
        ..Put::default()
    };
    schema::encode(&Header { request_id: index, ..Header::default() }, &Command::Put(put))
}

fn entries() -> Vec<Entry> {
    let first = Entry { term: 1, index: 1, kind: EntryKind::ConfChange.number(), data: founder().encode() };
    let puts = (2..=PUTS + 1).map(|index| Entry { term: 2, index, kind: 0, data: put(index) });
    [first].into_iter().chain(puts).collect()
}

/// A machine that has applied the entries up to one.
fn applied(until: u64) -> (MemoryBackend, StateMachine) {
    let backend = MemoryBackend::new();
    let view = backend.view().unwrap();
    let mut machine = StateMachine::restore(&view, Options::default()).unwrap();
    machine.apply_conf_change(1, 1, &founder(), conf_state());
    for index in 2..=until {
        machine.apply(&view, index, 2, &put(index)).unwrap().outcome.unwrap();
    }
    let batch = machine.take_batch();
    backend.commit(&batch, Durability::Buffered).unwrap();
    (backend, machine)
}

/// The bytes of the database that etcd would have after that.
fn database(backend: &MemoryBackend) -> Vec<u8> {
    let view = backend.view().unwrap();
    let mut bytes = Vec::new();
    let layout = etched_bolt::plan_tables(&view, PageSize::USUAL).unwrap();
    etched_bolt::encode_tables(&view, layout, 64 << 10, |chunk| {
        bytes.extend_from_slice(&chunk);
        ControlFlow::Continue(())
    })
    .unwrap();
    bytes
}

/// A directory as etcd leaves it.
fn directory(database: &[u8], entries: &[Entry]) -> SimDisk {
    let (disk, paths) = (SimDisk::new(1), paths());
    disk.create_dir(&paths.snap).unwrap();
    let mut wal = Wal::create(Arc::new(disk.clone()), &paths.wal, b"metadata", LOG).unwrap();
    wal.append(entries, Some(&HardState { term: 2, vote: 0, commit: 20 }));
    wal.close().unwrap();
    disk.put_contents(&paths.db, database);
    disk
}

fn whole_directory() -> SimDisk {
    directory(&database(&applied(APPLIED).0), &entries())
}

fn assert_taken_over(disk: &SimDisk, original: &SimDisk) {
    let paths = paths();
    let backend = RedbBackend::open(disk, &paths.db, options()).unwrap();
    let view = backend.view().unwrap();
    let machine = StateMachine::restore(&view, Options::default()).unwrap();
    let (expected_backend, expected) = applied(APPLIED);
    assert_eq!(machine.applied(), (APPLIED, 2));
    assert_eq!((machine.revision(), machine.members()), (expected.revision(), expected.members()));
    assert_eq!(machine.conf_state(), expected.conf_state());
    let count = |view: &dyn etched_backend::ReadView| view.count(Table::Key).unwrap();
    assert_eq!(count(&view), count(&expected_backend.view().unwrap()));
    assert_eq!(disk.contents(&paths.snap.join("db.etcd")), original.contents(&paths.db), "it is kept");
    for segment in etched_wal::inspect(original, &paths.wal).unwrap().segments {
        let name = segment.to_string();
        let before = original.contents(&paths.wal.join(&name));
        assert_eq!(disk.contents(&paths.wal.join(&name)), before, "the log goes on as it is");
        assert_eq!(disk.contents(&paths.member.join("etcd/wal").join(&name)), before, "the log is kept");
    }
    let names: Vec<_> = disk.list(&paths.snap).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["db", "db.etcd"]);
}

#[test]
fn a_directory_of_etcd_is_taken_over_and_kept() {
    let disk = whole_directory();
    let original = disk.killed_image();
    adopt(&disk, &paths(), options(), LOG).unwrap();
    assert_taken_over(&disk, &original);
    // The next start finds nothing to do.
    adopt(&disk, &paths(), options(), LOG).unwrap();
    assert_taken_over(&disk, &original);
}

#[test]
fn a_crash_at_any_moment_is_made_good_by_the_next_start() {
    let original = whole_directory();
    for crash_at in 1.. {
        let disk = original.killed_image();
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        let done = adopt(&disk, &paths(), options(), LOG).is_ok();
        if done && !disk.is_crashed() {
            assert!(crash_at > 30, "{crash_at} steps are not all");
            return;
        }
        for (how, image) in [
            ("the process died", disk.killed_image()),
            ("power was lost", disk.crash_image(crash_at)),
            ("power was lost", disk.synced_image()),
        ] {
            let again = adopt(&image, &paths(), options(), LOG);
            again.unwrap_or_else(|error| panic!("{how} at step {crash_at}: {error}"));
            assert_taken_over(&image, &original);
        }
    }
}

/// Somebody went back to the etcd before, wrote with it, and came again.
#[test]
fn a_second_time_takes_over_anew_and_keeps_both() {
    let disk = whole_directory();
    let paths = paths();
    adopt(&disk, &paths, options(), LOG).unwrap();
    disk.put_contents(&paths.db, &database(&applied(APPLIED + 3).0));
    adopt(&disk, &paths, options(), LOG).unwrap();
    let backend = RedbBackend::open(&disk, &paths.db, options()).unwrap();
    let machine = StateMachine::restore(&backend.view().unwrap(), Options::default()).unwrap();
    assert_eq!(machine.applied().0, APPLIED + 3);
    assert!(
        disk.exists(&paths.snap.join("db.etcd")).unwrap()
            && disk.exists(&paths.snap.join("db.etcd.1")).unwrap()
    );
    assert!(disk.exists(&paths.member.join("etcd.1/wal")).unwrap());
}

#[test]
fn a_database_that_etcd_received_and_did_not_use_is_the_one_to_go_on_with() {
    let (old, new) = (database(&applied(5).0), database(&applied(APPLIED).0));
    let (disk, paths) = (directory(&old, &entries()), paths());
    let record = SnapshotRecord { index: 20, term: 2, conf_state: Some(conf_state().encode()) };
    let (mut wal, _) =
        Wal::open(Arc::new(disk.clone()), &paths.wal, &SnapshotRecord::default(), LOG).unwrap();
    wal.append_snapshot(&record);
    wal.close().unwrap();
    let error = adopt(&disk, &paths, options(), LOG).unwrap_err();
    assert!(matches!(error, AdoptError::Gap { log_start: 20, applied: 5, .. }), "{error}");

    disk.put_contents(&paths.snap.join("0000000000000014.snap.db"), &new);
    adopt(&disk, &paths, options(), LOG).unwrap();
    let backend = RedbBackend::open(&disk, &paths.db, options()).unwrap();
    let machine = StateMachine::restore(&backend.view().unwrap(), Options::default()).unwrap();
    assert_eq!(machine.applied().0, APPLIED);
    assert_eq!(disk.contents(&paths.snap.join("db.etcd")), Some(old));
    assert_eq!(disk.contents(&paths.snap.join("0000000000000014.snap.db.etcd")), Some(new));
}

/// What etcd up to 3.4 stored: neither a term nor who takes part.
#[test]
fn what_old_versions_did_not_store_is_taken_from_the_log() {
    let (backend, _) = applied(APPLIED);
    let mut batch = etched_backend::Batch::new();
    batch.delete(Table::Meta, "term");
    batch.delete(Table::Meta, "confState");
    // A member that left long ago, and that the database still has.
    batch.put(Table::Members, "7b", r#"{"id":123,"peerURLs":["http://gone:2380"],"name":"gone"}"#);
    backend.commit(&batch, Durability::Buffered).unwrap();
    let disk = directory(&database(&backend), &entries());
    let original = disk.killed_image();
    adopt(&disk, &paths(), options(), LOG).unwrap();
    assert_taken_over(&disk, &original);
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn assert_refused(disk: &SimDisk, what: &str) {
    let files = |disk: &SimDisk| {
        let (paths, mut found) = (paths(), Vec::new());
        for dir in [&paths.snap, &paths.wal] {
            for entry in disk.list(dir).unwrap() {
                found.push((entry.name.clone(), disk.contents(&dir.join(&entry.name))));
            }
        }
        found
    };
    let before = files(disk);
    let error = chain(&adopt(disk, &paths(), options(), LOG).unwrap_err());
    assert!(error.contains(what), "{error}");
    assert!(files(disk) == before, "{what}: something was changed");
}

#[test]
fn what_cannot_be_taken_over_is_refused_and_left_as_it_is() {
    let (backend, _) = applied(APPLIED);
    let whole = database(&backend);
    let mut torn = whole.clone();
    torn.truncate(torn.len() - 4096);
    assert_refused(&directory(&torn, &entries()), "the file is");
    let mut damaged = whole.clone();
    // The number of a page of the tree.
    let page = damaged.len() - 4096;
    damaged[page] ^= 1;
    assert_refused(&directory(&damaged, &entries()), "is damaged");
    assert_refused(&directory(&whole, &entries()[..20]), "ends at index 20");

    let mut batch = etched_backend::Batch::new();
    batch.put(Table::Meta, "storageVersion", "3.8.0");
    backend.commit(&batch, Durability::Buffered).unwrap();
    assert_refused(&directory(&database(&backend), &entries()), "of version 3.8.0, which is not known");
}

#[test]
fn entries_that_nobody_understands_are_refused_if_they_are_still_to_be_applied() {
    let whole = database(&applied(APPLIED).0);
    let mut log = entries();
    let last = log.last_mut().unwrap();
    last.data = Bytes::from_static(&[0xfa, 0x3f, 0]);
    assert_refused(&directory(&whole, &log), "the entry at index 41 of the log of etcd cannot be understood");
}

#[test]
fn keys_of_the_v2_api_are_refused() {
    let whole = database(&applied(APPLIED).0);
    let mut log = entries();
    // PUT /1/a: a request of the v2 API.
    log[10].data = Bytes::from_static(b"\x08\x07\x12\x03PUT\x1a\x04/1/a");
    assert_refused(&directory(&whole, &log), "keys of the v2 API (in the entries of the log)");

    let disk = directory(&whole, &entries());
    let paths = paths();
    let record = SnapshotRecord { index: 20, term: 2, conf_state: Some(conf_state().encode()) };
    let data =
        Bytes::from_static(br#"{"Root":{"Path":"/","Children":{"1":{"Children":{"a":{"Value":"x"}}}}}}"#);
    let file = SnapshotFile { index: 20, term: 2, conf_state: conf_state().encode(), data };
    snapshot_file::write(&disk, &paths.snap, &file).unwrap();
    let (mut wal, _) =
        Wal::open(Arc::new(disk.clone()), &paths.wal, &SnapshotRecord::default(), LOG).unwrap();
    wal.append_snapshot(&record);
    wal.close().unwrap();
    assert_refused(&disk, "keys of the v2 API (in the snapshot of the log)");
}

#[test]
fn a_database_in_use_is_refused() {
    let disk = whole_directory();
    let _etcd = disk.lock(&paths().db).unwrap();
    assert_refused(&disk, "stop etcd first");
}
