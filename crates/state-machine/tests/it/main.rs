//! The state machine as its shell sees it: entries in, answers and batches out.

mod cluster;
mod garbage;
mod keys;
mod leases;
mod model;
mod restart;
mod support;
mod txns;
