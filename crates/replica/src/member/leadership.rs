//! Who leads, since when, and whether this member may act on its belief that it does.
//!
//! A member that was stopped for a while may have been replaced without knowing it.
//! It renews no lease and lets none run out before the others have confirmed that it still leads.

use std::collections::BTreeMap;

use etched_auth::Credentials;
use etched_state_machine::Command;

use super::Member;
use super::outcomes::Instead;
use crate::output::{Notice, Output};
use crate::reads::{Read, ReadKind};
use crate::request::{Answer, ApiError, Caller};

/// Nanoseconds after which a read barrier that has no answer is asked for again.
pub(super) const BARRIER_RETRY_NS: u64 = 500_000_000;

/// Nanoseconds after the start in which the first connections make the first election come earlier, as in etcd.
const ADVANCE_WITHIN_NS: u64 = 5_000_000_000;
/// Ticks that are left of the election timeout then, for a leader to make itself heard, as in etcd.
const TICKS_LEFT: u64 = 2;

/// Ticks that may be missing before a leader doubts itself.
const MISSED_TICKS: u64 = 3;

/// What is known of leaders and of the way to other members.
#[derive(Debug)]
pub(super) struct Leadership {
    tick_ns: u64,
    election_ns: u64,
    /// Whether the first connections make the first election come earlier.
    is_to_advance: bool,
    first_tick_ns: Option<u64>,
    /// When the leader of now became known.
    elected_ns: u64,
    last_tick_ns: Option<u64>,
    is_doubted: bool,
    /// Renewals that wait for the confirmation, with their deadlines.
    renewals: Vec<(Caller, i64, u64)>,
    /// Members that can be spoken with, and since when.
    active: BTreeMap<u64, u64>,
    transfers: Vec<Transfer>,
}

/// Somebody waits for another leader.
#[derive(Debug)]
struct Transfer {
    caller: Caller,
    target: u64,
    deadline_ns: u64,
}

impl Leadership {
    pub(super) fn new(tick_ns: u64, election_ns: u64, is_to_advance: bool) -> Self {
        Self {
            tick_ns,
            election_ns,
            is_to_advance,
            first_tick_ns: None,
            elected_ns: 0,
            last_tick_ns: None,
            is_doubted: false,
            renewals: Vec::new(),
            active: BTreeMap::new(),
            transfers: Vec::new(),
        }
    }

    pub(super) fn on_tick(&mut self, now_ns: u64) {
        self.last_tick_ns = Some(now_ns);
        let first = *self.first_tick_ns.get_or_insert(now_ns);
        self.is_to_advance &= now_ns - first <= ADVANCE_WITHIN_NS;
    }

    /// Whether the member was stopped, as seen from its missing ticks.
    fn was_paused(&self, now_ns: u64) -> bool {
        self.last_tick_ns.is_some_and(|last| now_ns.saturating_sub(last) > MISSED_TICKS * self.tick_ns)
    }

    /// Whether the member could be spoken with at that time and ever since.
    pub(super) fn is_active_since(&self, member: u64, since_ns: u64) -> bool {
        self.active.get(&member).is_some_and(|active| *active <= since_ns)
    }

    /// Whether the member can be spoken with.
    pub(super) fn is_active(&self, member: u64) -> bool {
        self.active.contains_key(&member)
    }

    pub(super) fn take_late_transfers(&mut self, now_ns: u64) -> Vec<Caller> {
        self.transfers
            .extract_if(.., |transfer| transfer.deadline_ns <= now_ns)
            .map(|transfer| transfer.caller)
            .collect()
    }

    /// Everybody who waits here.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        let renewals = std::mem::take(&mut self.renewals).into_iter().map(|(caller, ..)| caller);
        let transfers = std::mem::take(&mut self.transfers).into_iter().map(|transfer| transfer.caller);
        renewals.chain(transfers).collect()
    }
}

impl Member {
    /// Whether `member` can be spoken with, as the transport sees it; told at each change.
    pub fn on_active(&mut self, member: u64, active: bool, now_ns: u64) {
        if active {
            self.leadership.active.entry(member).or_insert(now_ns);
        } else {
            self.leadership.active.remove(&member);
        }
        self.advance_first_election();
    }

    /// A member that starts waits for an election's length to hear of a leader. When it is connected with enough
    /// others for a quorum, two heartbeats tell.
    fn advance_first_election(&mut self) {
        let reached = self.leadership.active.len() + 1;
        let quorum = self.applier.machine().members().len() / 2 + 1;
        if self.leadership.is_to_advance && reached > 1 && reached >= quorum {
            self.leadership.is_to_advance = false;
            let ticks = self.leadership.election_ns / self.leadership.tick_ns.max(1);
            let ticks = usize::try_from(ticks.saturating_sub(TICKS_LEFT)).unwrap_or(usize::MAX);
            self.consensus.advance_election(ticks);
        }
    }

