//! A stored state that is looked at, or made to fit elsewhere, while no machine runs on it.
//!
//! Three things are done to stored states from outside: a new cluster begins with a copy of one ([`found_anew`]), a
//! member goes on with what an older version of etcd left ([`complete`]), and the version that it is marked with is
//! changed ([`mark_version`]).
//! Each gives a batch, to be committed whole before a machine is restored.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{BackendError, Batch, ReadView, Table};

use crate::command::Command;
use crate::machine::Meta;
use crate::members::{
    BootstrapChange, ConfChangeKind, ConfChangeRecord, ConfState, Member, MemberChange, Members,
};
use crate::refusal::Refusal;
use crate::schema;
use crate::version::Version;

/// Since when a stored state is marked with its version.
const MARKED_SINCE: Version = Version::new(3, 6, 0);
/// The version of a stored state without a mark.
const UNMARKED: Version = Version::new(3, 5, 0);

/// Where in the log a stored state stands, and which version it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last applied entry; 0 if there is none.
    pub index: u64,
    /// Its term; 0 if the version that wrote it did not say.
    pub term: u64,
    /// Who takes part; nobody if the version that wrote it did not say.
    pub conf_state: ConfState,
    /// The mark, if there is one.
    pub storage_version: Option<Version>,
    /// The version that the cluster has agreed on, if it has.
    pub cluster_version: Option<Version>,
}

impl Standing {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// The store failed, or a record is damaged.
    pub fn read(view: &dyn ReadView) -> Result<Self, BackendError> {
        let Meta { index, term, conf_state } = Meta::read(view)?;
        Ok(Self {
            index,
            term,
            conf_state,
            storage_version: Meta::storage_version(view)?,
            cluster_version: Meta::cluster_version(view)?,
        })
    }

    /// The version of the stored state, as etcd's tools tell it: the mark, or 3.5 if there is a term.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.storage_version.or_else(|| (self.term > 0).then_some(UNMARKED))
    }
}

/// The beginning of a new cluster with the keys, leases, users and alarms of a stored state.
#[derive(Clone, Debug)]
pub struct Founding {
    /// What makes the stored state that of the new cluster.
    pub batch: Batch,
    /// The data of the log's first entries, which add the members: changes of the cluster, of indexes from 1 on.
    pub entries: Vec<Bytes>,
    /// The term of these entries, and of the log's snapshot behind them.
    pub term: u64,
    /// Who takes part after them.
    pub conf_state: ConfState,
    /// The members as etcd wants them in the data of the log's snapshot.
    pub v2_store: Bytes,
}

/// Begins a new cluster with a stored state.
///
/// The members of the old one are forgotten, those that were removed too; `founders` are made known by
/// [`bootstrap_changes`](crate::bootstrap_changes).
/// The result is as if the first entries of the new cluster had made the whole state.
///
/// # Errors
///
/// The store failed, or a record is damaged.
///
/// # Panics
///
/// If a founder is none that `bootstrap_changes` has made.
pub fn found_anew(view: &dyn ReadView, founders: &[BootstrapChange]) -> Result<Founding, BackendError> {
    let mut batch = Batch::new();
    Members::forget_all(view, &mut batch)?;
    let (mut members, mut entries) = (Members::default(), Vec::new());
    for founder in founders {
        let (kind, node_id, context) = (ConfChangeKind::AddNode, founder.member_id, founder.context.clone());
        let record = ConfChangeRecord { id: 0, kind, node_id, context };
        let change = MemberChange::from_record(&record).expect("it describes the member that it is of");
        members.execute(change, &mut batch);
        entries.push(record.encode());
    }
    let voters = founders.iter().map(|founder| founder.member_id).collect();
    let conf_state = ConfState { voters, ..ConfState::default() }.sorted();
    let (index, term) = (entries.len() as u64, 1);
    Meta { index, term, conf_state: conf_state.clone() }.write(&mut batch);
    let v2_store = members.to_v2_store(Meta::cluster_version(view)?);
    Ok(Founding { batch, entries, term, conf_state, v2_store })
}

