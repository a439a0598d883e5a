//! The workloads of a cluster of three.

use anyhow::{Result, ensure};

use super::cluster::Cluster;
use super::load::{Run, Shape, Target, Until};
use super::report::{Floor, Metric};
use super::scenarios::{Samples, Scenario, Sizes, Workload, fill_at, get_at, put_at, short_key};
use super::snapshots;

/// All workloads, in the order in which they run.
pub(super) const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "put-1", about: "puts of 256 B, one client", run: Workload::Many(put_1) },
    Scenario { name: "put-64", about: "puts of 256 B, 64 clients", run: Workload::Many(put_64) },
    Scenario { name: "put-256", about: "puts of 256 B, 256 clients", run: Workload::Many(put_256) },
    Scenario { name: "get", about: "linearizable reads of one key of 100,000", run: Workload::Many(get) },
    Scenario {
        name: "snapshot",
        about: "puts while a member that was away gets 1,000,000 keys",
        run: Workload::Many(snapshots::to_member),
    },
];

/// How a metric of puts or reads is called, and what it must reach.
struct Names {
    rate: &'static str,
    cpu: &'static str,
    p50: &'static str,
    p99: &'static str,
    rate_min: Floor,
    cpu_max: Floor,
    p50_max: Floor,
}

macro_rules! names {
    ($name:literal, $rate:expr, $cpu:expr, $p50:expr) => {
        Names {
            rate: $name,
            cpu: concat!($name, ", cpu of all members"),
            p50: concat!($name, ", p50"),
            p99: concat!($name, ", p99"),
            rate_min: $rate,
            cpu_max: $cpu,
            p50_max: $p50,
        }
    };
}

impl Names {
    fn samples(&self, run: &Run) -> Samples {
        vec![
            (Metric::new(self.rate, "1/s", self.rate_min), run.per_second()),
            (Metric::new(self.cpu, "us", self.cpu_max), run.server_us()),
            (Metric::new(self.p50, "us", self.p50_max), run.latencies.quantile_us(500)),
            (Metric::new(self.p99, "us", Floor::None), run.latencies.quantile_us(990)),
        ]
    }
}

const NO_FLOOR: Floor = Floor::None;
const RATE: Floor = Floor::RatioMin(1.8);
const CPU: Floor = Floor::RatioMax(0.5);
const BETTER: Floor = Floor::RatioMax(1.0);

fn puts(target: Target, sizes: &Sizes, clients: u32, names: &Names) -> Result<Samples> {
    Ok(names.samples(&put_at(target, Shape::of_clients(clients), Until::Elapsed(sizes.measured))?))
}

fn put_1(cluster: &mut Cluster, sizes: &Sizes) -> Result<Samples> {
    let leader = cluster.leader()?;
    let follower = usize::from(leader == 0);
    let at_leader = names!("put, 1 client at the leader", NO_FLOOR, NO_FLOOR, BETTER);
    let at_follower = names!("put, 1 client at a follower", NO_FLOOR, NO_FLOOR, BETTER);
    let mut samples = puts(cluster.only(leader), sizes, 1, &at_leader)?;
    samples.extend(puts(cluster.only(follower), sizes, 1, &at_follower)?);
    check_leader(cluster, leader)?;
    Ok(samples)
}

fn put_64(cluster: &mut Cluster, sizes: &Sizes) -> Result<Samples> {
    let spread = names!("put, 64 clients at all members", RATE, CPU, NO_FLOOR);
    let at_leader = names!("put, 64 clients at the leader", RATE, CPU, NO_FLOOR);
    put_many(cluster, sizes, 64, &spread, &at_leader)
}

fn put_256(cluster: &mut Cluster, sizes: &Sizes) -> Result<Samples> {
    let spread = names!("put, 256 clients at all members", RATE, CPU, NO_FLOOR);
    let at_leader = names!("put, 256 clients at the leader", RATE, CPU, NO_FLOOR);
    put_many(cluster, sizes, 256, &spread, &at_leader)
}

fn put_many(
    cluster: &mut Cluster,
    sizes: &Sizes,
    clients: u32,
    spread: &Names,
    at_leader: &Names,
) -> Result<Samples> {
    let leader = cluster.leader()?;
    let mut samples = puts(cluster.all(), sizes, clients, spread)?;
    samples.extend(puts(cluster.only(leader), sizes, clients, at_leader)?);
    check_leader(cluster, leader)?;
    Ok(samples)
}

/// What was measured at the leader was so only if it led all the time.
fn check_leader(cluster: &Cluster, leader: usize) -> Result<()> {
    let now = cluster.leader()?;
    ensure!(now == leader, "leadership went from member {leader} to {now} under load");
    Ok(())
}

fn get(cluster: &mut Cluster, sizes: &Sizes) -> Result<Samples> {
    let leader = cluster.leader()?;
    let follower = usize::from(leader == 0);
    fill_at(cluster.only(leader), sizes.keys, &mut short_key(0), 256)?;
    let read = |target, clients| get_at(target, sizes, Shape::of_clients(clients), false);
    let at_leader = names!("get, 256 clients at the leader", RATE, NO_FLOOR, NO_FLOOR);
    let mut samples = at_leader.samples(&read(cluster.only(leader), 256)?);
    let at_followers = names!("get, 256 clients at the followers", RATE, NO_FLOOR, NO_FLOOR);
    samples.extend(at_followers.samples(&read(cluster.without(leader), 256)?));
    let at_leader = names!("get, 1 client at the leader", NO_FLOOR, NO_FLOOR, BETTER);
    samples.extend(at_leader.samples(&read(cluster.only(leader), 1)?));
    let at_follower = names!("get, 1 client at a follower", NO_FLOOR, NO_FLOOR, BETTER);
    samples.extend(at_follower.samples(&read(cluster.only(follower), 1)?));
    check_leader(cluster, leader)?;
    Ok(samples)
}
