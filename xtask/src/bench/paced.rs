//! The open loop: puts at a fixed rate, however fast the server is.
//!
//! Latencies count from the time at which a put was due, so a server that stands still is charged for all the puts that
//! it kept waiting.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::scenarios::{value, write_put};
use crate::histogram::Histogram;
use crate::http2::{Body, Failure, Method, Pool, Sink};

/// Time between two puts.
const BETWEEN: Duration = Duration::from_millis(2);
/// Puts that may wait for an answer; a server that keeps more of them waiting has failed.
const WAITING_MAX: usize = 50_000;

#[derive(Default)]
struct Ended {
    tags: Vec<u32>,
    failure: Option<Failure>,
}

impl Sink for Ended {
    fn message(&mut self, _: u32, _: &[u8]) {}

    fn end(&mut self, tag: u32, result: Result<u64, Failure>) {
        match result {
            Ok(_) => self.tags.push(tag),
            Err(failure) => self.failure = Some(failure),
        }
    }
}

/// Puts as long as `goes_on` says so, and until all are answered.
///
/// # Errors
/// If a put fails.
pub(super) fn puts(address: SocketAddr, mut goes_on: impl FnMut() -> bool) -> Result<Histogram> {
    let mut pool = Pool::connect(address, 1)?;
    let put = Method::new("/etcdserverpb.KV/Put", &address.to_string());
    let (mut message, value) = (Vec::new(), value(256));
    let (mut ended, mut histogram) = (Ended::default(), Histogram::new());
    // When each put was due, by its tag; the answered ones are none.
    let mut due: Vec<Option<Instant>> = Vec::new();
    let mut waiting = 0_usize;
    let mut next = Instant::now();
    let mut is_open = true;
    while is_open || waiting > 0 {
        is_open = is_open && goes_on();
        while is_open && next <= Instant::now() {
            message.clear();
            write_put(&mut message, format!("probe/{:03}", due.len() % 1000).as_bytes(), &value);
            let tag = u32::try_from(due.len())?;
            pool.connections[0].open(&put, tag, Body::Counted, &message, true);
            due.push(Some(next));
            (waiting, next) = (waiting + 1, next + BETWEEN);
        }
        pool.connections[0].flush()?;
        if waiting > WAITING_MAX {
            bail!("{waiting} puts are not answered");
        }
        let pause = next.saturating_duration_since(Instant::now()).min(BETWEEN);
        pool.poll(pause, |_, connection| connection.receive(&mut ended))?;
        if let Some(failure) = &ended.failure {
            bail!("a put at a fixed rate: {failure}");
        }
        let now = Instant::now();
        for tag in ended.tags.drain(..) {
            if let Some(due) = due[tag as usize].take() {
                histogram.record(now - due);
                waiting -= 1;
            }
        }
    }
    Ok(histogram)
}
