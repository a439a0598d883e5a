//! Loading many records: from memory, and the others from the backend in the order in which it stores them.

use alloc::vec::Vec;
use core::ops::{Bound, ControlFlow};

use bytes::Bytes;
use etched_backend::{BackendError, ReadView, Table};

use crate::Store;
use crate::codec::revision_key;
use crate::entry::Version;

/// Revisions that are at most so far apart are read by one scan.
const GAP_MAX: i64 = 4;

/// Fewer records are read one by one.
const SCANNED_MIN: usize = 8;

/// A record that has to come from the backend, and where it goes.
#[derive(Copy, Clone)]
struct Miss {
    version: Version,
    place: usize,
}

impl Store {
    /// The records of these versions, in the same order.
    pub(crate) fn load_all(
        &self,
        view: &dyn ReadView,
        versions: impl ExactSizeIterator<Item = Version>,
    ) -> Result<Vec<Bytes>, BackendError> {
        let mut records = Vec::with_capacity(versions.len());
        let mut misses = Vec::new();
        for (place, version) in versions.enumerate() {
            match self.cache.get(version.slot, version.revision) {
                Some(record) => records.push(record.clone()),
                None => {
                    misses.push(Miss { version, place });
                    records.push(Bytes::new());
                }
            }
        }
        misses.sort_unstable_by_key(|miss| miss.version.revision);
        for run in misses.chunk_by(|a, b| b.version.revision.main - a.version.revision.main <= GAP_MAX) {
            load_run(view, run, &mut records)?;
        }
        Ok(records)
    }
}

/// Loads records whose revisions are close to each other.
fn load_run(view: &dyn ReadView, run: &[Miss], records: &mut [Bytes]) -> Result<(), BackendError> {
    let scanned = if run.len() < SCANNED_MIN { 0 } else { scan_run(view, run, records)? };
    for miss in &run[scanned..] {
        let key = revision_key(miss.version.revision.main, miss.version.revision.sub);
        records[miss.place] = view.get(Table::Key, &key)?.ok_or_else(|| miss.version.missing())?;
    }
    Ok(())
}

/// Scans over a run until it is loaded, or until too much lies between; says how many records were loaded.
fn scan_run(view: &dyn ReadView, run: &[Miss], records: &mut [Bytes]) -> Result<usize, BackendError> {
    let key_of = |miss: &Miss| revision_key(miss.version.revision.main, miss.version.revision.sub);
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
    let (first, last) = (key_of(first), key_of(last));
    let mut sought = first;
    let mut loaded = 0;
    let mut passed = 0;
    view.scan(Table::Key, (Bound::Included(&first), Bound::Included(&last)), &mut |key, value| {
        if key == sought {
            records[run[loaded].place] = Bytes::copy_from_slice(value);
            loaded += 1;
            match run.get(loaded) {
                Some(miss) => sought = key_of(miss),
                None => return ControlFlow::Break(()),
            }
        } else {
            passed += 1;
            if passed > run.len() * 4 || key > &sought[..] {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(loaded)
}
