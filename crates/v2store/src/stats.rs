//! What a store counts.

use alloc::format;
use alloc::string::String;

/// How often each kind of request succeeded and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads; counted on the member that answers them, and not kept.
    pub gets: Tally,
    /// Plain writes.
    pub sets: Tally,
    /// Deletions.
    pub deletes: Tally,
    /// Changes of what must be there.
    pub updates: Tally,
    /// Creations of what must not be there.
    pub creates: Tally,
    /// Writes after a comparison.
    pub swaps: Tally,
    /// Deletions after a comparison.
    pub compared_deletes: Tally,
    /// Nodes that expired.
    pub expired: u64,
}

/// Two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often it succeeded.
    pub succeeded: u64,
    /// How often it was refused.
    pub failed: u64,
}

impl Tally {
    pub(crate) fn count<T, E>(&mut self, result: &Result<T, E>) {
        let counter = if result.is_ok() { &mut self.succeeded } else { &mut self.failed };
        *counter += 1;
    }
}

impl Stats {
    /// All but the reads, in the order in which they are stored.
    pub(crate) fn tallies_mut(&mut self) -> [&mut Tally; 6] {
        [
            &mut self.sets,
            &mut self.deletes,
            &mut self.updates,
            &mut self.creates,
            &mut self.swaps,
            &mut self.compared_deletes,
        ]
    }

    /// The answer to `/v2/stats/store`; `watchers` is how many wait at this member.
    pub fn to_json(&self, watchers: usize) -> String {
        let tally = |name: &str, tally: Tally| {
            format!("\"{name}Success\":{},\"{name}Fail\":{}", tally.succeeded, tally.failed)
        };
        format!(
            "{{{},{},{},{},{},{},{},\"expireCount\":{},\"watchers\":{watchers}}}",
            tally("gets", self.gets),
            tally("sets", self.sets),
            tally("delete", self.deletes),
            tally("update", self.updates),
            tally("create", self.creates),
            tally("compareAndSwap", self.swaps),
            tally("compareAndDelete", self.compared_deletes),
            self.expired,
        )
    }
}
