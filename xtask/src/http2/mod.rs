//! A gRPC client that costs the measuring side next to nothing: HTTP/2 by hand, on one thread, without blocking.
//!
//! A library client spends more processor time on a request than the server under test does, and on a small machine
//! it measures itself.
//! This one keeps one header block per method, one write per batch of requests and one read per batch of answers.
//! It knows as much of HTTP/2 as a well-behaved client must: settings, flow control in both directions, pings,
//! resets, going away, split header blocks, padding.
//! It refuses server push and the dynamic header table, which it turns off in its own settings.

mod connection;
mod frame;
mod hpack;
mod pool;
mod socket;

pub(crate) use connection::{Body, Connection, Failure, Sink};
pub(crate) use hpack::Method;
pub(crate) use pool::{Pool, unary, unary_as};
