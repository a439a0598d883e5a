//! Streams that stay open: watchers, and the keep-alives of a lease.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use etched_proto::etcdserverpb::watch_request::RequestUnion;
use etched_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, WatchCreateRequest,
    WatchRequest,
};
use prost::Message as _;

use super::load::Target;
use super::report::{Floor, Metric};
use super::scenarios::{Samples, Sizes, value, write_put};
use crate::histogram::Histogram;
use crate::http2::{self, Body, Failure, Method, Pool, Sink};
use crate::process::Server;
use crate::procfs;

/// Streams on one connection.
const STREAMS: usize = 100;
/// Puts in flight while others watch.
const PUTS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);
/// Tags from here on are puts, those below watch streams.
const PUT_TAG: u32 = 1 << 24;

/// What a fan-out measured.
pub(super) struct FanOut {
    pub(super) events: u64,
    pub(super) elapsed: Duration,
    pub(super) server_cpu: Duration,
    pub(super) puts: Histogram,
    /// Resident bytes of the server for each stream that watches and gets nothing.
    pub(super) stream_bytes: f64,
}

/// Counts what comes on the watch streams and the puts.
#[derive(Default)]
struct Events {
    created: usize,
    events: u64,
    puts_ended: Vec<u32>,
    failure: Option<Failure>,
}

impl Sink for Events {
    fn message(&mut self, _: u32, message: &[u8]) {
        let events = count_events(message);
        self.events += events;
        if events == 0 {
            self.created += 1;
        }
    }

    fn end(&mut self, tag: u32, result: Result<u64, Failure>) {
        match result {
            Ok(_) if tag >= PUT_TAG => self.puts_ended.push(tag),
            Ok(_) => self.failure = Some(Failure { code: Some(0), message: "a watch stream ended".into() }),
            Err(failure) => self.failure = Some(failure),
        }
    }
}

impl Events {
    fn check(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => bail!("watching: {failure}"),
            None => Ok(()),
        }
    }
}

/// The events of an encoded WatchResponse (field 11), without decoding them.
fn count_events(mut message: &[u8]) -> u64 {
    let mut events = 0;
    while let Ok((tag, wire_type)) = prost::encoding::decode_key(&mut message) {
        events += u64::from(tag == 11);
        let context = prost::encoding::DecodeContext::default();
        if prost::encoding::skip_field(wire_type, tag, &mut message, context).is_err() {
            break;
        }
    }
    events
}

/// Opens `streams` watch streams on one key and puts it `puts` times.
pub(super) fn fan_out(target: &Target, streams: usize, puts: u64) -> Result<FanOut> {
    let mut pool = Pool::connect(target.addresses[0], streams.div_ceil(STREAMS) + 1)?;
    let authority = target.addresses[0].to_string();
    let memory_before = procfs::memory(target.pids[0])?;
    let mut seen = Events::default();
    open_watchers(&mut pool, &authority, streams, &mut seen)?;
    let stream_bytes = procfs::memory(target.pids[0])?.resident.saturating_sub(memory_before.resident) as f64
        / streams as f64;
    let put = Method::new("/etcdserverpb.KV/Put", &authority);
    let mut message = Vec::new();
    write_put(&mut message, b"watched", &value(256));
    let cpu_before = procfs::cpu(target.pids[0])?;
    let begin = Instant::now();
    let mut started = vec![begin; PUTS as usize];
    for tag in 0..PUTS {
        pool.connections[0].open(&put, PUT_TAG + tag, Body::Counted, &message, true);
    }
    pool.connections[0].flush()?;
    let (mut histogram, mut opened) = (Histogram::new(), u64::from(PUTS));
    while seen.events < puts * streams as u64 {
        pool.poll(Duration::from_millis(100), |_, connection| {
            connection.receive(&mut seen)?;
            seen.check()?;
            let now = Instant::now();
            for tag in seen.puts_ended.drain(..) {
                let slot = &mut started[(tag - PUT_TAG) as usize];
                histogram.record(now - *slot);
                if opened < puts {
                    connection.open(&put, tag, Body::Counted, &message, true);
                    (*slot, opened) = (now, opened + 1);
                }
            }
            Ok(())
        })?;
        ensure!(begin.elapsed() < PATIENCE, "{} events within {PATIENCE:?}", seen.events);
    }
    let server_cpu = procfs::cpu(target.pids[0])?.saturating_sub(cpu_before);
    Ok(FanOut { events: seen.events, elapsed: begin.elapsed(), server_cpu, puts: histogram, stream_bytes })
}

