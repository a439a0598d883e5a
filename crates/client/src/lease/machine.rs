//! The leases that are kept alive as a state machine, without I/O; times are nanoseconds of a monotonic clock.
//!
//! A lease is renewed as soon as it is taken up, and then whenever a third of its time is over.
//! An answer counts from the moment at which its question was sent, since the server may have renewed it right then
//! and the answer may have been long on its way.
//! The server answers the questions about one lease in order, so a question is paired with the next answer.

use std::collections::{BTreeMap, VecDeque};

use etched_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};

/// All leases that a client keeps alive.
#[derive(Debug, Default)]
pub(super) struct Machine {
    leases: BTreeMap<i64, Kept>,
    requests: VecDeque<i64>,
    outcomes: VecDeque<(i64, Outcome)>,
    /// Questions under way on this stream whose lease was forgotten, by lease.
    orphans: BTreeMap<i64, u32>,
    connected: bool,
}

/// What became known about a lease.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// It was renewed.
    Renewed(LeaseKeepAliveResponse),
    /// Its time is over, without a word from the server.
    Doubtful,
    /// The server does not know it any more; it was dropped from the machine.
    Ended,
}

#[derive(Debug, Default)]
struct Kept {
    /// When to send the next question; `None` while one is under way.
    due: Option<u64>,
    /// When the question under way was sent.
    asked: Option<u64>,
    /// When the lease is over, as far as is known.
    over: Option<u64>,
    /// A third of the lease's time.
    pace: u64,
}

const SECOND: u64 = 1_000_000_000;
/// A question may always take this long, however short the lease.
const PATIENCE_MIN: u64 = SECOND;
/// The patience with a question about a lease of unknown length.
const PATIENCE_FIRST: u64 = 5 * SECOND;

impl Machine {
    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Takes up a lease and renews it; one that is kept already is renewed too, for its new holder's sake.
    pub(super) fn keep(&mut self, id: i64, now: u64) {
        let kept = self.leases.entry(id).or_default();
        if kept.asked.is_none() {
            kept.due = Some(now);
        }
    }

    /// Forgets a lease.
    pub(super) fn forget(&mut self, id: i64) {
        let Some(kept) = self.leases.remove(&id) else { return };
        let unsent = self.requests.len();
        self.requests.retain(|other| *other != id);
        if kept.asked.is_some() && unsent == self.requests.len() {
            *self.orphans.entry(id).or_default() += 1;
        }
    }

    /// There is a new stream: questions without an answer are asked again.
    pub(super) fn on_connected(&mut self, now: u64) {
        self.connected = true;
        self.requests.clear();
        for kept in self.leases.values_mut() {
            if kept.asked.take().is_some() || kept.due.is_none() {
                kept.due = Some(now);
            }
        }
        self.on_time(now);
    }

    /// The stream is gone.
    pub(super) fn on_disconnected(&mut self) {
        self.connected = false;
        self.requests.clear();
        self.orphans.clear();
    }

    /// It is now this late.
    pub(super) fn on_time(&mut self, now: u64) {
        for (&id, kept) in &mut self.leases {
            if self.connected && kept.due.is_some_and(|due| due <= now) {
                kept.due = None;
                kept.asked = Some(now);
                self.requests.push_back(id);
            }
            if kept.over.is_some_and(|over| over <= now) {
                kept.over = None;
                self.outcomes.push_back((id, Outcome::Doubtful));
            }
        }
    }

    /// The server answered.
    pub(super) fn on_response(&mut self, response: LeaseKeepAliveResponse, now: u64) {
        let id = response.id;
        let orphan = self.take_orphan(id);
        let Some(kept) = self.leases.get_mut(&id) else { return };
        let Ok(ttl @ 1..) = u64::try_from(response.ttl) else {
            self.leases.remove(&id);
            self.outcomes.push_back((id, Outcome::Ended));
            return;
        };
        // The answer to an earlier holder's question says nothing about the time since ours.
        let Some(asked) = kept.asked.take_if(|_| !orphan) else { return };
        let ttl = ttl.saturating_mul(SECOND);
        kept.pace = ttl / 3;
        kept.due = Some(asked.saturating_add(kept.pace).max(now));
        kept.over = Some(asked.saturating_add(ttl));
        self.outcomes.push_back((id, Outcome::Renewed(response)));
    }

    /// Whether the next answer about a lease belongs to a question of earlier holders.
    fn take_orphan(&mut self, id: i64) -> bool {
        let Some(count) = self.orphans.get_mut(&id) else { return false };
        *count -= 1;
        if *count == 0 {
            self.orphans.remove(&id);
        }
        true
    }

    /// Whether a question is unanswered for so long that another member should be asked.
    pub(super) fn is_stuck(&self, now: u64) -> bool {
        self.leases.values().any(|kept| kept.stuck_at().is_some_and(|at| at <= now))
    }

    /// When [`Machine::on_time`] and [`Machine::is_stuck`] have to be asked next.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.leases
            .values()
            .flat_map(|kept| {
                let due = kept.due.filter(|_| self.connected);
                let stuck = kept.stuck_at().filter(|_| self.connected);
                [due, kept.over, stuck]
            })
            .flatten()
            .min()
    }

    /// The next question to send.
    pub(super) fn poll_request(&mut self) -> Option<LeaseKeepAliveRequest> {
        self.requests.pop_front().map(|id| LeaseKeepAliveRequest { id })
    }

    /// Whether there is a question to send.
    pub(super) fn has_request(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The next thing that became known.
    pub(super) fn poll_outcome(&mut self) -> Option<(i64, Outcome)> {
        self.outcomes.pop_front()
    }
}

impl Kept {
    fn stuck_at(&self) -> Option<u64> {
        let patience = if self.pace == 0 { PATIENCE_FIRST } else { self.pace.max(PATIENCE_MIN) };
        self.asked.map(|asked| asked.saturating_add(patience))
    }
}
