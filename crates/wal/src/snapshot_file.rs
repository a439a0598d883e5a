//! Snapshot files: `%016x-%016x.snap` (term, index), etcd's `snappb.snapshot` around a `raftpb.Snapshot`.
//!
//! A file comes into being whole (written under another name, synced, renamed) and is checked when read. A damaged
//! one gets the name `.broken`, and the next older one is used. `docs/formats/snapshot-file.md` draws the bytes.

use crate::SnapshotRecord;
use crate::error::WalError;
use crate::message::{self, RaftSnapshot};
use crate::segment::parse_hex;
use bytes::Bytes;
use etched_disk::{DirEntryKind, Disk};
use std::path::{Path, PathBuf};

/// How many files etcd keeps.
pub const FILES_KEPT: usize = 5;

/// No larger file is read.
const FILE_BYTES_MAX: u64 = 1 << 31;

/// What a snapshot file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The last entry that it stands for.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members at that point, as an encoded `raftpb.ConfState`.
    pub conf_state: Bytes,
    /// The content; etcd puts its v2 tree there.
    pub data: Bytes,
}

fn file_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// Term and index of a file name; ordered by age.
fn parse_file_name(name: &str) -> Option<(u64, u64)> {
    let (term, index) = name.strip_suffix(".snap")?.split_once('-')?;
    Some((parse_hex(term)?, parse_hex(index)?))
}

/// Writes a snapshot file, whole and durably, and returns its path. Write the log's snapshot record after it.
///
/// # Errors
/// What the disk answers; there is no such file then, or the one that was there before.
pub fn write(disk: &dyn Disk, dir: &Path, snapshot: &SnapshotFile) -> Result<PathBuf, WalError> {
    let message = message::encode_raft_snapshot(&RaftSnapshot {
        data: &snapshot.data,
        conf_state: &snapshot.conf_state,
        index: snapshot.index,
        term: snapshot.term,
    });
    let path = dir.join(file_name(snapshot.term, snapshot.index));
    etched_disk::replace(disk, &path, &message::encode_checked(&message))?;
    Ok(path)
}

/// Term and index of the files that there are, newest first.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(u64, u64)>, WalError> {
    let entries = disk.list(dir)?;
    let files = entries.iter().filter(|entry| entry.kind == DirEntryKind::File);
    let mut found: Vec<_> = files.filter_map(|entry| parse_file_name(&entry.name)).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The newest sound snapshot file of those that the log has a record of ([`crate::Wal::snapshots`]); `None` if
/// there is none. Damaged files that it meets are renamed to `.broken`.
///
/// # Errors
/// What the disk answers.
pub fn newest_valid(
    disk: &dyn Disk,
    dir: &Path,
    recorded: &[SnapshotRecord],
) -> Result<Option<SnapshotFile>, WalError> {
    for (term, index) in list(disk, dir)? {
        if !recorded.iter().any(|record| (record.term, record.index) == (term, index)) {
            continue;
        }
        let path = dir.join(file_name(term, index));
        match read(disk, &path)? {
            Some(snapshot) if (snapshot.term, snapshot.index) == (term, index) => return Ok(Some(snapshot)),
            Some(_) | None => {
                disk.rename(&path, &dir.join(format!("{}.broken", file_name(term, index))))?;
                disk.sync_dir(dir)?;
            }
        }
    }
    Ok(None)
}

/// Reads one snapshot file; `None` if it is damaged.
///
/// # Errors
/// What the disk answers.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<SnapshotFile>, WalError> {
    if disk.open_read_only(path)?.len()? > FILE_BYTES_MAX {
        return Ok(None);
    }
    let bytes = etched_disk::read(disk, path)?;
    let snapshot = message::decode_checked(&bytes).and_then(message::decode_raft_snapshot);
    Ok(snapshot.map(|snapshot| SnapshotFile {
        index: snapshot.index,
        term: snapshot.term,
        conf_state: Bytes::copy_from_slice(snapshot.conf_state),
        data: Bytes::copy_from_slice(snapshot.data),
    }))
}

