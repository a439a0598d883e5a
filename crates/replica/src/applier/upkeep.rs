//! Compactions, in slices between which everything else goes on.

use etched_backend::ReadView;
use etched_mvcc::CompactionProgress;
use etched_state_machine::{Outcome, Refusal};

use super::{Applier, ApplierOutput};
use crate::measures::Measure;
use crate::output::Notice;

/// Compactions under way, and who waits for them.
#[derive(Debug)]
pub(crate) struct Upkeep {
    keys: usize,
    pause_ns: u64,
    due_ns: u64,
    committed_revision: i64,
    /// When the compaction under way had its first slice.
    begun_ns: Option<u64>,
    held: Vec<Held>,
}

/// The answer to a compaction that waits until its deletions are in the backend.
#[derive(Debug)]
struct Held {
    revision: i64,
    request_id: u64,
    index: u64,
    result: Result<Outcome, Refusal>,
    stage: Stage,
}

/// How far a compaction is that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Finished,
    Committing,
}

impl Upkeep {
    pub(crate) fn new(keys: usize, pause_ns: u64) -> Self {
        Self { keys, pause_ns, due_ns: 0, committed_revision: 0, begun_ns: None, held: Vec::new() }
    }

    pub(crate) fn hold_answer(
        &mut self,
        revision: i64,
        request_id: u64,
        index: u64,
        result: Result<Outcome, Refusal>,
    ) {
        self.held.push(Held { revision, request_id, index, result, stage: Stage::Running });
    }

    fn on_finished(&mut self, revision: i64) {
        for held in &mut self.held {
            if held.revision <= revision {
                held.stage = Stage::Finished;
            }
        }
    }

    /// A batch is taken that holds all deletions so far.
    pub(crate) fn on_taken(&mut self) {
        for held in &mut self.held {
            if held.stage == Stage::Finished {
                held.stage = Stage::Committing;
            }
        }
    }
}

impl Applier {
    /// Whether somebody waits for the next commit.
    pub(crate) fn wants_commit(&self) -> bool {
        let is_waiting = self.upkeep.held.iter().any(|held| held.stage == Stage::Finished);
        let pending = self.machine.store().compaction_pending();
        is_waiting || pending.is_some_and(|revision| revision > self.upkeep.committed_revision)
    }

    /// The batch under way, and all before it, reach `revision` and are in the views given from now on.
    pub(super) fn on_upkeep_committed(&mut self, revision: i64) {
        self.upkeep.committed_revision = revision;
        let held = std::mem::take(&mut self.upkeep.held);
        let (done, waiting): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|held| held.stage == Stage::Committing);
        self.upkeep.held = waiting;
        for Held { request_id, index, result, .. } in done {
            self.outputs.push_back(ApplierOutput::Outcome { request_id, index, result });
        }
    }

    /// Another state takes the place of the own one; what was answered by its entry is answered now.
    pub(super) fn end_upkeep(&mut self) {
        self.upkeep.committed_revision = 0;
        self.upkeep.begun_ns = None;
        for Held { request_id, index, result, .. } in std::mem::take(&mut self.upkeep.held) {
            self.outputs.push_back(ApplierOutput::Outcome { request_id, index, result });
        }
    }

    /// Runs one slice of a compaction when it is due; `true` if there is more to do at once.
    /// Large reads under way may be below the compaction's revision: it waits for them.
    pub(super) fn work_compaction(&mut self, view: &dyn ReadView, now_ns: u64) -> bool {
        let Some(revision) = self.machine.store().compaction_pending() else { return false };
        let is_stored = revision <= self.upkeep.committed_revision;
        if !is_stored || now_ns < self.upkeep.due_ns || self.range_jobs.is_any_below(revision) {
            return false;
        }
        self.upkeep.due_ns = now_ns + self.upkeep.pause_ns;
        let begun_ns = self.measures.now();
        let first_ns = *self.upkeep.begun_ns.get_or_insert(begun_ns);
        let step = self.machine.compaction_step(view, self.upkeep.keys);
        let ended_ns = self.measures.now();
        self.measures.push(Measure::CompactionSlice { took_ns: ended_ns.saturating_sub(begun_ns) });
        match step {
            Ok(CompactionProgress::More) => {}
            Ok(CompactionProgress::Finished { revision, dropped }) => {
                self.upkeep.begun_ns = None;
                let took_ns = ended_ns.saturating_sub(first_ns);
                self.measures.push(Measure::Compaction { took_ns });
                self.counts.compactions += 1;
                self.counts.compacted_keys += dropped;
                self.upkeep.on_finished(revision);
                self.outputs
                    .push_back(ApplierOutput::Notice(Notice::CompactionFinished { revision, took_ns }));
            }
            Err(error) => self.failure = Some(error.into()),
        }
        self.upkeep.pause_ns == 0
    }

    /// When the next slice of a compaction is due, if one can be worked on.
    pub(crate) fn compaction_due_ns(&self) -> Option<u64> {
        let revision = self.machine.store().compaction_pending()?;
        (revision <= self.upkeep.committed_revision).then_some(self.upkeep.due_ns)
    }
}
