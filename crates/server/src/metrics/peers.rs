//! What is counted for each other member.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::exposition::{Exposition, Type};
use super::{Histogram, Number};

/// Other members are told apart up to this many; what concerns more is counted under the id zero.
const PEERS_MAX: usize = 256;

/// The numbers of all other members, by their ids.
#[derive(Debug, Default)]
pub struct PeerCounters {
    by_id: Mutex<BTreeMap<u64, Arc<PeerNumbers>>>,
}

/// The numbers of one other member; id zero stands for senders that are not known.
#[derive(Debug)]
pub struct PeerNumbers {
    /// 1 while it is a member, 0 after it was removed; `None` in a scrape if it never was one.
    known: Number,
    was_known: Number,
    active: Number,
    activations: Number,
    disconnected: Number,
    /// Bytes of messages that were sent to it.
    pub sent_bytes: Number,
    /// Bytes of messages that came from it.
    pub received_bytes: Number,
    /// Messages that could not be sent.
    pub sent_failures: Number,
    /// Messages that could not be taken.
    pub received_failures: Number,
    /// Appends to its log that were sent to it.
    pub appends_sent: Number,
    /// Appends to this member's log that came from it.
    pub appends_received: Number,
    trips: Mutex<Trips>,
    /// Smoothed round trips.
    pub round_trip: Histogram,
    /// Snapshots that are sent to it.
    pub snapshots_sent: SnapshotNumbers,
    /// Snapshots that come from it.
    pub snapshots_received: SnapshotNumbers,
}

/// Round trips, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trips {
    count: f64,
    sum: f64,
    sum_of_squares: f64,
    /// The last one.
    pub last_ms: f64,
    /// The shortest one.
    pub min_ms: f64,
    /// The longest one.
    pub max_ms: f64,
}

impl Trips {
    fn add(&mut self, time_ms: f64) {
        self.min_ms = if self.count > 0.0 { self.min_ms.min(time_ms) } else { time_ms };
        self.max_ms = self.max_ms.max(time_ms);
        self.last_ms = time_ms;
        self.count += 1.0;
        self.sum += time_ms;
        self.sum_of_squares += time_ms * time_ms;
    }

    /// The mean; 0 if there was none.
    pub fn average_ms(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    /// The standard deviation; 0 if there was none.
    pub fn deviation_ms(&self) -> f64 {
        let mean = self.average_ms();
        (self.sum_of_squares / self.count.max(1.0) - mean * mean).max(0.0).sqrt()
    }
}

/// The numbers of snapshots in one direction.
#[derive(Debug)]
pub struct SnapshotNumbers {
    begun: Number,
    failures: Number,
    /// How long the successful ones took.
    successes: Histogram,
}

impl PeerCounters {
    /// The numbers of a member.
    pub fn of(&self, id: u64) -> Arc<PeerNumbers> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let id = if by_id.len() < PEERS_MAX || by_id.contains_key(&id) { id } else { 0 };
        Arc::clone(by_id.entry(id).or_insert_with(|| Arc::new(PeerNumbers::new())))
    }

    /// The numbers of all that were spoken with.
    pub fn all(&self) -> BTreeMap<u64, Arc<PeerNumbers>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn render(&self, exposition: &mut Exposition, local: &str) {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, numbers) in by_id.iter() {
            numbers.render(exposition, local, &format!("{id:x}"));
        }
    }
}

impl PeerNumbers {
    fn new() -> Self {
        Self {
            known: Number::default(),
            was_known: Number::default(),
            active: Number::default(),
            activations: Number::default(),
            disconnected: Number::default(),
            sent_bytes: Number::default(),
            received_bytes: Number::default(),
            sent_failures: Number::default(),
            received_failures: Number::default(),
            appends_sent: Number::default(),
            appends_received: Number::default(),
            trips: Mutex::default(),
            round_trip: Histogram::exponential(0.0001, 2.0, 16),
            snapshots_sent: SnapshotNumbers::new(),
            snapshots_received: SnapshotNumbers::new(),
        }
    }

    /// A message went there and its answer came back, in this time.
    pub fn on_round_trip(&self, time: Duration) {
        self.round_trip.record(time);
        self.trips.lock().unwrap_or_else(PoisonError::into_inner).add(time.as_secs_f64() * 1e3);
    }

