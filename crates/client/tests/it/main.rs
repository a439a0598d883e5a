//! The client against real members of etcd, which are killed, stopped and started again under it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod auth;
mod certificates;
mod cluster;
mod etcd;
mod failover;
mod kv;
mod lease;
mod maintenance;
mod ports;
mod proxy;
mod recipes;
mod tls;
mod watch;
