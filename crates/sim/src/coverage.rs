//! Situations that a long run must have met, and faults that it must have injected: else it was blind.

use std::collections::BTreeMap;

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

/// What must happen in every long run.
pub const SITUATIONS: &[&str] = &[
    "leader elected",
    "leader changed with reads under way",
    "log cut at a torn tail",
    "restart after a power loss",
    "restart after a kill",
    "crash in the middle of a write",
    "crash during recovery",
    "disk error ends a member",
    "disk full ends a member",
    "snapshot sent",
    "snapshot installed",
    "log snapshot taken",
    "read checked",
    "write checked",
    "transaction checked",
    "outcome unknown",
    "lease ran out",
    "lease renewed",
    "lease checkpoint before a change of leader",
    "watch at the head told events",
    "member added",
    "learner promoted",
    "member removed",
    "quota exceeded",
    "alarm ended by an operator",
    "watch told progress",
    "watch cancelled by a compaction",
    "watch resumed on another member",
    "compaction interrupted by a crash",
    "hashes of two members compared",
    "partition healed",
    "member paused and resumed",
    "leadership transferred",
];

impl Counts {
    /// It happened once more.
    pub fn add(&mut self, what: &'static str) {
        self.add_many(what, 1);
    }

    /// It happened so often.
    pub fn add_many(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// Takes over another run's counts.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// All with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, times)| (*what, *times))
    }

    /// The situations that never occurred.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        SITUATIONS.iter().copied().filter(|what| self.of(what) == 0).collect()
    }
}
