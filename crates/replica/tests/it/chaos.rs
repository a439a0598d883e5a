//! A cluster under faults that a seed draws, with clients that keep account.

use std::collections::BTreeMap;

use etched_key_range::KeyRange;
use etched_replica::{Answer, Request};
use etched_state_machine::{Outcome, Range, RangeQuery};

use crate::harness::{MILLISECOND, SECOND, put};
use crate::world::{Faults, World, id, records};

enum Asked {
    Put { key: String },
    Read { acknowledged: i64 },
}

/// What clients know.
#[derive(Default)]
struct Account {
    asked: BTreeMap<u64, (u64, Asked)>,
    acknowledged: Vec<String>,
    /// The newest revision that any client was told of.
    revision: i64,
    reads: usize,
}

pub(crate) fn run(world: &mut World, size: u64, rounds: u64) {
    let mut account = Account::default();
    let mut keys = 0;
    for round in 0..rounds {
        disturb(world, size);
        for _ in 0..world.rng.below(20) {
            let Some(member) = any_running(world) else { continue };
            let read = Request::Range(Range::new(RangeQuery::new(KeyRange::all())));
            let (asked, request) = if world.rng.below(3) == 0 {
                (Asked::Read { acknowledged: account.revision }, read)
            } else {
                keys += 1;
                let key = format!("u{keys}");
                let request = put(&key, "v");
                (Asked::Put { key }, request)
            };
            let token = world.submit(member, request);
            account.asked.insert(token, (member, asked));
        }
        let pause = 50 + world.rng.below(400);
        world.run(pause * MILLISECOND);
        collect(world, &mut account, round);
    }
    world.faults = Faults::default();
    world.heal();
    for number in 1..=size {
        if world.stopped.contains_key(&id(number)) {
            world.restart(id(number));
        }
        world.node(id(number)).release_disk();
        if world.node(id(number)).is_paused {
            world.resume(id(number));
        }
    }
    world.run(10 * SECOND);
    collect(world, &mut account, rounds);
    world.assert_equal_states();
    let found = world.range(id(1), Range::new(RangeQuery::new(KeyRange::all()))).unwrap();
    let versions: BTreeMap<&String, i64> = found.iter().map(|(key, _, version)| (key, *version)).collect();
    for key in &account.acknowledged {
        assert!(versions.contains_key(key), "{key} was acknowledged and is lost");
    }
    assert!(versions.values().all(|version| *version == 1), "something is applied twice");
    assert!(!account.acknowledged.is_empty() && account.reads > 0, "nothing was done at all");
}

fn any_running(world: &mut World) -> Option<u64> {
    let ids: Vec<u64> = world.nodes.keys().copied().collect();
    let place = world.rng.below(ids.len().max(1) as u64);
    ids.get(usize::try_from(place).unwrap()).copied()
}

fn disturb(world: &mut World, size: u64) {
    let victim = id(1 + world.rng.below(size));
    match world.rng.below(16) {
        0 if world.stopped.len() as u64 * 2 + 2 < size + 1 && world.nodes.contains_key(&victim) => {
            world.crash(victim);
        }
        1 | 2 => {
            if let Some(stopped) = world.stopped.keys().next().copied() {
                world.restart(stopped);
            }
        }
        3 => world.cut(&[victim]),
        4 => {
            let other = id(1 + world.rng.below(size));
            world.cuts.insert((victim, other));
        }
        5..=7 => world.heal(),
        8 => {
            if let Some(node) = world.nodes.get_mut(&victim) {
                node.is_paused = true;
            }
        }
        9 | 10 => {
            let paused = world.nodes.iter().find(|(_, node)| node.is_paused).map(|(id, _)| *id);
            if let Some(paused) = paused {
                if world.rng.below(2) == 0 { world.resume(paused) } else { world.resume_deaf(paused) }
            }
        }
        11 => {
            if let Some(node) = world.nodes.get_mut(&victim) {
                node.is_disk_stalled = true;
            }
        }
        14 => {
            let other = id(1 + world.rng.below(size));
            world.tell_gone(victim, other);
        }
        15 => (1..=size).for_each(|number| world.tell_gone(id(number), victim)),
        12 | 13 => world.nodes.values_mut().for_each(crate::world::Node::release_disk),
        _ => {}
    }
}

fn collect(world: &mut World, account: &mut Account, round: u64) {
    let tokens: Vec<u64> = account.asked.keys().copied().collect();
    for token in tokens {
        let member = account.asked[&token].0;
        let Some(result) = world.answer(member, token) else { continue };
        let Some((_, asked)) = account.asked.remove(&token) else { continue };
        match (asked, result) {
            (Asked::Put { key }, Ok(Answer::Applied(Outcome::Put(done)))) => {
                account.revision = account.revision.max(done.revision);
                account.acknowledged.push(key);
            }
            (Asked::Read { acknowledged }, Ok(Answer::Range(output))) => {
                let revision = output.revision;
                assert!(revision >= acknowledged, "stale read in round {round}: {revision} < {acknowledged}");
                let _ = records(Answer::Range(output));
                account.revision = account.revision.max(revision);
                account.reads += 1;
            }
            (_, Ok(other)) => panic!("{other:?}"),
            (_, Err(_)) => {}
        }
    }
}
