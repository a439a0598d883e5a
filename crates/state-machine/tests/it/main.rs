//! The state machine as its shell sees it: entries in, answers and batches out.
#![expect(clippy::unwrap_used, reason = "tests stop at what they did not expect")]

mod auth;
mod cluster;
mod garbage;
mod keys;
mod leases;
mod model;
mod restart;
mod support;
mod txns;
