//! The closed loop: so many requests in flight on so many connections, the next one when an answer comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::histogram::Histogram;
use crate::http2::{Body, Connection, Failure, Method, Pool, Sink};
use crate::procfs;

/// How many requests are in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) connections: usize,
    pub(super) streams: u32,
}

impl Shape {
    pub(super) const ONE: Self = Self { connections: 1, streams: 1 };

    /// `clients` in flight, on eight connections where there are enough.
    pub(super) fn of_clients(clients: u32) -> Self {
        if clients < 8 {
            return Self { connections: 1, streams: clients };
        }
        Self { connections: 8, streams: clients / 8 }
    }
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After so much measured time; a quarter of it is run before, unmeasured.
    Elapsed(Duration),
    /// After so many requests, all measured.
    Answered(u64),
}

/// The servers that are measured: connections go to the addresses in turn, processor time is that of all processes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) pids: Vec<u32>,
    /// In whose name requests are sent, if authentication is on.
    pub(super) token: Option<String>,
    /// Whether the addresses speak TLS.
    pub(super) is_secure: bool,
}

impl Target {
    fn cpu(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| procfs::cpu(*pid)).sum()
    }
}

/// What a run measured.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) latencies: Histogram,
    pub(super) elapsed: Duration,
    pub(super) server_cpu: Duration,
    pub(super) own_cpu: Duration,
    /// Bytes of all answers.
    pub(super) bytes: u64,
}

impl Run {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the server's processors for each request.
    pub(super) fn server_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.latencies.count() as f64
    }

    /// Microseconds of the generator's processor for each request.
    pub(super) fn own_us(&self) -> f64 {
        self.own_cpu.as_secs_f64() * 1e6 / self.latencies.count() as f64
    }
}

/// Collects which requests of a connection were answered.
#[derive(Default)]
struct Ended {
    tags: Vec<u32>,
    bytes: u64,
    failure: Option<Failure>,
}

impl Sink for Ended {
    fn message(&mut self, _: u32, _: &[u8]) {}

    fn end(&mut self, tag: u32, result: Result<u64, Failure>) {
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(failure) => self.failure = Some(failure),
        }
        self.tags.push(tag);
    }
}

/// Where a run stands in time.
struct Clock {
    until: Until,
    target: Target,
    measuring_since: Instant,
    warm_up: Option<Instant>,
    server_cpu: Duration,
    own_cpu: Duration,
}

impl Clock {
    fn start(until: Until, target: Target, now: Instant) -> Result<Self> {
        let warm_up = match until {
            Until::Elapsed(duration) => Some(now + duration / 4),
            Until::Answered(_) => None,
        };
        let server_cpu = target.cpu()?;
        let own_cpu = procfs::cpu(std::process::id())?;
        Ok(Self { until, target, measuring_since: now, warm_up, server_cpu, own_cpu })
    }

    /// Whether the warm-up ends here, once: from now on it is measured.
    fn begins(&mut self, now: Instant) -> Result<bool> {
        if self.warm_up.is_none_or(|end| now < end) {
            return Ok(false);
        }
        *self = Self { warm_up: None, ..Self::start(self.until, self.target.clone(), now)? };
        Ok(true)
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.until {
            Until::Elapsed(duration) => self.warm_up.is_none() && now - self.measuring_since >= duration,
            Until::Answered(_) => false,
        }
    }

    fn may_open(&self, opened: u64) -> bool {
        match self.until {
            Until::Elapsed(_) => true,
            Until::Answered(count) => opened < count,
        }
    }
}

/// A run under way.
struct Loop<'a> {
    path: &'a str,
    method: Method,
    write: &'a mut dyn FnMut(&mut Vec<u8>),
    message: Vec<u8>,
    /// When the request of each connection and tag was opened.
    started: Vec<Vec<Instant>>,
    opened: u64,
    in_flight: u64,
    ended: Ended,
    latencies: Histogram,
    clock: Clock,
    run: Option<Run>,
}

/// Keeps `shape` requests of the method at `path` in flight; `write` appends the next request to its argument.
///
/// # Errors
/// If any request fails: a benchmark of errors is worth nothing.
pub(super) fn closed_loop(
    target: Target,
    path: &str,
    shape: Shape,
    until: Until,
    write: &mut dyn FnMut(&mut Vec<u8>),
) -> Result<Run> {
    let mut pool = Pool::connect_all(&target.addresses, shape.connections, target.is_secure)?;
    let streams_max = pool.connections.iter().map(Connection::streams_max).min();
    ensure!(streams_max >= Some(shape.streams), "the server allows {streams_max:?} streams a connection");
    let now = Instant::now();
    let mut method = Method::new(path, &target.addresses[0].to_string());
    if target.is_secure {
        method = method.secure();
    }
    if let Some(token) = &target.token {
        method = method.with_token(token);
    }
    let mut turn = Loop {
        path,
        method,
        write,
        message: Vec::new(),
        started: vec![vec![now; usize::try_from(shape.streams)?]; shape.connections],
        opened: 0,
        in_flight: 0,
        ended: Ended::default(),
        latencies: Histogram::new(),
        clock: Clock::start(until, target, now)?,
        run: None,
    };
    for (index, connection) in pool.connections.iter_mut().enumerate() {
        (0..shape.streams).for_each(|tag| turn.open(index, connection, tag, now));
        connection.flush()?;
    }
    while turn.in_flight > 0 {
        pool.poll(Duration::from_millis(100), |index, connection| turn.on_ready(index, connection))?;
        turn.on_time(Instant::now())?;
    }
    match turn.run.take() {
        Some(run) => Ok(run),
        None => turn.finish(Instant::now()),
    }
}

impl Loop<'_> {
    fn open(&mut self, index: usize, connection: &mut Connection, tag: u32, now: Instant) {
        if self.run.is_some() || !self.clock.may_open(self.opened) {
            return;
        }
        self.message.clear();
        (self.write)(&mut self.message);
        connection.open(&self.method, tag, Body::Counted, &self.message, true);
        self.started[index][tag as usize] = now;
        self.opened += 1;
        self.in_flight += 1;
    }

    fn on_ready(&mut self, index: usize, connection: &mut Connection) -> Result<()> {
        connection.receive(&mut self.ended)?;
        if let Some(failure) = &self.ended.failure {
            bail!("{}: {failure}", self.path);
        }
        let now = Instant::now();
        let mut tags = std::mem::take(&mut self.ended.tags);
        for tag in tags.drain(..) {
            self.latencies.record(now - self.started[index][tag as usize]);
            self.in_flight -= 1;
            self.open(index, connection, tag, now);
        }
        self.ended.tags = tags;
        Ok(())
    }

    fn on_time(&mut self, now: Instant) -> Result<()> {
        if self.clock.begins(now)? {
            (self.latencies, self.ended.bytes) = (Histogram::new(), 0);
        }
        if self.run.is_none() && self.clock.is_over(now) {
            self.run = Some(self.finish(now)?);
        }
        Ok(())
    }

    fn finish(&self, now: Instant) -> Result<Run> {
        let clock = &self.clock;
        Ok(Run {
            latencies: self.latencies.clone(),
            elapsed: now - clock.measuring_since,
            server_cpu: clock.target.cpu()?.saturating_sub(clock.server_cpu),
            own_cpu: procfs::cpu(std::process::id())?.saturating_sub(clock.own_cpu),
            bytes: self.ended.bytes,
        })
    }
}