/// Completes what an older version of etcd has stored, at its place in the log: `term` is that of its last entry, and
/// `taking_part` who takes part after it, as the log has it.
///
/// etcd up to 3.5 kept its members elsewhere as well, and could leave some in the tables that are none any more: they
/// are taken out, and returned.
///
/// # Errors
///
/// The store failed, or a record is damaged.
pub fn complete(
    view: &dyn ReadView,
    term: u64,
    taking_part: &ConfState,
) -> Result<(Batch, Vec<Member>), BackendError> {
    let mut meta = Meta::read(view)?;
    if meta.term == 0 {
        meta.term = term;
    }
    if meta.conf_state.voters.is_empty() {
        meta.conf_state = taking_part.clone().sorted();
    }
    let mut batch = Batch::new();
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = &meta.conf_state;
    let all = [voters, learners, voters_outgoing, learners_next];
    let ids: BTreeSet<u64> = all.into_iter().flatten().copied().collect();
    let gone = Members::restore(view)?.retain(&ids, &mut batch);
    meta.write(&mut batch);
    Ok((batch, gone))
}

/// Who takes part after a change of the cluster, in a log of etcd's, which has no joint changes.
///
/// # Errors
///
/// If the change cannot be read.
pub fn take_part(conf_state: &mut ConfState, change: &Bytes) -> Result<(), Refusal> {
    let ConfChangeRecord { kind, node_id, .. } = ConfChangeRecord::decode(change)?;
    let ConfState { voters, learners, .. } = conf_state;
    match kind {
        ConfChangeKind::UpdateNode => return Ok(()),
        ConfChangeKind::AddNode | ConfChangeKind::RemoveNode | ConfChangeKind::AddLearnerNode => {
            voters.retain(|id| *id != node_id);
            learners.retain(|id| *id != node_id);
        }
    }
    match kind {
        ConfChangeKind::AddNode => voters.push(node_id),
        ConfChangeKind::AddLearnerNode => learners.push(node_id),
        ConfChangeKind::RemoveNode | ConfChangeKind::UpdateNode => {}
    }
    Ok(())
}

/// Marks a stored state with a version, or takes the mark away if the version has none.
#[must_use]
pub fn mark_version(version: Version) -> Batch {
    let mut batch = Batch::new();
    if version < MARKED_SINCE {
        batch.delete(Table::Meta, schema::STORAGE_VERSION);
    } else {
        batch.put(Table::Meta, schema::STORAGE_VERSION, version.to_string());
    }
    batch
}

/// The oldest version from 3.6 on that understands an entry of the log; none if 3.5 does, or if it is unknown.
#[must_use]
pub fn version_of_entry(data: &Bytes) -> Option<Version> {
    match schema::decode(data) {
        Ok((_, Command::DowngradeVersionTest { version })) => {
            version.parse().ok().filter(|named| *named >= MARKED_SINCE)
        }
        Ok(_) | Err(_) => None,
    }
}

/// Whether the data of an etcd's log snapshot, its v2 store, has keys of users; none if it is no such store.
#[must_use]
pub fn has_v2_keys(data: &[u8]) -> Option<bool> {
    crate::members::has_v2_keys(data)
}

/// The members as etcd wants them in the data of a log snapshot, of a stored state.
///
/// # Errors
///
/// The store failed, or a record is damaged.
pub fn v2_store(view: &dyn ReadView) -> Result<Bytes, BackendError> {
    Ok(Members::restore(view)?.to_v2_store(Meta::cluster_version(view)?))
}

/// The stored members, by id.
///
/// # Errors
///
/// The store failed, or a record is damaged.
pub fn members(view: &dyn ReadView) -> Result<Members, BackendError> {
    Members::restore(view)
}

/// Reads a version of two numbers, as tools are given it.
///
/// # Errors
///
/// If it is something else.
pub fn parse_minor(text: &str) -> Result<Version, Refusal> {
    let whole: String = [text, ".0"].concat();
    whole.parse()
}

#[cfg(test)]
mod tests;
