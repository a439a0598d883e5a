//! Measures how long it takes to another member and back.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, interval};

use super::clock;
use super::dial::{NoAnswer, Requester};
use super::pipeline::request;
use super::remote::Peer;
use crate::logging::Value;

/// Time between two probes, as in etcd.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Time between two reports of a member that answers.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two reports of a member that does not answer, and before the first.
const FAILURE_REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Clocks may differ by that much.
const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(1);

/// What the probes so far say.
#[derive(Debug, Default)]
struct Findings {
    round_trip: Duration,
    clock_drift: Duration,
    error: Option<String>,
}

impl Findings {
    fn on_answer(&mut self, round_trip: Duration, clock_drift: Option<Duration>) {
        self.round_trip =
            if self.round_trip.is_zero() { round_trip } else { (self.round_trip * 7 + round_trip) / 8 };
        self.clock_drift = clock_drift.unwrap_or_default();
        self.error = None;
    }
}

/// Probes a member until the task is ended.
pub(super) async fn run(peer: Arc<Peer>) {
    let mut requester = Requester::new(peer.shared.dialer.clone());
    let mut findings = Findings::default();
    let mut probes = interval(PROBE_INTERVAL);
    let mut report_at = Instant::now() + FAILURE_REPORT_INTERVAL;
    loop {
        tokio::select! {
            _ = probes.tick() => match probe(&peer, &mut requester).await {
                Ok((round_trip, clock_drift)) => findings.on_answer(round_trip, clock_drift),
                Err(error) => findings.error = Some(error.to_string()),
            },
            () = tokio::time::sleep_until(report_at) => {
                report(&peer, &findings);
                report_at = Instant::now()
                    + if findings.error.is_some() { FAILURE_REPORT_INTERVAL } else { REPORT_INTERVAL };
            }
        }
    }
}

async fn probe(peer: &Peer, requester: &mut Requester) -> Result<(Duration, Option<Duration>), NoAnswer> {
    let url = peer.picker.pick().ok_or_else(|| NoAnswer("the member has no URL".to_owned()))?;
    let begun = Instant::now();
    let request = request(peer, Method::GET, "/raft/probing", Full::new(Bytes::new()));
    let (answer, body) = requester.ask(&url, request, ANSWER_TIME_MAX).await?;
    if answer.status != StatusCode::OK {
        return Err(NoAnswer(format!("unexpected status {}", answer.status)));
    }
    let round_trip = begun.elapsed();
    Ok((round_trip, clock_drift(&body, round_trip)))
}

/// How far the other clock is away; `None` if the answer does not tell the time.
fn clock_drift(body: &[u8], round_trip: Duration) -> Option<Duration> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let there = clock::parse_rfc3339(answer.get("Now")?.as_str()?)? + round_trip / 2;
    let here = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(here.abs_diff(there))
}

fn report(peer: &Peer, findings: &Findings) {
    if let Some(error) = &findings.error {
        crate::log!(
            Warn, "prober detected unhealthy status",
            "round-tripper-name" => "ROUND_TRIPPER_RAFT_MESSAGE",
            "remote-peer-id" => Value::hex(peer.id),
            "rtt" => findings.round_trip,
            "error" => error.as_str(),
        );
    }
    if findings.clock_drift > CLOCK_DRIFT_MAX {
        crate::log!(
            Warn, "prober found high clock drift",
            "round-tripper-name" => "ROUND_TRIPPER_RAFT_MESSAGE",
            "remote-peer-id" => Value::hex(peer.id),
            "clock-drift" => findings.clock_drift,
            "rtt" => findings.round_trip,
        );
    }
    peer.numbers.on_round_trip(findings.round_trip);
}
