//! Members driven by hand: every turn, sync, commit, tick and message is the test's.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops where it goes wrong"
)]

mod auth;
mod chaos;
mod cluster;
mod corners;
mod harness;
mod lease;
mod membership;
mod scenarios;
mod v2;
mod world;
