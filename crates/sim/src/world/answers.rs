//! What members say to clients, streams and operators, and what comes of it.

use etched_replica::{Deliver, Notice, Request, Respond, WatchCall};
use etched_state_machine::Command;

use super::{Event, Input, Phase, World};
use crate::node::Seen;
use crate::oracle::watches::Told;
use crate::oracle::{Verdict, Violation};
use crate::scenario::Plant;

impl World {
    pub(super) fn hear(&mut self, id: u64, seen: Seen) -> Result<(), Violation> {
        match seen {
            Seen::Responded(respond) => self.on_respond(id, &respond),
            Seen::Delivered(deliver) => self.on_deliver(id, &deliver),
            Seen::Noticed(notice) => self.on_notice(id, &notice),
            Seen::Sent(_)
            | Seen::SnapshotSent(..)
            | Seen::Appended(_)
            | Seen::Synced
            | Seen::Installed(_)
            | Seen::Members(_)
            | Seen::Committing
            | Seen::SnapshotTaken(_) => unreachable!("these are looked at before"),
        }
    }

    fn on_respond(&mut self, id: u64, respond: &Respond) -> Result<(), Violation> {
        let token = respond.caller.token;
        let is_ok = u64::from(respond.result.is_ok());
        self.note(id, "answered", [token, respond.index, respond.revision.unsigned_abs() << 1 | is_ok]);
        let Some(pending) = self.pending.remove(&token) else { return Ok(()) };
        let life = (id, pending.boot);
        let verdict = self.oracle.on_respond(life, &pending.asked, respond)?;
        self.count_answer(&pending.asked.request, verdict);
        self.learn(&pending.asked.request, respond);
        self.learn_of_members(&pending.asked.request, respond);
        if let Some(client) = pending.client {
            self.client_is_answered(client, token);
        }
        Ok(())
    }

    fn count_answer(&mut self, request: &Request, verdict: Verdict) {
        let what = match (verdict, request) {
            (Verdict::Unknown, _) => "outcome unknown",
            (Verdict::Refused, _) => "request refused",
            (Verdict::Unchecked, _) => "answer without a check",
            (Verdict::Checked, Request::Range(_)) => "read checked",
            (Verdict::Checked, Request::LeaseRenew { .. }) => "lease renewed",
            (Verdict::Checked, Request::HashKv { .. }) => "hashes of two members compared",
            (Verdict::Checked, Request::Propose(Command::Txn(_))) => "transaction checked",
            (Verdict::Checked, _) => "write checked",
        };
        self.counts.add(what);
    }

    fn on_deliver(&mut self, id: u64, deliver: &Deliver) -> Result<(), Violation> {
        let (stream, response) = (deliver.stream.0, &deliver.response);
        self.note(id, "told", [stream, response.revision.unsigned_abs(), response.events.len() as u64]);
        let Some(watched) = self.streams.get_mut(&stream) else { return Ok(()) };
        let is_lost = self.profile.plant == Some(Plant::LostEvents) && self.step.is_multiple_of(10);
        if is_lost && !response.events.is_empty() {
            return Ok(());
        }
        let told = watched.check.on_response(&self.oracle.events, &self.oracle.store, response)?;
        let reading = if self.phase == Phase::Safety { watched.reading_time() } else { 0 };
        if told == Told::Events {
            self.oracle.on_told(response.revision)?;
        }
        self.counts.add(match told {
            Told::Created(_) => "watch created",
            Told::Events => "watch told events",
            Told::Progress => "watch told progress",
            Told::Canceled => "watch cancelled",
            Told::Compacted => "watch cancelled by a compaction",
        });
        if told == Told::Events && response.revision == self.oracle.store.revision() {
            self.counts.add("watch at the head told events");
        }
        self.schedule(self.now + reading, Event::Consumed { stream, bytes: deliver.bytes });
        Ok(())
    }

    pub(super) fn consumed(&mut self, stream: u64, bytes: usize) -> Result<(), Violation> {
        let Some(watched) = self.streams.get(&stream) else { return Ok(()) };
        let (site, stream) = (watched.site, etched_watch::StreamId(stream));
        self.give(site, Input::Watch(WatchCall::Consumed { stream, bytes }))
    }

    fn on_notice(&mut self, id: u64, notice: &Notice) -> Result<(), Violation> {
        match notice {
            Notice::BecameLeader { term } => {
                self.note(id, "leads", [*term, 0, 0]);
                self.counts.add("leader elected");
                if self.oracle.leases.has_checkpoints() {
                    self.counts.add("lease checkpoint before a change of leader");
                }
                if self.pending.values().any(|pending| matches!(pending.asked.request, Request::Range(_))) {
                    self.counts.add("leader changed with reads under way");
                }
                self.oracle.log.on_leader(id, *term)
            }
            Notice::LeaseExpired(lease) => {
                self.note(id, "lease ran out", [lease.unsigned_abs(), 0, 0]);
                self.counts.add("lease ran out");
                Ok(())
            }
            Notice::CompactionFinished { revision, .. } => {
                self.note(id, "compacted", [revision.unsigned_abs(), 0, 0]);
                self.counts.add("compaction finished");
                self.sites.get_mut(&id).expect("it speaks").compacted = *revision;
                Ok(())
            }
            Notice::Removed => {
                self.on_removed(id);
                Ok(())
            }
            Notice::QuotaExceeded => {
                self.counts.add("quota exceeded");
                Ok(())
            }
            Notice::LeaderChanged { .. }
            | Notice::MemberAdded { .. }
            | Notice::MemberRemoved { .. }
            | Notice::DowngradeSet(_)
            | Notice::Published
            | Notice::ClusterVersionSet(_)
            | Notice::AlarmsChanged
            | Notice::AuthSwitched(_) => Ok(()),
        }
    }

    /// The cluster has removed a member for good: its process ends.
    pub(super) fn on_removed(&mut self, id: u64) {
        let site = self.sites.get_mut(&id).expect("it speaks");
        site.is_removed = true;
        let boot = site.boot;
        site.node = None;
        site.inbox.clear();
        self.note(id, "removed", [boot, 0, 0]);
        self.counts.add("removed member ended");
        self.forget_life(id, boot);
    }
}
