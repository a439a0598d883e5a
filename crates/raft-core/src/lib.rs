//! Consensus without I/O, over the `raft` crate.

mod check;
mod codec;
mod conf_change;
mod config;
mod consensus;
mod effect;
mod entry;
mod journal;
mod log_store;
mod message;
mod outbox;
mod reads;

pub use check::StepError;
pub use codec::DecodeError;
pub use conf_change::{ConfChange, ConfChangeKind};
pub use config::{Config, ConfigError};
pub use consensus::{ConfChangeError, NoLeader, ProposeError, RaftCore, SnapshotDelivery};
pub use effect::{Effect, FollowerStatus, ReadTicket, Role, SnapshotEffect, Status};
pub use entry::{ConfState, Entry, EntryKind, HardState, Restored, SnapshotMeta};
pub use journal::{LogLevel, LogLine};
pub use log_store::RestoreError;
pub use message::{Message, MessageKind};
