//! Changes of who takes part: asked for, checked, proposed one at a time, and applied.

use std::collections::{BTreeSet, VecDeque};

use etched_raft_core::{ConfChange, Entry, EntryKind, ProposeError};
use etched_state_machine::{Member as Described, MemberChange, Refusal, check_peer_urls, member_id};

use super::Member;
use super::outcomes::Instead;
use crate::convert;
use crate::output::Output;
use crate::request::{ApiError, Caller, MemberEntry};
use crate::waiters::Waiter;

/// Nanoseconds for which a member must have been spoken with to count as healthy.
const HEALTHY_AFTER_NS: u64 = 5_000_000_000;

/// Nanoseconds between the removal of this member and its end, so that the others hear of it.
const REMOVAL_DELAY_NS: u64 = 1_000_000_000;

/// Hundredths of the leader's log that a learner must have to become a voter.
const IN_SYNC_PERCENT: u64 = 90;

/// Changes that wait for their turn: consensus takes one at a time.
#[derive(Debug, Default)]
pub(super) struct ConfChanges {
    queue: VecDeque<ConfChange>,
    in_flight: Option<u64>,
}

impl ConfChanges {
    /// The entry of a change is applied.
    pub(super) fn on_applied(&mut self, id: u64) {
        if self.in_flight == Some(id) {
            self.in_flight = None;
        }
    }

    /// What was proposed to another leader may be lost: the next one need not wait for it.
    pub(super) fn on_leader_changed(&mut self) {
        self.in_flight = None;
    }

