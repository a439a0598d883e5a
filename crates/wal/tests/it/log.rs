//! Plain use: what is appended comes back, wherever the log is read from.

use crate::model::{METADATA, Model, Record, content, entry, state};
use crate::scripts::{dir, filled, snapshot};
use bytes::Bytes;
use etched_disk::{Disk, Faults, RealDisk, SimDisk};
use etched_wal::{DirectoryUse, HardState, SnapshotRecord, Wal, WalError, WalOptions, inspect, verify};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: WalOptions = WalOptions { segment_bytes: 4096 };

fn create(disk: &SimDisk) -> Wal {
    Wal::create(Arc::new(disk.clone()), dir(), METADATA, OPTIONS).unwrap()
}

fn open(disk: &SimDisk, from: &SnapshotRecord) -> Result<(Wal, etched_wal::Recovered), WalError> {
    Wal::open(Arc::new(disk.clone()), dir(), from, OPTIONS)
}

#[test]
fn a_new_log_is_empty_and_knows_whose_it_is() {
    let disk = SimDisk::new(1);
    create(&disk).close().unwrap();
    let (wal, recovered) = open(&disk.synced_image(), &SnapshotRecord::default()).unwrap();
    assert_eq!(recovered.metadata, METADATA);
    assert_eq!(content(&recovered), (HardState::default(), vec![]));
    assert_eq!((recovered.torn_tail, recovered.foreign), (None, vec![]));
    assert_eq!((wal.last_index(), wal.segments_count(), wal.size_bytes()), (0, 1, 4096));
}

#[test]
fn a_directory_has_one_writer_and_one_log() {
    let disk = SimDisk::new(1);
    let wal = create(&disk);
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::InUse { .. })));
    assert_eq!(inspect(&disk, dir()).unwrap().directory_use, DirectoryUse::InUse);
    drop(wal);
    let again = Wal::create(Arc::new(disk.clone()), dir(), METADATA, OPTIONS);
    assert!(matches!(again, Err(WalError::AlreadyExists { .. })));
    assert!(open(&disk, &SnapshotRecord::default()).is_ok());
}

#[test]
fn an_inspection_tells_missing_empty_foreign_and_log_apart() {
    let disk = SimDisk::new(1);
    let used = || inspect(&disk, dir()).unwrap().directory_use;
    assert_eq!(used(), DirectoryUse::Missing);
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::Missing { .. })));
    disk.create_dir(dir()).unwrap();
    assert_eq!(used(), DirectoryUse::Empty);
    disk.put_contents(&dir().join("0.tmp"), b"half a segment");
    assert_eq!(used(), DirectoryUse::Empty);
    disk.put_contents(&dir().join("notes.txt"), b"mine");
    assert_eq!(used(), DirectoryUse::Foreign);
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::Missing { .. })));
    create(&disk);
    let inspection = inspect(&disk, dir()).unwrap();
    assert_eq!((inspection.directory_use, inspection.segments.len()), (DirectoryUse::Log, 1));
    assert_eq!(inspection.foreign, ["notes.txt"]);
    let (_wal, recovered) = open(&disk, &SnapshotRecord::default()).unwrap();
    assert_eq!(recovered.foreign, ["notes.txt"]);
    assert_eq!(disk.contents(&dir().join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn what_was_not_synced_is_not_promised() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.append(&[entry(1, 1, "a")], Some(&state(1, 0, 0)));
    wal.sync().unwrap();
    wal.append(&[entry(1, 2, "b")], None);
    assert!(wal.buffered_bytes() > 0);
    let (_wal, recovered) = open(&disk.synced_image(), &SnapshotRecord::default()).unwrap();
    assert_eq!(content(&recovered), (state(1, 0, 0), vec![entry(1, 1, "a")]));
}

#[test]
fn a_sync_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    let before = disk.operations();
    for index in 1..=5 {
        wal.append(&[entry(1, index, filled(50, 1))], Some(&state(1, 0, 0)));
    }
    wal.sync().unwrap();
    assert_eq!(disk.operations() - before, 2);
    wal.sync().unwrap();
    assert_eq!(disk.operations() - before, 2, "nothing to sync costs nothing");
}

