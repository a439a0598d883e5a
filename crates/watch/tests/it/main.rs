//! The hub under random requests, changes, compactions and readers, against the replay of all events.
//!
//! Budgets are so small that watchers fall behind and come back all the time.

mod codec;
mod world;

use proptest::prelude::*;
use world::{Limits, Step, World};

fn key() -> impl Strategy<Value = u8> {
    0u8..5
}

fn create() -> impl Strategy<Value = Step> {
    let start = prop_oneof![4 => Just(0i64), 4 => 1i64..200, 1 => -3i64..0];
    let id = prop_oneof![5 => Just(0i64), 1 => 1i64..5, 1 => Just(-7i64)];
    let range_end = prop_oneof![3 => Just(None), 3 => key().prop_map(Some), 1 => Just(Some(u8::MAX))];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0usize..4, key(), range_end, start, id, flags).prop_map(|(client, key, range_end, start, id, flags)| {
        Step::Create { client, key, range_end, start, id, flags }
    })
}

fn changes() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    let value = prop_oneof![1 => Just(None), 3 => (0u8..30).prop_map(Some), 1 => any::<u8>().prop_map(Some)];
    prop::collection::vec((key(), value), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0usize..4;
    prop_oneof![
        1 => (0u64..30).prop_map(|interval| Step::Open { interval }),
        1 => client().prop_map(|client| Step::Close { client }),
        4 => create(),
        2 => (client(), -8i64..6).prop_map(|(client, id)| Step::Cancel { client, id }),
        2 => client().prop_map(|client| Step::AskProgress { client }),
        12 => prop::collection::vec(changes(), 1..4).prop_map(|batch| Step::Publish { batch }),
        1 => prop::collection::vec(changes(), 1..4).prop_map(|batch| Step::Restore { batch }),
        2 => (0i64..60).prop_map(|back| Step::Compact { back }),
        6 => (client(), 1usize..8).prop_map(|(client, count)| Step::Consume { client, count }),
        4 => (0usize..20).prop_map(|count| Step::Poll { count }),
        3 => Just(Step::AskHistory),
        4 => (0usize..4, 1usize..20).prop_map(|(which, revisions)| Step::AnswerHistory { which, revisions }),
        1 => (0u64..40).prop_map(|ns| Step::Tick { ns }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1usize..2_000, 1usize..600, 60usize..600).prop_map(|(stream, history, fragment)| Limits {
        stream,
        history,
        fragment,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn every_watcher_is_sent_what_the_replay_says(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(limits);
        for step in steps {
            world.take(step);
        }
        world.settle();
        world.close_all();
    }
}
