//! Ranges: small ones are read at once, large ones in slices at a pinned revision, between which writes go on.

use std::collections::VecDeque;

use bytes::Bytes;
use etched_auth::{Principal, Refusal as AuthRefusal};
use etched_backend::ReadView;
use etched_key_range::KeyRange;
use etched_mvcc::{RangeOutput, RangeQuery, SortOrder, SortTarget};
use etched_state_machine::{Range, ReadError, Refusal};

use super::{Applier, ApplierOutput};
use crate::measures::{Measure, ReadTimes, Remark};
use crate::request::{Answer, ApiError, Caller};

/// A range with more keys than this is read in slices.
const SLICE_KEYS: usize = 2_000;

/// Bytes of records after which a slice ends.
const SLICE_BYTES: usize = 4 << 20;

/// Large reads under way; above, a large read is refused as one request too many.
const JOBS_MAX: usize = 1_024;

/// Large reads under way, taken in turn.
#[derive(Debug, Default)]
pub(crate) struct RangeJobs {
    jobs: VecDeque<RangeJob>,
}

/// A large read: what is collected, and where it goes on.
#[derive(Debug)]
struct RangeJob {
    caller: Caller,
    rest: KeyRange,
    /// The revision read at, which no compaction reaches while the job lives.
    revision: i64,
    keys_only: bool,
    /// Who reads; if users and roles change meanwhile, the answer is not his any more.
    principal: Option<Principal>,
    wanted: usize,
    output: RangeOutput,
    query: RangeQuery,
    times: ReadTimes,
    /// Nanoseconds of its slices so far.
    spent_ns: u64,
}

impl RangeJobs {
    /// Whether any job reads below that revision: a compaction at it waits for them.
    /// There will be no more of them, since the compaction is known to new ones.
    pub(crate) fn is_any_below(&self, revision: i64) -> bool {
        self.jobs.iter().any(|job| job.revision < revision)
    }

    /// Gives all jobs up; returns who waits for them.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        self.jobs.drain(..).map(|job| job.caller).collect()
    }
}

impl Applier {
    pub(crate) fn range(
        &mut self,
        view: &dyn ReadView,
        caller: Caller,
        range: Range,
        principal: Option<Principal>,
        times: ReadTimes,
    ) {
        self.counts.operations.ranges += 1;
        let is_single = range.query.range.is_single();
        let begun_ns = if is_single { 0 } else { self.measures.now() };
        match self.large(&range) {
            Ok(Some(job)) if self.range_jobs.jobs.len() < JOBS_MAX => {
                self.range_jobs.jobs.push_back(RangeJob { caller, principal, times, ..job });
            }
            Ok(Some(_)) => {
                self.outputs
                    .push_back(ApplierOutput::Respond { caller, result: Err(ApiError::TooManyRequests) });
            }
            Ok(None) => {
                let result = self.machine.range(view, &range);
                let spent_ns =
                    if is_single { None } else { Some(self.measures.now().saturating_sub(begun_ns)) };
                self.note_range(&range.query, result.as_ref().ok(), times, spent_ns);
                let result = result.map(Answer::Range).map_err(|error| self.read_error(error));
                let result = self.unless_outdated(principal.as_ref(), result);
                self.outputs.push_back(ApplierOutput::Respond { caller, result });
            }
            Err(error) => {
                self.note_range(&range.query, None, times, None);
                let result = Err(self.read_error(error));
                self.outputs.push_back(ApplierOutput::Respond { caller, result });
            }
        }
    }

    /// Measures a range that is done; `spent_ns` is its own time, if the clock was looked at for it.
    fn note_range(
        &mut self,
        query: &RangeQuery,
        output: Option<&RangeOutput>,
        times: ReadTimes,
        spent_ns: Option<u64>,
    ) {
        let is_ok = output.is_some();
        match spent_ns {
            Some(took_ns) => self.measures.push(Measure::Ranged { count: 1, is_ok, took_ns }),
            None if is_ok => self.ranged.0 += 1,
            None => self.ranged.1 += 1,
        }
        let waited_ns = times.served_ns.saturating_sub(times.started_ns);
        let took_ns = waited_ns + spent_ns.unwrap_or(0);
        self.measures.push(Measure::Read { is_txn: false, is_ok, took_ns });
        if self.measures.is_slow(took_ns) {
            self.measures.remark(Remark::SlowRange {
                query: query.clone(),
                took_ns,
                waited_ns,
                records: output.map(|output| output.records.len()),
                bytes: output.map_or(0, |output| output.records.iter().map(Bytes::len).sum()),
            });
        }
    }

