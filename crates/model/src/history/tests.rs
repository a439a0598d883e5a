//! Planted violations of each kind are found, and what is right passes.

mod calls;
mod streams;
mod world;

use super::{Verdict, judge};
use world::World;

const BUDGET: usize = 100_000;

/// The promises that a history breaks.
fn broken(world: &World) -> Vec<&'static str> {
    verdict(world).violations.into_iter().map(|violation| violation.promise).collect()
}

fn verdict(world: &World) -> Verdict {
    judge(&world.history, BUDGET)
}

/// Asserts that a history breaks the promise, and that this is said first.
#[track_caller]
fn breaks(world: &World, promise: &str) {
    let violations = verdict(world).violations;
    assert!(violations.iter().any(|violation| violation.promise == promise), "{promise}: {violations:#?}");
}

#[track_caller]
fn holds(world: &World) {
    let violations = verdict(world).violations;
    assert!(violations.is_empty(), "{violations:#?}");
}
