//! A whole cluster in one thread, from a seed, under every fault we can think of.
//!
//! The crates that ship run here unchanged: log, backend, consensus, state machine, watches.
//! What surrounds them in a process (clock, network, disk, clients) is simulated, and everything that happens is a
//! function of one seed: the same seed gives the same run, so a failure found once can be looked at for ever.
//!
//! A run has two phases.
//! In the first, faults strike: power losses, partitions, pauses, clocks, disks that fail.
//! Whatever happens, nothing that was promised may be broken; that is checked at every step, without a search, since
//! the simulator sees which entries are committed and executes each by a reference of its own.
//! In the second phase the faults end, and everything must come right within bounds of time.
//!
//! - [`run`](fn@run) runs a [`Scenario`], which is a seed and what is different from what the seed says.
//! - [`coverage`] lists what must have happened in a long run, for a simulator can be blind without anybody noticing.
//! - [`random`] is where all choices come from: one stream for each purpose, so that a choice more in one place
//!   moves nothing in another.
//! - [`storage`] is the storage of one member alone, much faster than a cluster.
//! - [`fuzz`] gives changed bytes to every parser below the server.
//!
//! What the crate refuses: clocks, threads and randomness of the machine it runs on.
//!
//! ```
//! use etched_sim::{Look, Scenario, run};
//!
//! let scenario = Scenario { members: Some(1), seconds: Some(2), ..Scenario::of_seed(7) };
//! let report = run(&scenario, Look::default());
//! assert!(report.failure.is_none());
//! assert_eq!(report.hash, run(&scenario, Look::default()).hash);
//! ```

pub mod clock;
pub mod coverage;
pub mod fuzz;
mod node;
mod oracle;
mod profile;
pub mod random;
mod run;
mod scenario;
pub mod storage;
mod trace;
mod world;

pub use oracle::Violation;
pub use run::{Failure, Look, Report, run};
pub use scenario::{ParseError, Plant, Scenario};
pub use trace::Listing;
