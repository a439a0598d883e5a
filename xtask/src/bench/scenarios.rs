//! The workloads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etched_proto::etcdserverpb::{CompactionRequest, RangeRequest, RangeResponse};
use prost::Message as _;

use super::load::{Run, Shape, Target, Until, closed_loop};
use super::report::{Floor, Metric};
use super::{cluster::Cluster, snapshots, users, watchers};
use crate::http2;
use crate::process::Server;
use crate::procfs;
use crate::random::Random;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const LONG: Duration = Duration::from_secs(600);

/// What one run of a scenario measured.
pub(super) type Samples = Vec<(Metric, f64)>;

/// How much of everything.
pub(super) struct Sizes {
    /// A rate is measured for so long.
    pub(super) measured: Duration,
    /// Keys of the scenarios that read.
    pub(super) keys: u64,
    /// Keys of the large store.
    pub(super) keys_many: u64,
    /// Puts that watchers are told of.
    pub(super) watched_puts: u64,
    /// Revisions that a compaction removes.
    pub(super) revisions: u64,
    /// Keys of a snapshot that a member is sent.
    pub(super) snapshot_keys: u64,
}

impl Sizes {
    pub(super) const FULL: Self = Self {
        measured: Duration::from_secs(4),
        keys: 100_000,
        keys_many: 1_000_000,
        watched_puts: 300,
        revisions: 500_000,
        snapshot_keys: 1_000_000,
    };
    pub(super) const QUICK: Self = Self {
        measured: Duration::from_secs(1),
        keys: 10_000,
        keys_many: 100_000,
        watched_puts: 50,
        revisions: 50_000,
        snapshot_keys: 100_000,
    };
}

/// A workload on a fresh server.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) run: Workload,
}

/// What a scenario runs on.
pub(super) enum Workload {
    /// A cluster of one.
    One(fn(&mut Server, &Sizes) -> Result<Samples>),
    /// The same, with an address that speaks TLS.
    Secure(fn(&mut Server, SocketAddr, &Sizes) -> Result<Samples>),
    /// A cluster of several.
    Many(fn(&mut Cluster, &Sizes) -> Result<Samples>),
}

/// All workloads, in the order in which they run.
pub(super) const SCENARIOS: [Scenario; 13] = [
    Scenario { name: "put-1", about: "puts of 256 B, one client", run: Workload::One(put_1) },
    Scenario { name: "put-64", about: "puts of 256 B, 64 clients", run: Workload::One(put_64) },
    Scenario { name: "put-256", about: "puts of 256 B, 256 clients", run: Workload::One(put_256) },
    Scenario { name: "put-1000", about: "puts of 256 B, 1,000 clients", run: Workload::One(put_1000) },
    Scenario {
        name: "put-auth",
        about: "puts of 256 B, 256 clients, by a user with a role",
        run: Workload::One(users::put_as_user),
    },
    Scenario {
        name: "put-tls",
        about: "puts of 256 B, 256 clients, over TLS, by a user",
        run: Workload::Secure(users::put_over_tls),
    },
    Scenario { name: "get", about: "reads of one key of 100,000", run: Workload::One(get) },
    Scenario { name: "range", about: "all 100,000 keys in one answer", run: Workload::One(range) },
    Scenario { name: "watch", about: "events to 1,000 watch streams", run: Workload::One(watch) },
    Scenario {
        name: "compact",
        about: "puts while 500,000 revisions are compacted",
        run: Workload::One(compact),
    },
    Scenario {
        name: "large",
        about: "1,000,000 keys: load, memory, page, restart",
        run: Workload::One(large),
    },
    Scenario {
        name: "snapshot",
        about: "puts while a client takes a snapshot of 1,000,000 keys",
        run: Workload::One(snapshots::to_client),
    },
    Scenario { name: "lease", about: "keep-alives of one lease", run: Workload::One(watchers::keep_alive) },
];

pub(super) fn target(server: &Server) -> Target {
    Target { addresses: vec![server.address()], pids: vec![server.pid()], token: None, is_secure: false }
}

