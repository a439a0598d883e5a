//! `/v2/stats`: what a member says of itself, of its store, and as a leader of its followers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etched_replica::{V2Answer, V2Call};
use http::request::Parts;
use http::{Response, StatusCode};

use super::{JSON, V2, failed, message, refuse_method, text_json, unexpected, unix_ns};
use crate::http::typed;
use crate::metrics::PeerNumbers;

/// When this process started, and since when there is the leader that there is.
#[derive(Debug)]
pub(crate) struct Moments {
    start_ns: i64,
    leader: Mutex<Leader>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    id: u64,
    since: Instant,
    since_ns: i64,
}

impl Moments {
    pub(crate) fn new() -> Self {
        let now_ns = unix_ns();
        let leader = Leader { id: 0, since: Instant::now(), since_ns: now_ns };
        Self { start_ns: now_ns, leader: Mutex::new(leader) }
    }

    /// Notes who leads; to be called often.
    pub(crate) fn look(&self, leader: u64) {
        let mut known = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if known.id != leader {
            *known = Leader { id: leader, since: Instant::now(), since_ns: unix_ns() };
        }
    }

    fn leader(&self) -> Leader {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl V2 {
    pub(super) async fn stats_self(&self, head: &Parts) -> Response<Bytes> {
        if let Some(response) = refuse_method(head, "GET") {
            return response;
        }
        let identity = self.link.identity();
        let report = self.link.api().report();
        self.moments.look(report.leader);
        let leader = self.moments.leader();
        let state = if report.is_leader { "StateLeader" } else { "StateFollower" };
        let peers = self.link.metrics().peers.all();
        let sum = |of: fn(&PeerNumbers) -> u64| peers.values().map(|numbers| of(numbers)).sum::<u64>();
        let body = format!(
            "{{\"name\":{},\"id\":\"{:x}\",\"state\":\"{state}\",\"startTime\":\"{}\",\"leaderInfo\":{{\"leader\":\"{:x}\",\
             \"uptime\":\"{}\",\"startTime\":\"{}\"}},\"recvAppendRequestCnt\":{},\"sendAppendRequestCnt\":{}}}",
            text_json(&identity.name),
            identity.member_id,
            rfc3339(self.moments.start_ns),
            leader.id,
            go_duration(leader.since.elapsed()),
            rfc3339(leader.since_ns),
            sum(|numbers| numbers.appends_received.get()),
            sum(|numbers| numbers.appends_sent.get()),
        );
        typed(JSON, body)
    }

    pub(super) async fn stats_store(&self, head: &Parts) -> Response<Bytes> {
        if let Some(response) = refuse_method(head, "GET") {
            return response;
        }
        match self.ask_v2(V2Call::Stats).await.map(|told| told.answer) {
            Ok(V2Answer::Stats(stats, watchers)) => typed(JSON, stats.to_json(watchers)),
            Ok(_) => failed(&unexpected()),
            Err(error) => failed(&error),
        }
    }

    pub(super) async fn stats_leader(&self, head: &Parts) -> Response<Bytes> {
        if let Some(response) = refuse_method(head, "GET") {
            return response;
        }
        if !self.link.api().report().is_leader {
            return message(StatusCode::FORBIDDEN, "not current leader");
        }
        let members = match self.list_members().await {
            Ok(members) => members,
            Err(error) => return failed(&error),
        };
        let own = self.link.identity().member_id;
        let peers = self.link.metrics().peers.all();
        let followers: Vec<String> = members
            .iter()
            .filter(|member| member.id != own)
            .filter_map(|member| Some(follower_json(member.id, peers.get(&member.id)?)))
            .collect();
        typed(JSON, format!("{{\"leader\":\"{own:x}\",\"followers\":{{{}}}}}", followers.join(",")))
    }
}

/// A follower as the leader knows it: round trips in milliseconds, and how many appends went out and failed.
fn follower_json(id: u64, numbers: &PeerNumbers) -> String {
    let trips = numbers.trips();
    format!(
        "\"{id:x}\":{{\"latency\":{{\"current\":{},\"average\":{},\"standardDeviation\":{},\"minimum\":{},\
         \"maximum\":{}}},\"counts\":{{\"fail\":{},\"success\":{}}}}}",
        trips.last_ms,
        trips.average_ms(),
        trips.deviation_ms(),
        trips.min_ms,
        trips.max_ms,
        numbers.sent_failures.get(),
        numbers.appends_sent.get(),
    )
}

fn rfc3339(at_ns: i64) -> String {
    etched_state_machine::v2store::rfc3339(at_ns)
}

/// A duration as Go writes it.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!("{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{point}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{point}{fraction}s"),
        (_, _) => format!("{hours}h{minutes}m{seconds}{point}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        let text = |nanos| go_duration(Duration::from_nanos(nanos));
        assert_eq!(text(1_500_000_000), "1.5s");
        assert_eq!(text(61_000_000_000), "1m1s");
        assert_eq!(text(3_600_000_000_001), "1h0m0.000000001s");
    }
}
