//! The members of the cluster: who they are, and which changes are valid.
//!
//! Stored in table `members` under the id in hexadecimal, as the JSON that etcd's Go struct gives; in table
//! `members_removed` stand the ids that may never come back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use etched_backend::{Batch, Table};

use crate::refusal::Refusal;
use crate::schema;
use crate::version::Version;

mod identity;
mod json;
mod quorum;
mod restore;
mod urls;
mod v2;

pub use identity::{BootstrapChange, bootstrap_changes, cluster_id, member_id};
pub use urls::check_peer_urls;
pub(crate) use v2::has_v2_keys;

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Member {
    /// Its id, for ever.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// The addresses at which other members reach it.
    pub peer_urls: Vec<String>,
    /// The addresses at which it serves clients; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it follows without voting.
    pub is_learner: bool,
}

/// All members, and who was one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Members {
    by_id: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
}

/// A change of the cluster as it stands in the log: the content of a `raftpb.ConfChange`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConfChangeRecord {
    /// The ticket of the caller who waits at the member that proposed it.
    pub id: u64,
    /// What consensus is to do.
    pub kind: ConfChangeKind,
    /// Whom it concerns.
    pub node_id: u64,
    /// The JSON of the member, see [`MemberChange::to_record`]; empty for a removal.
    pub context: Bytes,
}

/// What consensus is to do with a member.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub enum ConfChangeKind {
    /// Add it as a voter, or let a learner vote.
    #[default]
    AddNode,
    /// Remove it.
    RemoveNode,
    /// Nothing: only its addresses change.
    UpdateNode,
    /// Add it as a learner.
    AddLearnerNode,
}

/// A change of the cluster, as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A member joins.
    Add(Member),
    /// A learner becomes a voter.
    Promote(u64),
    /// A member leaves for good.
    Remove(u64),
    /// A member has other peer addresses.
    Update {
        /// The member.
        id: u64,
        /// Its new addresses.
        peer_urls: Vec<String>,
    },
}

/// The configuration of consensus: a `raftpb.ConfState`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConfState {
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who follows without voting.
    pub learners: Vec<u64>,
    /// Who votes in the configuration that is being left.
    pub voters_outgoing: Vec<u64>,
    /// Who becomes a learner when that configuration is left.
    pub learners_next: Vec<u64>,
    /// Whether it is left without being asked.
    pub auto_leave: bool,
}

/// An allowed downgrade of the cluster.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Downgrade {
    /// The version to go down to.
    pub target: Version,
}

impl Members {
    /// The member with this id.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// All members, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.by_id.values()
    }

    /// How many there are, learners included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether a member with this id was removed; it never comes back.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// The ids that were removed.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Asks whether a change is valid, at its place in the log or beforehand.
    ///
    /// # Errors
    ///
    /// The first reason against it.
    pub fn check(&self, change: &MemberChange, learners_max: usize) -> Result<(), Refusal> {
        let id = change.member_id();
        if self.was_removed(id) {
            return Err(Refusal::MemberNotFound);
        }
        match change {
            MemberChange::Add(member) => self.check_add(member, learners_max),
            MemberChange::Promote(_) => match self.get(id) {
                None => Err(Refusal::MemberNotFound),
                Some(member) if !member.is_learner => Err(Refusal::MemberNotLearner),
                Some(_) => Ok(()),
            },
            MemberChange::Remove(_) => self.get(id).map(|_| ()).ok_or(Refusal::MemberNotFound),
            MemberChange::Update { peer_urls, .. } => {
                self.get(id).ok_or(Refusal::MemberNotFound)?;
                self.check_peer_urls_unused(peer_urls, Some(id))
            }
        }
    }

    fn check_add(&self, member: &Member, learners_max: usize) -> Result<(), Refusal> {
        if self.get(member.id).is_some() {
            return Err(Refusal::MemberExists);
        }
        self.check_peer_urls_unused(&member.peer_urls, None)?;
        let learners = self.iter().filter(|member| member.is_learner).count();
        if member.is_learner && learners >= learners_max { Err(Refusal::TooManyLearners) } else { Ok(()) }
    }

    fn check_peer_urls_unused(&self, urls: &[String], except: Option<u64>) -> Result<(), Refusal> {
        let mut others = self.iter().filter(|member| Some(member.id) != except);
        let is_used = others.any(|member| member.peer_urls.iter().any(|url| urls.contains(url)));
        if is_used { Err(Refusal::PeerUrlExists) } else { Ok(()) }
    }

    /// Reads a change of the log and asks whether it is valid.
    pub(crate) fn admit(
        &self,
        record: &ConfChangeRecord,
        learners_max: usize,
    ) -> Result<MemberChange, Refusal> {
        if self.was_removed(record.node_id) {
            return Err(Refusal::MemberNotFound);
        }
        let change = MemberChange::from_record(record)?;
        self.check(&change, learners_max)?;
        Ok(change)
    }

    /// Makes an admitted change.
    pub(crate) fn execute(&mut self, change: MemberChange, batch: &mut Batch) {
        match change {
            MemberChange::Add(member) => self.store(member, batch),
            MemberChange::Promote(id) => {
                self.change(id, batch, |member| member.is_learner = false);
            }
            MemberChange::Update { id, peer_urls } => {
                self.change(id, batch, |member| member.peer_urls = peer_urls);
            }
            MemberChange::Remove(id) => {
                self.by_id.remove(&id);
                self.removed.insert(id);
                batch.delete(Table::Members, key(id));
                batch.put(Table::MembersRemoved, key(id), schema::REMOVED);
            }
        }
    }

    /// Notes how a member calls itself; returns whether it is a member.
    pub(crate) fn describe(
        &mut self,
        id: u64,
        name: String,
        client_urls: Vec<String>,
        batch: &mut Batch,
    ) -> bool {
        self.change(id, batch, |member| {
            member.name = name;
            member.client_urls = client_urls;
        })
    }

    fn change(&mut self, id: u64, batch: &mut Batch, change: impl FnOnce(&mut Member)) -> bool {
        let Some(member) = self.by_id.get_mut(&id) else { return false };
        change(member);
        batch.put(Table::Members, key(id), member.to_json());
        true
    }

    fn store(&mut self, member: Member, batch: &mut Batch) {
        batch.put(Table::Members, key(member.id), member.to_json());
        self.by_id.insert(member.id, member);
    }
}

