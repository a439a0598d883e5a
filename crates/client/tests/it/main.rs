//! The client against a real etcd, which is killed, stopped and started again under it.

mod etcd;
mod failover;
mod kv;
mod lease;
mod maintenance;
mod proxy;
mod watch;
