//! Joining what the log holds with what the backend has applied, at the start.

use std::collections::BTreeSet;

use etched_raft_core::{ConfChange, ConfChangeKind, Config, Entry, EntryKind, Restored};
use etched_state_machine::{Member as Described, MemberChange, StateMachine};

use crate::convert;
use crate::options::{Start, StartError};

/// Where a member is said to be reached that becomes the only one without ever having been one, as etcd has it.
const FORCED_PEER_URLS: [&str; 2] = ["http://localhost:2380", "http://localhost:7001"];

impl Start {
    /// Joins the log with what the backend has applied.
    ///
    /// The entries are those that make this member the only one, if that is asked: they are in the log that is
    /// returned, and are still to be written.
    pub(crate) fn check(self, machine: &StateMachine) -> Result<(Config, Restored, Vec<Entry>), StartError> {
        let Self { mut config, mut restored, force_new_cluster } = self;
        let (applied, _) = machine.applied();
        let log_start = restored.snapshot.index;
        let log_end = restored.entries.last().map_or(log_start, |entry| entry.index);
        if log_end < applied {
            return Err(StartError::LogTooShort { log_end, applied });
        }
        if applied < log_start {
            return Err(StartError::LogGap { log_start, applied });
        }
        // The commit index is written lazily; what was applied was committed.
        restored.hard_state.commit = restored.hard_state.commit.max(applied);
        // A store that an old version of etcd wrote does not say who takes part.
        if !machine.conf_state().voters.is_empty() {
            restored.snapshot.conf_state = convert::conf_state_raft(machine.conf_state());
        }
        config.applied = applied;
        let forced = if force_new_cluster { force(config.id, machine, &mut restored) } else { Vec::new() };
        Ok((config, restored, forced))
    }
}

/// Drops what is not committed, and appends what leaves this member alone.
fn force(own: u64, machine: &StateMachine, restored: &mut Restored) -> Vec<Entry> {
    let commit = restored.hard_state.commit;
    restored.entries.retain(|entry| entry.index <= commit);
    let participants = participants(machine, restored);
    let mut changes = Vec::new();
    match participants.get_own(own) {
        Part::Voter => {}
        Part::Learner => changes.push(MemberChange::Promote(own)),
        Part::None => {
            let peer_urls = FORCED_PEER_URLS.map(String::from).to_vec();
            changes.push(MemberChange::Add(Described { id: own, peer_urls, ..Described::default() }));
        }
    }
    let others = participants.voters.union(&participants.learners).filter(|id| **id != own);
    changes.extend(others.map(|id| MemberChange::Remove(*id)));
    let term = restored.hard_state.term.max(restored.snapshot.term).max(1);
    restored.hard_state.term = term;
    let entries: Vec<Entry> = (commit + 1..)
        .zip(&changes)
        .map(|(index, change)| {
            let data = convert::conf_change_raft(&change.to_record(0)).encode();
            Entry { term, index, kind: EntryKind::ConfChange, data }
        })
        .collect();
    restored.hard_state.commit = commit + entries.len() as u64;
    restored.entries.extend(entries.iter().cloned());
    entries
}

/// Who takes part after all that is committed, changes included that turn out not to be valid.
struct Participants {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
}

/// What a member is.
enum Part {
    Voter,
    Learner,
    None,
}

impl Participants {
    fn get_own(&self, own: u64) -> Part {
        if self.voters.contains(&own) {
            Part::Voter
        } else if self.learners.contains(&own) {
            Part::Learner
        } else {
            Part::None
        }
    }
}

fn participants(machine: &StateMachine, restored: &Restored) -> Participants {
    let state = &restored.snapshot.conf_state;
    let members = machine.members().iter().filter(|member| member.is_learner).map(|member| member.id);
    let mut voters: BTreeSet<u64> = state.voters.iter().copied().collect();
    let mut learners: BTreeSet<u64> = state.learners.iter().copied().chain(members).collect();
    let (applied, _) = machine.applied();
    for entry in restored.entries.iter().filter(|entry| entry.index > applied) {
        if entry.kind != EntryKind::ConfChange {
            continue;
        }
        let Ok(change) = ConfChange::decode(&entry.data) else { continue };
        match change.kind {
            ConfChangeKind::AddNode => {
                learners.remove(&change.node_id);
                voters.insert(change.node_id);
            }
            ConfChangeKind::AddLearnerNode => {
                learners.insert(change.node_id);
            }
            ConfChangeKind::RemoveNode => {
                voters.remove(&change.node_id);
                learners.remove(&change.node_id);
            }
            ConfChangeKind::UpdateNode => {}
        }
    }
    Participants { voters, learners }
}
