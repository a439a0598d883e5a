//! Compaction without being asked, by age or by number of revisions; the leader's job.

use std::collections::VecDeque;

use etched_state_machine::{Command, Compact};

use super::{Applier, ApplierOutput};

const HOUR_NS: u64 = 3_600_000_000_000;

/// Samples of the revision in the time after which a compaction is due.
const SAMPLES: u64 = 10;

/// Nanoseconds between looks at the revision in revision mode.
const REVISION_INTERVAL_NS: u64 = 300_000_000_000;

/// When to compact without being asked (`--auto-compaction-mode`, `--auto-compaction-retention`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// Keep the history of that many nanoseconds.
    Periodic {
        /// Nanoseconds kept.
        retention_ns: u64,
    },
    /// Keep that many revisions.
    Revision {
        /// Revisions kept.
        retention: i64,
    },
}

/// Decides when a compaction is due; time is an argument.
#[derive(Debug)]
pub(crate) struct AutoCompactor {
    mode: AutoCompaction,
    /// Revisions with the time at which they were current, oldest first.
    samples: VecDeque<(u64, i64)>,
    due_ns: Option<u64>,
    compacted_ns: Option<u64>,
    compacted: i64,
}

impl AutoCompactor {
    pub(crate) fn new(mode: AutoCompaction) -> Self {
        Self { mode, samples: VecDeque::new(), due_ns: None, compacted_ns: None, compacted: 0 }
    }

    /// The revision to compact at now, if it is time.
    pub(crate) fn on_tick(&mut self, now_ns: u64, revision: i64) -> Option<i64> {
        match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic { retention_ns } => self.periodic(now_ns, revision, retention_ns),
            AutoCompaction::Revision { retention } => self.by_revision(now_ns, revision, retention),
        }
    }

    fn is_due(&mut self, now_ns: u64, interval_ns: u64) -> bool {
        let is_due = self.due_ns.is_none_or(|due| due <= now_ns);
        if is_due {
            self.due_ns = Some(now_ns + interval_ns);
        }
        is_due
    }

    fn periodic(&mut self, now_ns: u64, revision: i64, retention_ns: u64) -> Option<i64> {
        let interval_ns = retention_ns.min(HOUR_NS);
        if !self.is_due(now_ns, interval_ns / SAMPLES) {
            return None;
        }
        self.samples.push_back((now_ns, revision));
        let since = *self.compacted_ns.get_or_insert(now_ns);
        let horizon = now_ns.checked_sub(retention_ns)?;
        // The newest sample that is old enough; those before it are not needed any more.
        while self.samples.get(1).is_some_and(|(time, _)| *time <= horizon) {
            self.samples.pop_front();
        }
        let (time, target) = *self.samples.front()?;
        if time > horizon || now_ns - since < interval_ns || target <= self.compacted {
            return None;
        }
        self.compacted_ns = Some(now_ns);
        self.compacted = target;
        Some(target)
    }

    fn by_revision(&mut self, now_ns: u64, revision: i64, retention: i64) -> Option<i64> {
        if self.due_ns.is_none() {
            self.due_ns = Some(now_ns + REVISION_INTERVAL_NS);
        }
        if !self.is_due(now_ns, REVISION_INTERVAL_NS) {
            return None;
        }
        let target = revision - retention;
        (target > 0 && target > self.compacted).then(|| {
            self.compacted = target;
            target
        })
    }
}

impl Applier {
    pub(super) fn tick_auto_compaction(&mut self, now_ns: u64) {
        if !self.is_leader {
            return;
        }
        if let Some(revision) = self.auto_compaction.on_tick(now_ns, self.machine.revision()) {
            let command = Command::Compact(Compact { revision, physical: false });
            self.outputs.push_back(ApplierOutput::ProposeAsLeader(command));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_mode_compacts_at_what_was_current_a_retention_ago() {
        let mut compactor = AutoCompactor::new(AutoCompaction::Periodic { retention_ns: 100 });
        let due: Vec<(u64, i64)> = (0..=40)
            .filter_map(|step| {
                compactor.on_tick(step * 10, 1_000 + step.cast_signed()).map(|at| (step * 10, at))
            })
            .collect();
        assert_eq!(due, [(100, 1_000), (200, 1_010), (300, 1_020), (400, 1_030)]);
    }

    #[test]
    fn a_retention_longer_than_an_hour_compacts_every_hour_after_it_has_passed() {
        let mut compactor = AutoCompactor::new(AutoCompaction::Periodic { retention_ns: 3 * HOUR_NS });
        let due: Vec<u64> = (0..=60)
            .filter_map(|step| compactor.on_tick(step * (HOUR_NS / 10), step.cast_signed()).map(|_| step))
            .collect();
        assert_eq!(
            due,
            [31, 41, 51],
            "the sample at time zero has revision 0, at which nothing is to compact"
        );
    }

    #[test]
    fn revision_mode_keeps_a_number_of_revisions_and_looks_every_five_minutes() {
        let mut compactor = AutoCompactor::new(AutoCompaction::Revision { retention: 100 });
        assert_eq!(compactor.on_tick(0, 500), None);
        assert_eq!(compactor.on_tick(REVISION_INTERVAL_NS - 1, 500), None);
        assert_eq!(compactor.on_tick(REVISION_INTERVAL_NS, 500), Some(400));
        assert_eq!(compactor.on_tick(2 * REVISION_INTERVAL_NS, 500), None);
        assert_eq!(compactor.on_tick(3 * REVISION_INTERVAL_NS, 501), Some(401));
    }
}