    /// The round trips so far.
    pub fn trips(&self) -> Trips {
        *self.trips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is a member from now on.
    pub fn set_known(&self, known: bool) {
        self.known.set(known.into());
        self.was_known.set(1);
    }

    /// It can be spoken with.
    pub fn activated(&self) {
        self.active.set(1);
        self.activations.increment();
    }

    /// It cannot be spoken with any more.
    pub fn deactivated(&self) {
        self.active.set(0);
        self.disconnected.increment();
    }

    /// It is not spoken with any more, and that is no failure.
    pub fn closed(&self) {
        self.active.set(0);
    }

    /// As in etcd, a number is there from its first use.
    fn render(&self, exposition: &mut Exposition, local: &str, id: &str) {
        let mut sample = |name, kind, help, labels: &[(&str, &str)], used: &Number, value: u64| {
            if used.get() > 0 {
                exposition.sample((name, kind, help), labels, value);
            }
        };
        let both = [("Local", local), ("Remote", id)];
        let (from, to) = ([("From", id)], [("To", id)]);
        let name = "etcd_network_known_peers";
        sample(name, Type::Gauge, "Members that are known.", &both, &self.was_known, self.known.get());
        let name = "etcd_network_active_peers";
        let help = "Members that can be spoken with.";
        sample(name, Type::Gauge, help, &both, &self.activations, self.active.get());
        let name = "etcd_network_disconnected_peers_total";
        let help = "How often a member could not be spoken with any more.";
        sample(name, Type::Counter, help, &both, &self.disconnected, self.disconnected.get());
        for (name, help, labels, number) in [
            ("etcd_network_peer_sent_bytes_total", "Bytes of messages to members.", &to, &self.sent_bytes),
            (
                "etcd_network_peer_received_bytes_total",
                "Bytes of messages from members.",
                &from,
                &self.received_bytes,
            ),
            (
                "etcd_network_peer_sent_failures_total",
                "Messages that could not be sent.",
                &to,
                &self.sent_failures,
            ),
            (
                "etcd_network_peer_received_failures_total",
                "Messages that could not be taken.",
                &from,
                &self.received_failures,
            ),
        ] {
            sample(name, Type::Counter, help, labels, number, number.get());
        }
        if self.round_trip.count() > 0 {
            let name = "etcd_network_peer_round_trip_time_seconds";
            exposition.histogram(name, "Time to a member and back, in seconds.", &to, &self.round_trip);
        }
        self.snapshots_sent.render(exposition, &SENT, to);
        self.snapshots_received.render(exposition, &RECEIVED, from);
    }
}

/// The names of the numbers of [`SnapshotNumbers`].
struct SnapshotNames {
    inflights: &'static str,
    failures: &'static str,
    successes: &'static str,
    duration: &'static str,
}

const SENT: SnapshotNames = SnapshotNames {
    inflights: "etcd_network_snapshot_send_inflights_total",
    failures: "etcd_network_snapshot_send_failures",
    successes: "etcd_network_snapshot_send_success",
    duration: "etcd_network_snapshot_send_total_duration_seconds",
};

const RECEIVED: SnapshotNames = SnapshotNames {
    inflights: "etcd_network_snapshot_receive_inflights_total",
    failures: "etcd_network_snapshot_receive_failures",
    successes: "etcd_network_snapshot_receive_success",
    duration: "etcd_network_snapshot_receive_total_duration_seconds",
};

impl SnapshotNumbers {
    fn new() -> Self {
        Self {
            begun: Number::default(),
            failures: Number::default(),
            successes: Histogram::exponential(0.1, 2.0, 10),
        }
    }

    /// One begins.
    pub fn begin(&self) {
        self.begun.increment();
    }

    /// One that had begun is done.
    pub fn succeed(&self, took: Duration) {
        self.successes.record(took);
    }

    /// One that had begun failed.
    pub fn fail(&self) {
        self.failures.increment();
    }

    /// How many are done.
    pub fn succeeded(&self) -> u64 {
        self.successes.count()
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failures.get()
    }

    fn render(&self, exposition: &mut Exposition, names: &SnapshotNames, labels: [(&str, &str); 1]) {
        let (begun, failed, succeeded) = (self.begun.get(), self.failed(), self.succeeded());
        if begun > 0 {
            let family = (names.inflights, Type::Gauge, "Snapshots under way.");
            exposition.sample(family, &labels, begun.saturating_sub(failed + succeeded));
        }
        if failed > 0 {
            exposition.sample((names.failures, Type::Counter, "Snapshots that failed."), &labels, failed);
        }
        if succeeded > 0 {
            exposition.sample(
                (names.successes, Type::Counter, "Snapshots that are done."),
                &labels,
                succeeded,
            );
            let help = "Time that snapshots took, in seconds.";
            exposition.histogram(names.duration, help, &labels, &self.successes);
        }
    }
}