/// Appends a PutRequest: key = 1, value = 2.
pub(super) fn write_put(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for (tag, bytes) in [(0x0a, key), (0x12, value)] {
        out.push(tag);
        prost::encoding::encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// The bytes of a value: no two eights of them alike, so that nothing compresses them.
pub(super) fn value(len: usize) -> Vec<u8> {
    let mut random = Random::new(1);
    std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(len).collect()
}

/// Writes `number` in decimal into the last bytes of `key`.
fn number_key(key: &mut [u8], mut number: u64) {
    for digit in key.iter_mut().rev().take(10) {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}

/// Keys "key/0000000000" and so on.
pub(super) fn short_key(number: u64) -> Vec<u8> {
    format!("key/{number:010}").into_bytes()
}

fn put_run(server: &Server, shape: Shape, until: Until) -> Result<Run> {
    put_at(target(server), shape, until)
}

/// Puts at random, wherever.
pub(super) fn put_at(target: Target, shape: Shape, until: Until) -> Result<Run> {
    let (mut random, mut key, value) = (Random::new(7), short_key(0), value(256));
    closed_loop(target, PUT, shape, until, &mut |out| {
        number_key(&mut key, random.below(100_000));
        write_put(out, &key, &value);
    })
}

/// Writes `count` keys in ascending order.
fn fill(server: &Server, count: u64, key: &mut [u8], value_len: usize) -> Result<Run> {
    fill_at(target(server), count, key, value_len)
}

/// As [`fill`], wherever.
pub(super) fn fill_at(target: Target, count: u64, key: &mut [u8], value_len: usize) -> Result<Run> {
    let (mut next, value) = (0, value(value_len));
    closed_loop(target, PUT, Shape::of_clients(256), Until::Answered(count), &mut |out| {
        number_key(key, next);
        write_put(out, key, &value);
        next += 1;
    })
}

macro_rules! put_scenario {
    ($function:ident, $clients:literal, $throughput:expr, $cpu:expr, $p50:expr) => {
        fn $function(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
            let run = put_run(server, Shape::of_clients($clients), Until::Elapsed(sizes.measured))?;
            Ok(vec![
                (Metric::new(concat!("put, ", $clients, " clients"), "1/s", $throughput), run.per_second()),
                (
                    Metric::new(concat!("put, ", $clients, " clients, server cpu"), "us", $cpu),
                    run.server_us(),
                ),
                (
                    Metric::new(concat!("put, ", $clients, " clients, p50"), "us", $p50),
                    run.latencies.quantile_us(500),
                ),
                (
                    Metric::new(concat!("put, ", $clients, " clients, p99"), "us", Floor::None),
                    run.latencies.quantile_us(990),
                ),
                (
                    Metric::new(concat!("put, ", $clients, " clients, generator cpu"), "us", Floor::None),
                    run.own_us(),
                ),
            ])
        }
    };
}

put_scenario!(put_1, 1, Floor::None, Floor::RatioMax(0.5), Floor::RatioMax(0.8));
put_scenario!(put_64, 64, Floor::RatioMin(1.8), Floor::RatioMax(0.5), Floor::None);
put_scenario!(put_256, 256, Floor::RatioMin(1.8), Floor::RatioMax(0.5), Floor::None);
put_scenario!(put_1000, 1000, Floor::None, Floor::RatioMax(0.5), Floor::None);

fn get_run(server: &Server, sizes: &Sizes, shape: Shape, serializable: bool) -> Result<Run> {
    get_at(target(server), sizes, shape, serializable)
}

/// Reads of one key at random, wherever.
pub(super) fn get_at(target: Target, sizes: &Sizes, shape: Shape, serializable: bool) -> Result<Run> {
    let (mut random, mut key) = (Random::new(9), short_key(0));
    closed_loop(target, RANGE, shape, Until::Elapsed(sizes.measured), &mut |out| {
        number_key(&mut key, random.below(sizes.keys));
        let key = key.clone().into();
        RangeRequest { key, serializable, ..Default::default() }.encode(out).expect("a vector grows");
    })
}

fn get(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    fill(server, sizes.keys, &mut short_key(0), 256)?;
    let one = get_run(server, sizes, Shape::ONE, false)?;
    let linearizable = get_run(server, sizes, Shape::of_clients(256), false)?;
    let serializable = get_run(server, sizes, Shape::of_clients(256), true)?;
    let enough = linearizable.latencies.count() * 256;
    ensure!(linearizable.bytes > enough, "gets answer less than their values");
    let metric = Metric::new;
    Ok(vec![
        (metric("get, 1 client, p50", "us", Floor::None), one.latencies.quantile_us(500)),
        (metric("get, 1 client, server cpu", "us", Floor::None), one.server_us()),
        (metric("get, 256 clients", "1/s", Floor::RatioMin(2.0)), linearizable.per_second()),
        (metric("get, 256 clients, server cpu", "us", Floor::None), linearizable.server_us()),
        (metric("get, 256 clients, p99", "us", Floor::None), linearizable.latencies.quantile_us(990)),
        (metric("serializable get, 256 clients", "1/s", Floor::None), serializable.per_second()),
        (metric("serializable get, 256 clients, server cpu", "us", Floor::None), serializable.server_us()),
    ])
}

/// Runs one range request over and over.
fn range_run(server: &Server, request: &RangeRequest, until: Until) -> Result<Run> {
    let encoded = request.encode_to_vec();
    closed_loop(target(server), RANGE, Shape::ONE, until, &mut |out| out.extend_from_slice(&encoded))
}

fn range_once(address: SocketAddr, request: &RangeRequest) -> Result<RangeResponse> {
    let answer = http2::unary(address, RANGE, &request.encode_to_vec(), LONG)?;
    Ok(RangeResponse::decode(answer.as_slice())?)
}

fn prefix(limit: i64) -> RangeRequest {
    RangeRequest { key: "key/".into(), range_end: "key0".into(), limit, ..Default::default() }
}

fn range(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    fill(server, sizes.keys, &mut short_key(0), 256)?;
    let answer = range_once(server.address(), &prefix(0))?;
    ensure!(answer.kvs.len() as u64 == sizes.keys, "the range has {} keys", answer.kvs.len());
    let before = procfs::memory(server.pid())?;
    let run = range_run(server, &prefix(0), Until::Answered(10))?;
    let after = procfs::memory(server.pid())?;
    ensure!(run.bytes > 10 * sizes.keys * 256, "ranges answer less than their values");
    let metric = Metric::new;
    Ok(vec![
        (metric("range of 100,000, p50", "ms", Floor::RatioMax(0.2)), run.latencies.quantile_us(500) / 1e3),
        (metric("range of 100,000, server cpu", "ms", Floor::None), run.server_us() / 1e3),
        (metric("range of 100,000, peak memory before", "MB", Floor::None), megabytes(before.peak)),
        (metric("range of 100,000, peak memory", "MB", Floor::None), megabytes(after.peak)),
    ])
}

pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn watch(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    let run = watchers::fan_out(&target(server), 1000, sizes.watched_puts)?;
    let metric = Metric::new;
    Ok(vec![
        (
            metric("watch, 1,000 streams", "events/s", Floor::None),
            run.events as f64 / run.elapsed.as_secs_f64(),
        ),
        (
            metric("watch, 1,000 streams, server cpu", "us/event", Floor::None),
            run.server_cpu.as_secs_f64() * 1e6 / run.events as f64,
        ),
        (metric("watch, 1,000 streams, put p50", "us", Floor::None), run.puts.quantile_us(500)),
        (metric("watch, memory of a stream", "kB", Floor::None), run.stream_bytes / 1e3),
    ])
}

fn compact(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    let (mut number, mut key, value) = (0, short_key(0), value(64));
    let until = Until::Answered(sizes.revisions);
    closed_loop(target(server), PUT, Shape::of_clients(256), until, &mut |out| {
        number_key(&mut key, number % 10_000);
        write_put(out, &key, &value);
        number += 1;
    })?;
    let answer = range_once(server.address(), &RangeRequest { count_only: true, ..prefix(0) })?;
    let revision = answer.header.unwrap_or_default().revision;
    let idle = put_run(server, Shape { connections: 1, streams: 4 }, Until::Elapsed(sizes.measured / 2))?;
    let request = CompactionRequest { revision, physical: true }.encode_to_vec();
    let address = server.address();
    let (run, took) = std::thread::scope(|scope| -> Result<(Run, Duration)> {
        let compaction = scope.spawn(move || {
            // The probes are on their way before the compaction begins.
            std::thread::sleep(Duration::from_secs(1));
            let begin = Instant::now();
            http2::unary(address, COMPACT, &request, LONG).map(|_| begin.elapsed())
        });
        let shape = Shape { connections: 1, streams: 4 };
        let mut run = put_run(server, shape, Until::Elapsed(sizes.measured + Duration::from_secs(2)))?;
        while !compaction.is_finished() {
            run.latencies.merge(&put_run(server, shape, Until::Elapsed(Duration::from_secs(1)))?.latencies);
        }
        let took = compaction.join().map_err(|_| anyhow::anyhow!("the compaction's thread panicked"))??;
        Ok((run, took))
    })?;
    let metric = Metric::new;
    Ok(vec![
        (metric("compaction of 500,000", "ms", Floor::None), took.as_secs_f64() * 1e3),
        (metric("put before compaction, p99.9", "ms", Floor::None), idle.latencies.quantile_us(999) / 1e3),
        (metric("put during compaction, p99.9", "ms", Floor::None), run.latencies.quantile_us(999) / 1e3),
        (metric("put during compaction, max", "ms", Floor::Max(50.0)), run.latencies.max_us() / 1e3),
    ])
}

/// Keys of 61 bytes that look like those of Kubernetes.
pub(super) fn long_key() -> Vec<u8> {
    let mut key = b"key/registry/pods/namespace-of-some-tenant/deployment-".to_vec();
    key.resize(61, b'0');
    key
}

fn large(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    let load = fill(server, sizes.keys_many, &mut long_key(), 1024)?;
    // Background work of either side, and Go's collector, come to rest.
    std::thread::sleep(Duration::from_secs(3));
    let loaded = procfs::memory(server.pid())?;
    let disk = procfs::directory_size(&server.data_directory())?;
    let answer = range_once(server.address(), &prefix(500))?;
    ensure!(answer.count.unsigned_abs() == sizes.keys_many, "the store has {} keys", answer.count);
    ensure!(answer.kvs.len() == 500 && answer.more, "a page has {} keys", answer.kvs.len());
    let page = range_run(server, &prefix(500), Until::Elapsed(sizes.measured))?;
    server.kill()?;
    let begin = Instant::now();
    server.respawn()?;
    let restart = server.wait_until_ready()? - begin;
    let answer = range_once(server.address(), &RangeRequest { count_only: true, ..prefix(0) })?;
    ensure!(answer.count.unsigned_abs() == sizes.keys_many, "{} keys after the restart", answer.count);
    let restarted = procfs::memory(server.pid())?;
    let metric = Metric::new;
    Ok(vec![
        (metric("load of 1,000,000", "1/s", Floor::None), load.per_second()),
        (metric("load of 1,000,000, server cpu", "us", Floor::None), load.server_us()),
        (metric("load of 1,000,000, p99", "ms", Floor::None), load.latencies.quantile_us(990) / 1e3),
        (metric("memory with 1,000,000, RSS", "MB", Floor::RatioMax(0.5)), megabytes(loaded.resident)),
        (metric("memory with 1,000,000, RssAnon", "MB", Floor::None), megabytes(loaded.anonymous)),
        (metric("files with 1,000,000", "MB", Floor::None), megabytes(disk)),
        (
            metric("page of 500 of 1,000,000, p50", "ms", Floor::RatioMax(0.01)),
            page.latencies.quantile_us(500) / 1e3,
        ),
        (metric("page of 500 of 1,000,000, server cpu", "ms", Floor::None), page.server_us() / 1e3),
        (metric("restart with 1,000,000", "ms", Floor::RatioMax(0.2)), restart.as_secs_f64() * 1e3),
        (metric("memory after restart, RssAnon", "MB", Floor::None), megabytes(restarted.anonymous)),
    ])
}

#[cfg(test)]
mod tests {
    use etched_proto::etcdserverpb::PutRequest;

    use super::*;

    #[test]
    fn a_put_is_written_as_its_message_is() {
        let mut written = Vec::new();
        write_put(&mut written, &short_key(7), &value(256));
        let message = PutRequest { key: short_key(7).into(), value: value(256).into(), ..Default::default() };
        assert_eq!(written, message.encode_to_vec());
    }

    #[test]
    fn keys_are_numbered_in_their_last_ten_bytes() {
        let mut key = short_key(0);
        number_key(&mut key, 1234);
        assert_eq!(key, short_key(1234));
        assert_eq!(long_key().len(), 61);
    }
}