fn open_watchers(pool: &mut Pool, authority: &str, streams: usize, seen: &mut Events) -> Result<()> {
    let watch = Method::new("/etcdserverpb.Watch/Watch", authority);
    let create = WatchCreateRequest { key: "watched".into(), ..Default::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec();
    for stream in 0..streams {
        let connection = &mut pool.connections[1 + stream / STREAMS];
        connection.open(&watch, u32::try_from(stream)?, Body::Delivered, &create, false);
    }
    for connection in &mut pool.connections {
        connection.flush()?;
    }
    let begin = Instant::now();
    while seen.created < streams {
        pool.poll(Duration::from_millis(100), |_, connection| connection.receive(seen))?;
        seen.check()?;
        ensure!(begin.elapsed() < PATIENCE, "only {} watchers were created", seen.created);
    }
    Ok(())
}

/// Takes the answers of a keep-alive stream.
#[derive(Default)]
struct KeepAlives {
    tags: Vec<u32>,
    failure: Option<String>,
}

impl Sink for KeepAlives {
    fn message(&mut self, tag: u32, message: &[u8]) {
        match LeaseKeepAliveResponse::decode(message) {
            Ok(answer) if answer.ttl > 0 => self.tags.push(tag),
            other => self.failure = Some(format!("a keep-alive was answered with {other:?}")),
        }
    }

    fn end(&mut self, _: u32, result: Result<u64, Failure>) {
        self.failure = Some(format!("the stream ended: {result:?}"));
    }
}

/// Keeps one lease alive, one message in flight on each of 64 streams.
pub(super) fn keep_alive(server: &mut Server, sizes: &Sizes) -> Result<Samples> {
    let grant = LeaseGrantRequest { ttl: 600, id: 7 }.encode_to_vec();
    let granted = http2::unary(server.address(), "/etcdserverpb.Lease/LeaseGrant", &grant, PATIENCE)?;
    ensure!(LeaseGrantResponse::decode(granted.as_slice())?.id == 7, "the lease has another id");
    let mut pool = Pool::connect(server.address(), 8)?;
    let method = Method::new("/etcdserverpb.Lease/LeaseKeepAlive", &server.address().to_string());
    let request = LeaseKeepAliveRequest { id: 7 }.encode_to_vec();
    let mut streams = Vec::new();
    for connection in &mut pool.connections {
        let open = |tag| connection.open(&method, tag, Body::Delivered, &request, false);
        streams.push((0..8).map(open).collect::<Vec<u32>>());
        connection.flush()?;
    }
    let (begin, cpu_before) = (Instant::now(), procfs::cpu(server.pid())?);
    let mut total = 0;
    while begin.elapsed() < sizes.measured {
        pool.poll(Duration::from_millis(100), |index, connection| {
            let mut seen = KeepAlives::default();
            connection.receive(&mut seen)?;
            if let Some(failure) = seen.failure {
                bail!(failure);
            }
            total += seen.tags.len();
            for tag in seen.tags {
                connection.send(streams[index][tag as usize], &request, false);
            }
            Ok(())
        })?;
    }
    let cpu = procfs::cpu(server.pid())?.saturating_sub(cpu_before);
    Ok(vec![
        (
            Metric::new("keep-alive, 64 streams", "1/s", Floor::None),
            total as f64 / begin.elapsed().as_secs_f64(),
        ),
        (
            Metric::new("keep-alive, 64 streams, server cpu", "us", Floor::None),
            cpu.as_secs_f64() * 1e6 / total as f64,
        ),
    ])
}
