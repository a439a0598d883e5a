//! The running member: a core thread that drives `etched-replica`, and the threads that do its slow work.
//!
//! ```text
//! fronts ──Inbox──▶ core thread ──Commit──▶ backend thread (redb, snapshot files)
//!    ▲                │  │ │ └─────────────▶ log segments thread (zero-filled ahead of time)
//!    └──Front─────────┘  │ └───────────────▶ hash threads (one per request)
//!                        └ log: appended and synced in place
//! ```
//!
//! Every queue is bounded: the inbox (a full one refuses requests as too many), one commit under way (the core thread
//! holds commands back while too much waits for the backend, and refuses what is above its bound), sixteen hashes, one
//! log segment on order, one batch per front and turn.

mod adopt;
mod backend;
mod batches;
mod checks;
mod convert;
mod core;
mod discovery;
mod handle;
mod hashes;
mod inbox;
mod incoming;
mod join;
mod leader;
mod outgoing;
mod peers;
mod remarks;
mod spares;
mod start;
mod storage;
mod survey;
#[cfg(test)]
mod tests;
mod upkeep;

pub use self::core::CoreError;
pub use self::core::now_ns;
pub use adopt::AdoptError;
pub use checks::Inconsistent;
pub use discovery::DiscoveryError;
pub use handle::MemberHandle;
pub use join::JoinError;
pub use start::{CheckError, Readiness, RunningMember, StartError, start};
pub use storage::StorageError;
