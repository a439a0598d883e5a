//! The v2 API: reads of its tree, those who wait for its changes, and whether it can be changed at all.
//!
//! Nothing is written to the tree before all members have said in the log that they keep it.
//! Nobody says so before somebody wants to write, so that a cluster which does not use the v2 API has nothing of it in
//! its log: the first writes wait here until the members have spoken, or for a short time in vain.

use std::collections::{BTreeMap, VecDeque};

use etched_auth::Credentials;
use etched_state_machine::v2store::{self, AuthView, Code, Event, Waiters};
use etched_state_machine::{Command, Refusal, V2Command};

use super::Member;
use crate::reads::{ReadKind, V2Read};
use crate::request::{Answer, ApiError, Caller, V2Answer, V2Call};
use crate::status::V2Counts;

/// How long the first writes wait until all members have said that they keep the tree, in nanoseconds.
const SPEAK_TIME_NS: u64 = 2_000_000_000;
/// After this time a member says it again, if it was not heard.
const SPEAK_RETRY_NS: u64 = 1_000_000_000;
/// Writes that wait for it; more are refused as requests too many.
const HELD_MAX: usize = 1_024;
/// Clients that wait for changes of the tree; more are refused as requests too many.
const WAITING_MAX: usize = 16_384;

/// What a member has for the v2 API beside the tree.
#[derive(Debug, Default)]
pub(super) struct V2Front {
    waiters: Waiters,
    callers: BTreeMap<u64, Caller>,
    by_caller: BTreeMap<Caller, u64>,
    next_id: u64,
    /// Writes that wait until all members keep the tree, and until when.
    held: VecDeque<(Caller, V2Command, u64)>,
    /// Whether it is known that not all members keep it.
    is_in_vain: bool,
    speak_due_ns: u64,
    /// Reads of single nodes and of what is below a node.
    reads: [u64; 2],
    watch_requests: u64,
}

impl V2Front {
    /// What was counted here, beside what the tree has counted.
    pub(super) fn counts(&self, stats: v2store::Stats) -> V2Counts {
        let (reads, watch_requests) = (self.reads, self.watch_requests);
        V2Counts { stats, reads, watchers: self.waiters.len() as u64, watch_requests }
    }

    /// The members, or what is known of them, have changed: it is worth to wait again.
    pub(super) fn on_members_changed(&mut self) {
        self.is_in_vain = false;
    }

    fn take_waiting(&mut self, id: u64) -> Option<Caller> {
        let caller = self.callers.remove(&id)?;
        self.by_caller.remove(&caller);
        Some(caller)
    }

    /// Everybody who waits here.
    pub(super) fn take_callers(&mut self) -> Vec<Caller> {
        self.waiters.take_all();
        self.by_caller.clear();
        let held = std::mem::take(&mut self.held).into_iter().map(|(caller, ..)| caller);
        held.chain(std::mem::take(&mut self.callers).into_values()).collect()
    }
}

impl Member {
    pub(super) fn submit_v2(&mut self, caller: Caller, call: V2Call, now_ns: u64) {
        match call {
            V2Call::Read { path, depth, is_linearizable, now_ns: unix_ns } => {
                let read = V2Read { path, depth, unix_ns };
                self.read(caller, Credentials::Anonymous, ReadKind::V2(read), !is_linearizable, now_ns);
            }
            V2Call::Watch { watched, since } => {
                self.v2.watch_requests += 1;
                let begun = self.applier.machine().v2().begin_watch(&watched, since);
                let must_wait = begun.as_ref().is_ok_and(|begun| begun.event.is_none());
                if must_wait && self.v2.waiters.len() >= WAITING_MAX {
                    self.respond(caller, Err(ApiError::TooManyRequests));
                } else {
                    self.respond_v2(caller, V2Answer::Begun(begun));
                }
            }
            V2Call::Wait { watched, since } => self.wait_v2(caller, watched, since),
            V2Call::Forget { token } => {
                let waiting = Caller { front: caller.front, token };
                if let Some(id) = self.v2.by_caller.remove(&waiting) {
                    self.v2.callers.remove(&id);
                    self.v2.waiters.remove(id);
                    self.respond(waiting, Err(ApiError::Stopped));
                }
                self.respond(caller, Ok(Answer::Done));
            }
            V2Call::Who { user } => {
                let view = AuthView::of(self.applier.machine().v2(), user.as_deref());
                self.respond_v2(caller, V2Answer::Who(view));
            }
            V2Call::Users => {
                let users = self.applier.machine().v2().users();
                self.respond_v2(caller, V2Answer::Users(users));
            }
            V2Call::Roles => {
                let roles = self.applier.machine().v2().roles();
                self.respond_v2(caller, V2Answer::Roles(roles));
            }
            V2Call::Stats => {
                let stats = self.applier.machine().v2().stats();
                self.respond_v2(caller, V2Answer::Stats(stats, self.v2.waiters.len()));
            }
            V2Call::WasRemoved { member_id } => {
                let was_removed = self.applier.machine().members().was_removed(member_id);
                self.respond_v2(caller, V2Answer::WasRemoved(was_removed));
            }
            V2Call::Expire { until_ns } => {
                let machine = self.applier.machine();
                let is_due = machine.v2().next_expiry_ns().is_some_and(|at_ns| at_ns <= until_ns);
                if is_due && self.applier.is_caught_up() && machine.is_v2_spoken_by_all() {
                    self.propose_as_leader(&Command::V2(V2Command::Expire { until_ns }));
                }
                self.respond(caller, Ok(Answer::Done));
            }
        }
    }

