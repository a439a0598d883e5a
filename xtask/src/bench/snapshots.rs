//! The whole store on its way out, to a client or to a member, while others put at a fixed rate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etched_proto::etcdserverpb::SnapshotRequest;
use prost::Message as _;

use super::cluster::{Cluster, status};
use super::load::{Shape, Target, Until, closed_loop};
use super::paced;
use super::report::{Floor, Metric};
use super::scenarios::{Samples, Sizes, fill_at, long_key, megabytes, target};
use crate::histogram::Histogram;
use crate::process::Server;
use crate::procfs;

const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
const LONG: Duration = Duration::from_secs(600);
const VALUE_BYTES: usize = 1024;

/// Puts at a fixed rate before `work` and while it runs.
struct Puts {
    before: Histogram,
    during: Histogram,
}

/// Fills the store, waits until background work of either side, and Go's collector, have come to rest, and puts at a
/// fixed rate for a time and then while `work` runs.
fn with_puts<T>(target: Target, sizes: &Sizes, work: impl FnOnce() -> Result<T>) -> Result<(Puts, T)> {
    let address: SocketAddr = target.addresses[0];
    fill_at(target, sizes.snapshot_keys, &mut long_key(), VALUE_BYTES)?;
    std::thread::sleep(Duration::from_secs(3));
    let begin = Instant::now();
    let before = paced::puts(address, || begin.elapsed() < sizes.measured)?;
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let probes = scope.spawn(|| paced::puts(address, || goes_on.load(Ordering::Relaxed)));
        let done = work();
        goes_on.store(false, Ordering::Relaxed);
        let during = probes.join().map_err(|_| anyhow::anyhow!("the probes' thread panicked"))??;
        Ok((Puts { before, during }, done?))
    })
}

impl Puts {
    fn samples(&self) -> Samples {
        let (idle_us, busy_us) = (self.before.quantile_us(990), self.during.quantile_us(990));
        let metric = Metric::new;
        vec![
            (metric("put before the snapshot, p99", "us", Floor::None), idle_us),
            (metric("put during the snapshot, p99", "us", Floor::None), busy_us),
            (metric("put during the snapshot, p99 to that before", "x", Floor::Max(2.0)), busy_us / idle_us),
            (metric("put during the snapshot, max", "ms", Floor::None), self.during.max_us() / 1e3),
        ]
    }
}

/// A client takes the store with `Maintenance.Snapshot`, and reads as fast as it can.
pub(super) fn to_client(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    let at = target(server);
    let (puts, run) = with_puts(at.clone(), sizes, || {
        let request = SnapshotRequest {}.encode_to_vec();
        closed_loop(at.clone(), SNAPSHOT, Shape::ONE, Until::Answered(1), &mut |out| {
            out.extend_from_slice(&request);
        })
    })?;
    ensure!(run.bytes > sizes.snapshot_keys * VALUE_BYTES as u64, "the snapshot has {} bytes", run.bytes);
    let after = procfs::memory(server.pid())?;
    let metric = Metric::new;
    let mut samples = vec![
        (
            metric("snapshot of 1,000,000 to a client", "ms", Floor::RatioMax(0.5)),
            run.elapsed.as_secs_f64() * 1e3,
        ),
        (metric("snapshot of 1,000,000, size", "MB", Floor::None), megabytes(run.bytes)),
        (
            metric("snapshot of 1,000,000, rate", "MB/s", Floor::None),
            megabytes(run.bytes) / run.elapsed.as_secs_f64(),
        ),
        (metric("snapshot of 1,000,000, peak memory", "MB", Floor::None), megabytes(after.peak)),
    ];
    samples.extend(puts.samples());
    Ok(samples)
}

/// A member is away while all is written, and needs a snapshot when it is back.
pub(super) fn to_member(cluster: &mut Cluster, sizes: &Sizes) -> Result<Samples> {
    let leader = cluster.leader()?;
    let away = usize::from(leader == 0);
    cluster.member(away).kill()?;
    let target = Target { pids: Vec::new(), ..cluster.only(leader) };
    let (puts, took) = with_puts(target, sizes, || catch_up(cluster, leader, away))?;
    let now = cluster.leader()?;
    ensure!(now == leader, "leadership went from member {leader} to {now} under load");
    let name = Metric::new("snapshot of 1,000,000 to a member", "ms", Floor::RatioMax(0.5));
    let mut samples = vec![(name, took.as_secs_f64() * 1e3)];
    samples.extend(puts.samples());
    Ok(samples)
}

/// From the start of the member that was away until it has applied what the leader had at that time and is asked
/// successfully.
fn catch_up(cluster: &mut Cluster, leader: usize, away: usize) -> Result<Duration> {
    let goal = status(cluster.member(leader).address())?.raft_applied_index;
    let server = cluster.member(away);
    let begin = Instant::now();
    server.respawn()?;
    loop {
        if let Ok(status) = status(server.address())
            && status.raft_applied_index >= goal
        {
            break;
        }
        ensure!(begin.elapsed() < LONG, "the member does not catch up:\n{}", server.log_tail());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(server.wait_until_ready()? - begin)
}
