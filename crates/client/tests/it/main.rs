//! The client against a real etcd, which is killed, stopped and started again under it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod etcd;
mod failover;
mod kv;
mod lease;
mod maintenance;
mod proxy;
mod watch;