#[test]
fn a_log_is_read_from_a_snapshot_it_knows() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    for index in 1..=30 {
        wal.append(&[entry(2, index, filled(400, 3))], Some(&state(2, 1, index)));
        if index % 10 == 0 {
            wal.append_snapshot(&snapshot(index, 2));
        }
        wal.sync().unwrap();
    }
    wal.append_snapshot(&snapshot(40, 2));
    wal.sync().unwrap();
    assert!(wal.segments_count() > 3);
    drop(wal);
    let recorded: Vec<u64> =
        Wal::snapshots(&disk, dir()).unwrap().into_iter().map(|snapshot| snapshot.index).collect();
    assert_eq!(recorded, [0, 10, 20, 30], "the one at 40 is not committed");
    for from in [SnapshotRecord::default(), snapshot(10, 2), snapshot(20, 2), snapshot(30, 2)] {
        let (_wal, recovered) = open(&disk, &from).unwrap();
        let indices: Vec<u64> = recovered.entries.iter().map(|entry| entry.index).collect();
        assert_eq!(indices, (from.index + 1..=30).collect::<Vec<u64>>());
    }
    assert!(matches!(open(&disk, &snapshot(11, 2)), Err(WalError::SnapshotNotFound { index: 11 })));
    assert!(matches!(open(&disk, &snapshot(10, 1)), Err(WalError::SnapshotMismatch { found: 2, .. })));
    assert_eq!(verify(&disk, dir(), OPTIONS).unwrap().snapshots.len(), 5);
}

#[test]
fn entries_after_a_snapshot_from_the_leader_may_leave_a_gap_before_it() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.append(&[entry(1, 1, "old")], Some(&state(1, 0, 1)));
    wal.append_snapshot(&snapshot(500, 3));
    wal.append(&[entry(3, 501, "new")], Some(&state(3, 0, 500)));
    wal.sync().unwrap();
    drop(wal);
    let (wal, recovered) = open(&disk, &snapshot(500, 3)).unwrap();
    assert_eq!(recovered.entries, [entry(3, 501, "new")]);
    assert_eq!(wal.last_index(), 501);
    drop(wal);
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::Damaged { .. })));
}

#[test]
fn released_segments_go_but_the_one_that_is_needed_stays() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    for index in 1..=40 {
        wal.append(&[entry(2, index, filled(400, 3))], Some(&state(2, 1, index)));
        if index == 25 {
            wal.append_snapshot(&snapshot(25, 2));
        }
        wal.sync().unwrap();
    }
    let before = wal.segments_count();
    let released = wal.release(25).unwrap();
    assert!(released > 1);
    assert_eq!(wal.segments_count(), before - released);
    assert_eq!(wal.release(25).unwrap(), 0);
    drop(wal);
    let disk = disk.synced_image();
    let (_wal, recovered) = open(&disk, &snapshot(25, 2)).unwrap();
    assert_eq!(recovered.entries.len(), 15);
    assert_eq!(Wal::snapshots(&disk, dir()).unwrap().len(), 1);
}

#[test]
fn a_spare_is_made_once_and_becomes_the_next_segment() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    assert!(wal.spare_request().is_none(), "too early");
    let mut index = 0;
    let mut fill = |wal: &mut Wal, segments: usize| {
        while wal.segments_count() < segments || !wal.needs_spare() {
            index += 1;
            wal.append(&[entry(1, index, filled(200, 9))], Some(&state(1, 0, index)));
            wal.sync().unwrap();
        }
    };
    fill(&mut wal, 1);
    let request = wal.spare_request().unwrap();
    assert!(wal.spare_request().is_none(), "it is being made");
    drop(request);
    let spare = wal.spare_request().expect("given up, asked again").prepare().unwrap();
    wal.add_spare(spare);
    assert!(!wal.needs_spare());
    fill(&mut wal, 3);
    wal.append_snapshot(&snapshot(wal.last_index(), 1));
    wal.sync().unwrap();
    let from = snapshot(wal.last_index(), 1);
    assert!(wal.release(from.index).unwrap() > 0);
    let spare = wal.spare_request().unwrap().prepare().unwrap();
    wal.add_spare(spare);
    let names = disk.list(dir()).unwrap();
    assert_eq!(names.iter().filter(|name| name.name.ends_with(".tmp")).count(), 1, "the released one");
    let one_more = wal.segments_count() + 1;
    fill(&mut wal, one_more);
    let last = wal.last_index();
    drop(wal);
    let (_wal, recovered) = open(&disk.synced_image(), &from).unwrap();
    assert_eq!(recovered.entries.last().map(|entry| entry.index), Some(last));
}

