//! The whole server over its sockets, as clients see it.
#![expect(clippy::unwrap_used, reason = "a test stops where something fails")]

mod cluster;
mod corruption;
mod crowd;
mod data_dir;
mod dev;
mod process;
mod session;
mod tls;
mod v2;
