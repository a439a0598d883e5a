//! Consensus without I/O: one member's part of Raft as a value.
//!
//! [`RaftCore`] wraps the `raft` crate (the one of TiKV), none of whose types is seen outside.
//! Inputs are ticks, messages, proposals, and reports of what was done; outputs are [`Effect`]s.
//! It reads no clock, owns no thread, opens no file and draws no random number: the same [`Config::seed`] and the same
//! inputs give the same effects.
//!
//! Of the `raft` crate this wrapper makes something that may be used without knowing its traps:
//!
//! - *Writing is asynchronous.* A leader's appends leave before its own write is down; everybody else's messages wait
//!   until what they speak of is on the disk. Entries are applied when they are committed *and* on the own disk.
//! - *A message cannot stop a member.* The crate panics on many that no sound member sends; all it takes for granted
//!   is checked before it sees a message ([`StepError`]), and peers' bytes are never parsed by it.
//! - *A read is fresh.* Read contexts are (member, boot, counter), used once; an answer counts only while its read is
//!   pending; a read that the crate drops is noticed ([`Effect::ReadLost`]).
//! - *Elections repeat.* The election timeout is a function of seed, member and term.
//! - *Everything has a limit*: bytes of a message, messages under way, bytes not committed, bytes applied at once.
//! - *A sole voter leads at once*, as soon as its log is on the disk and applied.
//! - Check-quorum is on, and cannot be turned off; pre-vote is on, unless a caller insists.
//! - *A leader that is gone is replaced at once*, if those who know tell so ([`RaftCore::on_gone`]); a hint that is wrong
//!   does no harm.
//!
//! [`Message`], [`ConfState`] and [`ConfChange`] have the bytes of etcd's `raftpb`, so members of etcd understand them.
//! etcd's entries are opaque here, but for changes of the configuration.
//!
//! What it refuses: to hold proposals back while there is no leader (it says so, and the caller decides), to keep the
//! log (it has the entries since the last [`RaftCore::compact`] in memory, the caller has the disk), and to repeat a
//! read under the same name.
//!
//! ```
//! use bytes::Bytes;
//! use etched_raft_core::{ConfState, Config, Effect, RaftCore, Restored, SnapshotMeta};
//!
//! let conf_state = ConfState::of_voters([1]);
//! let snapshot = SnapshotMeta { index: 0, term: 0, conf_state };
//! let mut core = RaftCore::new(Config::new(1), Restored { snapshot, ..Restored::default() })?;
//!
//! let mut applied = Vec::new();
//! for command in ["first", "second"] {
//!     // The effects before the first proposal make the member lead.
//!     while let Some(effect) = core.poll() {
//!         match effect {
//!             // A real caller writes, and reports when the disk is done.
//!             Effect::Persist { ticket, .. } => core.on_persisted(ticket),
//!             Effect::Apply(entries) => {
//!                 core.on_applied(entries.last().map_or(0, |entry| entry.index));
//!                 applied.extend(entries.into_iter().map(|entry| entry.data));
//!             }
//!             _ => {}
//!         }
//!     }
//!     core.propose(vec![Bytes::from(command)])?;
//! }
//! assert_eq!(applied, ["", "first"], "a leader opens its term with an empty entry");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
