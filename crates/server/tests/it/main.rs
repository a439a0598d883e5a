//! The whole server over its sockets, as clients of others see it.

mod crowd;
mod data_dir;
mod process;
mod session;
