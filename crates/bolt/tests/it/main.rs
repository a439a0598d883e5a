//! Files as their users see them: written and read back, damaged, and handed to and fro between this crate, bbolt and
//! etcd.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod damage;
mod golden;
mod model;
mod real_bbolt;
mod real_etcd;
mod round_trip;
mod server;
mod tools;