    fn respond_v2(&mut self, caller: Caller, answer: V2Answer) {
        let (raft_index, _) = self.applier.machine().applied();
        self.respond(caller, Ok(Answer::V2 { raft_index, answer: Box::new(answer) }));
    }

    pub(super) fn read_v2(&mut self, caller: Caller, read: &V2Read) {
        self.v2.reads[usize::from(read.depth == v2store::Depth::All)] += 1;
        let result = self.applier.v2_read(&read.path, read.depth, read.unix_ns);
        self.respond_v2(caller, V2Answer::Read(result));
    }

    fn wait_v2(&mut self, caller: Caller, watched: v2store::Watched, since: u64) {
        let store = self.applier.machine().v2();
        match store.begin_watch(&watched, since) {
            Ok(begun) if begun.event.is_none() => {}
            begun => return self.respond_v2(caller, V2Answer::Begun(begun)),
        }
        if self.v2.waiters.len() >= WAITING_MAX || self.v2.by_caller.contains_key(&caller) {
            return self.respond(caller, Err(ApiError::TooManyRequests));
        }
        let id = self.v2.next_id;
        self.v2.next_id += 1;
        self.v2.waiters.add(id, watched);
        self.v2.callers.insert(id, caller);
        self.v2.by_caller.insert(caller, id);
    }

    /// Tells those who wait.
    pub(super) fn on_v2_event(&mut self, event: &Event) {
        let index = event.index();
        for id in self.v2.waiters.on_event(event) {
            if let Some(caller) = self.v2.take_waiting(id) {
                let begun = v2store::Begun { event: Some(event.clone()), index };
                self.respond_v2(caller, V2Answer::Begun(Ok(begun)));
            }
        }
    }

    /// The tree was replaced by a leader's: who waits cannot know what happened meanwhile.
    pub(super) fn on_v2_replaced(&mut self) {
        let index = self.applier.machine().v2().index();
        for id in self.v2.waiters.take_all() {
            if let Some(caller) = self.v2.take_waiting(id) {
                let error = v2store::Error::new(Code::WatcherCleared, "", index);
                self.respond_v2(caller, V2Answer::Begun(Err(error)));
            }
        }
    }

    /// Lets a write wait until all members keep the tree, or refuses it.
    pub(super) fn hold_v2(&mut self, caller: Caller, command: V2Command, now_ns: u64) {
        if self.v2.is_in_vain {
            self.respond(caller, Err(Refusal::V2Unsupported.into()));
        } else if self.v2.held.len() >= HELD_MAX {
            self.respond(caller, Err(ApiError::TooManyRequests));
        } else {
            self.v2.held.push_back((caller, command, now_ns + SPEAK_TIME_NS));
        }
    }

    /// Whether writes to the tree wait here.
    pub(super) fn holds_v2(&self) -> bool {
        !self.v2.held.is_empty()
    }

    /// Says that this member keeps the tree, if anybody wants to know and it was not heard yet.
    pub(super) fn speak_v2(&mut self, now_ns: u64) {
        let machine = self.applier.machine();
        let is_wanted = machine.is_v2_wanted() || self.holds_v2();
        let is_member = machine.members().get(self.self_id).is_some();
        if is_wanted && is_member && !machine.speaks_v2() && now_ns >= self.v2.speak_due_ns {
            self.v2.speak_due_ns = now_ns + SPEAK_RETRY_NS;
            self.propose(&Command::V2(V2Command::Speaks { member_id: self.self_id }));
        }
    }

    /// Lets the writes go on that waited for the members, or tells them that it is in vain.
    pub(super) fn release_v2(&mut self, now_ns: u64) {
        if self.v2.held.is_empty() {
            return;
        }
        if self.applier.machine().is_v2_spoken_by_all() {
            for (caller, command, _) in std::mem::take(&mut self.v2.held) {
                self.propose_for(caller, &Credentials::Anonymous, Command::V2(command), now_ns);
            }
            return;
        }
        let is_late = self.v2.held.front().is_some_and(|(_, _, until_ns)| *until_ns <= now_ns);
        if is_late {
            // Without a leader nobody can be heard, which says nothing of the members.
            self.v2.is_in_vain = self.leader != 0;
            let error = if self.leader == 0 { ApiError::NoLeader } else { Refusal::V2Unsupported.into() };
            for (caller, ..) in std::mem::take(&mut self.v2.held) {
                self.respond(caller, Err(error.clone()));
            }
        }
    }
}