    pub(super) fn on_role(&mut self, leads: bool, term: u64, leader: u64, now_ns: u64) {
        if leads && !self.leads {
            self.outputs.push_back(Output::Notice(Notice::BecameLeader { term }));
        } else if !leads {
            self.outputs.push_back(Output::Notice(Notice::LeaderChanged { leader, term }));
        }
        if leader != 0 {
            self.leadership.elected_ns = now_ns;
        }
        self.conf_changes.on_leader_changed();
        if self.leads && !leads {
            self.applier.demote();
            self.versions.on_demoted();
            self.snapshots.on_demoted();
            self.refuse_apply_waits();
            self.settle_doubt();
            for (caller, ..) in std::mem::take(&mut self.leadership.renewals) {
                self.respond(caller, Err(ApiError::NotPrimary));
            }
        }
        self.leads = leads;
        let done = self.leadership.transfers.extract_if(.., |transfer| transfer.target == leader);
        let callers: Vec<Caller> = done.map(|transfer| transfer.caller).collect();
        for caller in callers {
            self.respond(caller, Ok(Answer::Done));
        }
    }

    /// After a pause, a leader asks whether it still is one.
    pub(super) fn doubt_after_pause(&mut self, now_ns: u64) {
        if self.leads && !self.leadership.is_doubted && self.leadership.was_paused(now_ns) {
            self.leadership.is_doubted = true;
            self.applier.hold_leases(true);
            self.ask_for_confirmation(now_ns);
        }
    }

    fn ask_for_confirmation(&mut self, now_ns: u64) {
        let caller = Caller { front: 0, token: 0 };
        let deadline_ns = now_ns + self.limits.request_timeout_ns;
        let credentials = Credentials::Member;
        self.reads.push(Read { caller, credentials, kind: ReadKind::Leadership, deadline_ns });
    }

    fn settle_doubt(&mut self) {
        self.leadership.is_doubted = false;
        self.applier.hold_leases(false);
    }

    /// The others confirm that this member leads, if it still does.
    pub(super) fn confirm_leadership(&mut self, now_ns: u64) {
        if !self.leads || !self.leadership.is_doubted {
            return;
        }
        self.settle_doubt();
        for (caller, id, deadline_ns) in std::mem::take(&mut self.leadership.renewals) {
            if deadline_ns <= now_ns {
                self.respond(caller, Err(ApiError::Timeout));
            } else {
                self.renew_confirmed(caller, id, now_ns);
            }
        }
    }

    /// The question had no answer in time: who waited for it is told, and it is asked again.
    pub(super) fn on_leadership_unconfirmed(&mut self, now_ns: u64) {
        for (caller, ..) in std::mem::take(&mut self.leadership.renewals) {
            self.respond(caller, Err(ApiError::Timeout));
        }
        if self.leads && self.leadership.is_doubted {
            self.ask_for_confirmation(now_ns);
        }
    }

    pub(super) fn renew_lease(&mut self, caller: Caller, id: i64, now_ns: u64) {
        self.doubt_after_pause(now_ns);
        if self.leads && self.leadership.is_doubted {
            if self.leadership.renewals.len() >= self.limits.proposals_max {
                return self.respond(caller, Err(ApiError::TooManyRequests));
            }
            self.leadership.renewals.push((caller, id, now_ns + self.limits.request_timeout_ns));
        } else {
            self.renew_confirmed(caller, id, now_ns);
        }
    }

    fn renew_confirmed(&mut self, caller: Caller, id: i64, now_ns: u64) {
        if let Some(ttl) = self.applier.renew_lease(caller, id, now_ns) {
            let clear = Command::LeaseCheckpoint(vec![(id, 0)]);
            self.propose_instead(caller, &clear, Instead::Renewed { id, ttl }, now_ns);
        }
    }

    /// Which kind of timeout a proposal of that time met.
    pub(super) fn timeout_of(&self, start_ns: u64) -> ApiError {
        let elected = self.leadership.elected_ns;
        let lost = elected.saturating_sub(2 * self.leadership.election_ns);
        if start_ns > lost && start_ns < elected {
            return ApiError::TimeoutLeaderFailed;
        }
        let is_cut_off = if self.leads {
            let members = self.applier.machine().members();
            let reached = members
                .iter()
                .filter(|member| {
                    member.id == self.self_id || self.leadership.is_active_since(member.id, start_ns)
                })
                .count();
            reached < members.len() / 2 + 1
        } else {
            self.leader != 0 && !self.leadership.is_active_since(self.leader, start_ns)
        };
        if is_cut_off { ApiError::TimeoutConnectionLost } else { ApiError::Timeout }
    }

    pub(super) fn move_leader(&mut self, caller: Caller, target: u64, now_ns: u64) {
        if !self.leads {
            return self.respond(caller, Err(ApiError::NotLeader));
        }
        let member = self.applier.machine().members().get(target);
        if member.is_none_or(|member| member.is_learner) {
            return self.respond(caller, Err(ApiError::BadLeaderTransferee));
        }
        if target == self.self_id {
            return self.respond(caller, Ok(Answer::Done));
        }
        self.consensus.transfer_leader(target);
        let deadline_ns = now_ns + self.limits.request_timeout_ns;
        self.leadership.transfers.push(Transfer { caller, target, deadline_ns });
    }

    /// Hands leadership to the voter that is furthest, if this member leads and there is one (for a graceful stop).
    /// `true` if a transfer is under way; then [`Self::leader`] tells when it is done.
    pub fn transfer_leadership(&mut self, _now_ns: u64) -> bool {
        let Some(successor) = self.consensus.successor() else { return false };
        self.consensus.transfer_leader(successor);
        true
    }
}