/// Removes all snapshot files but the newest `keep`, oldest first. Returns how many went.
///
/// # Errors
/// What the disk answers.
pub fn purge(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<usize, WalError> {
    let surplus: Vec<_> = list(disk, dir)?.into_iter().skip(keep).collect();
    for (term, index) in surplus.iter().rev() {
        disk.remove(&dir.join(file_name(*term, *index)))?;
    }
    if !surplus.is_empty() {
        disk.sync_dir(dir)?;
    }
    Ok(surplus.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etched_disk::{Faults, SimDisk};

    const DIR: &str = "/snap";

    fn snapshot(term: u64, index: u64) -> SnapshotFile {
        let conf_state = Bytes::from_static(&[0x08, 7]);
        SnapshotFile { index, term, conf_state, data: Bytes::from(format!("at {index}")) }
    }

    fn disk_with(snapshots: &[SnapshotFile]) -> SimDisk {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new(DIR)).unwrap();
        for snapshot in snapshots {
            write(&disk, Path::new(DIR), snapshot).unwrap();
        }
        disk
    }

    fn records(snapshots: &[SnapshotFile]) -> Vec<SnapshotRecord> {
        let record =
            |file: &SnapshotFile| SnapshotRecord { index: file.index, term: file.term, conf_state: None };
        snapshots.iter().map(record).collect()
    }

    fn names(disk: &SimDisk) -> Vec<String> {
        disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn the_newest_file_with_a_record_is_found() {
        let files = [snapshot(2, 9), snapshot(2, 20), snapshot(3, 15)];
        let disk = disk_with(&files);
        let newest = |records: &[SnapshotRecord]| newest_valid(&disk, Path::new(DIR), records).unwrap();
        assert_eq!(newest(&records(&files)), Some(files[2].clone()));
        assert_eq!(newest(&records(&files[..2])), Some(files[1].clone()));
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn every_damaged_byte_makes_the_older_file_be_used() {
        let files = [snapshot(1, 5), snapshot(2, 9)];
        let path = Path::new(DIR).join(file_name(2, 9));
        let len = disk_with(&files).contents(&path).unwrap().len() as u64;
        for offset in 0..len {
            for mask in [0x01, 0x80, 0xff] {
                let disk = disk_with(&files);
                disk.flip_bits(&path, offset, mask);
                let newest = newest_valid(&disk, Path::new(DIR), &records(&files)).unwrap();
                assert_eq!(newest, Some(files[0].clone()), "byte {offset} mask {mask:x}");
                assert!(
                    names(&disk).iter().any(|name| name == "0000000000000002-0000000000000009.snap.broken")
                );
            }
        }
        for len in 0..len {
            let disk = disk_with(&files);
            disk.truncate(&path, len);
            assert_eq!(
                newest_valid(&disk, Path::new(DIR), &records(&files)).unwrap(),
                Some(files[0].clone())
            );
        }
    }

    #[test]
    fn a_crash_leaves_the_whole_file_or_none() {
        for operation in 1.. {
            let disk = disk_with(&[snapshot(1, 5)]);
            disk.set_faults(Faults { crash_at: Some(operation), ..Faults::default() });
            let written = write(&disk, Path::new(DIR), &snapshot(1, 6));
            if !disk.is_crashed() {
                break;
            }
            assert!(written.is_err());
            for seed in 0..20 {
                let after = disk.crash_image(seed);
                let both = records(&[snapshot(1, 5), snapshot(1, 6)]);
                let newest = newest_valid(&after, Path::new(DIR), &both).unwrap().unwrap();
                assert!(newest == snapshot(1, 5) || newest == snapshot(1, 6));
                assert!(!names(&after).iter().any(|name| name.ends_with(".broken")));
            }
        }
    }

    #[test]
    fn only_the_newest_files_are_kept() {
        let files: Vec<_> = (1..=8).map(|index| snapshot(1, index * 10)).collect();
        let disk = disk_with(&files);
        disk.put_contents(&Path::new(DIR).join("db"), b"not ours");
        assert_eq!(purge(&disk, Path::new(DIR), FILES_KEPT).unwrap(), 3);
        assert_eq!(names(&disk).len(), FILES_KEPT + 1);
        assert_eq!(purge(&disk, Path::new(DIR), FILES_KEPT).unwrap(), 0);
        assert!(newest_valid(&disk, Path::new(DIR), &records(&files[3..4])).unwrap().is_some());
    }
}