    pub(super) fn take_unproposed(&mut self, is_late: impl Fn(u64) -> bool) -> Vec<u64> {
        let late = self.queue.iter().map(|change| change.id).filter(|id| is_late(*id)).collect();
        self.queue.retain(|change| !is_late(change.id));
        late
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

impl Member {
    /// Adds a member at addresses that were found to be well-formed.
    pub(super) fn add_member(
        &mut self,
        caller: Caller,
        mut peer_urls: Vec<String>,
        is_learner: bool,
        unix_seconds: i64,
        now_ns: u64,
    ) {
        peer_urls.sort();
        let id = member_id(&peer_urls, "", Some(unix_seconds));
        let change = MemberChange::Add(Described { id, peer_urls, is_learner, ..Described::default() });
        if self.strict_reconfig_check
            && let Err(error) = self.check_addition(&change, now_ns)
        {
            return self.respond(caller, Err(error));
        }
        self.propose_change(caller, &change, Some(Instead::MemberAdded { id }), now_ns);
    }

    fn check_addition(&self, change: &MemberChange, now_ns: u64) -> Result<(), ApiError> {
        let members = self.applier.machine().members();
        members.check_started(change)?;
        let voters = members.voters().count();
        // A quorum of what the voters will be.
        let needed = voters.div_ceil(2) + 1;
        if voters > 1 && self.healthy_voters(now_ns) < needed {
            return Err(ApiError::Unhealthy);
        }
        Ok(())
    }

    pub(super) fn remove_member(&mut self, caller: Caller, id: u64, now_ns: u64) {
        let change = MemberChange::Remove(id);
        if self.strict_reconfig_check
            && let Err(error) = self.check_removal(&change, id, now_ns)
        {
            return self.respond(caller, Err(error));
        }
        self.propose_change(caller, &change, None, now_ns);
    }

    fn check_removal(&self, change: &MemberChange, id: u64, now_ns: u64) -> Result<(), ApiError> {
        let members = self.applier.machine().members();
        if members.get(id).is_none_or(|member| member.is_learner) {
            return Ok(());
        }
        members.check_started(change)?;
        if id != self.self_id && !self.leadership.is_active(id) {
            return Ok(());
        }
        let others = members.voters().count() - 1;
        if self.healthy_voters(now_ns) - 1 < 1 + others / 2 && others > 0 {
            return Err(ApiError::Unhealthy);
        }
        Ok(())
    }

    /// Voters that could be spoken with for a while; this member is one.
    fn healthy_voters(&self, now_ns: u64) -> usize {
        let since = now_ns.saturating_sub(HEALTHY_AFTER_NS);
        let voters = self.applier.machine().members().voters().filter(|member| member.id != self.self_id);
        1 + voters.filter(|member| self.leadership.is_active_since(member.id, since)).count()
    }

    /// etcd looks at the URLs of an update only when it dials them, and ends itself if it cannot.
    /// It keeps them in the order of the request, where it sorts those of an addition.
    pub(super) fn update_member(&mut self, caller: Caller, id: u64, peer_urls: Vec<String>, now_ns: u64) {
        if let Err(malformed) = check_peer_urls(&peer_urls) {
            let is_member = self.applier.machine().members().get(id).is_some();
            let refusal = if is_member { malformed } else { Refusal::MemberNotFound };
            return self.respond(caller, Err(refusal.into()));
        }
        self.propose_change(caller, &MemberChange::Update { id, peer_urls }, None, now_ns);
    }

    pub(super) fn promote_member(&mut self, caller: Caller, id: u64, now_ns: u64) {
        let change = MemberChange::Promote(id);
        if let Err(error) = self.check_promotion(&change, id) {
            return self.respond(caller, Err(error));
        }
        self.propose_change(caller, &change, None, now_ns);
    }

    fn check_promotion(&self, change: &MemberChange, id: u64) -> Result<(), ApiError> {
        if !self.leads {
            return Err(ApiError::NotLeader);
        }
        let status = self.consensus.status();
        let own = status.persisted;
        let matched = match status.followers.iter().find(|follower| follower.id == id) {
            Some(follower) => follower.matched,
            None if id == self.self_id => own,
            None => return Err(Refusal::MemberNotFound.into()),
        };
        if matched.saturating_mul(100) < own.saturating_mul(IN_SYNC_PERCENT) {
            return Err(ApiError::LearnerNotReady);
        }
        if self.strict_reconfig_check {
            self.applier.machine().members().check_started(change)?;
        }
        Ok(())
    }

    fn propose_change(
        &mut self,
        caller: Caller,
        change: &MemberChange,
        instead: Option<Instead>,
        now_ns: u64,
    ) {
        if self.waiters.waiting() >= self.limits.proposals_max {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        // As in etcd, whoever asks for a change may wait for it for as long as he likes.
        let deadline_ns = u64::MAX;
        let id = self.waiters.next_for(Waiter { caller, deadline_ns, started_ns: now_ns, field: 0 });
        if let Some(instead) = instead {
            self.instead.insert(id, instead);
        }
        self.conf_changes.queue.push_back(convert::conf_change_raft(&change.to_record(id)));
    }

    /// A caller waits no longer, for a change of membership: one that was not proposed never is.
    /// He is answered all the same, since nobody looks any more; for anything else nothing happens.
    pub fn on_caller_gone(&mut self, caller: Caller) {
        for id in self.waiters.changes_of(caller) {
            self.waiters.take(id);
            self.instead.remove(&id);
            self.conf_changes.queue.retain(|change| change.id != id);
            self.respond(caller, Err(ApiError::Timeout));
        }
    }

    /// Hands the next change to consensus, if none is under way.
    pub(super) fn send_conf_changes(&mut self) {
        while self.conf_changes.in_flight.is_none_or(|id| !self.waiters.is_waiting(id))
            && let Some(change) = self.conf_changes.queue.front()
        {
            let id = change.id;
            match self.consensus.propose_conf_change(change) {
                Ok(()) => self.conf_changes.in_flight = Some(id),
                Err(ProposeError::ConfChangePending | ProposeError::NoLeader) => return,
                Err(error) => self.drop_proposal(id, error),
            }
            self.conf_changes.queue.pop_front();
        }
    }

    /// Applies an entry that changes who takes part, in the same way on all members.
    ///
    /// One that is not valid, or that consensus cannot carry out, changes nothing and stops nobody.
    pub(super) fn apply_conf_change(&mut self, entry: &Entry, now_ns: u64) {
        let changes = if entry.kind == EntryKind::ConfChangeV2 {
            ConfChange::decode_v2(&entry.data)
        } else {
            ConfChange::decode(&entry.data).map(|change| vec![change])
        };
        let changes = changes.unwrap_or_default();
        let taken = match &changes[..] {
            [] if entry.kind == EntryKind::ConfChangeV2 => self.consensus.leave_joint(&entry.data).ok(),
            [] => Some(self.consensus.conf_state().clone()),
            [change] => {
                let valid = self.applier.is_valid_change(change).then_some(change);
                self.consensus.apply_conf_change(valid).ok()
            }
            // Members are described one by one: nobody would know who joins here.
            [_, _, ..] => None,
        };
        let change = changes.first();
        match taken {
            Some(state) => self.applier.apply_conf_change(entry, change, &state, now_ns),
            None => self.applier.refuse_conf_change(entry, change.map_or(0, |change| change.id), now_ns),
        }
    }

    /// Tells of changes of the members, among them the end of this one.
    pub(super) fn note_members(&mut self, now_ns: u64) {
        if !self.applier.take_members_changed() {
            return;
        }
        self.tell_members();
        self.v2.on_members_changed();
        if self.applier.machine().members().was_removed(self.self_id) && self.removal_due_ns.is_none() {
            self.removal_due_ns = Some(now_ns + REMOVAL_DELAY_NS);
        }
    }

    pub(super) fn tell_members(&mut self) {
        let members = self.applier.members();
        if !members.is_empty() {
            self.outputs.push_back(Output::MembersChanged(members));
        }
    }

    /// The members as applied here, by id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberEntry> {
        self.applier.members()
    }

    /// The ids of members that were removed, and never come back.
    #[must_use]
    pub fn removed(&self) -> BTreeSet<u64> {
        self.applier.machine().members().removed().collect()
    }
}
