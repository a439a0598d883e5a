//! The member as a process: threads, sockets, gRPC, HTTP and flags around `etched-replica`.
//!
//! [`flags`] turns arguments and environment into valid options; [`member::start`] opens the data directory and runs
//! the member's threads; [`front::Fronts`] serves clients.
//! Between them stands [`api::Api`]: a front submits requests and is given completions, in batches.
//!
//! No rule of etcd's semantics is here: `grpc`, `gateway` and `http` convert messages and put errors into etcd's words, `member`
//! carries out what the replica wants done.

pub mod api;
pub mod architecture;
pub mod auth;
pub mod dev;
pub mod flags;
pub mod front;
mod gateway;
mod grpc;
mod http;
mod http2;
pub mod logging;
pub mod member;
pub mod metrics;
pub mod notify;
pub mod peer;
pub mod subcommand;
pub mod tls;
pub mod trace;
mod upstream;
mod v2;
