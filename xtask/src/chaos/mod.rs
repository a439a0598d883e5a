//! `cargo xtask chaos`: a cluster of real processes is tortured while clients use it, and must keep all its promises.
//!
//! Members talk to each other and to clients through proxies in this process, which can hold up, slow down, swallow and
//! cut what passes, each direction by itself.
//! A seed draws the faults and the requests.
//! When the faults end the cluster must serve again within a bound, leases must run out, and all members must have
//! equal content; then the checkers of `etched_model::history` judge everything that clients and watches were told.
//! docs/chaos.md tells more.

mod client;
mod cluster;
mod disk;
pub(crate) mod failover;
mod fault;
mod generate;
mod inject;
mod journal;
mod member;
mod network;
mod owner;
mod plant;
mod report;
mod settle;
mod watcher;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use etched_model::history::{Verdict, judge};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::Surroundings;
use self::cluster::Cluster;
use self::fault::Deck;
use self::inject::Injector;
use self::journal::Journal;
use self::plant::Plant;
use crate::process::{Program, shared_memory};
use crate::random::Random;

/// Steps of the search for an order of one key's calls.
const SEARCH_BUDGET: usize = 2_000_000;
/// In a run of so many minutes each kind of fault must happen.
const MINUTES_FOR_ALL_KINDS: f64 = 3.0;

/// Watches of all kinds at a time.
const WANDERERS: u32 = 6;
/// Clients are numbered from 0, scribes and other watches from here.
const SCRIBE: u32 = 2_000;
const WANDERER: u32 = 3_000;

/// Which programs the members run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Who {
    /// etched.
    Ours,
    /// The real etcd.
    Reference,
    /// In turn.
    Mixed,
}

/// Options of `chaos`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many members there are.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    members: u8,
    /// How long faults are injected.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Draws the same faults and requests again; the timing still differs.
    #[arg(long)]
    seed: Option<u64>,
    /// Which programs the members run.
    #[arg(long, value_enum, default_value = "ours")]
    program: Who,
    /// Our program; it is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The real etcd; the vendored one when it is not given.
    #[arg(long)]
    reference_bin: Option<PathBuf>,
    /// The directory for the members' data.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
    /// Clients that read and write.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Requests in a second, by all clients together.
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Writes the history here, even if nothing is wrong.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Plants a fault of the store; the run fails if it is not found.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Judges a recorded history and does nothing else.
    #[arg(long)]
    history: Option<PathBuf>,
}

impl Options {
    /// etched alone, with this seed.
    pub(crate) fn of_ci(members: u8, minutes: f64, seed: u64) -> Self {
        Self {
            members,
            minutes,
            seed: Some(seed),
            program: Who::Ours,
            server_bin: None,
            reference_bin: None,
            dir: shared_memory(),
            clients: 8,
            rate: 250,
            record: None,
            plant: None,
            history: None,
        }
    }
}

/// Tortures and judges.
///
/// # Errors
/// If a promise was broken; the data, logs and history are then left in place.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(path) = &options.history {
        return report::rejudge(path);
    }
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    println!("chaos: seed {seed}");
    let programs = programs(options)?;
    let directory = tempfile::Builder::new().prefix("etched-chaos-").tempdir_in(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        let torture = Box::pin(torture(options, seed, &programs, directory.path()));
        tokio::select! {
            result = torture => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    });
    runtime.shutdown_background();
    if result.is_err() {
        println!("data, logs and history are in {}", directory.keep().display());
    }
    result.with_context(|| format!("seed {seed}"))
}

fn programs(options: &Options) -> Result<Vec<Program>> {
    let reference = || Program::reference(options.reference_bin.clone());
    let members = usize::from(options.members);
    Ok(match options.program {
        Who::Reference => vec![reference()?; members],
        Who::Ours => vec![Program::ours(options.server_bin.clone())?; members],
        Who::Mixed => {
            let both = [Program::ours(options.server_bin.clone())?, reference()?];
            both.into_iter().cycle().take(members).collect()
        }
    })
}

/// One run on fresh data.
async fn torture(options: &Options, seed: u64, programs: &[Program], directory: &Path) -> Result<()> {
    let begin = Instant::now();
    let mut cluster = Cluster::start(programs, directory).await?;
    let journal = Arc::new(Journal::new());
    let addresses = Arc::clone(&cluster.addresses);
    let around = Surroundings { addresses, journal, stop: Arc::default(), plant: options.plant };
    let (until, _) = tokio::sync::watch::channel(None);
    let mut scribes = JoinSet::new();
    for member in 0..programs.len() {
        let client = SCRIBE + u32::try_from(member).expect("few members");
        scribes.spawn(watcher::scribe(around.clone(), client, member, until.subscribe()));
    }
    let mut users = JoinSet::new();
    let between = Duration::from_secs(1) * options.clients / options.rate.max(1);
    for client in 0..options.clients {
        users.spawn(client::run(around.clone(), client, seed, between));
    }
    for client in 0..WANDERERS {
        users.spawn(watcher::wanderer(around.clone(), WANDERER + client, seed));
    }
    let deck = Deck::new(programs.len());
    let mut injector = Injector { cluster: &mut cluster, around: &around, random: Random::new(seed), deck };
    let injected = injector.run(begin + Duration::from_secs_f64(options.minutes * 60.0)).await;
    let deck = injector.deck;
    let settled = match injected {
        Ok(()) => settle::settle(&mut cluster, &around, users, scribes, &until).await,
        Err(error) => Err(error),
    };
    around.stop.store(true, Ordering::SeqCst);
    let (history, episodes) = around.journal.take();
    // Without an end, the history lacks what watches had still to be told.
    let verdict = if settled.is_ok() { judge(&history, SEARCH_BUDGET) } else { Verdict::default() };
    let is_bad = settled.is_err() || !verdict.violations.is_empty();
    if is_bad && options.plant.is_none() {
        for member in &mut cluster.members {
            member.kill()?;
            member.disk.save(&directory.join(format!("{}-data", member.name)))?;
        }
        journal::write(&directory.join("history.jsonl"), &history, &episodes)?;
    }
    if let Some(path) = &options.record {
        journal::write(path, &history, &episodes)?;
    }
    report::print(&deck, &history, &verdict, begin.elapsed());
    settled?;
    conclude(options, &deck, report::explain(&history, &verdict, &episodes))
}

/// Whether a run that came to its end is good.
fn conclude(options: &Options, deck: &Deck, explained: Result<()>) -> Result<()> {
    if let Some(plant) = options.plant {
        ensure!(explained.is_err(), "{plant:?} was planted, and not found");
        println!("{plant:?} was planted, and found");
        return Ok(());
    }
    explained?;
    let missing = deck.missing();
    let must_have_all = options.minutes >= MINUTES_FOR_ALL_KINDS;
    ensure!(!must_have_all || missing.is_empty(), "faults that did not happen: {missing:?}");
    Ok(())
}
