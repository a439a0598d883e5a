//! The whole server over its sockets, as clients see it.
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

mod adoption;
mod auth;
mod auth_cluster;
mod cluster;
mod corruption;
mod crowd;
mod data_dir;
mod deployments;
mod dev;
mod flags;
mod gateway;
mod identities;
mod observe;
mod outward;
mod process;
mod program;
mod session;
mod tls;
#[path = "../../../bolt/tests/it/tools.rs"]
mod tools;
mod v2;
