//! Looks for reasons why a data directory of etcd cannot be taken over; changes nothing.

use std::path::Path;

use etched_bolt::{BoltFile, FileView};
use etched_disk::Disk;
use etched_replica::raft::EntryKind;
use etched_state_machine::schema::{self, DecodeError};
use etched_state_machine::stored::{self, Standing};
use etched_state_machine::{ConfState, Version};
use etched_wal::snapshot_file;
use etched_wal::{Entry, SnapshotRecord, Wal, WalOptions};

use super::AdoptError;
use crate::log;
use crate::member::storage::{self, Paths};

/// The versions of databases that are known. The cluster's, which has to do up to 3.5, is 3.0 while some member of it
/// was never heard of.
const VERSION_MIN: Version = Version::new(3, 0, 0);
const VERSION_NEXT: Version = Version::new(3, 8, 0);

/// What is to be taken over.
pub(super) struct Found {
    /// The database with the newest state.
    pub(super) database: BoltFile,
    /// The last entry that it holds, and its term.
    pub(super) index: u64,
    pub(super) term: u64,
    /// Who takes part after that.
    pub(super) conf_state: ConfState,
    /// The index of the log's newest snapshot, and of its last entry.
    pub(super) log_start: u64,
    pub(super) log_end: u64,
}

pub(super) fn examine(
    disk: &dyn Disk,
    paths: &Paths,
    database: BoltFile,
    log: WalOptions,
) -> Result<Found, AdoptError> {
    let from = storage::newest_snapshot(disk, paths)?;
    let (database, standing) = choose(disk, paths, database, from.index)?;
    check_version(&standing)?;
    check_snapshot(disk, paths)?;
    let log = etched_wal::read(disk, &paths.wal, &from, log)?;
    let log_end = log.entries.last().map_or(from.index, |entry| entry.index);
    if standing.index > log_end {
        return Err(AdoptError::LogTooShort { log_end, applied: standing.index });
    }
    let conf_state = check_entries(&log.entries, &from, &standing)?;
    let at_index = log.entries.iter().find(|entry| entry.index == standing.index);
    let term = at_index.map_or(from.term, |entry| entry.term);
    Ok(Found { database, index: standing.index, term, conf_state, log_start: from.index, log_end })
}

/// The database that holds the log's snapshot: the one in use, or one that etcd received and had no time to use.
fn choose(
    disk: &dyn Disk,
    paths: &Paths,
    in_use: BoltFile,
    log_start: u64,
) -> Result<(BoltFile, Standing), AdoptError> {
    let (in_use, standing) = check(&paths.db, in_use)?;
    if standing.index >= log_start {
        return Ok((in_use, standing));
    }
    let path = paths.snap.join(format!("{log_start:016x}.snap.db"));
    let gap = AdoptError::Gap { log_start, applied: standing.index, database: path.clone() };
    if !disk.exists(&path)? {
        return Err(gap);
    }
    log!(Info, "going on with a database that etcd has received", "path" => path.display().to_string());
    let (received, standing) = check(&path, BoltFile::open(disk.open_read_only(&path)?)?)?;
    if standing.index < log_start { Err(gap) } else { Ok((received, standing)) }
}

/// Looks at all pages of a database, and at where it stands in the log.
fn check(path: &Path, file: BoltFile) -> Result<(BoltFile, Standing), AdoptError> {
    check_pages(path, &file)?;
    let view = FileView::new(file);
    let standing = Standing::read(&view)?;
    Ok((view.file().clone(), standing))
}

fn check_version(standing: &Standing) -> Result<(), AdoptError> {
    // Up to 3.5 the cluster's version is all that there is.
    let version = standing.storage_version.or(standing.cluster_version);
    match version {
        Some(version) if !(VERSION_MIN..VERSION_NEXT).contains(&version) => Err(AdoptError::Version(version)),
        Some(_) | None => Ok(()),
    }
}

fn check_pages(path: &Path, database: &BoltFile) -> Result<(), AdoptError> {
    let report = database.check()?;
    let Some(first) = report.findings.first() else { return Ok(()) };
    Err(AdoptError::Damaged {
        path: path.to_owned(),
        count: report.findings.len() as u64 + report.findings_left_out,
        page: first.page.0,
        problem: first.problem.to_string(),
    })
}

/// The data of the log's snapshot is the v2 store.
fn check_snapshot(disk: &dyn Disk, paths: &Paths) -> Result<(), AdoptError> {
    let records = Wal::snapshots(disk, &paths.wal)?;
    let Some(file) = snapshot_file::newest_valid(disk, &paths.snap, &records)? else { return Ok(()) };
    if file.data.is_empty() {
        return Ok(());
    }
    match stored::has_v2_keys(&file.data) {
        Some(false) => Ok(()),
        Some(true) => Err(AdoptError::V2Keys("in the snapshot of the log")),
        None => Err(AdoptError::SnapshotData(file.index)),
    }
}

/// Returns who takes part at the place of the database in the log.
fn check_entries(
    entries: &[Entry],
    from: &SnapshotRecord,
    standing: &Standing,
) -> Result<ConfState, AdoptError> {
    let of_snapshot = from.conf_state.as_ref().and_then(ConfState::decode);
    let mut conf_state = of_snapshot.unwrap_or_default();
    for entry in entries {
        let (index, is_applied) = (entry.index, entry.index <= standing.index);
        match EntryKind::from_number(entry.kind) {
            Some(EntryKind::Normal) if entry.data.is_empty() => {}
            Some(EntryKind::Normal) => match schema::decode(&entry.data) {
                Ok(_) => {}
                Err(DecodeError::V2Write) => return Err(AdoptError::V2Keys("in the entries of the log")),
                // It is known to nobody any more, and was applied.
                Err(_) if is_applied => {}
                Err(why) => return Err(AdoptError::Entry { index, why }),
            },
            Some(EntryKind::ConfChange) if is_applied => {
                stored::take_part(&mut conf_state, &entry.data).map_err(|_| AdoptError::Change(index))?;
            }
            // etcd writes none of the second kind; where the database says who takes part, nothing depends on it.
            Some(EntryKind::ConfChangeV2) if is_applied && standing.conf_state.voters.is_empty() => {
                return Err(AdoptError::Change(index));
            }
            Some(EntryKind::ConfChange | EntryKind::ConfChangeV2) => {}
            None => return Err(AdoptError::Change(index)),
        }
    }
    Ok(conf_state)
}
