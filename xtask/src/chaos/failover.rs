//! `cargo xtask failover`: how long a cluster does not write when its leader is killed.
//!
//! A put is sent to each of the other members every few milliseconds; what counts is the time from the kill to the first
//! answer of a put that was sent after it.
//! etched and the real etcd take turns, each with a cluster of three on fresh data, so that the machine's moods meet
//! both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use etched_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::cluster::Cluster;
use crate::process::{Program, shared_memory};
use crate::random::Random;

const MEMBERS: usize = 3;
/// The time between two puts to a member.
const BETWEEN: Duration = Duration::from_millis(5);
/// The longest that a cluster may not write.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `failover`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often each leader is killed.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Measures the real etcd only.
    #[arg(long)]
    reference_only: bool,
    /// Our program; it is built when it is not given.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// The real etcd; the vendored one when it is not given.
    #[arg(long)]
    reference_bin: Option<PathBuf>,
    /// The directory for the members' data.
    #[arg(long, default_value_os_t = shared_memory())]
    dir: PathBuf,
}

/// Measures and prints.
///
/// # Errors
/// If a cluster does not recover.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut programs = vec![Program::reference(options.reference_bin.clone())?];
    if !options.reference_only {
        programs.push(Program::ours(options.server_bin.clone())?);
    }
    let directory = tempfile::Builder::new().prefix("etched-failover-").tempdir_in(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(measure(options.runs, &programs, directory.path()));
    runtime.shutdown_background();
    result
}

async fn measure(runs: usize, programs: &[Program], directory: &Path) -> Result<()> {
    let mut random = Random::new(u64::from(std::process::id()));
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); programs.len()];
    for run in 0..runs {
        for (program, times) in programs.iter().zip(&mut times) {
            // A cluster serves several runs, the other program's cluster does not run meanwhile.
            let directory = directory.join(format!("{}-{run}", program.name));
            let mut cluster = Cluster::start(&vec![program.clone(); MEMBERS], &directory).await?;
            // At any moment between heartbeats.
            sleep(Duration::from_micros(500_000 + random.below(300_000))).await;
            let time = kill_leader(&mut cluster).await.with_context(|| program.name.clone())?;
            println!("{:8} run {:3} {:>7.0} ms", program.name, run + 1, millis(time));
            times.push(time);
        }
    }
    println!("{:8} {:>5} {:>10} {:>10} {:>10} {:>10}", "", "runs", "min ms", "median ms", "p99 ms", "max ms");
    for (program, mut times) in programs.iter().zip(times) {
        times.sort_unstable();
        let at = |permille: usize| times.get((times.len() * permille).div_ceil(1000).max(1) - 1).copied();
        let [min, median, p99, max] = [0, 500, 990, 1000].map(|at_| millis(at(at_).unwrap_or_default()));
        println!("{:8} {:>5} {min:>10.0} {median:>10.0} {p99:>10.0} {max:>10.0}", program.name, times.len());
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

async fn kill_leader(cluster: &mut Cluster) -> Result<Duration> {
    let leader = cluster.leader().await?;
    let mut channels = Vec::new();
    for node in (0..MEMBERS).filter(|node| *node != leader) {
        let mut client = KvClient::new(cluster.channel(node)?);
        // So that the connection is there.
        client.put(put(0)).await?;
        channels.push(client);
    }
    let killed = Instant::now();
    cluster.members[leader].kill()?;
    let (answered, mut answers) = mpsc::channel(1);
    let mut number = 0;
    while killed.elapsed() < PATIENCE {
        for client in &channels {
            number += 1;
            let (mut client, answered): (KvClient<Channel>, _) = (client.clone(), answered.clone());
            tokio::spawn(async move {
                if client.put(put(number)).await.is_ok() {
                    // Only the first counts; a full channel has it.
                    let _ = answered.try_send(Instant::now());
                }
            });
        }
        if let Ok(Some(answer)) = tokio::time::timeout(BETWEEN, answers.recv()).await {
            return Ok(answer - killed);
        }
    }
    bail!("no write for {} s", PATIENCE.as_secs())
}

fn put(number: u64) -> pb::PutRequest {
    let value = number.to_string().into();
    pb::PutRequest { key: "failover".into(), value, ..Default::default() }
}
