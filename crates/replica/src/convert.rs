//! Between Raft's values and those of the state machine.

use etched_raft_core as raft;
use etched_state_machine as machine;

use crate::request::MemberEntry;

pub(crate) fn conf_change(change: &raft::ConfChange) -> machine::ConfChangeRecord {
    machine::ConfChangeRecord {
        id: change.id,
        kind: match change.kind {
            raft::ConfChangeKind::AddNode => machine::ConfChangeKind::AddNode,
            raft::ConfChangeKind::RemoveNode => machine::ConfChangeKind::RemoveNode,
            raft::ConfChangeKind::UpdateNode => machine::ConfChangeKind::UpdateNode,
            raft::ConfChangeKind::AddLearnerNode => machine::ConfChangeKind::AddLearnerNode,
        },
        node_id: change.node_id,
        context: change.context.clone(),
    }
}

pub(crate) fn conf_change_raft(record: &machine::ConfChangeRecord) -> raft::ConfChange {
    raft::ConfChange {
        id: record.id,
        kind: match record.kind {
            machine::ConfChangeKind::AddNode => raft::ConfChangeKind::AddNode,
            machine::ConfChangeKind::RemoveNode => raft::ConfChangeKind::RemoveNode,
            machine::ConfChangeKind::UpdateNode => raft::ConfChangeKind::UpdateNode,
            machine::ConfChangeKind::AddLearnerNode => raft::ConfChangeKind::AddLearnerNode,
        },
        node_id: record.node_id,
        context: record.context.clone(),
    }
}

pub(crate) fn conf_state_stored(state: &raft::ConfState) -> machine::ConfState {
    machine::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    }
}

pub(crate) fn conf_state_raft(state: &machine::ConfState) -> raft::ConfState {
    raft::ConfState {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave,
    }
}

pub(crate) fn member_entry(member: &machine::Member) -> MemberEntry {
    MemberEntry {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}
