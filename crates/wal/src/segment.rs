//! The files of a log: their names, and which of them there are.

use crate::error::WalError;
use etched_disk::{DirEntryKind, Disk};
use std::fmt;
use std::path::Path;

/// The name of a segment: `%016x-%016x.wal`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Counts the segments of a log from 0.
    pub sequence: u64,
    /// The index that the next entry was expected to have when the segment was begun.
    pub index: u64,
}

impl SegmentName {
    /// Reads a file name; `None` if it is not that of a segment. The largest number is none, so that each segment
    /// can have a next one.
    pub fn parse(name: &str) -> Option<Self> {
        let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
        let name = Self { sequence: parse_hex(sequence)?, index: parse_hex(index)? };
        (name.sequence < u64::MAX && name.index < u64::MAX).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

/// Reads exactly sixteen lower-case hexadecimal digits.
pub(crate) fn parse_hex(digits: &str) -> Option<u64> {
    let sound = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if sound { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// What is in the directory of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Oldest first.
    pub(crate) segments: Vec<SegmentName>,
    /// Numbers of the files `N.tmp`: segments to be, of this or an earlier life.
    pub(crate) spares: Vec<u64>,
    /// Copies that etcd makes before it repairs a segment.
    pub(crate) broken: Vec<String>,
    /// All other names.
    pub(crate) foreign: Vec<String>,
}

impl Listing {
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, WalError> {
        let mut listing = Self::default();
        for entry in disk.list(dir)? {
            let is_file = entry.kind == DirEntryKind::File;
            if let (true, Some(segment)) = (is_file, SegmentName::parse(&entry.name)) {
                listing.segments.push(segment);
            } else if let (true, Some(number)) = (is_file, parse_spare_name(&entry.name)) {
                listing.spares.push(number);
            } else if is_file && entry.name.ends_with(".broken") {
                listing.broken.push(entry.name);
            } else {
                listing.foreign.push(entry.name);
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// The segments that hold the log from `index` on: those after the last one whose name is not above it.
    ///
    /// # Errors
    /// If there is none, or one is missing between them.
    pub(crate) fn holding(&self, dir: &Path, index: u64) -> Result<&[SegmentName], WalError> {
        if self.segments.is_empty() {
            return Err(WalError::Missing { dir: dir.to_owned() });
        }
        let first = self.segments.iter().rposition(|segment| segment.index <= index);
        let chosen = &self.segments[first.ok_or(WalError::SnapshotNotFound { index })?..];
        for pair in chosen.windows(2) {
            if pair[0].sequence.checked_add(1) != Some(pair[1].sequence) {
                let (before, after) = (pair[0].to_string(), pair[1].to_string());
                return Err(WalError::MissingSegment { before, after });
            }
        }
        Ok(chosen)
    }
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("{number}.tmp")
}

fn parse_spare_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".tmp")?;
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if sound { digits.parse::<u32>().ok().map(u64::from) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name = SegmentName { sequence: 0x1f, index: u64::MAX - 1 };
        assert_eq!(name.to_string(), "000000000000001f-fffffffffffffffe.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn other_names_are_not_segments() {
        for name in [
            "",
            "0.tmp",
            "1-2.wal",
            "000000000000001F-0000000000000000.wal",
            "x.wal.broken",
            "ffffffffffffffff-0000000000000000.wal",
        ] {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
        assert_eq!(parse_spare_name("17.tmp"), Some(17));
        for name in ["", ".tmp", "a.tmp", "-1.tmp", "99999999999999999999.tmp"] {
            assert_eq!(parse_spare_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_segment_that_holds_an_index_is_chosen_by_name() {
        let segment = |sequence, index| SegmentName { sequence, index };
        let listing =
            Listing { segments: vec![segment(3, 10), segment(4, 20), segment(5, 30)], ..Listing::default() };
        let first = |index| listing.holding(Path::new("/w"), index).map(|chosen| chosen[0].sequence);
        assert_eq!(
            (first(10).unwrap(), first(19).unwrap(), first(20).unwrap(), first(99).unwrap()),
            (3, 3, 4, 5)
        );
        assert!(matches!(first(9), Err(WalError::SnapshotNotFound { index: 9 })));
    }

    #[test]
    fn a_gap_matters_only_behind_the_chosen_segment() {
        let segment = |sequence, index| SegmentName { sequence, index };
        let listing =
            Listing { segments: vec![segment(0, 0), segment(2, 20), segment(3, 30)], ..Listing::default() };
        assert!(listing.holding(Path::new("/w"), 25).is_ok());
        assert!(matches!(listing.holding(Path::new("/w"), 5), Err(WalError::MissingSegment { .. })));
    }
}
