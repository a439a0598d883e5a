//! Files made by etcd (`tests/golden/README.md`) are read, and what this crate writes stays as it is.

use crate::model::{METADATA, entry, state};
use crate::scripts::{dir, filled, snapshot};
use etched_disk::SimDisk;
use etched_wal::{Damage, SnapshotRecord, Wal, WalError, WalOptions, snapshot_file};
use std::path::Path;
use std::sync::Arc;

const FIRST: &str = "0000000000000000-0000000000000000.wal";
const SECOND: &str = "0000000000000001-0000000000000008.wal";
const SNAPSHOT: &str = "0000000000000002-0000000000000006.snap";

fn library_log() -> (SimDisk, WalOptions) {
    let disk = SimDisk::new(1);
    let first = include_bytes!("../golden/library/0000000000000000-0000000000000000.wal");
    let second = include_bytes!("../golden/library/0000000000000001-0000000000000008.wal");
    disk.put_contents(&dir().join(FIRST), first);
    disk.put_contents(&dir().join(SECOND), second);
    (disk, WalOptions { segment_bytes: 2048 })
}

fn server_log() -> (SimDisk, WalOptions) {
    let disk = SimDisk::new(1);
    let mut bytes = include_bytes!("../golden/server/0000000000000000-0000000000000000.wal").to_vec();
    bytes.resize(8192, 0);
    disk.put_contents(&dir().join(FIRST), &bytes);
    (disk, WalOptions { segment_bytes: 8192 })
}

#[test]
fn a_log_of_etcds_library_is_read() {
    for from in [SnapshotRecord::default(), snapshot(6, 2)] {
        let (disk, options) = library_log();
        let (_wal, recovered) = Wal::open(Arc::new(disk), dir(), &from, options).unwrap();
        assert_eq!((&recovered.metadata[..], recovered.hard_state), (METADATA, state(3, 0, 10)));
        assert_eq!(recovered.torn_tail, None);
        let entries = &recovered.entries;
        assert_eq!(entries.len() as u64, 12 - from.index);
        for entry in &entries[..entries.len() - 2] {
            let byte = b'a' + u8::try_from(entry.index).unwrap();
            assert_eq!((entry.term, entry.kind, &entry.data[..]), (2, 0, &[byte; 300][..]));
        }
        let [replaced, change] = &entries[entries.len() - 2..] else { panic!("two entries") };
        assert_eq!(*replaced, entry(3, 11, ""));
        assert_eq!((change.term, change.index, change.kind, &change.data[..]), (3, 12, 1, &[0x08, 1][..]));
    }
    let (disk, _) = library_log();
    assert_eq!(Wal::snapshots(&disk, dir()).unwrap(), [SnapshotRecord::default(), snapshot(6, 2)]);
}

#[test]
fn a_log_of_the_real_server_is_read_and_gone_on_with() {
    let (disk, options) = server_log();
    let snapshots = Wal::snapshots(&disk, dir()).unwrap();
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.index).collect::<Vec<_>>(), [0, 6, 12]);
    let from = SnapshotRecord::default();
    let (mut wal, recovered) = Wal::open(Arc::new(disk.clone()), dir(), &from, options).unwrap();
    assert_eq!(recovered.hard_state, state(2, 1_485_618_710_878_313_253, 12));
    assert_eq!(recovered.entries.len(), 12);
    assert_eq!((recovered.entries[0].kind, recovered.entries[0].term), (1, 1));
    assert_eq!(recovered.entries[1], entry(2, 2, ""));
    assert!(recovered.entries[4].data.windows(6).any(|bytes| bytes == b"value1"));
    for index in 13..60 {
        wal.append(&[entry(2, index, filled(200, 1))], None);
        wal.sync().unwrap();
    }
    drop(wal);
    let (_wal, recovered) = Wal::open(Arc::new(disk), dir(), &snapshots[2], options).unwrap();
    assert_eq!(recovered.entries.len(), 47);
}

