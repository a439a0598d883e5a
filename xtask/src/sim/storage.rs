//! The storage of one member, seed after seed, on all processors.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Instant, SystemTime};

use anyhow::{Result, bail, ensure};
use etched_sim::storage::{self, Counts, LIVES};

use super::Options;

/// Each seed of so many is run twice.
const TWICE: u64 = 50;
/// A run of so many cycles has seen everything, or is blind.
const CYCLES_OF_A_LONG_RUN: u64 = 20_000;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

struct Shared {
    next: AtomicU64,
    end: Option<u64>,
    until: Option<Instant>,
    failed: AtomicBool,
    total: Mutex<Total>,
}

#[derive(Default)]
struct Total {
    counts: Counts,
    seeds: u64,
    failure: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let first = options.seed.unwrap_or_else(new_seed);
    let count = options.seeds_count()?;
    println!("storage, from seed {first}");
    tell_the_seed_of_a_panic();
    let shared = Shared {
        next: AtomicU64::new(first),
        end: count.map(|seeds| first + seeds),
        until: count.is_none().then(|| Instant::now() + options.time()),
        failed: AtomicBool::new(false),
        total: Mutex::default(),
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&shared));
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let total = shared.total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, count) in total.counts.named() {
        println!("{count:>12} {}", name.replace('_', " "));
    }
    let rate = total.counts.cycles as f64 / seconds / threads as f64;
    println!(
        "{} seeds in {seconds:.1} s; {rate:.0} cycles a second on each of {threads} processors",
        total.seeds
    );
    if let Some(failure) = total.failure {
        bail!("{failure}");
    }
    let missing = total.counts.missing();
    let is_long = total.counts.cycles >= CYCLES_OF_A_LONG_RUN;
    ensure!(!is_long || missing.is_empty(), "the run is blind: these never happened: {missing:?}");
    Ok(())
}

fn work(shared: &Shared) {
    let mut counts = Counts::default();
    let mut seeds = 0;
    let mut failure = None;
    while !shared.failed.load(Ordering::Relaxed) && shared.until.is_none_or(|until| Instant::now() < until) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if shared.end.is_some_and(|end| seed >= end) {
            break;
        }
        match run_seed(seed) {
            Ok(ran) => counts.add(&ran),
            Err(text) => {
                failure = Some(text);
                shared.failed.store(true, Ordering::Relaxed);
            }
        }
        seeds += 1;
    }
    let mut total = shared.total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.counts.add(&counts);
    total.seeds += seeds;
    total.failure = total.failure.take().or(failure);
}

fn run_seed(seed: u64) -> Result<Counts, String> {
    SEED.set(seed);
    let tell = |text: String| format!("{text}\nagain: {}", command(seed));
    let report = storage::run(seed, LIVES).map_err(|failure| tell(failure.to_string()))?;
    if seed.is_multiple_of(TWICE) {
        let again = storage::run(seed, LIVES).map_err(|failure| tell(failure.to_string()))?;
        if again.trace != report.trace {
            return Err(tell(format!("seed {seed} did not repeat itself")));
        }
    }
    Ok(report.counts)
}

fn command(seed: u64) -> String {
    format!("cargo xtask sim --storage --seed {seed} --seeds 1")
}

/// An assertion of a crate under test ends this process; whoever reads its message wants the seed.
fn tell_the_seed_of_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        println!("again: {}", command(SEED.get()));
    }));
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() * 1_000_000
}
