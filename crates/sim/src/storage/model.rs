//! What was promised, in the plainest way, and what may therefore be there after a crash.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_backend::{Batch, Op, Table};
use etched_wal::{Entry, HardState, Recovered, SnapshotRecord};

use super::rig::Rig;

/// What all tables hold.
pub(super) type Content = BTreeMap<(Table, Bytes), Bytes>;

/// Where the applied index is stored.
pub(super) const APPLIED_KEY: &[u8] = b"consistent_index";

/// One record of a batch of the log.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Entry(Entry),
    State(HardState),
    Snapshot(SnapshotRecord),
}

/// What the log holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// The entries after the newest snapshot.
    pub(super) entries: Vec<Entry>,
    pub(super) state: HardState,
    pub(super) snapshot: SnapshotRecord,
}

/// How much of the batch that was not acknowledged came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) records: usize,
    pub(super) is_whole: bool,
}

/// What was acknowledged, and what was begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// After all batches whose sync returned.
    pub(super) log: Log,
    /// Before the last of these.
    before_last: Log,
    last_batch: Vec<Record>,
    /// The batch that is being written.
    pub(super) pending: Vec<Record>,
    /// The cluster has agreed on everything up to here: it is not taken back.
    pub(super) commit: u64,
    /// What the backend shows in this life.
    pub(super) applied: u64,
    /// What it showed in the last commit that was acknowledged as synced.
    durable: u64,
    durable_content: Content,
    /// The last commit that was begun.
    begun: u64,
    /// Committed entries after `durable`.
    to_apply: BTreeMap<u64, Entry>,
    lives: u64,
    tries: u64,
}

/// From which snapshot a log may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The newest.
    Newest,
    /// An older one if the file of the newest is damaged.
    AnyBefore,
}

impl Log {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                let kept = entry.index - 1 - self.snapshot.index;
                self.entries.truncate(usize::try_from(kept).expect("a short log"));
                self.entries.push(entry.clone());
            }
            Record::State(state) => self.state = *state,
            Record::Snapshot(snapshot) => {
                self.entries.retain(|entry| entry.index > snapshot.index);
                self.snapshot = snapshot.clone();
            }
        }
    }

    /// The last entry or what stands for it.
    pub(super) fn last_index(&self) -> u64 {
        self.snapshot.index + self.entries.len() as u64
    }

    /// The term of an entry that is not older than the snapshot.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.snapshot.index {
            return Some(self.snapshot.term);
        }
        self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    /// Whether opening may have given this. Entries of a term that the hard state does not know do not come back.
    fn fits(&self, recovered: &Recovered, from: &SnapshotRecord, start: Start) -> bool {
        let begins_well = match start {
            Start::Newest => from.index == self.snapshot.index,
            Start::AnyBefore => from.index <= self.snapshot.index,
        };
        let entries = recovered.entries.iter().filter(|entry| entry.index > self.snapshot.index);
        begins_well
            && self.state == recovered.hard_state
            && self.entries.iter().eq(entries)
            && self.entries.iter().all(|entry| entry.term <= self.state.term)
    }
}

impl Model {
    /// Whether the log was acknowledged to exist.
    pub(super) fn was_created(&self) -> bool {
        self.lives > 0
    }

    /// Whether somebody tried to make it before.
    pub(super) fn was_tried(&self) -> bool {
        self.tries > 1
    }

    /// The batch is on the disk.
    pub(super) fn acknowledge(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.before_last = self.log.clone();
        self.last_batch = std::mem::take(&mut self.pending);
        for record in &self.last_batch {
            self.log.apply(record);
        }
    }

    /// The cluster agrees on everything up to `index`.
    pub(super) fn commit_to(&mut self, index: u64) {
        for entry in &self.log.entries {
            if entry.index > self.commit && entry.index <= index {
                self.to_apply.insert(entry.index, entry.clone());
            }
        }
        self.commit = self.commit.max(index);
    }

    /// Committed entries after the applied ones, up to `index`.
    pub(super) fn applicable(&self, index: u64) -> impl Iterator<Item = &Entry> {
        self.between(self.applied, index)
    }

    fn between(&self, after: u64, to: u64) -> impl Iterator<Item = &Entry> {
        self.to_apply.range(after + 1..).take_while(move |(index, _)| **index <= to).map(|(_, entry)| entry)
    }

    /// A commit of the backend begins that shows everything up to `index`.
    pub(super) fn begin_commit(&mut self, index: u64) {
        self.begun = self.begun.max(index);
    }

    /// The commit returned.
    pub(super) fn end_commit(&mut self, index: u64, is_synced: bool) {
        self.applied = index;
        if is_synced {
            self.make_durable(index);
        }
    }