#[test]
fn every_flipped_byte_in_a_log_of_etcds_is_harmless_or_noticed() {
    let (disk, options) = library_log();
    let from = SnapshotRecord::default();
    let open = |disk: &SimDisk| Wal::open(Arc::new(disk.clone()), dir(), &from, options);
    let (_wal, expected) = open(&disk).unwrap();
    for (name, len) in [(FIRST, 2584), (SECOND, 2048)] {
        for offset in 0..len {
            for mask in [0x01, 0x10, 0x80, 0xff] {
                let (disk, _) = library_log();
                disk.flip_bits(&dir().join(name), offset, mask);
                match open(&disk) {
                    Ok((_wal, found)) => {
                        let same =
                            (&found.entries, found.hard_state) == (&expected.entries, expected.hard_state);
                        assert!(same, "{name} byte {offset} mask {mask:x}: {:?}", found.torn_tail);
                    }
                    Err(WalError::Damaged { .. } | WalError::SnapshotNotFound { .. }) => {}
                    Err(error) => panic!("{name} byte {offset} mask {mask:x}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_segment_that_etcd_has_repaired_may_be_short() {
    let (disk, options) = library_log();
    disk.truncate(&dir().join(SECOND), 1880);
    let open = |disk: &SimDisk| Wal::open(Arc::new(disk.clone()), dir(), &SnapshotRecord::default(), options);
    let short = open(&disk).unwrap_err();
    assert!(matches!(short, WalError::Damaged { why: Damage::Short { len: 1880, least: 2048 }, .. }));
    disk.put_contents(&dir().join(format!("{SECOND}.broken")), b"as it was");
    assert!(open(&disk).is_ok());
}

#[test]
fn a_snapshot_file_of_etcds_is_read_and_written_to_the_byte() {
    let bytes = include_bytes!("../golden/server/0000000000000002-0000000000000006.snap");
    let disk = SimDisk::new(1);
    let path = dir().join(SNAPSHOT);
    disk.put_contents(&path, bytes);
    let snapshot = snapshot_file::read(&disk, &path).unwrap().unwrap();
    assert_eq!((snapshot.term, snapshot.index), (2, 6));
    assert!(snapshot.data.starts_with(b"{\"Root\":"));
    let again = snapshot_file::write(&disk, dir(), &snapshot).unwrap();
    assert_eq!(again, path);
    assert_eq!(disk.contents(&path).unwrap(), bytes);
}

#[test]
fn the_head_of_a_new_log_is_etcds_to_the_byte() {
    let disk = SimDisk::new(1);
    Wal::create(Arc::new(disk.clone()), dir(), METADATA, WalOptions { segment_bytes: 2048 }).unwrap();
    let ours = disk.contents(&dir().join(FIRST)).unwrap();
    let etcds = include_bytes!("../golden/library/0000000000000000-0000000000000000.wal");
    assert_eq!(ours[..64], etcds[..64]);
}

/// The bytes of one batch, written out. If this fails, logs on disks no longer are what `docs/formats/wal.md` says.
#[test]
fn a_batch_is_a_crc_record_its_records_and_a_fill() {
    let disk = SimDisk::new(1);
    let path = Path::new("/other");
    let mut wal =
        Wal::create(Arc::new(disk.clone()), path, METADATA, WalOptions { segment_bytes: 2048 }).unwrap();
    wal.append(&[entry(1, 1, "abc")], Some(&state(1, 7, 0)));
    wal.sync().unwrap();
    let bytes = disk.contents(&path.join(FIRST)).unwrap();
    let batch = &bytes[512..1024];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // crc record
    assert_eq!(hex(&batch[..16]), "080000000000000008041099cffffd0d");
    // entry: 19 bytes of record, 5 of padding
    assert_eq!(hex(&batch[16..24]), "1300000000000085");
    assert_eq!(hex(&batch[24..27]), "080210");
    assert_eq!(hex(&batch[32..43]), "1a09100118012203616263");
    // state
    assert_eq!(hex(&batch[48..51]), "100000");
    assert_eq!(hex(&batch[64..72]), "1a06080110071800");
    // fill: the checksum of all before it, and zeros
    assert_eq!(hex(&batch[72..80]), "b001000000000000");
    assert_eq!(hex(&batch[80..83]), "080410");
    assert_eq!(hex(&batch[88..91]), "1aa503");
    assert!(batch[91..].iter().all(|byte| *byte == 0));
}
