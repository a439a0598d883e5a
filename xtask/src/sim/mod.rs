//! `cargo xtask sim`: the crates that ship, under faults that a seed draws.

pub(crate) mod cluster;
mod storage;

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Options of `sim`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    again: Option<Again>,
    /// The storage of one member alone: log, backend and snapshot files on a disk that loses power.
    #[arg(long)]
    storage: bool,
    /// How long new seeds are drawn.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed; those that follow are counted up from it.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs these seeds instead of so many minutes: of clusters `first..end`, of a storage how many.
    #[arg(long)]
    seeds: Option<String>,
    /// How many members each cluster has; else the seed decides.
    #[arg(long)]
    members: Option<u64>,
    /// Goes on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Clusters with a perfect network and fast disks.
    #[arg(long)]
    calm: bool,
}

/// What is done with one run.
#[derive(clap::Subcommand)]
enum Again {
    /// Runs a seed or scenario file again: `replay WHAT [--until STEP] [--member N] [--log full]`.
    Replay {
        /// The simulator's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Makes a failure small and prints its scenario: `shrink WHAT [--runs N]`.
    Shrink {
        /// The simulator's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Options {
    /// Fixed seeds.
    pub(crate) fn of_ci(seeds: u64) -> Self {
        Self {
            again: None,
            storage: true,
            minutes: 0.0,
            seed: Some(0),
            seeds: Some(seeds.to_string()),
            members: None,
            keep_going: false,
            calm: false,
        }
    }

    /// How many seeds of a storage are run, if that is given.
    fn seeds_count(&self) -> Result<Option<u64>> {
        let Some(seeds) = &self.seeds else { return Ok(None) };
        Ok(Some(seeds.parse().context("the number of seeds")?))
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
    if options.storage { storage::run(options) } else { cluster::run(options) }
}
