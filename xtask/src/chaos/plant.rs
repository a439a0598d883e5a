//! Planted faults of the store: what a broken one would do, so that a run shows that it is found.

/// A fault that is planted between the store and the checkers, or in the store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Plant {
    /// Reads are sent as serializable ones, and noted as linearizable.
    StaleReads,
    /// Some puts are sent twice.
    RepeatedWrites,
    /// Some messages to watches are not noted.
    DroppedEvents,
    /// Notifications of progress are noted with a revision that is not reached.
    LyingProgress,
    /// When all members are down, all get back their data of some time before.
    LostWrites,
}
