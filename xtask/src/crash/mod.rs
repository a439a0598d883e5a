//! `cargo xtask crash`: a server is killed again and again while it is written to, and must keep what it answered.
//!
//! After each kill the server is started again and its history since the last check is read with a watch.
//! Each answered write is there once, at its revision; each unanswered one at most once; revisions have no gaps;
//! nothing else happened; and `HashKV` is the hash of that history.
//! In between, compactions are cut off half-way and starts are killed too.

mod hash;
mod history;
mod writer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::{Event, KeyValue};
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Program, Server, shared_memory};
use crate::random::Random;
use history::{Attempt, History};
use writer::Writer;

/// Concurrent writers.
const WRITERS: usize = 8;
/// How long reading the history may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `crash`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the server is killed.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Draws the same moments and writes again; the server's own timing still differs.
    #[arg(long)]
    seed: Option<u64>,
    /// The server's program; ours is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The directory for the server's data.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
}

impl Options {
    /// A new seed, so many kills.
    pub(crate) fn of_ci(kills: u64) -> Self {
        Self { kills, seed: None, server_bin: None, dir: shared_memory() }
    }
}

/// Kills and checks.
///
/// # Errors
/// If the server did not keep a promise; its data is then left in place.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = Program::ours(options.server_bin.clone())?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    let directory = tempfile::Builder::new().prefix("etched-crash-").tempdir_in(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(kill_often(options.kills, seed, &program, directory.path()));
    if result.is_err() {
        let kept = directory.keep();
        println!("the server's data and log are in {}", kept.display());
    }
    result.with_context(|| format!("seed {seed}"))
}

async fn kill_often(kills: u64, seed: u64, program: &Program, directory: &Path) -> Result<()> {
    let begin = Instant::now();
    let mut trial = Trial {
        server: Server::start(program, directory, &[])?,
        random: Random::new(seed),
        history: History::new(),
        compacted: -1,
        compacting: -1,
    };
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(format!("w{number}"), seed ^ number as u64)).collect();
    for kill in 1..=kills {
        let attempts = trial.write_and_kill(&mut writers).await?;
        trial
            .check(attempts, kill % 10 == 0 || kill == kills)
            .await
            .with_context(|| format!("after kill {kill}"))?;
    }
    let tally = trial.history.tally;
    println!(
        "crash: {kills} kills, {} answered writes kept, {} of {} unanswered ones found, revision {}, hash equal, {} s",
        tally.answered,
        tally.found,
        tally.unanswered,
        trial.history.revision,
        begin.elapsed().as_secs()
    );
    Ok(())
}

/// A server under trial and what is known of it.
struct Trial {
    server: Server,
    random: Random,
    history: History,
    compacted: i64,
    /// A compaction that was asked for and may have been cut off.
    compacting: i64,
}

impl Trial {
    /// Lets the writers write, kills the server under them, and starts it again.
    async fn write_and_kill(&mut self, writers: &mut Vec<Writer>) -> Result<Vec<Attempt>> {
        let channel = connect(&self.server).await?;
        let mut running = tokio::task::JoinSet::new();
        for writer in writers.drain(..) {
            running.spawn(writer.run(channel.clone()));
        }
        let life = Duration::from_micros(5_000 + self.random.below(400_000));
        let compaction = self.random.one_in(4) && self.history.revision > self.compacted.max(1) + 10;
        if compaction {
            tokio::time::sleep(life / 2).await;
            self.begin_compaction(channel.clone());
            // Often while it is under way.
            tokio::time::sleep(Duration::from_micros(self.random.below(30_000))).await;
        } else {
            tokio::time::sleep(life).await;
        }
        self.server.kill()?;
        let mut attempts = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (writer, tried) = ended?;
            writers.push(writer);
            attempts.extend(tried);
        }
        while self.random.one_in(5) {
            self.server.respawn()?;
            tokio::time::sleep(Duration::from_micros(self.random.below(150_000))).await;
            self.server.kill()?;
        }
        self.server.respawn()?;
        self.server.wait_until_ready()?;
        Ok(attempts)
    }

    fn begin_compaction(&mut self, channel: Channel) {
        let low = self.compacted.max(1);
        let span = u64::try_from(self.history.revision - low).unwrap_or(1).max(1);
        let revision = low + 1 + i64::try_from(self.random.below(span)).unwrap_or(0);
        self.compacting = revision;
        tokio::spawn(async move {
            let request = pb::CompactionRequest { revision, physical: true };
            KvClient::new(channel).compact(request).await.ok();
        });
    }

    async fn check(&mut self, attempts: Vec<Attempt>, whole: bool) -> Result<()> {
        let channel = connect(&self.server).await?;
        let current = current_revision(channel.clone()).await?;
        let events = events(channel.clone(), self.history.revision + 1, current).await?;
        self.history.extend(attempts, &events, current)?;
        let hash =
            MaintenanceClient::new(channel.clone()).hash_kv(pb::HashKvRequest::default()).await?.into_inner();
        let compacted = hash.compact_revision;
        ensure!(
            compacted == self.compacted || compacted == self.compacting,
            "compacted at {compacted}, after {} and a try at {}",
            self.compacted,
            self.compacting
        );
        self.compacted = compacted;
        ensure!(hash.hash_revision == current, "hashed at {}, not {current}", hash.hash_revision);
        let expected = hash::hash(self.history.changes().iter(), compacted, current);
        ensure!(hash.hash == expected, "HashKV is {}, the history's hash {expected}", hash.hash);
        if whole {
            self.check_keys(channel).await?;
        }
        Ok(())
    }

    async fn check_keys(&self, channel: Channel) -> Result<()> {
        let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let mut client = KvClient::new(channel).max_decoding_message_size(1 << 30);
        let kvs = client.range(all).await?.into_inner().kvs;
        let expected: Vec<&KeyValue> = self.history.live().collect();
        ensure!(kvs.len() == expected.len(), "{} keys, the history leaves {}", kvs.len(), expected.len());
        for (kv, expected) in kvs.iter().zip(expected) {
            ensure!(kv == expected, "{kv:?} should be {expected:?}");
        }
        Ok(())
    }
}

async fn connect(server: &Server) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{}", server.address()))?.connect().await?)
}

async fn current_revision(channel: Channel) -> Result<i64> {
    let request = pb::RangeRequest { key: "\0".into(), ..Default::default() };
    let answer = KvClient::new(channel).range(request).await?.into_inner();
    Ok(answer.header.context("an answer has a header")?.revision)
}

/// All events of the revisions `from` to `to`, read by a watch.
async fn events(channel: Channel, from: i64, to: i64) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    if from > to {
        return Ok(events);
    }
    let create = pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: from,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    requests.send(request).await?;
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut client = WatchClient::new(channel).max_decoding_message_size(1 << 30);
    let read = async {
        let mut answers = client.watch(outgoing).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            ensure!(!answer.canceled, "the watch from {from} was cancelled: {answer:?}");
            events.extend(answer.events);
            let last = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if last >= to {
                return Ok(());
            }
        }
        bail!("the watch ended");
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read?,
        Err(_) => bail!("a watch from {from} does not reach {to}"),
    }
    Ok(events)
}
