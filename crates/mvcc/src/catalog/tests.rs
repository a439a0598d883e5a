//! Rows come and go, batches are committed late, views are old: what is stored is what a plain list says.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use etched_backend::{Backend, Durability, MemoryBackend};
use proptest::prelude::*;

use super::*;

/// A row with all that is in it.
type Whole = (StoredRevision, Vec<u8>, Numbers);

/// A catalog, its backend, and the rows that it should have.
struct World {
    catalog: Catalog,
    backend: MemoryBackend,
    rows: Vec<Whole>,
    revision: i64,
    /// What was written and is not yet committed, with the revision at that time.
    under_way: VecDeque<(i64, Batch)>,
}

impl World {
    fn new() -> Self {
        Self {
            catalog: Catalog::new(),
            backend: MemoryBackend::new(),
            rows: Vec::new(),
            revision: 1,
            under_way: VecDeque::new(),
        }
    }

    fn push(&mut self, keys: &[(Vec<u8>, bool)]) {
        self.revision += 1;
        for (sub, (key, is_deletion)) in (0..).zip(keys) {
            let revision = StoredRevision { main: self.revision, sub, is_deletion: *is_deletion };
            let numbers = if *is_deletion {
                Numbers::default()
            } else {
                Numbers { create: 1, version: self.revision, lease: i64::from(sub), len: 300 }
            };
            self.catalog.push(&Row { revision, key, numbers });
            self.rows.push((revision, key.clone(), numbers));
        }
    }

    /// Takes every row out that is up to `share` of the way, and that `is_removed` names by its place.
    fn remove(&mut self, share: usize, mut is_removed: impl FnMut(usize) -> bool) {
        let end = self.rows.len() * share / 100;
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        for (at, row) in self.rows.drain(..).enumerate() {
            if at < end && is_removed(at) { removed.push(row.0) } else { kept.push(row) }
        }
        self.rows = kept;
        self.catalog.remove(&self.backend.view().unwrap(), &removed).unwrap();
    }

    fn write(&mut self) {
        let mut batch = Batch::new();
        self.catalog.write(self.revision, &mut batch);
        self.under_way.push_back((self.revision, batch));
    }

    /// Commits the oldest batch; it is reported once all others at its revision are committed too.
    fn commit(&mut self) {
        let Some((revision, batch)) = self.under_way.pop_front() else { return };
        self.backend.commit(&batch, Durability::Buffered).unwrap();
        if self.under_way.front().is_none_or(|(next, _)| *next > revision) {
            self.catalog.on_committed(revision);
        }
    }

    fn commit_all(&mut self) {
        self.write();
        while !self.under_way.is_empty() {
            self.commit();
        }
        assert!(self.catalog.unsettled.is_empty(), "the backend has all of it");
    }

    fn restored(&self) -> (Catalog, Vec<Whole>) {
        let mut rows: Vec<Whole> = Vec::new();
        let mut visit = |row: PackedRow<'_>, is_first| {
            let before = if is_first == IsFirst::Yes { &[][..] } else { &rows.last().unwrap().1 };
            let key = [&before[..row.shared], row.suffix].concat();
            rows.push((row.revision, key, row.numbers));
            Ok(())
        };
        let catalog = Catalog::restore(&self.backend.view().unwrap(), &mut visit).unwrap();
        (catalog, rows)
    }

    /// Commits everything and begins anew from the backend.
    fn restart(&mut self) {
        self.commit_all();
        let (catalog, rows) = self.restored();
        assert_eq!(rows, self.rows);
        let blocks = |catalog: &Catalog| {
            let open = (catalog.open.rows > 0).then_some((catalog.open.start, catalog.open.bytes.len()));
            let closed = catalog.closed.iter().map(|(start, len)| (*start, *len as usize));
            closed.chain(open).collect::<Vec<_>>()
        };
        assert_eq!(blocks(&catalog), blocks(&self.catalog));
        let stored = self.backend.view().unwrap().count(Table::Catalog).unwrap();
        assert_eq!(stored, blocks(&catalog).len() as u64);
        self.catalog = catalog;
    }
}

