//! Members of a cluster in one thread: elections, replication, reads, changes of configuration, garbage.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod cluster;
mod conf_change;
mod forged;
mod garbage;
mod gone;
mod reads;
mod replication;
mod single;
mod snapshot;
