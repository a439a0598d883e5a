//! The log as a member uses it: open, append, sync, release.

mod open;
mod segments;

use crate::error::WalError;
use crate::frame::{self, Chain, Kind, Step};
use crate::message;
use crate::reader::{self, Source, TornTail, Wanted};
use crate::segment::Listing;
use crate::{Entry, HardState, SEGMENT_BYTES, SnapshotRecord};
use bytes::Bytes;
use etched_disk::{Disk, DiskFile, DiskLock};
pub(crate) use open::{list as list_directory, read as read_directory};
use segments::Segments;
use std::path::Path;
use std::sync::Arc;

/// In a segment that no [`crate::Spare`] became, zeros are written so many bytes ahead of the log: one sync in
/// hundreds is longer, the others change no metadata.
const ZEROS_AHEAD_BYTES: u64 = 256 << 10;

/// A buffer that grew beyond this many bytes for one batch is given back.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// How a log is laid out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// The bytes set aside for a segment. An existing log must not be opened with more than it was made with.
    pub segment_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES }
    }
}

/// What [`Wal::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Who the log belongs to, as given to [`Wal::create`].
    pub metadata: Bytes,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The entries after the snapshot from which the log was read, without gap.
    pub entries: Vec<Entry>,
    /// What a crash had torn and was cut off. To be logged; nothing of it was acknowledged, except possibly when
    /// the last batch was not sealed and the disk lost a sector of it.
    pub torn_tail: Option<TornTail>,
    /// Names in the directory that are none of the log's, to be logged.
    pub foreign: Vec<String>,
}

/// An open log: the only writer of its directory.
///
/// Call [`Wal::append`] as often as you like, then [`Wal::sync`]; what was appended is promised when it returns.
/// Call [`Wal::seal`] when nothing came for some milliseconds, and [`Wal::close`] at the end.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    segments: Segments,
    options: WalOptions,
    metadata: Bytes,
    file: Arc<dyn DiskFile>,
    /// Where the next batch goes.
    offset: u64,
    /// Where the head of the newest segment ends; 0 if that is not known.
    head_end: u64,
    /// Up to here the file was filled with something.
    filled: u64,
    synced: Position,
    /// Encoded records that are not written yet; the first one is a crc record.
    buffer: Vec<u8>,
    /// What `synced` will be when they are.
    buffered: Position,
    /// Whether a crc record stands at `offset`.
    sealed: bool,
    failed: Option<WalError>,
    bytes_written: u64,
    _lock: Box<dyn DiskLock>,
}

/// How far the log has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Position {
    chain: Chain,
    state: HardState,
    last_index: u64,
    /// The highest term of an entry.
    last_term: u64,
}

