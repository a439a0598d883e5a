//! `cargo xtask compat`: the same random requests to the real etcd and to etched, and every answer compared.
//!
//! A run is a row of epochs; each starts both servers on fresh data and draws its steps from the seed and its number,
//! so a seed repeats a run.
//! Both sides get a request at the same time and the next one only when both have answered, so they always are in the
//! same state.
//! After the first differences of an epoch the sides may have gone apart, and the run ends.

mod accepted;
mod diff;
mod generate;
mod http;
mod metrics;
mod normal;
mod request;
mod session;
mod side;
mod watching;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::process::{Program, shared_memory};
use session::Session;

/// Options of `compat`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Repeats the run of this seed; a new one without it.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after so many requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Requests between fresh starts.
    #[arg(long, default_value_t = 4000)]
    epoch: u64,
    /// Our server's program; built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The reference's program; the vendored etcd when it is not given.
    #[arg(long)]
    reference_bin: Option<PathBuf>,
    /// The directory for the servers' data.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
    /// Has users, roles and tokens, and sends each request in somebody's name.
    #[arg(long)]
    auth: bool,
    /// Goes on with the next epoch after differences.
    #[arg(long)]
    keep_going: bool,
    /// Prints each step.
    #[arg(long)]
    verbose: bool,
    /// Prints at the end how often what was answered.
    #[arg(long)]
    tally: bool,
}

/// A gate judges a change, so it sends the same requests each time; new seeds are for everybody's own runs.
const CI_SEED: u64 = 1_795_611_024;
/// Requests that a gate sends at most, about two minutes of them.
const CI_REQUESTS: u64 = 16_000;

impl Options {
    /// The fixed seed, for so many seconds at most; with users or without.
    pub(crate) fn of_ci(seconds: u64, auth: bool) -> Self {
        Self {
            seed: Some(CI_SEED),
            requests: Some(CI_REQUESTS),
            seconds: Some(seconds),
            epoch: 4000,
            server_bin: None,
            reference_bin: None,
            dir: shared_memory(),
            auth,
            keep_going: false,
            verbose: false,
            tally: true,
        }
    }
}

/// Runs until a limit or a difference is reached.
///
/// # Errors
/// If there was a difference.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_epochs(options))
}

async fn run_epochs(options: &Options) -> Result<()> {
    let reference = Program::reference(options.reference_bin.clone())?;
    let ours = Program::ours(options.server_bin.clone())?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    let begin = Instant::now();
    let end = options.seconds.map(|seconds| begin + Duration::from_secs(seconds));
    let mut left = match (options.requests, end) {
        (None, None) => 10_000,
        (requests, _) => requests.unwrap_or(u64::MAX),
    };
    let (mut done, mut refused, mut differences) = (0, 0, 0);
    let mut answers = BTreeMap::<String, u64>::new();
    for epoch in 0.. {
        if left == 0 || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let directory = tempfile::Builder::new().prefix("etched-compat-").tempdir_in(&options.dir)?;
        let epoch_seed = seed.wrapping_add(epoch);
        let mut session =
            Session::start(&reference, &ours, directory.path(), epoch_seed, options.auth, options.verbose)
                .await?;
        let run = session.run(left.min(options.epoch), end).await;
        run.with_context(|| format!("the epoch of seed {epoch_seed}"))?;
        session.compare_metrics().await?;
        let tally = session.finish();
        for (answer, count) in &tally.answers {
            *answers.entry(answer.clone()).or_default() += count;
        }
        (done, refused, left) = (done + tally.calls, refused + tally.refused, left - tally.steps.min(left));
        if tally.differences.is_empty() {
            continue;
        }
        tally.differences.iter().for_each(|difference| println!("{difference}\n"));
        differences += tally.differences.len();
        println!(
            "compat: `cargo xtask compat{} --seed {epoch_seed} --requests {}` repeats the epoch",
            if options.auth { " --auth" } else { "" },
            options.epoch
        );
        if !options.keep_going {
            break;
        }
    }
    if options.tally {
        answers.iter().for_each(|(answer, count)| println!("{count:8} {answer}"));
    }
    ensure!(differences == 0, "{differences} differences in {done} requests, seed {seed}");
    let seconds = begin.elapsed().as_secs();
    println!(
        "compat: no difference in {done} requests ({refused} refused by both), seed {seed}, {seconds} s"
    );
    Ok(())
}
