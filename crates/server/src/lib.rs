//! The member as a process: threads, sockets, gRPC, HTTP and flags around `etched-replica`.

pub mod api;
pub mod flags;
pub mod logging;
pub mod member;
pub mod metrics;
