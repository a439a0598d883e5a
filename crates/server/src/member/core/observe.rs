//! What the core thread measures of itself, and what it says about what was slow.

use std::time::{Duration, Instant};

use etched_replica::{Caller, Measure, Remark};

use super::{Core, CoreError, nanos};
use crate::api::Phases;
use crate::flags::SERVER_VERSION;
use crate::log;
use crate::member::batches::Batches;
use crate::member::remarks;

/// How long a sync of the log may take before a line says so; as in etcd.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Measures on their way to the metrics.
pub(crate) struct Observed {
    pub(super) batches: Batches,
    /// When the turn of the member began whose outputs are being carried out.
    pub(super) turn_ns: u64,
    measures: Vec<Measure>,
    remarks: Vec<Remark>,
    /// The version that the cluster is being taken down to.
    downgrade_target: Option<String>,
    /// `--warning-apply-duration`.
    slow_apply: Duration,
    /// `--warning-unary-request-duration`, in nanoseconds.
    slow_request_ns: u64,
}

impl Observed {
    pub(crate) fn new(slow_apply: Duration, slow_request: Duration) -> Self {
        Self {
            batches: Batches::default(),
            turn_ns: 0,
            measures: Vec::new(),
            remarks: Vec::new(),
            downgrade_target: None,
            slow_apply,
            slow_request_ns: if slow_request.is_zero() { u64::MAX } else { nanos(slow_request) },
        }
    }

    pub(super) fn on_taken(&mut self, now_ns: u64) {
        self.batches.on_taken(now_ns);
    }
}

impl Core {
    /// Writes and syncs what was appended to the log.
    pub(super) fn write_log(&mut self) -> Result<(), CoreError> {
        let began = self.clock.elapsed();
        let mut written = None;
        let clock = self.clock;
        self.wal.sync_noting(&mut || written = Some(clock.elapsed()))?;
        let Some(written) = written else { return Ok(()) };
        let ended = self.clock.elapsed();
        self.observed.batches.on_synced(nanos(began), nanos(ended));
        self.metrics.wal_write.record(written.saturating_sub(began));
        let took = ended.saturating_sub(written);
        self.metrics.wal_fsync.record(took);
        self.metrics.wal_bytes.set(self.wal.bytes_written());
        if took > SLOW_SYNC {
            log!(Warn, "slow fdatasync", "took" => took, "expected-duration" => SLOW_SYNC);
        }
        Ok(())
    }

    /// Hands what the member measured to the metrics, and writes what is to be said.
    pub(super) fn observe(&mut self) {
        self.member.take_measures(&mut self.observed.measures, &mut self.observed.remarks);
        for measure in &self.observed.measures {
            self.metrics.record(measure);
        }
        for remark in &self.observed.remarks {
            if remarks::write(remark, self.observed.slow_apply) {
                self.metrics.slow_applies.increment();
            }
        }
    }

    /// Where the time of a request went that is answered now, if that is asked for or it took long.
    pub(super) fn phases_of(&mut self, caller: Caller, index: u64) -> Option<Box<Phases>> {
        let is_traced = !self.traced.is_empty() && self.traced.remove(&caller);
        if index == 0 && !is_traced {
            return None;
        }
        let (applied_ns, is_slow_possible) =
            (self.observed.turn_ns, self.observed.slow_request_ns != u64::MAX);
        if !is_traced && !is_slow_possible {
            return None;
        }
        let phases = self.observed.batches.phases(index, applied_ns, applied_ns);
        let started_ns = phases.map(|phases| phases.taken_ns.saturating_sub(phases.turn_before_ns));
        let is_slow = started_ns
            .is_some_and(|started| applied_ns.saturating_sub(started) > self.observed.slow_request_ns);
        if !is_traced && !is_slow {
            return None;
        }
        let answered_ns = nanos(self.clock.elapsed());
        let unlogged = Phases {
            turn_before_ns: 0,
            taken_ns: applied_ns,
            appended_ns: applied_ns,
            synced_ns: applied_ns,
            applied_ns,
            answered_ns,
        };
        Some(Box::new(phases.map_or(unlogged, |phases| Phases { answered_ns, ..phases })))
    }

    /// A downgrade was allowed, has come to its end, or was called off.
    pub(super) fn note_downgrade(&mut self, target: Option<&str>) {
        let before = std::mem::replace(&mut self.observed.downgrade_target, target.map(str::to_owned));
        match (before, target) {
            (_, Some(target)) => log!(
                Info, "The server is ready to downgrade",
                "target-version" => target, "server-version" => SERVER_VERSION
            ),
            (Some(before), None) if self.member.report().cluster_version == before => {
                log!(Info, "the cluster has been downgraded", "cluster-version" => before);
            }
            (_, None) => log!(Info, "the downgrade was called off"),
        }
    }

    /// A leader whose tick comes late sends its heartbeats late.
    pub(super) fn look_at_heartbeat(&mut self, late: Duration) {
        // As in etcd, a heartbeat is expected within two intervals.
        if late <= self.tick || self.member.leader() != self.member_id {
            return;
        }
        let others = self.member.members().len().saturating_sub(1);
        if others == 0 {
            return;
        }
        self.metrics.heartbeat_failures.add(others as u64);
        log!(
            Warn,
            "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",
            "to" => "all", "heartbeat-interval" => self.tick, "expected-duration" => 2 * self.tick,
            "exceeded-duration" => late.saturating_sub(self.tick)
        );
    }
}

/// Nanoseconds of the member's clock.
pub fn now_ns() -> u64 {
    nanos(start_of_time().elapsed())
}

/// The base of all times of this process.
pub(crate) fn start_of_time() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