impl Wal {
    /// Creates a log; `metadata` says whose it is and comes back from [`Wal::open`] (etcd's holds member and cluster
    /// id). After a crash inside this call there is no log, and it can be called again.
    ///
    /// # Errors
    /// [`WalError::AlreadyExists`], [`WalError::InUse`], or what the disk answers.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        metadata: &[u8],
        options: WalOptions,
    ) -> Result<Self, WalError> {
        open::create(disk, dir, metadata, options)
    }

    /// Opens a log and reads what comes after the snapshot `from`, which must be recorded in it
    /// (of `from.conf_state` no use is made). What it returns is on the disk, even if its writer died before its
    /// sync.
    ///
    /// # Errors
    /// [`WalError::Missing`], [`WalError::InUse`], [`WalError::SnapshotNotFound`], [`WalError::SnapshotMismatch`],
    /// [`WalError::Damaged`] and the like: nothing on the disk was changed then. Or what the disk answers.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: &SnapshotRecord,
        options: WalOptions,
    ) -> Result<(Self, Recovered), WalError> {
        open::open(disk, dir, from, options)
    }

    /// Lists the snapshots that the log holds a record of and whose entries are committed, oldest first. The newest
    /// for which there is a snapshot is the one to open the log from. Changes nothing and takes no lock.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<SnapshotRecord>, WalError> {
        let listing = open::list(disk, dir)?;
        let Some(first) = listing.segments.first() else {
            return Err(WalError::Missing { dir: dir.to_owned() });
        };
        let source = Source { disk, dir, segment_bytes_min: 0 };
        let mut log = reader::read(&source, listing.holding(dir, first.index)?, &Wanted::Snapshots)?;
        log.snapshots.retain(|snapshot| snapshot.index <= log.state.commit);
        Ok(log.snapshots)
    }

    /// Adds entries, and after them the hard state, to the next batch. An entry replaces those from its index on.
    ///
    /// # Panics
    /// If the entries leave a gap, or the hard state goes back.
    pub fn append(&mut self, entries: &[Entry], hard_state: Option<&HardState>) {
        for entry in entries {
            self.append_entry(entry);
        }
        if let Some(state) = hard_state {
            let old = self.buffered.state;
            assert!(state.term >= old.term && state.commit >= old.commit, "a hard state does not go back");
            self.push(Kind::State, message::encode_state(state).as_slice(), &[]);
            self.buffered.state = *state;
        }
    }

    fn append_entry(&mut self, entry: &Entry) {
        assert!(entry.index > 0 && entry.index - 1 <= self.buffered.last_index, "entries leave no gap");
        assert!(entry.term > 0, "an entry has a term");
        self.push(Kind::Entry, message::encode_entry_head(entry).as_slice(), &entry.data);
        self.buffered.last_index = entry.index;
        self.buffered.last_term = self.buffered.last_term.max(entry.term);
    }

    /// Adds the note that a snapshot exists, which must be safe on the disk already, to the next batch.
    pub fn append_snapshot(&mut self, snapshot: &SnapshotRecord) {
        let head = message::encode_snapshot_head(snapshot);
        self.push(Kind::Snapshot, head.as_slice(), snapshot.conf_state.as_deref().unwrap_or_default());
        self.buffered.last_index = self.buffered.last_index.max(snapshot.index);
    }

    fn push(&mut self, kind: Kind, head: &[u8], body: &[u8]) {
        if self.buffer.is_empty() {
            self.buffered.chain.push_crc(&mut self.buffer);
        }
        self.buffered.chain.push(&mut self.buffer, kind, head, body);
    }

    /// Writes all that was appended as one batch and waits until it is on the disk. Begins a new segment first if
    /// the batch does not fit into this one.
    ///
    /// # Errors
    /// What the disk answers. Every later call answers the same: the process must end.
    ///
    /// # Panics
    /// If an appended entry is of a higher term than the hard state.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.sync_noting(&mut || {})
    }

    /// As [`Wal::sync`]; tells when the batch is written and the wait for the disk begins.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    ///
    /// # Panics
    /// As [`Wal::sync`].
    pub fn sync_noting(&mut self, on_written: &mut dyn FnMut()) -> Result<(), WalError> {
        self.guard(|wal| {
            if wal.buffer.is_empty() {
                return Ok(());
            }
            assert!(
                wal.buffered.last_term <= wal.buffered.state.term,
                "the hard state of a term comes with or before the first entry of it"
            );
            wal.write_batch(on_written)
        })
    }

    fn write_batch(&mut self, on_written: &mut dyn FnMut()) -> Result<(), WalError> {
        if self.batch_end() > self.options.segment_bytes && self.offset > self.head_end {
            self.cut()?;
        }
        let end = self.batch_end();
        if end > self.segments.newest_bytes() {
            // What lies past the end can be read after a crash only if the new length was synced before.
            self.file.allocate(end)?;
            self.file.sync_data()?;
        }
        let records_end = self.offset + self.buffer.len() as u64;
        self.buffered.chain.push_fill(&mut self.buffer, records_end);
        let len = self.buffer.len();
        if end > self.filled {
            let filled = (end + ZEROS_AHEAD_BYTES).min(self.options.segment_bytes).max(end);
            let ahead = usize::try_from(filled - end).expect("at most what is written ahead");
            self.buffer.resize(len + ahead, 0);
            self.filled = filled;
        }
        self.file.write_at(&self.buffer, self.offset)?;
        on_written();
        // A planted fault, see `cargo xtask bugs`.
        if !cfg!(bug = "log-answers-before-sync") {
            self.file.sync_data()?;
        }
        self.bytes_written += len as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.offset = end;
        self.segments.set_newest_bytes(end);
        self.synced = self.buffered;
        self.sealed = false;
        Ok(())
    }

    /// Where the buffered batch will end, with the fill after it.
    fn batch_end(&self) -> u64 {
        let records_end = self.offset + self.buffer.len() as u64;
        records_end + frame::fill_bytes(records_end) as u64
    }

    /// Finishes the newest segment, which is synced, and begins the next.
    fn cut(&mut self) -> Result<(), WalError> {
        let mut chain = self.synced.chain;
        // A planted fault, see `cargo xtask bugs`.
        let forgets = cfg!(bug = "log-loses-the-vote");
        let state = if forgets { HardState::default() } else { self.synced.state };
        let head = encode_head(&mut chain, &self.metadata, HeadEnd::State(state));
        let next = self.segments.begin(
            &*self.disk,
            &head,
            self.synced.last_index.saturating_add(1),
            self.options,
        )?;
        self.head_end = head.len() as u64;
        self.offset = self.head_end;
        self.filled = next.filled;
        self.file = next.file;
        self.synced.chain = chain;
        self.rechain(chain);
        Ok(())
    }

    /// Encodes the buffered records again, as they follow on a new head now.
    fn rechain(&mut self, mut chain: Chain) {
        let mut buffer = Vec::with_capacity(self.buffer.len());
        let mut offset = 0;
        while let Step::Record(record, size) = frame::read(&self.buffer, offset) {
            match record.kind {
                Kind::Crc => chain.push_crc(&mut buffer),
                Kind::Metadata | Kind::Entry | Kind::State | Kind::Snapshot => {
                    chain.push(&mut buffer, record.kind, record.data, &[]);
                }
                Kind::Fill => unreachable!("the fill is appended when the batch is written"),
            }
            offset += size;
        }
        assert_eq!(offset, self.buffer.len(), "the buffer holds whole records");
        self.buffer = buffer;
        self.buffered.chain = chain;
    }

    /// Writes the crc record with which the next batch will open, without waiting for it: once it has reached the
    /// disk, damage to the last batch can no longer be taken for a tear. Does nothing if that was done, or a batch is
    /// being gathered.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn seal(&mut self) -> Result<(), WalError> {
        self.guard(|wal| {
            if wal.sealed || !wal.buffer.is_empty() {
                return Ok(());
            }
            let mut seal = Vec::new();
            wal.synced.chain.push_crc(&mut seal);
            // The next batch is written to the same place and begins with the same bytes.
            wal.file.write_at(&seal, wal.offset)?;
            wal.segments.set_newest_bytes(wal.offset + seal.len() as u64);
            wal.sealed = true;
            Ok(())
        })
    }

    /// Syncs what was appended, seals it, and gives the directory free. The seal is an empty batch, so that what
    /// etcd may append is not taken for the next.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn close(mut self) -> Result<(), WalError> {
        self.sync()?;
        self.guard(|wal| {
            wal.synced.chain.push_crc(&mut wal.buffer);
            wal.write_batch(&mut || {})
        })
    }

    /// Lets segments go that hold nothing above `index`; the one that holds it stays. One of them is kept to be used
    /// again. Returns how many went.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub fn release(&mut self, index: u64) -> Result<usize, WalError> {
        self.guard(|wal| wal.segments.release(&*wal.disk, index))
    }

    /// Says whether a spare segment should be prepared: there is none and the newest segment is half full.
    pub fn needs_spare(&self) -> bool {
        self.offset > self.options.segment_bytes / 2 && self.segments.lacks_spare()
    }

    /// The spare that should be prepared, if [`Wal::needs_spare`].
    pub fn spare_request(&mut self) -> Option<crate::SpareRequest> {
        if self.needs_spare() { Some(self.segments.request_spare(&self.disk, self.options)) } else { None }
    }

    /// Takes a prepared spare.
    pub fn add_spare(&mut self, spare: crate::Spare) {
        self.segments.add_spare(spare);
    }

    /// Runs an operation unless one has failed before, and remembers its failure.
    fn guard<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T, WalError>) -> Result<T, WalError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        operation(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The bytes that the segments take on the disk, without spares.
    pub fn size_bytes(&self) -> u64 {
        self.segments.size_bytes()
    }

    /// The number of segments.
    pub fn segments_count(&self) -> usize {
        self.segments.count()
    }

    /// The bytes of all batches since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// The bytes of what was appended and not synced.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The index of the last entry or snapshot record, synced or not.
    pub fn last_index(&self) -> u64 {
        self.buffered.last_index
    }

    /// The newest hard state, synced or not.
    pub fn hard_state(&self) -> HardState {
        self.buffered.state
    }

    /// Who the log belongs to.
    pub fn metadata(&self) -> &Bytes {
        &self.metadata
    }
}

/// What the head of a segment ends with.
enum HeadEnd {
    /// The first segment: the snapshot of nothing.
    Start,
    /// The others: the hard state, unless there is none yet.
    State(HardState),
}

fn encode_head(chain: &mut Chain, metadata: &[u8], end: HeadEnd) -> Vec<u8> {
    let mut head = Vec::new();
    chain.push_crc(&mut head);
    chain.push(&mut head, Kind::Metadata, metadata, &[]);
    match end {
        HeadEnd::Start => {
            let start = message::encode_snapshot_head(&SnapshotRecord::default());
            chain.push(&mut head, Kind::Snapshot, start.as_slice(), &[]);
        }
        HeadEnd::State(state) if state == HardState::default() => {}
        HeadEnd::State(state) => {
            chain.push(&mut head, Kind::State, message::encode_state(&state).as_slice(), &[]);
        }
    }
    let end = head.len() as u64;
    chain.push_fill(&mut head, end);
    head
}
