//! Reading a log from a snapshot on, checking all that can be checked.

use crate::damage::{self, Growth};
use crate::error::{Damage, WalError};
use crate::frame::{self, Chain, Kind, Record, Step};
use crate::message;
use crate::segment::SegmentName;
use crate::{Entry, HardState, SnapshotRecord};
use bytes::Bytes;
use etched_disk::{Disk, SECTOR_BYTES};
use std::path::Path;

/// No segment is longer: a batch is bounded by the queues before it.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

/// The end of a log that was cut off, because a crash had torn what was written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file name.
    pub segment: String,
    /// Where the log ends now, in bytes from the start of the segment.
    pub offset: u64,
    /// How many bytes lay between that and the last byte that was not zero.
    pub bytes: u64,
    /// Why the first record that was cut off is not one.
    pub why: Damage,
}

/// What the caller wants of the log.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The entries after this snapshot, which must be recorded in the log.
    After(SnapshotRecord),
    /// The snapshot records only.
    Snapshots,
}

/// A log in memory.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) metadata: Bytes,
    pub(crate) state: HardState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshots: Vec<SnapshotRecord>,
    pub(crate) torn: Option<TornTail>,
    pub(crate) tail: Tail,
    /// The index of the last entry or snapshot record that was read.
    pub(crate) last_index: u64,
}

/// The newest segment and where the log ends in it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: usize,
    pub(crate) chain: Chain,
    /// Where the last crc record stands.
    pub(crate) crc_record: usize,
    /// Whether that record is the last of all.
    pub(crate) sealed: bool,
}

/// Where and how the files are.
pub(crate) struct Source<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: &'a Path,
    /// The newest segment is at least so long; 0 if that is not known.
    pub(crate) segment_bytes_min: u64,
}

