//! What a run prints: a table of faults and calls, and the shortest story of what went wrong.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use etched_model::history::{History, Log, Outcome, Verdict, judge};
use serde_json::json;

use super::SEARCH_BUDGET;
use super::fault::Deck;
use super::journal::{self, Episode, tally};

/// Broken promises that are told in full.
const TOLD: usize = 5;
/// Characters of one line of a story.
const WIDTH: usize = 1_200;

/// Prints what happened.
pub(super) fn print(deck: &Deck, history: &History, verdict: &Verdict, took: Duration) {
    println!("{:24} {:>6} {:>8}", "fault", "done", "skipped");
    for (fault, count) in &deck.counts {
        println!("{:24} {:>6} {:>8}", fault.to_string(), count.done, count.skipped);
    }
    let done: u64 = deck.counts.values().map(|count| count.done).sum();
    println!("{:24} {done:>6}", "all");
    print_history(history, verdict);
    println!("{} s", took.as_secs());
}

fn print_history(history: &History, verdict: &Verdict) {
    let tally = tally(history);
    let reads = history.calls.iter().filter(|call| {
        let is_unknown = matches!(call.outcome, Outcome::Unknown);
        is_unknown && matches!(call.request, etched_model::history::Request::Range(_))
    });
    println!(
        "{} calls: {} answered, {} refused, {} unknown ({} of them reads, {} of them found)",
        history.calls.len(),
        tally.answered,
        tally.refused,
        tally.unknown,
        reads.count(),
        verdict.found
    );
    println!(
        "{} revisions, {} by leases that ran out; {} watches with {} messages; {} members hashed",
        verdict.revision,
        verdict.expired,
        history.streams.len(),
        verdict.messages,
        history.hashes.len()
    );
    let searched = verdict.searched;
    println!(
        "orders searched for {} keys with {} calls, {} keys undecided",
        searched.keys, searched.calls, searched.undecided
    );
}

/// Tells what was broken, with the calls and revisions that show it.
///
/// # Errors
/// If anything was.
pub(super) fn explain(history: &History, verdict: &Verdict, episodes: &[Episode]) -> Result<()> {
    if verdict.violations.is_empty() {
        println!("verdict: all promises kept");
        return Ok(());
    }
    let log = Log::of(history, &mut Vec::new()).unwrap_or_default();
    for violation in verdict.violations.iter().take(TOLD) {
        println!("\nbroken: {}\n  {}", violation.promise, cut(&violation.story));
        let mut moment = None;
        for &place in &violation.calls {
            let call = &history.calls[place];
            moment = moment.max(Some(call.invoked));
            println!("  {}", cut(&json!({ "call": call }).to_string()));
        }
        if violation.revision > 0 {
            for revision in violation.revision - 1..=violation.revision + 1 {
                println!("  revision {revision}: {}", cut(&format!("{:?}", log.changes(revision))));
            }
        }
        for Episode { what, from, to } in episodes.iter().filter(|episode| {
            moment.is_some_and(|moment| episode.from <= moment && moment <= episode.to + 5_000_000_000)
        }) {
            println!("  fault from {from} to {to}: {}", cut(what));
        }
    }
    bail!("{} promises broken", verdict.violations.len())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Judges a recorded history.
pub(super) fn rejudge(path: &Path) -> Result<()> {
    let history = journal::read(path)?;
    let verdict = judge(&history, SEARCH_BUDGET);
    print_history(&history, &verdict);
    explain(&history, &verdict, &[])
}
