//! The fronts: threads that own connections.
//!
//! An acceptor thread takes connections and deals each to the front with the fewest.
//! A front is one thread with one single-threaded runtime; a connection stays on its front, so a request meets another
//! thread only at the member, and there in batches.
//!
//! ```text
//! acceptor ──connection──▶ front thread ──Api──▶ member
//!                          (HTTP/1.1, HTTP/2,     │
//!                           gRPC, handlers) ◀─────┘ Front::complete, Front::deliver
//! ```
//!
//! Bounds: `CONNECTIONS_WAITING_MAX` connections on their way to a front, `CALLS_WAITING_MAX` requests of a front at
//! the member, the hub's budget for each watch stream, and HTTP/2's windows for what a connection sends.

mod calls;
mod connection;
mod counted;
mod door;
#[cfg(test)]
pub(crate) mod fake;
mod http2;
mod lane;
mod link;
mod listeners;
mod mailbox;
mod opening;
mod peers;
mod run;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) use calls::Call;
pub(crate) use door::{Door, Raw};
pub(crate) use link::{Answered, Link};
pub use listeners::{BindError, Listeners};
pub use peers::PeerFront;
pub use run::{Fronts, StartError};
pub(crate) use streams::{Ending, Next, OpenStream};
