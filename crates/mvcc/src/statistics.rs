//! Plain counters; the server names and exports them.

/// What a store has counted since it was made, and how large it is.
///
/// Reads go through `&self` and are counted by whoever asks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Live keys.
    pub keys: u64,
    /// Keys in the index: live ones, and deleted ones that are not compacted away.
    pub indexed_keys: u64,
    /// Bytes of the newest records of all live keys.
    pub live_bytes: u64,
    /// Puts.
    pub puts: u64,
    /// Deleted keys.
    pub deletes: u64,
    /// Finished transactions that changed something.
    pub txns: u64,
    /// Records in memory.
    pub resident_records: u64,
    /// What they cost, in bytes.
    pub resident_bytes: u64,
    /// Compactions that are finished.
    pub compactions: u64,
    /// Revisions that compactions have dropped.
    pub compacted_revisions: u64,
}
