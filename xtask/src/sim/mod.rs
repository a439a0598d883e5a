//! `cargo xtask sim`: the crates that ship, under faults that a seed draws.

mod storage;

use std::time::Duration;

use anyhow::Result;

/// Options of `sim`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The storage of one member alone: log, backend and snapshot files on a disk that loses power.
    #[arg(long, required = true)]
    storage: bool,
    /// How long new seeds are drawn.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed; those that follow are counted up from it.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs this many seeds instead of so many minutes.
    #[arg(long)]
    seeds: Option<u64>,
}

impl Options {
    /// Fixed seeds.
    pub(crate) fn of_ci(seeds: u64) -> Self {
        Self { storage: true, minutes: 0.0, seed: Some(0), seeds: Some(seeds) }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

/// Runs seeds until the time is over.
///
/// # Errors
/// A promise was broken, or something that a long run must meet did not happen.
pub(crate) fn run(options: &Options) -> Result<()> {
    storage::run(options)
}