    /// Ranges of one key were read since then: they share the time evenly.
    pub(crate) fn note_ranged(&mut self, begun_ns: u64) {
        let (read, refused) = std::mem::take(&mut self.ranged);
        if read + refused == 0 {
            return;
        }
        let spent_ns = self.measures.now().saturating_sub(begun_ns);
        for (count, is_ok) in [(read, true), (refused, false)] {
            if count > 0 {
                let took_ns = spent_ns * count / (read + refused);
                self.measures.push(Measure::Ranged { count, is_ok, took_ns });
            }
        }
    }

    /// Whoever reads may have lost the right to since he was asked.
    fn unless_outdated(
        &self,
        principal: Option<&Principal>,
        result: Result<Answer, ApiError>,
    ) -> Result<Answer, ApiError> {
        if self.is_outdated(principal) { Err(Refusal::from(AuthRefusal::OldRevision).into()) } else { result }
    }

    /// Gives up the jobs that read what a compaction of another state has dropped.
    pub(super) fn drop_ranges_below(&mut self, compacted: i64) {
        for job in std::mem::take(&mut self.range_jobs.jobs) {
            if job.revision < compacted {
                let result = Err(Refusal::Compacted.into());
                self.outputs.push_back(ApplierOutput::Respond { caller: job.caller, result });
            } else {
                self.range_jobs.jobs.push_back(job);
            }
        }
    }

    /// The job for a range, if it is large and its keys are wanted in order.
    fn large(&self, range: &Range) -> Result<Option<RangeJob>, ReadError> {
        let query = &range.query;
        let is_filtered = query.mod_revision_min != 0
            || query.mod_revision_max != 0
            || query.create_revision_min != 0
            || query.create_revision_max != 0;
        let in_key_order = query.target == SortTarget::Key && query.order != SortOrder::Descend;
        let limit = usize::try_from(query.limit).unwrap_or(0);
        let is_short = limit > 0 && limit <= SLICE_KEYS;
        if is_filtered || !in_key_order || query.count_only || is_short || query.range.is_single() {
            return Ok(None);
        }
        let store = self.machine.store();
        let current = store.revision();
        let revision = if query.revision <= 0 { current } else { query.revision };
        if revision < store.compact_revision() {
            return Err(etched_mvcc::RangeError::Compacted.into());
        }
        let count = store.count(&query.range, revision)?.count;
        let keys = usize::try_from(count).unwrap_or(0);
        let wanted = if limit == 0 { keys } else { keys.min(limit) };
        if wanted <= SLICE_KEYS {
            return Ok(None);
        }
        let output = RangeOutput {
            records: Vec::with_capacity(wanted),
            more: wanted < keys,
            count,
            revision: current,
        };
        Ok(Some(RangeJob {
            caller: Caller { front: 0, token: 0 },
            rest: query.range.clone(),
            revision,
            keys_only: query.keys_only,
            principal: None,
            wanted,
            output,
            query: query.clone(),
            times: ReadTimes { started_ns: 0, served_ns: 0 },
            spent_ns: 0,
        }))
    }

    /// Reads one slice of the next job; `true` if any job is left.
    pub(super) fn work_ranges(&mut self, view: &dyn ReadView) -> bool {
        let Some(mut job) = self.range_jobs.jobs.pop_front() else { return false };
        let begun_ns = self.measures.now();
        let sliced = self.read_slice(view, &mut job);
        let ended_ns = self.measures.now();
        job.spent_ns += ended_ns.saturating_sub(begun_ns);
        match sliced {
            Ok(true) => {
                // Others had their turns between the slices.
                job.times.served_ns = ended_ns.saturating_sub(job.spent_ns);
                self.note_range(&job.query, Some(&job.output), job.times, Some(job.spent_ns));
                let result = self.unless_outdated(job.principal.as_ref(), Ok(Answer::Range(job.output)));
                self.outputs.push_back(ApplierOutput::Respond { caller: job.caller, result });
            }
            Ok(false) => self.range_jobs.jobs.push_back(job),
            Err(error) => {
                let result = Err(self.read_error(error));
                self.outputs.push_back(ApplierOutput::Respond { caller: job.caller, result });
            }
        }
        !self.range_jobs.jobs.is_empty()
    }

    /// Whether the job is done with this slice.
    fn read_slice(&self, view: &dyn ReadView, job: &mut RangeJob) -> Result<bool, ReadError> {
        let limit = SLICE_KEYS.min(job.wanted - job.output.records.len());
        let store = self.machine.store();
        let chunk = store.chunk(view, &job.rest, job.revision, limit, SLICE_BYTES, job.keys_only)?;
        job.output.records.extend(chunk.records);
        let next: Option<Bytes> = chunk.next;
        match next {
            Some(key) if job.output.records.len() < job.wanted => {
                job.rest.start = key;
                Ok(false)
            }
            Some(_) | None => Ok(true),
        }
    }
}