    /// What the last acknowledged synced commit showed.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    fn make_durable(&mut self, index: u64) {
        self.durable_content = self.content_at(index);
        self.durable = index;
        self.to_apply = self.to_apply.split_off(&(index + 1));
    }

    /// What the backend holds when everything up to `index` is applied.
    pub(super) fn content_at(&self, index: u64) -> Content {
        let mut content = self.durable_content.clone();
        for entry in self.between(self.durable, index) {
            for op in changes(entry).iter() {
                match op {
                    Op::Put { table, key, value } => content.insert((*table, key.clone()), value.clone()),
                    Op::Delete { table, key } => content.remove(&(*table, key.clone())),
                };
            }
        }
        if index > 0 {
            let stored = Bytes::copy_from_slice(&index.to_be_bytes());
            content.insert((Table::Meta, Bytes::from_static(APPLIED_KEY)), stored);
        }
        content
    }

    /// Finds what was opened after damage. Only the loss of a whole sector may hide the last batch, which nothing
    /// after it proves; and if a record of it holds a sector of zeros, any damage looks like such a loss.
    ///
    /// # Errors
    /// It is nothing that was ever promised.
    pub(super) fn recognise_damaged(
        &self,
        recovered: &Recovered,
        from: &SnapshotRecord,
        lost_a_sector: bool,
    ) -> Result<(), String> {
        let mut log = self.before_last.clone();
        let mut found = self.log.fits(recovered, from, Start::AnyBefore);
        let has_zeros = self.last_batch.iter().any(|record| match record {
            Record::Entry(entry) => entry.data.len() >= 512 && entry.data.iter().all(|byte| *byte == 0),
            Record::State(_) | Record::Snapshot(_) => false,
        });
        for record in self.last_batch.iter().filter(|_| lost_a_sector || has_zeros) {
            found |= log.fits(recovered, from, Start::AnyBefore);
            log.apply(record);
        }
        if found { Ok(()) } else { self.recognise(recovered, from, Start::AnyBefore).map(drop) }
    }

    /// Finds what was opened among what may be there: all that was acknowledged, and of the batch after it the
    /// first records.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn recognise(
        &self,
        recovered: &Recovered,
        from: &SnapshotRecord,
        start: Start,
    ) -> Result<Found, String> {
        let mut log = self.log.clone();
        for records in 0..=self.pending.len() {
            if log.fits(recovered, from, start) {
                return Ok(Found { records, is_whole: records == self.pending.len() });
            }
            if let Some(record) = self.pending.get(records) {
                log.apply(record);
            }
        }
        let last = recovered.entries.last().map_or(from.index, |entry| entry.index);
        Err(format!(
            "the log opens at {} with {:?} and ends at {last}; acknowledged were {} with {:?} up to {}, and {} \
             records were being written",
            from.index,
            recovered.hard_state,
            self.log.snapshot.index,
            self.log.state,
            self.log.last_index(),
            self.pending.len()
        ))
    }

    /// Checks what the backend shows, and tells whether that was not acknowledged as synced.
    ///
    /// # Errors
    /// It is older than what was, or the state after no commit.
    pub(super) fn commit_of_backend(&self, applied: u64, content: &Content) -> Result<bool, String> {
        if !(self.durable..=self.begun.max(self.durable)).contains(&applied) {
            return Err(format!(
                "the backend shows index {applied}; {} was acknowledged as synced, and {} begun",
                self.durable, self.begun
            ));
        }
        let expected = self.content_at(applied);
        if *content != expected {
            let differs = |(place, value): &(&(Table, Bytes), &Bytes)| content.get(place) != Some(value);
            let first = expected.iter().find(differs).map(|(place, _)| place);
            return Err(format!("the backend at index {applied} holds something else, at {first:?} for one"));
        }
        Ok(applied > self.durable)
    }

    /// Checks that log and backend together hold everything that was applied.
    ///
    /// # Errors
    /// There is a gap between them, or the backend is ahead of the log.
    pub(super) fn check_coverage(&self, rig: &Rig) -> Result<(), String> {
        let last = rig.recovered.entries.last().map_or(rig.from.index, |entry| entry.index);
        if rig.from.index <= rig.applied && rig.applied <= last {
            return Ok(());
        }
        Err(format!("the log holds {} to {last}, the backend shows {}", rig.from.index, rig.applied))
    }

    /// Goes on from what was found.
    pub(super) fn adopt(&mut self, found: Found, rig: &Rig) {
        self.pending.truncate(found.records);
        self.acknowledge();
        self.commit_to(self.log.state.commit);
        self.make_durable(rig.applied);
        self.applied = rig.applied;
        self.begun = rig.applied;
        self.lives += 1;
    }

    /// Somebody tries to open it.
    pub(super) fn note_try(&mut self) {
        self.tries += 1;
    }
}

/// What an entry changes in the backend: a function of its term and index.
pub(super) fn changes(entry: &Entry) -> Batch {
    let mut batch = Batch::new();
    let mut drawn = mix(entry.term.wrapping_mul(0x9e37_79b9) ^ entry.index);
    for _ in 0..=drawn % 3 {
        drawn = mix(drawn);
        let table = [Table::Key, Table::Key, Table::Lease, Table::Auth][(drawn % 4) as usize & 3];
        let key = Bytes::copy_from_slice(&[b'k', drawn.to_le_bytes()[1] % 24]);
        if drawn >> 60 < 3 {
            batch.delete(table, key);
        } else {
            let len = if drawn >> 56 == 0xff { 6_000 } else { (drawn >> 32 & 0x7f) as usize };
            batch.put(table, key, vec![drawn.to_le_bytes()[2]; len]);
        }
    }
    batch
}

/// The bytes that an entry carries.
pub(super) fn payload(term: u64, index: u64) -> Bytes {
    let drawn = mix(index ^ mix(term));
    let len = match drawn % 16 {
        0 => 0,
        1 => 1_000 + (drawn >> 32) % 3_000,
        _ => (drawn >> 32) % 150,
    };
    // Zeros are what a lost sector looks like, so they have to be told from one.
    let filling = if drawn >> 60 == 0 { 0 } else { drawn.to_le_bytes()[3] | 1 };
    Bytes::from(vec![filling; usize::try_from(len).expect("a few thousand")])
}

fn mix(drawn: u64) -> u64 {
    let mut mixed = drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