#[test]
fn a_log_goes_on_where_it_was_left() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    let mut model = Model::default();
    for index in 1..=60 {
        let records = [Record::Entry(entry(1, index, filled(120, 5))), Record::State(state(1, 2, index))];
        wal.append(&[entry(1, index, filled(120, 5))], Some(&state(1, 2, index)));
        wal.sync().unwrap();
        records.iter().for_each(|record| model.apply(record));
        if index % 7 == 0 {
            wal.close().unwrap();
            let (next, recovered) = open(&disk, &SnapshotRecord::default()).unwrap();
            assert_eq!(content(&recovered), model.after(&SnapshotRecord::default()));
            wal = next;
        }
    }
}

#[test]
fn the_real_disk_keeps_a_log_too() {
    let root = tempfile::tempdir().unwrap();
    let (disk, dir): (Arc<dyn Disk>, _) = (Arc::new(RealDisk::new()), root.path().join("member/wal"));
    let options = WalOptions { segment_bytes: 1 << 20 };
    let mut wal = Wal::create(Arc::clone(&disk), &dir, METADATA, options).unwrap();
    for index in 1..=300 {
        wal.append(&[entry(1, index, filled(5_000, 5))], Some(&state(1, 2, index)));
        wal.sync().unwrap();
        if let Some(request) = wal.spare_request() {
            wal.add_spare(request.prepare().unwrap());
        }
    }
    assert!(matches!(
        Wal::open(Arc::clone(&disk), &dir, &SnapshotRecord::default(), options),
        Err(WalError::InUse { .. })
    ));
    wal.close().unwrap();
    let (_wal, recovered) = Wal::open(disk, &dir, &SnapshotRecord::default(), options).unwrap();
    assert_eq!((recovered.entries.len(), recovered.torn_tail), (300, None));
}

#[test]
fn segments_missing_between_others_are_noticed() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    for index in 1..=40 {
        wal.append(&[entry(2, index, filled(400, 3))], Some(&state(2, 1, index)));
        wal.sync().unwrap();
    }
    drop(wal);
    let segments = inspect(&disk, dir()).unwrap().segments;
    assert!(segments.len() >= 4);
    disk.remove(&dir().join(segments[1].to_string())).unwrap();
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::MissingSegment { .. })));
    disk.remove(&dir().join(segments[0].to_string())).unwrap();
    assert!(matches!(open(&disk, &SnapshotRecord::default()), Err(WalError::SnapshotNotFound { .. })));
}

#[test]
fn a_commit_beyond_the_last_entry_is_noticed() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.append(&[entry(1, 1, "a")], Some(&state(1, 0, 9)));
    wal.sync().unwrap();
    drop(wal);
    let error = open(&disk, &SnapshotRecord::default()).unwrap_err();
    assert_eq!(error.to_string(), "the log ends at index 1, but says that 9 is committed");
}

fn any_batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    // (how far back the first entry goes, entries, bytes of each, whether the term grows)
    let batch = (0u64..3, 0usize..5, 0usize..900, any::<bool>());
    prop::collection::vec(batch, 1..25).prop_map(|shapes| {
        let (mut term, mut last) = (1, 0u64);
        let mut batches = Vec::new();
        for (back, count, len, grows) in shapes {
            term += u64::from(grows);
            let first = last.saturating_sub(back) + 1;
            let mut records: Vec<Record> = (first..first + count as u64)
                .map(|index| Record::Entry(entry(term, index, filled(len, 3))))
                .collect();
            if count > 0 {
                last = first + count as u64 - 1;
            }
            records.push(Record::State(state(term, term, 0)));
            batches.push(records);
        }
        batches
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_history_comes_back_as_it_was(batches in any_batches(), segment_bytes in 1024u64..20_000, reopen in 1usize..9) {
        let options = WalOptions { segment_bytes };
        let disk = SimDisk::new(1);
        let mut wal = Wal::create(Arc::new(disk.clone()), dir(), METADATA, options).unwrap();
        let mut model = Model::default();
        for (position, records) in batches.iter().enumerate() {
            for record in records {
                match record {
                    Record::Entry(entry) => wal.append(std::slice::from_ref(entry), None),
                    Record::State(state) => wal.append(&[], Some(state)),
                    Record::Snapshot(snapshot) => wal.append_snapshot(snapshot),
                }
                model.apply(record);
            }
            wal.sync().unwrap();
            if position % reopen == 0 {
                drop(wal);
                let from = SnapshotRecord::default();
                let (next, recovered) = Wal::open(Arc::new(disk.synced_image()), dir(), &from, options).unwrap();
                prop_assert_eq!(content(&recovered), model.after(&from));
                drop(next);
                wal = Wal::open(Arc::new(disk.clone()), dir(), &from, options).unwrap().0;
            }
        }
        wal.close().unwrap();
        let report = verify(&disk, dir(), options).unwrap();
        prop_assert_eq!(report.hard_state, model.state);
        prop_assert_eq!(report.torn_tail, None);
    }

    #[test]
    fn any_bytes_in_a_segment_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), keep in 0usize..120) {
        let disk = SimDisk::new(1);
        create(&disk).close().unwrap();
        let path = dir().join("0000000000000000-0000000000000000.wal");
        let mut image = disk.contents(&path).unwrap();
        let end = (keep + bytes.len()).min(image.len());
        image[keep..end].copy_from_slice(&bytes[..end - keep]);
        disk.put_contents(&path, &image);
        let _ = open(&disk, &SnapshotRecord::default());
    }
}