impl ConfState {
    /// The form that is stored, equal on all members.
    pub(crate) fn sorted(mut self) -> Self {
        for ids in [&mut self.voters, &mut self.learners, &mut self.voters_outgoing, &mut self.learners_next]
        {
            ids.sort_unstable();
        }
        self
    }
}

impl MemberChange {
    /// Whom it concerns.
    pub fn member_id(&self) -> u64 {
        match self {
            Self::Add(member) => member.id,
            Self::Promote(id) | Self::Remove(id) | Self::Update { id, .. } => *id,
        }
    }

    /// Who is removed by it.
    pub(crate) fn removed(&self) -> Option<u64> {
        match self {
            Self::Remove(id) => Some(*id),
            Self::Add(_) | Self::Promote(_) | Self::Update { .. } => None,
        }
    }

    /// The change for the log; `request_id` is the ticket of the caller.
    pub fn to_record(&self, request_id: u64) -> ConfChangeRecord {
        let (kind, context) = match self {
            Self::Add(member) if member.is_learner => (ConfChangeKind::AddLearnerNode, member.to_json()),
            Self::Add(member) => (ConfChangeKind::AddNode, member.to_json()),
            Self::Promote(id) => (ConfChangeKind::AddNode, json::promotion(*id)),
            Self::Remove(_) => (ConfChangeKind::RemoveNode, Bytes::new()),
            Self::Update { id, peer_urls } => {
                let member = Member { id: *id, peer_urls: peer_urls.clone(), ..Member::default() };
                (ConfChangeKind::UpdateNode, member.to_json())
            }
        };
        ConfChangeRecord { id: request_id, kind, node_id: self.member_id(), context }
    }

    /// Reads a change of the log.
    ///
    /// # Errors
    ///
    /// [`Refusal::MalformedMember`] if the context is no member, or describes another one.
    pub fn from_record(record: &ConfChangeRecord) -> Result<Self, Refusal> {
        if record.kind == ConfChangeKind::RemoveNode {
            return Ok(Self::Remove(record.node_id));
        }
        let context = json::Context::parse(&record.context).ok_or(Refusal::MalformedMember)?;
        let mut member = context.member;
        if member.id != record.node_id {
            return Err(Refusal::MalformedMember);
        }
        Ok(match record.kind {
            ConfChangeKind::UpdateNode => Self::Update { id: member.id, peer_urls: member.peer_urls },
            ConfChangeKind::AddNode | ConfChangeKind::AddLearnerNode if context.is_promotion => {
                Self::Promote(member.id)
            }
            ConfChangeKind::AddNode | ConfChangeKind::AddLearnerNode | ConfChangeKind::RemoveNode => {
                member.is_learner |= record.kind == ConfChangeKind::AddLearnerNode;
                Self::Add(member)
            }
        })
    }
}

/// The key of a member's record.
fn key(id: u64) -> String {
    format!("{id:x}")
}

#[cfg(test)]
mod tests;
