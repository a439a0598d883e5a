//! Operators: they change who takes part, hand leadership over, and end alarms.

use etched_replica::{Answer, MemberEntry, Request, Respond};
use etched_state_machine::{AlarmRequest, Command, member_id};

use super::{Event, Phase, World, peer_url};
use crate::clock::{MILLISECOND, SECOND};
use crate::oracle::Violation;

/// Members and learners of a cluster at most.
const MEMBERS_MAX: usize = 6;
/// The wire's number for ending an alarm.
const END: i32 = 2;
/// Mean time between two things that operators do.
const MEAN: u64 = 2 * SECOND;

impl World {
    pub(super) fn operator_acts(&mut self) -> Result<(), Violation> {
        if self.phase == Phase::Liveness || !self.profile.families.operators {
            return Ok(());
        }
        let next = self.operator_random.about(MEAN) + 100 * MILLISECOND;
        self.schedule(self.now + next, Event::Operator);
        let (choice, amount) = (self.operator_random.below(10), self.operator_random.bits());
        let running = self.running();
        if running.is_empty() {
            return Ok(());
        }
        let some = running[usize::try_from(amount % running.len() as u64).expect("few members")];
        let leader = self.leader().unwrap_or(some);
        let members = self.sites[&leader].members.clone();
        match choice {
            0..4 => self.hand_over(leader, &members, amount),
            4 | 5 => self.add_learner(leader, &members),
            6 | 7 => self.promote(leader, &members),
            8 => self.remove(leader, &members, amount),
            _ => self.end_alarms(some),
        }
    }

    /// The member that leads the highest term, as it believes.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads =
            |site: &&super::Site| site.node.as_ref().is_some_and(|node| node.member.leader() == site.id);
        let term = |site: &&super::Site| site.node.as_ref().map_or(0, |node| node.member.stamp().1);
        self.sites.values().filter(leads).max_by_key(term).map(|site| site.id)
    }

    fn hand_over(&mut self, leader: u64, members: &[MemberEntry], amount: u64) -> Result<(), Violation> {
        let others: Vec<u64> =
            members.iter().filter(|member| !member.is_learner).map(|member| member.id).collect();
        if others.is_empty() {
            return Ok(());
        }
        let target = others[usize::try_from(amount % others.len() as u64).expect("few members")];
        self.submit(None, leader, Request::MoveLeader { target }).map(drop)
    }

    fn add_learner(&mut self, leader: u64, members: &[MemberEntry]) -> Result<(), Violation> {
        if members.len() >= MEMBERS_MAX || members.iter().any(|member| member.is_learner) {
            return Ok(());
        }
        self.numbers += 1;
        let (peer_urls, unix_seconds) = (vec![peer_url(self.numbers)], 1_700_000_000);
        let id = member_id(&peer_urls, "", Some(unix_seconds));
        self.planned.insert(id, self.numbers);
        self.submit(None, leader, Request::MemberAdd { peer_urls, is_learner: true, unix_seconds }).map(drop)
    }

    fn promote(&mut self, leader: u64, members: &[MemberEntry]) -> Result<(), Violation> {
        let Some(learner) = members.iter().find(|member| member.is_learner) else { return Ok(()) };
        self.submit(None, leader, Request::MemberPromote { id: learner.id }).map(drop)
    }

    fn remove(&mut self, leader: u64, members: &[MemberEntry], amount: u64) -> Result<(), Violation> {
        if members.len() < 4 {
            return Ok(());
        }
        let gone = members[usize::try_from(amount % members.len() as u64).expect("few members")].id;
        self.submit(None, leader, Request::MemberRemove { id: gone }).map(drop)
    }

    fn end_alarms(&mut self, site: u64) -> Result<(), Violation> {
        for (member_id, alarm) in self.oracle.store.alarms() {
            let request = AlarmRequest { action: END, member_id, alarm };
            self.submit(None, site, Request::Propose(Command::Alarm(request)))?;
            self.counts.add("alarm ended by an operator");
        }
        Ok(())
    }

    /// Operators take note of what they were told.
    pub(super) fn learn_of_members(&mut self, request: &Request, respond: &Respond) {
        match (request, &respond.result) {
            (Request::MoveLeader { .. }, Ok(Answer::Done)) => self.counts.add("leadership transferred"),
            (Request::MemberAdd { .. }, Ok(_)) => self.counts.add("member added"),
            (Request::MemberPromote { .. }, Ok(_)) => self.counts.add("learner promoted"),
            (Request::MemberRemove { .. }, Ok(_)) => self.counts.add("member removed"),
            _ => {}
        }
    }

    /// A member knows who the members are: new ones are started, and those that were removed for good will end.
    pub(super) fn on_members_known(&mut self, id: u64) {
        let Some(site) = self.sites.get(&id) else { return };
        let joining: Vec<u64> = site.members.iter().map(|member| member.id).collect();
        let removed = site.node.as_ref().map(|node| node.member.removed()).unwrap_or_default();
        for id in joining {
            if let Some(number) = self.planned.remove(&id) {
                self.add_site(number, id, Vec::new());
                self.schedule(self.now + 50 * MILLISECOND, Event::Start { site: id, boot: 0 });
            }
        }
        for id in removed {
            if self.sites.get(&id).is_some_and(|site| !site.is_removed) {
                self.schedule(self.now + 2 * SECOND, Event::Expel(id));
            }
        }
    }

    /// The others tell a member that it was removed, if it has not heard of it.
    pub(super) fn expel(&mut self, id: u64) {
        if self.sites.get(&id).is_some_and(|site| !site.is_removed) {
            self.on_removed(id);
        }
    }
}