fn row(at: u32) -> (Vec<u8>, bool) {
    (alloc::format!("registry/pods/{:05}", at * 7919 % 100_000).into_bytes(), false)
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<(Vec<u8>, bool)>),
    Remove { share: usize, seed: u64, one_in: u64 },
    Write,
    Commit,
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    let keys = prop_oneof![
        6 => prop::collection::vec(prop::sample::select(b"abc".to_vec()), 0..12),
        1 => (0..300_usize).prop_map(|len| vec![b'k'; len]),
    ];
    prop_oneof![
        12 => prop::collection::vec((keys, prop::bool::weighted(0.2)), 1..5).prop_map(Step::Push),
        3 => (0..=100_usize, any::<u64>(), 1..5_u64)
            .prop_map(|(share, seed, one_in)| Step::Remove { share, seed, one_in }),
        3 => Just(Step::Write),
        3 => Just(Step::Commit),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn what_is_stored_are_the_rows_that_are_left(steps in prop::collection::vec(steps(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Push(keys) => world.push(&keys),
                Step::Remove { share, seed, one_in } => {
                    let mut state = seed | 1;
                    world.remove(share, |_| {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        state.is_multiple_of(one_in)
                    });
                }
                Step::Write => world.write(),
                Step::Commit => world.commit(),
                Step::Restart => world.restart(),
            }
        }
        world.restart();
        world.remove(100, |_| true);
        world.restart();
        assert_eq!(world.restored().1, []);
    }
}

#[test]
fn thinned_blocks_are_joined_and_empty_ones_go() {
    let mut world = World::new();
    for at in 0..1000 {
        world.push(&[row(at)]);
    }
    world.restart();
    let full = world.catalog.closed.len();
    assert!(full > 50, "{full} blocks");
    for one_in in [2, 3, 5] {
        world.remove(100, |at| !at.is_multiple_of(one_in));
        world.restart();
        let blocks = world.catalog.closed.len();
        let fewest = full * world.rows.len() / 1000;
        assert!(blocks <= fewest * 2 + 2, "{blocks} blocks for {} rows, {fewest} would do", world.rows.len());
    }
}

#[test]
fn the_open_block_is_written_again_until_it_is_full() {
    let mut world = World::new();
    let mut starts = Vec::new();
    for at in 0..100 {
        world.push(&[row(at)]);
        let mut batch = Batch::new();
        world.catalog.write(world.revision, &mut batch);
        assert!(batch.len() <= 2 && batch.bytes() <= 2 * (BLOCK_BYTES + 12), "{batch:?}");
        starts.extend(batch.iter().map(|op| decode_start(op.key()).unwrap().main));
        let mut nothing = Batch::new();
        world.catalog.write(world.revision, &mut nothing);
        assert!(nothing.is_empty());
    }
    starts.dedup();
    assert!(starts.len() > 5 && starts.is_sorted(), "{starts:?}");
}

#[test]
fn a_row_that_is_not_there_is_damage() {
    let mut world = World::new();
    for at in 0..100 {
        world.push(&[row(at)]);
    }
    world.commit_all();
    for (main, is_deletion) in [(7, true), (1, false), (200, false), (101, true)] {
        let revisions = [StoredRevision { main, sub: 0, is_deletion }];
        let result = world.catalog.remove(&world.backend.view().unwrap(), &revisions);
        assert!(matches!(result, Err(BackendError::Damaged { table: Table::Catalog, .. })), "{main}");
    }
    let result = world.catalog.remove(
        &MemoryBackend::new().view().unwrap(),
        &[StoredRevision { main: 7, sub: 0, is_deletion: false }],
    );
    assert!(matches!(result, Err(BackendError::Damaged { table: Table::Catalog, .. })));
}
