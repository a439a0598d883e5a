//! What the members of a cluster agree on: keys, leases, users, alarms and members, changed by one command at a time.
//!
//! A [`StateMachine`] takes the committed entries of the log in order and answers each of them.
//! It does no I/O and knows no time: the same entries give the same state, the same answers and the same batches of
//! writes on every member, byte for byte.
//!
//! A command passes four stations, and each family of commands has one file under `command/` for them:
//!
//! 1. **check** ([`Command::check`]): is the request well formed? Asked before it is proposed, by the member that got it.
//! 2. **encode** ([`schema::encode`]): the command becomes the bytes of an `InternalRaftRequest`, as etcd writes them.
//! 3. **admit**: at its place in the log, is there a reason to refuse it (an alarm, a missing right, a missing lease, a
//!    missing key, a compacted revision)? All reasons are asked before the first change. A refusal is an answer ([`Refusal`]), and it
//!    is the same on every member.
//! 4. **execute**: the change itself. It cannot be refused any more.
//!
//! The machine never commits. It gathers everything that it would like to have stored, and [`StateMachine::take_batch`]
//! hands it out together with the index of the entry up to which it is complete: a store that applies batches
//! atomically and in order can lose the newest ones in a crash, and the machine restored from what is left simply
//! takes the log from there.
//!
//! What is *in memory* is the truth: leases, users, alarms, members and the index of keys are never read back from the tables.
//! Values are, through the [`ReadView`](etched_backend::ReadView) that the callers pass in. It must show every batch
//! that was reported to [`StateMachine::on_committed`]; values of younger batches are kept in memory until then.
//!
//! An error ([`ApplyError`]) is local: the store is damaged, or the entry comes from a newer version. The member must
//! stop; the machine is not usable after it.
//!
//! ```
//! use etched_backend::{Backend, Durability, MemoryBackend};
//! use etched_state_machine::{Command, Header, Options, Outcome, Put, StateMachine, schema};
//!
//! let backend = MemoryBackend::new();
//! let view = backend.view()?;
//! let mut machine = StateMachine::restore(&view, Options::default())?;
//!
//! let put = Put { key: "greeting".into(), value: "hello".into(), ..Put::default() };
//! let entry = schema::encode(&Header { request_id: 7, ..Header::default() }, &Command::Put(put));
//! let applied = machine.apply(&view, 1, 1, &entry)?;
//! assert_eq!(applied.request_id, 7);
//! assert!(matches!(applied.outcome, Ok(Outcome::Put(done)) if done.revision == 2));
//!
//! backend.commit(&machine.take_batch(), Durability::Synced)?;
//! machine.on_committed(machine.revision());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod alarms;
mod applied;
mod command;
mod machine;
mod members;
mod permission;
mod read;
mod refusal;
pub mod schema;
pub mod stored;
mod v2;
mod version;

pub use alarms::{AlarmKind, AlarmMember, Alarms};
pub use applied::{Applied, DeleteRangeDone, Effects, Operations, Outcome, PutDone, TxnDone, TxnOpDone};
pub use command::{
    AlarmRequest, Command, Compact, Compare, CompareTarget, DeleteRange, Header, Limits, Put, Range, Txn,
    TxnOp, V2Command, V2Done,
};
pub use machine::{ApplyError, Options, RestoreError, StateMachine};
pub use members::{
    BootstrapChange, ConfChangeKind, ConfChangeRecord, ConfState, Downgrade, Member, MemberChange, Members,
    bootstrap_changes, check_peer_urls, cluster_id, member_id,
};
pub use permission::Asker;
pub use read::ReadError;
pub use refusal::Refusal;
pub use version::Version;

/// Users and roles.
pub use etched_auth as auth;
/// The tree of the v2 API.
pub use etched_v2store as v2store;

pub use etched_mvcc::{
    CatalogMaker, Change, ChangeKind, HashKv, HashPlan, RaiseError, RangeOutput, RangeQuery,
    RestoreError as CatalogError, raise_revision, record_lengths,
};
