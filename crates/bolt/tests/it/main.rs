//! Files as their users see them: written and read back, damaged, and handed to and fro between this crate, bbolt and
//! etcd.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod damage;
mod model;
mod round_trip;