impl Source<'_> {
    fn load(&self, segment: SegmentName) -> Result<Vec<u8>, WalError> {
        let file = self.disk.open_read_only(&self.dir.join(segment.to_string()))?;
        let len = file.len()?;
        if len > SEGMENT_BYTES_MAX {
            return Err(damaged(segment, 0, Damage::TooLong { len }));
        }
        let mut bytes = vec![0; usize::try_from(len).expect("checked against the maximum")];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

pub(crate) fn damaged(segment: SegmentName, offset: usize, why: Damage) -> WalError {
    WalError::Damaged { segment: segment.to_string(), offset: offset as u64, why }
}

/// Reads `segments`, which follow on each other and are the newest ones of the log.
pub(crate) fn read(source: &Source<'_>, segments: &[SegmentName], wanted: &Wanted) -> Result<Log, WalError> {
    let (last, before) = segments.split_last().expect("the caller chose one segment at least");
    let mut reader = Reader::new(segments[0], wanted.clone());
    for segment in before {
        reader.read_finished(*segment, &source.load(*segment)?)?;
    }
    let bytes = source.load(*last)?;
    let (stopped, torn) = reader.read_last(source, *last, &bytes)?;
    let Some(cut) = reader.unseen_term_at else {
        return reader.finish(bytes, stopped, torn);
    };
    // The log ends with entries of a term which the member had not seen: their batch lost the hard state at its
    // end, so it was not synced. Reading again up to there brings back what these entries had replaced.
    let end = torn.as_ref().map_or(stopped as u64, |torn| torn.offset + torn.bytes);
    let why = torn.map_or(Damage::Frame, |torn| torn.why);
    let torn = TornTail {
        segment: last.to_string(),
        offset: cut as u64,
        bytes: end.saturating_sub(cut as u64),
        why,
    };
    let mut reader = Reader::new(segments[0], wanted.clone());
    for segment in before {
        reader.read_finished(*segment, &source.load(*segment)?)?;
    }
    let (stopped, _) = reader.read_records(*last, &bytes[..cut])?;
    assert!(stopped == cut && reader.unseen_term_at.is_none(), "the same bytes read the same way");
    reader.finish(bytes, cut, Some(torn))
}

struct Reader {
    wanted: Wanted,
    /// `None` before the first record: the first crc record is taken as it is.
    chain: Option<Chain>,
    metadata: Option<Bytes>,
    state: HardState,
    entries: Vec<Entry>,
    snapshots: Vec<SnapshotRecord>,
    last_index: u64,
    /// Whether the log continues the wanted snapshot here: its last entry was read, or the snapshot's record.
    from_is_known: bool,
    /// The first of the entries since the last hard state whose term is above that state's.
    unseen_term_at: Option<usize>,
    unseen_index: u64,
    unseen_term: u64,
    crc_record: usize,
    sealed: bool,
    /// Whether a crc record behind the head was read, and no fill since: this crate wrote what follows, and a fill is
    /// to come. Without one it was etcd, or a batch is to begin.
    batch_is_open: bool,
}

impl Reader {
    fn new(first: SegmentName, wanted: Wanted) -> Self {
        let from_is_known = matches!(&wanted, Wanted::After(from) if from.index == 0);
        Self {
            wanted,
            from_is_known,
            chain: None,
            metadata: None,
            state: HardState::default(),
            entries: Vec::new(),
            snapshots: Vec::new(),
            last_index: first.index.saturating_sub(1),
            unseen_term_at: None,
            unseen_index: 0,
            unseen_term: 0,
            crc_record: 0,
            sealed: false,
            batch_is_open: false,
        }
    }

    /// Reads a segment that another follows: it was synced as a whole.
    fn read_finished(&mut self, segment: SegmentName, bytes: &[u8]) -> Result<(), WalError> {
        let (stopped, why) = self.read_records(segment, bytes)?;
        match why {
            Some(why) => Err(damaged(segment, stopped, why)),
            None if !damage::is_zero(&bytes[stopped..]) => Err(damaged(segment, stopped, Damage::Unfinished)),
            None => Ok(()),
        }
    }

    /// Reads the newest segment, which may have a torn tail. Returns where the log ends.
    fn read_last(
        &mut self,
        source: &Source<'_>,
        segment: SegmentName,
        bytes: &[u8],
    ) -> Result<(usize, Option<TornTail>), WalError> {
        let (stopped, why) = self.read_records(segment, bytes)?;
        let (len, least) = (bytes.len() as u64, source.segment_bytes_min);
        if len < least {
            return Err(damaged(segment, stopped, Damage::Short { len, least }));
        }
        let clean = why.is_none() && damage::is_zero(&bytes[stopped..]);
        let complete = !self.batch_is_open || self.sealed || stopped.is_multiple_of(SECTOR_BYTES);
        if clean && complete {
            return Ok((stopped, None));
        }
        let why = why.unwrap_or(if clean { Damage::Incomplete } else { Damage::Frame });
        let chain = self.chain.expect("a segment that reads has a head");
        // The second half is a planted fault, see `cargo xtask bugs`.
        if let Some(at) = damage::later_batch(bytes, stopped, chain)
            && !cfg!(bug = "log-cuts-off-synced-records")
        {
            return Err(damaged(segment, stopped, Damage::Synced { at: at as u64 }));
        }
        let growth = if self.batch_is_open { Growth::Synced } else { Growth::Possible };
        if !damage::could_be_torn(bytes, stopped, growth) {
            return Err(damaged(segment, stopped, why));
        }
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(stopped, |last| last + 1);
        let torn = TornTail {
            segment: segment.to_string(),
            offset: stopped as u64,
            bytes: end.saturating_sub(stopped) as u64,
            why,
        };
        Ok((stopped, Some(torn)))
    }

    /// Reads records until something else comes. Returns where that is, and what is wrong there if it is not the
    /// end of the log.
    fn read_records(
        &mut self,
        segment: SegmentName,
        bytes: &[u8],
    ) -> Result<(usize, Option<Damage>), WalError> {
        // The head was synced before the segment got its name, so it cannot be torn.
        let head_records = if segment.sequence == 0 { 3 } else { 2 };
        let mut offset = 0;
        let mut count = 0u64;
        loop {
            let (record, size) = match frame::read(bytes, offset) {
                Step::Record(record, size) => (record, size),
                Step::End if count < head_records => return Err(damaged(segment, offset, Damage::Head)),
                Step::End => return Ok((offset, None)),
                Step::Invalid(why) if count < head_records => return Err(damaged(segment, offset, why)),
                Step::Invalid(why) => return Ok((offset, Some(why))),
            };
            let head = match count {
                0 => record.kind == Kind::Crc,
                1 => record.kind == Kind::Metadata,
                2 if segment.sequence == 0 => record.kind == Kind::Snapshot,
                _ => true,
            };
            if !head {
                return Err(damaged(segment, offset, Damage::Head));
            }
            let chain = self.chain.unwrap_or(Chain(record.crc));
            match chain.follow(&record) {
                Ok(next) => self.chain = Some(next),
                Err(why) if count < head_records => return Err(damaged(segment, offset, why)),
                Err(why) => return Ok((offset, Some(why))),
            }
            self.apply(&record, offset).map_err(|why| damaged(segment, offset, why))?;
            offset += size;
            count += 1;
        }
    }

    fn apply(&mut self, record: &Record<'_>, offset: usize) -> Result<(), Damage> {
        self.sealed = record.kind == Kind::Crc;
        match record.kind {
            Kind::Crc => {
                if self.unseen_term_at.is_some() {
                    return Err(Damage::EntryTermUnseen { index: self.unseen_index });
                }
                self.crc_record = offset;
                self.batch_is_open = offset > 0;
            }
            Kind::Fill => self.batch_is_open = false,
            Kind::Metadata => match &self.metadata {
                None => self.metadata = Some(Bytes::copy_from_slice(record.data)),
                Some(metadata) if metadata == record.data => {}
                Some(_) => return Err(Damage::Metadata),
            },
            Kind::Entry => {
                let entry = message::decode_entry(record.data).ok_or(Damage::Malformed)?;
                self.apply_entry(entry, offset)?;
            }
            Kind::State => {
                let state = message::decode_state(record.data).ok_or(Damage::Malformed)?;
                self.apply_state(state)?;
            }
            Kind::Snapshot => {
                let snapshot = message::decode_snapshot(record.data).ok_or(Damage::Malformed)?;
                self.last_index = self.last_index.max(snapshot.index);
                let is_wanted =
                    |from: &SnapshotRecord| (from.index, from.term) == (snapshot.index, snapshot.term);
                self.from_is_known |= matches!(&self.wanted, Wanted::After(from) if is_wanted(from));
                self.snapshots.push(snapshot);
            }
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry, offset: usize) -> Result<(), Damage> {
        let (index, term) = (entry.index, entry.term);
        if index - 1 > self.last_index {
            return Err(Damage::EntryGap { last: self.last_index, found: index });
        }
        if term > self.state.term {
            if self.unseen_term_at.is_none() {
                self.unseen_term_at = Some(offset);
                self.unseen_index = index;
            }
            self.unseen_term = self.unseen_term.max(term);
        }
        self.last_index = index;
        match &self.wanted {
            Wanted::After(from) if index == from.index => self.from_is_known = term == from.term,
            // They follow another entry than the snapshot's, which was received and replaces the whole log.
            Wanted::After(from) if index > from.index && !self.from_is_known => {}
            Wanted::After(from) if index > from.index => {
                let position = usize::try_from(index - from.index - 1).unwrap_or(usize::MAX);
                if position > self.entries.len() {
                    let last = from.index + self.entries.len() as u64;
                    return Err(Damage::EntryGap { last, found: index });
                }
                self.entries.truncate(position);
                if self.entries.last().map_or(from.term, |before| before.term) > term {
                    return Err(Damage::EntryTermWentBack { index });
                }
                self.entries.push(entry);
            }
            Wanted::After(_) | Wanted::Snapshots => {}
        }
        Ok(())
    }

    fn apply_state(&mut self, state: HardState) -> Result<(), Damage> {
        let old = self.state;
        let vote_changed = state.term == old.term && old.vote != 0 && state.vote != old.vote;
        if state.term < old.term || state.commit < old.commit || vote_changed {
            return Err(Damage::StateWentBack);
        }
        self.state = state;
        if state.term >= self.unseen_term {
            (self.unseen_term_at, self.unseen_term) = (None, 0);
        }
        Ok(())
    }

    fn finish(self, bytes: Vec<u8>, offset: usize, torn: Option<TornTail>) -> Result<Log, WalError> {
        if let Wanted::After(from) = &self.wanted {
            let found = self.snapshots.iter().rev().find(|snapshot| snapshot.index == from.index);
            match found {
                None => return Err(WalError::SnapshotNotFound { index: from.index }),
                Some(found) if found.term != from.term => {
                    let (wanted, found) = (from.term, found.term);
                    return Err(WalError::SnapshotMismatch { index: from.index, wanted, found });
                }
                Some(_) => {}
            }
            let last = from.index + self.entries.len() as u64;
            if self.state.commit > last {
                return Err(WalError::CommitBeyondLog { commit: self.state.commit, last });
            }
        }
        Ok(Log {
            metadata: self.metadata.expect("a segment that reads has metadata"),
            state: self.state,
            entries: self.entries,
            snapshots: self.snapshots,
            torn,
            tail: Tail {
                bytes,
                offset,
                chain: self.chain.expect("a segment that reads has a head"),
                crc_record: self.crc_record,
                sealed: self.sealed,
            },
            last_index: self.last_index,
        })
    }
}
