//! Many seeds on all processors, and what came of them.

#![expect(clippy::disallowed_methods, reason = "how long all runs take is measured outside of them")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use etched_sim::coverage::Counts;
use etched_sim::{Look, Report, Scenario, run};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// For how many minutes new seeds are begun.
    #[arg(long)]
    minutes: Option<f64>,
    /// Which seeds, as `first..end`.
    #[arg(long)]
    seeds: Option<String>,
    /// How many members each cluster has; by the seed if not given.
    #[arg(long)]
    members: Option<u64>,
    /// Runs at once.
    #[arg(long, short, default_value_t = 2)]
    jobs: usize,
    /// No faults of the network or of the disks' speed.
    #[arg(long)]
    calm: bool,
    /// Go on after failures.
    #[arg(long)]
    keep_going: bool,
    /// Do not demand that every situation occurs.
    #[arg(long)]
    allow_blind: bool,
    /// Print the hash of each run.
    #[arg(long)]
    hashes: bool,
    /// Run each seed twice and compare.
    #[arg(long)]
    twice: bool,
}

/// What all runs together were like.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    steps: u64,
    simulated: u64,
    counts: Counts,
    failures: Vec<String>,
    hashes: Vec<(u64, u64)>,
}

pub(crate) fn run_many(args: &RunArgs) -> ExitCode {
    let Some((first, end)) = seeds_of(args) else {
        println!("seeds are given as first..end");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let deadline = args.minutes.map(|minutes| started + Duration::from_secs_f64(minutes * 60.0));
    let next = AtomicU64::new(first);
    let stopped = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) && deadline.is_none_or(|end| Instant::now() < end) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let failed = run_one(args, seed, &total);
                    if failed && !args.keep_going {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(args, &total, started.elapsed())
}

fn seeds_of(args: &RunArgs) -> Option<(u64, u64)> {
    let Some(seeds) = &args.seeds else { return Some((1, u64::MAX)) };
    let (first, end) = seeds.split_once("..")?;
    Some((first.parse().ok()?, end.parse().ok()?))
}

/// Runs one seed; `true` if it failed.
fn run_one(args: &RunArgs, seed: u64, total: &Mutex<Total>) -> bool {
    let scenario = Scenario { members: args.members, is_calm: args.calm, ..Scenario::of_seed(seed) };
    let report = run(&scenario, Look::default());
    let mut failure = report.describe();
    if args.twice && failure.is_none() {
        let again = run(&scenario, Look::default());
        failure = differs(&report, &again);
    }
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    total.runs += 1;
    total.steps += report.steps;
    total.simulated += report.simulated;
    total.counts.merge(&report.counts);
    total.hashes.push((seed, report.hash));
    let Some(failure) = failure else { return false };
    println!("{failure}");
    total.failures.push(failure);
    true
}

fn differs(report: &Report, again: &Report) -> Option<String> {
    let (one, other) = ((report.hash, report.steps), (again.hash, again.steps));
    (one != other).then(|| {
        format!(
            "FAIL promise=\"a seed stands for one run\" seed={}: {one:x?} {other:x?}",
            report.scenario.seed
        )
    })
}

fn report(args: &RunArgs, total: &Total, took: Duration) -> ExitCode {
    if args.hashes {
        let mut hashes = total.hashes.clone();
        hashes.sort_unstable();
        for (seed, hash) in hashes {
            println!("hash of {seed} is {hash:016x}");
        }
    }
    println!("faults and situations:");
    for (what, times) in total.counts.iter() {
        println!("{times:>10} {what}");
    }
    let (simulated, wall) = (total.simulated / 1_000_000_000, took.as_millis().max(1));
    let factor = u128::from(total.simulated) / 1_000_000 / wall;
    println!(
        "{} runs, {} events, {simulated} s simulated in {}.{:03} s: {factor} times real time with {} at once",
        total.runs,
        total.steps,
        wall / 1_000,
        wall % 1_000,
        args.jobs
    );
    if !total.failures.is_empty() {
        println!("{} failed", total.failures.len());
        return ExitCode::FAILURE;
    }
    let missing = total.counts.missing();
    if !args.allow_blind && !missing.is_empty() {
        println!("blind: these never happened: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
