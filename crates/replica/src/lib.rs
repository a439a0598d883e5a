//! One member of a cluster without I/O: consensus and applier, joined by values.
//!
//! A [`Member`] is driven by a shell, which owns the clock, the log, the backend, the peers and the callers.
//! The shell hands in what arrived and carries out what comes back:
//!
//! 1. [`Member::submit`] (a request with its caller), [`Member::watch`] (a call of a watch stream), [`Member::step`] (a
//!    message of another member), [`Member::tick`] (once per heartbeat interval).
//! 2. [`Member::turn`]: everything that waits is worked on together. One proposal message carries all commands, one
//!    barrier confirms all linearizable reads, one publication tells all watchers.
//! 3. [`Member::poll`] until it is empty: an [`Output`] is a write to the log, an answer, a delivery to a watch stream,
//!    a batch for the backend, ...
//! 4. [`Member::on_persisted`] and [`Member::on_committed`] report what was carried out; then comes the next turn.
//!
//! Between members travel messages ([`Output::Send`]) and snapshots: one that goes out ([`Output::SendSnapshot`]) is the
//! backend's newest view, no more and no less; one that comes in ([`Output::Install`]) takes the place of the backend,
//! and [`Member::on_installed`] takes it up.
//! Proposals and reads wait for a leader until their deadline.
//! What only a leader may decide (that a lease ran out, say) is dropped when leadership is lost, never passed on; and a
//! leader that was stopped asks the others before it renews a lease or lets one run out.
//!
//! Nothing is answered or applied before the log entry that it depends on is reported as persisted.
//! The backend is a checkpoint: batches go to it in bulk and in the background, and what a batch holds is in memory
//! until it is reported as committed.
//!
//! Inside, two halves share nothing.
//! The consensus half knows Raft and not what entries mean; the applying half knows keys, leases and watches and not how
//! the order of entries came about.
//! The member passes values between them.
//!
//! The crate refuses clocks, threads, sockets and files: time is an argument in nanoseconds, so the same inputs give the
//! same outputs, in the server as in the simulator.

mod applier;
mod codec;
mod consensus;
mod convert;
pub mod corruption;
mod measures;
mod member;
mod options;
mod output;
mod presence;
mod reads;
mod request;
mod start;
mod status;
mod versions;
mod waiters;
mod watch_call;

/// Who asks, and users and roles.
pub use etched_auth as auth;
/// The values of consensus that pass through a member's shell.
pub use etched_raft_core as raft;

pub use etched_lease::ttl_min_seconds as lease_ttl_min_seconds;

pub use applier::{ApplierOptions, AutoCompaction, Failure};
pub use measures::{Measure, MeasureOptions, Remark, Stopwatch};
pub use member::Member;
pub use options::{Limits, MemberOptions, Start, StartError};
pub use output::{
    Commit, Deliver, HashJob, Install, LogSnapshot, Notice, Output, Persist, Respond, SendSnapshot,
};
pub use presence::Presence;
pub use request::{
    Answer, ApiError, Caller, DowngradeAction, LeaseTimeToLive, MemberEntry, Request, V2Answer, V2Call,
};
pub use status::{Counters, StatusReport, V2Counts};
pub use versions::{PeerVersion, VersionTooLow};
pub use watch_call::WatchCall;