#[test]
fn the_metadata_come_back_whatever_they_are() {
    for metadata in [Bytes::new(), Bytes::from(filled(3_000, 1))] {
        let disk = SimDisk::new(1);
        let path = Path::new("/elsewhere");
        let mut wal = Wal::create(Arc::new(disk.clone()), path, &metadata, OPTIONS).unwrap();
        for index in 1..=20 {
            wal.append(&[entry(1, index, filled(300, 1))], Some(&state(1, 0, 0)));
            wal.sync().unwrap();
        }
        drop(wal);
        let from = SnapshotRecord::default();
        let (_wal, recovered) = Wal::open(Arc::new(disk), path, &from, OPTIONS).unwrap();
        assert_eq!((recovered.metadata, recovered.entries.len()), (metadata, 20));
    }
}

/// A member follows a leader that fails before its entries 3 and 4 are committed. The next leader commits another
/// entry 3 and more, and sends the member a snapshot of them; what the member had beyond it is not part of that log.
#[test]
fn entries_that_follow_another_entry_than_that_of_a_received_snapshot_are_not_read() {
    let disk = SimDisk::new(1);
    let options = WalOptions { segment_bytes: 1 << 16 };
    let mut wal = Wal::create(Arc::new(disk.clone()), dir(), b"member", options).unwrap();
    let entry =
        |index, term| etched_wal::Entry { term, index, kind: 0, data: format!("{index} of {term}").into() };
    wal.append(
        &[entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)],
        Some(&HardState { term: 1, vote: 0, commit: 2 }),
    );
    wal.sync().unwrap();
    let received = SnapshotRecord { index: 3, term: 5, conf_state: None };
    wal.append_snapshot(&received);
    wal.append(&[], Some(&HardState { term: 5, vote: 0, commit: 3 }));
    wal.sync().unwrap();
    let (_, recovered) =
        Wal::open(Arc::new(disk.synced_image()), dir(), &received, options).expect("the log is sound");
    assert_eq!(recovered.entries, []);

    wal.append(&[entry(4, 5)], None);
    wal.sync().unwrap();
    let (_, recovered) =
        Wal::open(Arc::new(disk.synced_image()), dir(), &received, options).expect("the log is sound");
    assert_eq!(recovered.entries, [entry(4, 5)]);
}

/// A spare that cannot be finished because the disk is full used to keep the space that it had got.
#[test]
fn a_spare_that_does_not_fit_on_the_disk_leaves_nothing_behind() {
    let disk = SimDisk::new(1);
    let mut wal = create(&disk);
    wal.append(&[entry(1, 1, filled(3000, 9))], Some(&state(1, 0, 1)));
    wal.sync().unwrap();
    let request = wal.spare_request().unwrap();
    disk.set_faults(Faults { growth_bytes_max: Some(1000), ..Faults::default() });
    request.prepare().expect_err("the disk is full");
    disk.set_faults(Faults::default());
    let names: Vec<String> = disk.list(dir()).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    wal.spare_request().expect("it is asked for again").prepare().unwrap();
}
