//! Changes of the v2 API's tree.
//!
//! Members of etcd's do not know them: to those, such an entry is one of nothing (see `schema`), and their trees would
//! fall behind. So a change is admitted only while every member has said in the log that it keeps the tree, which a
//! member of etcd's never says.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{Batch, Table};
use etched_v2store::{AuthChange, AuthDone, AuthError, Error, Reply, Request, What};

use crate::applied::Outcome;
use crate::machine::{Progress, State};
use crate::refusal::Refusal;
use crate::v2::speaker_key;

/// What a write costs besides its own bytes: the records of the node and of its event.
const QUOTA_COST: u64 = 256;

/// An operation on the tree of the v2 API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2Command {
    /// Changes a node.
    Change(Request),
    /// Changes users and roles of the v2 API.
    Auth(AuthChange),
    /// Deletes the nodes whose time was over at this time, in nanoseconds of the Unix epoch.
    Expire {
        /// The time by the leader's clock.
        until_ns: i64,
    },
    /// A member says that it keeps the tree.
    Speaks {
        /// The member.
        member_id: u64,
    },
    /// Something that this version does not know, from another one; it is refused.
    Unknown {
        /// The method that it names.
        method: String,
    },
}

/// What came of an operation on the tree, equal on all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2Done {
    /// Of a change of a node.
    Change(Result<Reply, Error>),
    /// Of a change of users and roles.
    Auth(Result<AuthDone, AuthError>),
}

impl V2Command {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Change(_) | Self::Auth(_) | Self::Expire { .. } | Self::Speaks { .. } => Ok(()),
            Self::Unknown { .. } => Err(Refusal::V2Unsupported),
        }
    }

    /// How much the database may grow by it, in bytes.
    pub(super) fn quota_cost(&self) -> u64 {
        match self {
            Self::Change(Request { path, what, .. }) => {
                let value = match what {
                    What::Set(written)
                    | What::Create(written)
                    | What::CreateInOrder(written)
                    | What::Update(written)
                    | What::CompareAndSwap(_, written) => &written.value,
                    What::Delete { .. } | What::CompareAndDelete(_) => return 0,
                };
                (path.len() + value.len()) as u64 + QUOTA_COST
            }
            Self::Auth(_) => QUOTA_COST,
            Self::Expire { .. } | Self::Speaks { .. } | Self::Unknown { .. } => 0,
        }
    }

    pub(super) fn is_refused_when_corrupt(&self) -> bool {
        match self {
            Self::Change(_) | Self::Auth(_) | Self::Expire { .. } => true,
            Self::Speaks { .. } | Self::Unknown { .. } => false,
        }
    }
}

/// Applies an operation; `index` is that of the entry.
pub(crate) fn apply(
    command: V2Command,
    index: u64,
    state: &mut State,
    batch: &mut Batch,
    progress: &mut Progress,
) -> Result<Outcome, Refusal> {
    command.check()?;
    if let V2Command::Speaks { member_id } = command {
        if state.members.get(member_id).is_some() && state.v2.speakers.insert(member_id) {
            batch.put(Table::V2, speaker_key(member_id), Bytes::from_static(&[1]));
            progress.effects.v2_speakers_changed = true;
        }
        return Ok(Outcome::Nothing);
    }
    if !state.v2.is_spoken_by_all(&state.members) {
        return Err(Refusal::V2Unsupported);
    }
    let store = &mut state.v2.store;
    let outcome = match command {
        V2Command::Change(request) => {
            let result = store.apply(&request);
            progress.effects.v2_events.extend(result.iter().map(|reply| reply.event.clone()));
            Outcome::V2 { raft_index: index, done: Box::new(V2Done::Change(result)) }
        }
        V2Command::Auth(change) => {
            Outcome::V2 { raft_index: index, done: Box::new(V2Done::Auth(store.apply_auth(change))) }
        }
        V2Command::Expire { until_ns } => {
            progress.effects.v2_events = store.expire(until_ns);
            Outcome::Nothing
        }
        V2Command::Speaks { .. } | V2Command::Unknown { .. } => Outcome::Nothing,
    };
    let records: Vec<_> = store.take_records();
    for record in records {
        match record.value {
            Some(value) => batch.put(Table::V2, record.key, value),
            None => batch.delete(Table::V2, record.key),
        }
    }
    Ok(outcome)
}
