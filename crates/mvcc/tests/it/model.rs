//! Thousands of random steps, each answer compared with the model's.

use std::path::Path;

use etched_backend::{Backend, MemoryBackend, RedbBackend, RedbOptions};
use etched_disk::{Disk, SimDisk};
use etched_model::kv::{Order, Query, Target, Write};
use proptest::prelude::*;

use crate::world::World;

/// Something to do; revisions are given as distances below the current one.
#[derive(Clone, Debug)]
enum Step {
    Txn(Vec<Write>),
    Range(Query),
    Pieces(Query, usize, usize),
    History { from: i64, to: i64, below: Vec<u8>, revisions_max: usize, bytes_max: usize },
    Commit,
    Compact(i64),
    CompactionSteps { keys_max: usize, steps: usize },
    Hash(i64),
    Restart,
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "ba", "bb", "bba", "c", "d", "k\0", "k"]).prop_map(Vec::from),
        1 => (0..120_u8).prop_map(|at| format!("many/{at:03}").into_bytes()),
    ]
}

fn ranges() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop_oneof![
        3 => keys().prop_map(|key| (key, Vec::new())),
        2 => keys().prop_map(|key| (key, vec![0])),
        2 => Just((vec![0], vec![0])),
        4 => (keys(), keys()),
        1 => Just((b"many/".to_vec(), b"many0".to_vec())),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    let values = prop_oneof![
        3 => prop::sample::select(vec!["", "1", "2", "3"]).prop_map(Vec::from),
        1 => (0..400_usize).prop_map(|len| vec![b'v'; len]),
    ];
    prop_oneof![
        6 => (keys(), values, prop::sample::select(vec![0, 0, 7, -3]))
            .prop_map(|(key, value, lease)| Write::put(key, value, lease)),
        2 => keys().prop_map(|key| Write::delete(key, "")),
        1 => ranges().prop_map(|(key, range_end)| Write::delete(key, range_end)),
    ]
}

fn distances() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0..4_i64, 3 => 0..40_i64, 1 => -3..0_i64]
}

fn queries() -> impl Strategy<Value = Query> {
    let orders = prop::sample::select(vec![Order::None, Order::None, Order::Ascend, Order::Descend]);
    let targets = prop::sample::select(vec![
        Target::Key,
        Target::Key,
        Target::Version,
        Target::Create,
        Target::Mod,
        Target::Value,
    ]);
    let limits = prop_oneof![3 => Just(0), 4 => 1..6_i64, 1 => Just(i64::MAX), 1 => Just(-1)];
    let bounds = prop_oneof![5 => Just((0, 0)), 2 => (0..200_i64, 0..200_i64), 1 => (-1..2_i64, -1..2_i64)];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    let revisions = prop_oneof![3 => Just(i64::MAX), 4 => distances()];
    (ranges(), revisions, limits, orders, targets, flags, bounds.clone(), bounds).prop_map(
        |((key, range_end), revision, limit, order, target, (keys_only, count_only), mods, creates)| Query {
            key,
            range_end,
            revision,
            limit,
            order,
            target,
            keys_only,
            count_only,
            mod_revisions: mods,
            create_revisions: creates,
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop::collection::vec(writes(), 1..4).prop_map(Step::Txn),
        12 => queries().prop_map(Step::Range),
        4 => (queries(), 0..5_usize, 1..800_usize).prop_map(|(query, limit, bytes)| Step::Pieces(query, limit, bytes)),
        3 => (distances(), distances(), keys(), 0..5_usize, 0..500_usize).prop_map(
            |(from, to, below, revisions_max, bytes_max)| Step::History { from, to, below, revisions_max, bytes_max }
        ),
        3 => Just(Step::Commit),
        2 => distances().prop_map(Step::Compact),
        5 => (1..12_usize, 1..6_usize).prop_map(|(keys_max, steps)| Step::CompactionSteps { keys_max, steps }),
        2 => distances().prop_map(Step::Hash),
        1 => Just(Step::Restart),
    ]
}

fn run<B: Backend>(world: &mut World<B>, steps: Vec<Step>) {
    for step in steps {
        let revision = world.model.revision();
        // The largest number stands for "current", a distance of three for a negative revision now and then.
        let at = |distance: i64| if distance == i64::MAX { 0 } else { revision - distance };
        match step {
            Step::Txn(writes) => world.txn(&writes),
            Step::Range(query) => world.compare_range(&Query { revision: at(query.revision), ..query }),
            Step::Pieces(query, limit, bytes) => {
                world.compare_pieces(&Query { revision: at(query.revision), ..query }, limit, bytes);
            }
            Step::History { from, to, below, revisions_max, bytes_max } => {
                world.compare_history(at(from), at(to), &below, revisions_max, bytes_max);
            }
            Step::Commit => world.commit(),
            Step::Compact(distance) => {
                world.compact(at(distance));
            }
            Step::CompactionSteps { keys_max, steps } => {
                for _ in 0..steps {
                    world.step(keys_max);
                }
            }
            Step::Hash(distance) => world.compare_hash(at(distance)),
            Step::Restart => world.restart(),
        }
    }
    world.finish_compactions();
    assert_eq!(world.stored_rows(), world.model.stored_rows());
    world.compare_hash(0);
    let all = Query { key: vec![0], range_end: vec![0], ..Query::default() };
    world.compare_pieces(&all, 3, 100);
    world.compact(world.model.revision());
    world.finish_compactions();
    assert_eq!(world.stored_rows(), world.model.stored_rows());
    world.compare_pieces(&all, 3, 100);
    world.compare_hash(world.model.revision());
    world.restart();
    world.compare_pieces(&all, 3, 100);
    world.compare_hash(world.model.revision());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn every_answer_is_the_models(
        steps in prop::collection::vec(steps(), 1..300),
        value_cache_bytes in prop::sample::select(vec![0, 1000, 5000, 1 << 20]),
    ) {
        run(&mut World::new(MemoryBackend::new(), value_cache_bytes), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4) })]

    #[test]
    fn every_answer_is_the_models_on_redb_too(
        steps in prop::collection::vec(steps(), 200..300),
        value_cache_bytes in prop::sample::select(vec![0, 2000]),
    ) {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        let backend = RedbBackend::create(&disk, Path::new("/data/db"), RedbOptions::default()).unwrap();
        run(&mut World::new(backend, value_cache_bytes), steps);
    }
}
