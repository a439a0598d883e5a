//! How long pieces of a member's work took, and which entries are worth a line in the log: for metrics, never for
//! decisions.
//!
//! The shell lends a clock ([`Stopwatch`]), and takes what gathered after each turn.
//! A simulator lends one that stands still.

use bytes::Bytes;
use etched_state_machine::{RangeQuery, Refusal};

/// Reads a monotonic clock in nanoseconds. Nothing that a member does depends on it.
pub type Stopwatch = fn() -> u64;

/// What the shell may measure of a member.
#[derive(Clone, Copy, Debug)]
pub struct MeasureOptions {
    /// The clock; the same that gives the shell's `now_ns`.
    pub stopwatch: Stopwatch,
    /// Nanoseconds from which an entry or a read is slow (`--warning-apply-duration`).
    pub slow_ns: u64,
}

impl Default for MeasureOptions {
    /// A clock that stands still.
    fn default() -> Self {
        Self { stopwatch: || 0, slow_ns: u64::MAX }
    }
}

/// A time that something took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// An entry was applied.
    Applied {
        /// The number of the command's field in `InternalRaftRequest`.
        field: u32,
        /// Whether it was not refused.
        is_ok: bool,
        /// Nanoseconds.
        took_ns: u64,
    },
    /// A command of this member has its outcome, or will have none.
    Proposed {
        /// The number of the command's field in `InternalRaftRequest`.
        field: u32,
        /// Whether there is an outcome, be it a refusal.
        is_ok: bool,
        /// Nanoseconds since the member took it in.
        took_ns: u64,
    },
    /// Ranges were read, one after the other.
    Ranged {
        /// How many.
        count: u64,
        /// Whether they were read, not refused.
        is_ok: bool,
        /// Nanoseconds that they took together.
        took_ns: u64,
    },
    /// A read was answered or refused.
    Read {
        /// Whether it was a transaction, not a range.
        is_txn: bool,
        /// Whether it was not refused.
        is_ok: bool,
        /// Nanoseconds since the member took it in.
        took_ns: u64,
    },
    /// A lease was granted.
    Granted {
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// A slice of a compaction.
    CompactionSlice {
        /// Nanoseconds.
        took_ns: u64,
    },
    /// A compaction, from its first slice to its last.
    Compaction {
        /// Nanoseconds.
        took_ns: u64,
    },
}

/// Something that took long or failed, with what the log is to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// An entry took long to apply.
    SlowEntry {
        /// The entry's bytes.
        entry: Bytes,
        /// Nanoseconds.
        took_ns: u64,
        /// Why it was refused, if it was.
        refusal: Option<Refusal>,
    },
    /// An entry was refused when it was applied.
    FailedEntry {
        /// The entry's bytes.
        entry: Bytes,
        /// Nanoseconds.
        took_ns: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A range took long, with all that it waited for.
    SlowRange {
        /// What was read.
        query: RangeQuery,
        /// Nanoseconds since the member took it in.
        took_ns: u64,
        /// Nanoseconds of it before it could be read: for the agreement of the members, and for entries to be applied.
        waited_ns: u64,
        /// Records in the answer; `None` if there is none.
        records: Option<usize>,
        /// Bytes of these records.
        bytes: usize,
    },
    /// A transaction that only reads took long, with all that it waited for.
    SlowReadTxn {
        /// Its compares, and the operations of both branches.
        operations: (usize, usize, usize),
        /// Nanoseconds since the member took it in.
        took_ns: u64,
        /// Nanoseconds of it before it could be read.
        waited_ns: u64,
    },
}

/// Remarks that gather in one turn; more are left out, since each is a line that somebody has to read.
const REMARKS_MAX: usize = 32;
/// Measures that gather; more are left out. A shell that takes them after each turn never sees it.
const MEASURES_MAX: usize = 1 << 18;

/// When a read was taken in, and when it could be served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadTimes {
    pub(crate) started_ns: u64,
    pub(crate) served_ns: u64,
}

/// What gathered since the last take.
#[derive(Debug)]
pub(crate) struct Measures {
    options: MeasureOptions,
    /// The end of what was measured last.
    mark_ns: u64,
    measures: Vec<Measure>,
    remarks: Vec<Remark>,
}

impl Measures {
    pub(crate) fn new(options: MeasureOptions) -> Self {
        Self { options, mark_ns: 0, measures: Vec::new(), remarks: Vec::new() }
    }

    pub(crate) fn now(&self) -> u64 {
        (self.options.stopwatch)()
    }

    /// The next lap begins.
    pub(crate) fn mark(&mut self) {
        self.mark_ns = self.now();
    }

    /// The time since the last mark, and a new mark: one look at the clock for each of a row of entries.
    pub(crate) fn lap(&mut self) -> u64 {
        let now_ns = self.now();
        now_ns.saturating_sub(std::mem::replace(&mut self.mark_ns, now_ns))
    }

    pub(crate) fn push(&mut self, measure: Measure) {
        if self.measures.len() < MEASURES_MAX {
            self.measures.push(measure);
        }
    }

    pub(crate) fn is_slow(&self, took_ns: u64) -> bool {
        took_ns > self.options.slow_ns
    }

    pub(crate) fn remark(&mut self, remark: Remark) {
        if self.remarks.len() < REMARKS_MAX {
            self.remarks.push(remark);
        }
    }

    /// An entry was applied.
    pub(crate) fn on_applied(&mut self, field: u32, entry: &Bytes, refusal: Option<Refusal>, took_ns: u64) {
        if field == 0 {
            return;
        }
        // As in etcd: to come too late with a compaction is no failure.
        let is_ok = matches!(refusal, None | Some(Refusal::Compacted));
        self.push(Measure::Applied { field, is_ok, took_ns });
        if self.is_slow(took_ns) {
            self.remark(Remark::SlowEntry { entry: entry.clone(), took_ns, refusal });
        }
        if let Some(refusal) = refusal.filter(|_| !is_ok) {
            self.remark(Remark::FailedEntry { entry: entry.clone(), took_ns, refusal });
        }
    }

    /// Exchanges what gathered against empty lists.
    pub(crate) fn take(&mut self, measures: &mut Vec<Measure>, remarks: &mut Vec<Remark>) {
        measures.clear();
        remarks.clear();
        std::mem::swap(&mut self.measures, measures);
        std::mem::swap(&mut self.remarks, remarks);
    }
}
