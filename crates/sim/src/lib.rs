//! A whole cluster in one thread, from a seed, under every fault we can think of.
//!
//! The crates that ship run here unchanged: log, backend, consensus, state machine, watches.
//! What surrounds them in a process (clock, network, disk, clients) is simulated, and everything that happens is a
//! function of one seed: the same seed gives the same run, so a failure found once can be looked at for ever.
//!
//! - [`random`] is where all choices come from: one stream for each purpose, so that a choice more in one place
//!   moves nothing in another.
//! - [`storage`] is the storage of one member alone, much faster than a cluster.
//!
//! What the crate refuses: clocks, threads and randomness of the machine it runs on.
//!
//! ```
//! use etched_sim::random::{Purpose, Random};
//!
//! let mut disk = Random::new(7, Purpose::Disk(1));
//! let mut again = Random::new(7, Purpose::Disk(1));
//! assert_eq!(disk.below(1_000), again.below(1_000));
//! ```

pub mod random;
pub mod storage;
