//! Short lives of a log, run on a simulated disk.

use crate::model::{METADATA, Model, Record, entry, state};
use etched_disk::SimDisk;
use etched_wal::{SnapshotRecord, Wal, WalError, WalOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn dir() -> &'static Path {
    Path::new("/member/wal")
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Batch(Vec<Record>),
    Seal,
    Release(u64),
    Spare,
    Close,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) options: WalOptions,
    pub(crate) steps: Vec<Step>,
}

/// How far a script came.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// After all batches whose sync returned.
    pub(crate) acknowledged: Model,
    /// Before the last of these.
    pub(crate) before_last: Model,
    pub(crate) last_batch: Vec<Record>,
    /// The batch whose sync failed.
    pub(crate) pending: Vec<Record>,
    pub(crate) error: Option<WalError>,
    /// Whether the log was created.
    pub(crate) created: bool,
}

impl Script {
    pub(crate) fn run(&self, disk: &SimDisk) -> Outcome {
        let mut outcome = Outcome {
            acknowledged: Model::default(),
            before_last: Model::default(),
            last_batch: Vec::new(),
            pending: Vec::new(),
            error: None,
            created: false,
        };
        outcome.error = self.run_steps(disk, &mut outcome).err();
        outcome
    }

    fn run_steps(&self, disk: &SimDisk, outcome: &mut Outcome) -> Result<(), WalError> {
        let mut wal = Wal::create(Arc::new(disk.clone()), dir(), METADATA, self.options)?;
        outcome.created = true;
        for step in &self.steps {
            let done = match step {
                Step::Batch(records) => {
                    outcome.pending.clone_from(records);
                    append(&mut wal, records);
                    wal.sync().map(|()| {
                        outcome.before_last = outcome.acknowledged.clone();
                        outcome.last_batch = std::mem::take(&mut outcome.pending);
                        records.iter().for_each(|record| outcome.acknowledged.apply(record));
                    })
                }
                Step::Seal => wal.seal(),
                Step::Release(index) => wal.release(*index).map(drop),
                Step::Spare => match wal.spare_request() {
                    None => Ok(()),
                    Some(request) => match request.prepare() {
                        Ok(spare) => {
                            wal.add_spare(spare);
                            Ok(())
                        }
                        // The server ends then; the log itself is whole.
                        Err(error) => return Err(error),
                    },
                },
                Step::Close => return wal.close(),
            };
            if let Err(error) = done {
                check_that_it_stays_failed(&mut wal, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) fn segments(&self, disk: &SimDisk) -> Vec<PathBuf> {
        let found = etched_wal::inspect(disk, dir()).unwrap().segments;
        found.iter().map(|segment| dir().join(segment.to_string())).collect()
    }
}

fn append(wal: &mut Wal, records: &[Record]) {
    for record in records {
        match record {
            Record::Entry(entry) => wal.append(std::slice::from_ref(entry), None),
            Record::State(state) => wal.append(&[], Some(state)),
            Record::Snapshot(snapshot) => wal.append_snapshot(snapshot),
        }
    }
}

fn check_that_it_stays_failed(wal: &mut Wal, error: &WalError) {
    let same = |other: WalError| assert_eq!(other.to_string(), error.to_string());
    same(wal.sync().unwrap_err());
    same(wal.seal().unwrap_err());
    same(wal.release(0).unwrap_err());
}

/// Bytes without zeros, so that no sector of a record is zero by itself.
pub(crate) fn filled(len: usize, seed: u8) -> Vec<u8> {
    (0..len).scan(seed, |byte, _| Some(std::mem::replace(byte, byte.wrapping_add(31)) | 1)).collect()
}

pub(crate) fn puts(term: u64, indices: std::ops::RangeInclusive<u64>, len: usize, commit: u64) -> Step {
    let mut records: Vec<Record> = indices
        .map(|index| Record::Entry(entry(term, index, filled(len, u8::try_from(index).unwrap()))))
        .collect();
    records.push(Record::State(state(term, 7, commit)));
    Step::Batch(records)
}

pub(crate) fn snapshot(index: u64, term: u64) -> SnapshotRecord {
    SnapshotRecord { index, term, conf_state: Some(vec![0x08, 7].into()) }
}

fn small_batches() -> Vec<Step> {
    vec![
        Step::Batch(vec![Record::State(state(1, 7, 0))]),
        puts(1, 1..=1, 40, 0),
        puts(1, 2..=4, 200, 1),
        Step::Batch(vec![Record::Entry(entry(1, 5, "")), Record::State(state(1, 7, 4))]),
        puts(2, 5..=6, 700, 4),
        puts(2, 7..=8, 30, 6),
    ]
}

fn long_life() -> Vec<Step> {
    let mut steps = small_batches();
    for round in 0..8u64 {
        steps.push(puts(2, 9 + 2 * round..=10 + 2 * round, 350, 8 + 2 * round));
    }
    steps
}

fn script(name: &'static str, segment_bytes: u64, steps: Vec<Step>) -> Script {
    Script { name, options: WalOptions { segment_bytes }, steps }
}

fn and(mut steps: Vec<Step>, more: &[Step]) -> Vec<Step> {
    steps.extend_from_slice(more);
    steps
}

/// The images that are damaged in every place.
pub(crate) fn damage_scripts() -> Vec<Script> {
    let big = puts(2, 9..=12, 900, 8);
    let state_only = Step::Batch(vec![Record::State(state(3, 9, 8))]);
    vec![
        script("one segment", 6144, small_batches()),
        script("one segment, closed", 6144, and(small_batches(), &[Step::Close])),
        script(
            "one segment, sealed and gone on",
            6144,
            and(small_batches(), &[Step::Seal, state_only.clone()]),
        ),
        script("a vote at the end", 6144, and(small_batches(), std::slice::from_ref(&state_only))),
        script("a vote at the end, closed", 6144, and(small_batches(), &[state_only, Step::Close])),
        script("four segments", 2560, long_life()),
        script("four segments, closed", 2560, and(long_life(), &[Step::Close])),
        script("a batch larger than a segment, closed", 2560, and(small_batches(), &[big, Step::Close])),
        script("nothing but a head", 2048, vec![]),
        script("nothing but a head, closed", 2048, vec![Step::Close]),
    ]
}

/// The life in which the power goes at every operation.
pub(crate) fn crash_script() -> Script {
    let mut steps = long_life();
    steps.push(Step::Spare);
    steps.push(Step::Batch(vec![Record::Snapshot(snapshot(16, 2))]));
    steps.push(Step::Seal);
    steps.push(puts(3, 25..=27, 500, 24));
    steps.push(Step::Release(16));
    steps.push(Step::Spare);
    // A new leader replaces entries.
    steps.push(puts(4, 26..=28, 450, 25));
    steps.push(puts(4, 29..=33, 400, 28));
    steps.push(Step::Seal);
    steps.push(Step::Spare);
    steps.push(puts(4, 34..=35, 800, 33));
    steps.push(Step::Close);
    script("a life", 2560, steps)
}
