//! The program against real members of etcd. The texts were compared with those of etcdctl 3.7.2.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    dead_code,
    reason = "the members and certificates of the client's tests can do more than is needed here"
)]

#[path = "../../../client/tests/it/certificates.rs"]
mod certificates;
#[path = "../../../client/tests/it/etcd.rs"]
mod etcd;
#[path = "../../../client/tests/it/ports.rs"]
mod ports;
#[path = "../../../bolt/tests/it/server.rs"]
mod real;
#[path = "../../../bolt/tests/it/tools.rs"]
mod tools;

mod auth;
mod cluster;
mod program;
mod recipes;
mod snapshot;
mod utl;
