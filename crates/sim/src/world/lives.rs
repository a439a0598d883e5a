//! How members live: start, tick, work, and end.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_disk::{Faults, SimDisk};
use etched_replica::raft::{Message, SnapshotDelivery};
use etched_replica::{Caller, PeerVersion};
use etched_state_machine::BootstrapChange;

use super::network::Frame;
use super::site::TICK;
use super::{Event, Input, Site, World};
use crate::clock::{Clock, MILLISECOND, SECOND};
use crate::node::{Birth, Node, OpenFailure, Seen, Stop, StorageError};
use crate::oracle::Violation;
use crate::random::{Purpose, Random};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The power goes: what is not synced may be lost or torn.
    PowerLoss,
    /// The process is killed: the kernel keeps what was written.
    Kill,
    /// It ends in good order.
    Close,
}

/// How often leaders ask for versions.
const VERSIONS_EVERY: u64 = 4 * SECOND;

impl World {
    pub(super) fn add_site(&mut self, number: u64, id: u64, bootstrap: Vec<BootstrapChange>) {
        let seed = self.scenario.seed;
        let disk = SimDisk::new(Random::new(seed, Purpose::Disk(number)).bits());
        let site = Site {
            number,
            id,
            name: format!("m{number}"),
            disk,
            bootstrap,
            node: None,
            boot: 0,
            paused_until: 0,
            busy_until: 0,
            work_at: 0,
            slow: (0, 0),
            slow_disk: (0, 0),
            inbox: std::collections::VecDeque::new(),
            faults_at_start: None,
            ends_as_planned: true,
            is_disk_full: false,
            compacted: 0,
            is_removed: false,
            commits: 0,
            random: Random::new(seed, Purpose::Disk(number)),
            clock_random: Random::new(seed, Purpose::Clock(number)),
            members: Vec::new(),
            active: BTreeMap::new(),
            versions_due: 0,
        };
        self.sites.insert(id, site);
    }

    /// A member starts, after its life number `boot` or for the first time.
    pub(super) fn start(&mut self, id: u64, boot: u64) -> Result<(), Violation> {
        let (now, seed) = (self.now, self.member_random.bits());
        let profile = self.profile.clone();
        let Some(site) = self.sites.get_mut(&id) else { return Ok(()) };
        if site.boot != boot || site.node.is_some() || site.is_removed {
            return Ok(());
        }
        site.boot += 1;
        let boot = site.boot;
        let rate = site.clock_random.between(0, 2 * profile.rate_ppm);
        let rate_ppm = i64::try_from(rate).expect("small") - i64::try_from(profile.rate_ppm).expect("small");
        let clock = Clock::new(now, SECOND + site.clock_random.below(1_000 * SECOND), rate_ppm);
        if let Some(faults) = site.faults_at_start.take() {
            site.disk.set_faults(faults);
        }
        let birth = Birth {
            disk: site.disk.clone(),
            bootstrap: &site.bootstrap,
            segment_bytes: profile.segment_bytes,
            config: site.config(&profile, seed),
            options: site.options(&profile),
            clock,
            plant: profile.plant,
        };
        match Node::start(birth) {
            Ok((node, found)) => {
                site.disk.set_faults(Faults::default());
                if site.disk.is_crashed() {
                    return self.end_life(id, End::PowerLoss);
                }
                let first_tick = now + site.clock_random.below(TICK);
                site.node = Some(node);
                site.ends_as_planned = false;
                (site.paused_until, site.busy_until, site.work_at) = (now, now, 0);
                site.active.clear();
                self.note(id, "started", [boot, found.entries.len() as u64, found.snapshot_index]);
                if found.has_torn_tail {
                    self.counts.add("log cut at a torn tail");
                }
                self.oracle.log.on_started(id, &found)?;
                self.schedule(first_tick, Event::Tick { site: id, boot });
                self.go_on(id, boot)
            }
            Err(failure) => self.on_start_failed(id, failure),
        }
    }

    /// A start may fail if the disk failed in it, and for no other reason.
    fn on_start_failed(&mut self, id: u64, failure: OpenFailure) -> Result<(), Violation> {
        let site = self.sites.get_mut(&id).expect("it was about to start");
        let is_crashed = site.disk.is_crashed();
        let is_of_disk = matches!(
            &failure,
            OpenFailure::Storage(
                StorageError::Disk(_)
                    | StorageError::Wal(_)
                    | StorageError::Open(_)
                    | StorageError::Create(_)
            ) | OpenFailure::Backend(_)
                | OpenFailure::Start(_)
        );
        if is_crashed && is_of_disk {
            self.counts.add("crash during recovery");
            return self.end_life(id, End::PowerLoss);
        }
        Err(Violation::new("a member starts again", format!("m{}: {failure}", site.number)))
    }

    /// A life ends, and the next one is planned.
    pub(super) fn end_life(&mut self, id: u64, end: End) -> Result<(), Violation> {
        let site = self.sites.get_mut(&id).expect("members stay known");
        // Not from the stream of faults: when a life ends must not change which faults strike.
        let after = site.random.about(2 * SECOND) + 10 * MILLISECOND;
        let recovery_crash = site.random.happens(300_000);
        let crash_at = 1 + site.random.below(40);
        let image = site.random.bits();
        let boot = site.boot;
        if self.oracle.store.compacted() > site.compacted.max(0) && end != End::Close {
            self.counts.add("compaction interrupted by a crash");
        }
        site.is_disk_full = false;
        if let Some(node) = site.node.take()
            && end == End::Close
        {
            node.close();
        }
        site.disk = match end {
            End::PowerLoss => site.disk.crash_image(image),
            End::Kill | End::Close if site.disk.is_crashed() => site.disk.crash_image(image),
            End::Kill | End::Close => site.disk.killed_image(),
        };
        let lost: Vec<Input> = site.inbox.drain(..).collect();
        site.members.clear();
        if recovery_crash && self.profile.families.process && self.phase == super::Phase::Safety {
            site.faults_at_start = Some(Faults { crash_at: Some(crash_at), ..Faults::default() });
        }
        let what = match end {
            End::PowerLoss => "power loss",
            End::Kill => "kill",
            End::Close => "graceful stop",
        };
        self.note(id, what, [boot, after, 0]);
        match end {
            End::PowerLoss => self.counts.add("restart after a power loss"),
            End::Kill => self.counts.add("restart after a kill"),
            End::Close => self.counts.add("restart after a graceful stop"),
        }
        self.forget_life(id, boot);
        for input in lost {
            if let Input::Snapshot(message, _) = input {
                self.report_snapshot(message.from(), message.to(), SnapshotDelivery::Failed);
            }
        }
        for other in self.sites.keys().copied().collect::<Vec<_>>() {
            if other != id && !self.network.is_cut(id, other) {
                self.give(other, Input::Gone(id))?;
            }
        }
        let after = if self.phase == super::Phase::Safety { after } else { after.min(SECOND) };
        self.schedule(self.now + after, Event::Start { site: id, boot });
        Ok(())
    }

    /// Hands something to a member, and lets it work on it.
    pub(super) fn give(&mut self, id: u64, input: Input) -> Result<(), Violation> {
        let Some(site) = self.sites.get_mut(&id) else { return Ok(()) };
        site.push(input);
        let boot = site.boot;
        self.go_on(id, boot)
    }

    pub(super) fn tick(&mut self, id: u64, boot: u64) -> Result<(), Violation> {
        let now = self.now;
        let starvation = self.profile.families.pauses;
        let Some(site) = self.sites.get_mut(&id).filter(|site| site.boot == boot) else { return Ok(()) };
        let Some(node) = &mut site.node else { return Ok(()) };
        let is_late = starvation && site.clock_random.happens(20_000);
        let late = site.clock_random.about(50 * MILLISECOND);
        let next = now + node.clock.true_span(TICK) + if is_late { late } else { 0 };
        if now < site.paused_until.max(site.busy_until) {
            // The tick waits, as all else does.
            let at = site.paused_until.max(site.busy_until) + 1;
            self.schedule(at, Event::Tick { site: id, boot });
            return Ok(());
        }
        let ticked = node.tick(now);
        self.schedule(next, Event::Tick { site: id, boot });
        if let Err(stop) = ticked {
            return self.on_stop(id, stop);
        }
        self.ask_versions(id);
        self.go_on(id, boot)
    }

    pub(super) fn on_synced(&mut self, id: u64, boot: u64) -> Result<(), Violation> {
        let now = self.now;
        let Some(site) = self.sites.get_mut(&id).filter(|site| site.boot == boot) else { return Ok(()) };
        if now < site.paused_until {
            let at = site.paused_until + 1;
            self.schedule(at, Event::Synced { site: id, boot });
            return Ok(());
        }
        if let Some(node) = &mut site.node {
            node.on_synced();
        }
        self.go_on(id, boot)
    }

    pub(super) fn on_committed(&mut self, id: u64, boot: u64, number: u64) -> Result<(), Violation> {
        let now = self.now;
        let Some(site) = self.sites.get_mut(&id).filter(|site| site.boot == boot) else { return Ok(()) };
        if site.commits != number {
            return Ok(());
        }
        if now < site.paused_until {
            let at = site.paused_until + 1;
            self.schedule(at, Event::Committed { site: id, boot, number });
            return Ok(());
        }
        let finished = site.node.as_mut().map_or(Ok(()), Node::finish_commit);
        if let Err(stop) = finished {
            return self.on_stop(id, stop);
        }
        self.go_on(id, boot)
    }

    /// Lets a member work on all that waits for it, unless it stands still.
    pub(super) fn go_on(&mut self, id: u64, boot: u64) -> Result<(), Violation> {
        let now = self.now;
        let waits_for_syncs = self.profile.disk.sync_mean > 0;
        let Some(site) = self.sites.get_mut(&id).filter(|site| site.boot == boot) else { return Ok(()) };
        let Some(node) = &mut site.node else { return Ok(()) };
        if now < site.paused_until.max(site.busy_until) {
            // Who stands still is woken up; who waits for the disk goes on when it has written.
            if now >= site.paused_until && !node.awaits_disk() {
                let at = site.busy_until;
                self.plan_to_go_on(id, at);
            }
            return Ok(());
        }
        if node.awaits_disk() {
            return Ok(());
        }
        let inputs: Vec<Input> = site.inbox.drain(..).collect();
        for input in inputs {
            if let Err(stop) = take_in(node, input, now) {
                return self.on_stop(id, stop);
            }
        }
        let worked = node.work(now, waits_for_syncs);
        let seen = std::mem::take(&mut node.seen);
        self.look_at(id, seen)?;
        match worked {
            Err(stop) => self.on_stop(id, stop),
            Ok(has_more) => {
                self.plan_work(id, boot, has_more);
                Ok(())
            }
        }
    }

    fn plan_work(&mut self, id: u64, boot: u64, has_more: bool) {
        let (now, sync_mean) = (self.now, self.profile.disk.sync_mean);
        let Some(site) = self.sites.get_mut(&id) else { return };
        let Some(node) = &site.node else { return };
        let slow = if now < site.slow.1 { site.slow.0 } else { 0 };
        let slow_disk = if now < site.slow_disk.1 { site.slow_disk.0 } else { 0 };
        if node.awaits_disk() {
            let took = site.random.about(sync_mean + slow_disk) + slow;
            site.busy_until = now + took;
            self.schedule(now + took, Event::Synced { site: id, boot });
        } else if has_more || slow > 0 {
            site.busy_until = now + slow;
            if has_more || !site.inbox.is_empty() {
                self.plan_to_go_on(id, now + slow.max(1_000));
            }
        } else if let Some(at) = node.member.next_turn_ns() {
            let wait = at.saturating_sub(node.clock.at(now)).max(10_000);
            let wait = node.clock.true_span(wait);
            self.plan_to_go_on(id, now + wait);
        }
    }

    /// A member goes on by itself, unless it does so earlier.
    fn plan_to_go_on(&mut self, id: u64, at: u64) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(&id) else { return };
        if site.work_at > now && site.work_at <= at {
            return;
        }
        site.work_at = at;
        let boot = site.boot;
        self.schedule(at, Event::Work { site: id, boot });
    }

    fn on_stop(&mut self, id: u64, stop: Stop) -> Result<(), Violation> {
        let site = self.sites.get_mut(&id).expect("members stay known");
        match stop {
            Stop::Disk(_) if site.disk.is_crashed() => {
                self.counts.add("crash in the middle of a write");
                self.end_life(id, End::PowerLoss)
            }
            Stop::Disk(_) if site.ends_as_planned => {
                let (full, error) = ("disk full ends a member", "disk error ends a member");
                let what = if site.is_disk_full { full } else { error };
                self.counts.add(what);
                self.end_life(id, End::Kill)
            }
            Stop::Disk(text) | Stop::Failure(text) => {
                Err(Violation::new("a member goes on", format!("m{}: {text}", site.number)))
            }
        }
    }

    /// Looks at what a member did: first what concerns the log, then what it says, which depends on it.
    fn look_at(&mut self, id: u64, seen: Vec<Seen>) -> Result<(), Violation> {
        if seen.is_empty() {
            return Ok(());
        }
        let mut said = Vec::new();
        for seen in seen {
            match seen {
                Seen::Sent(message) => self.on_sent(id, &message)?,
                Seen::SnapshotSent(message, database) => self.on_snapshot_sent(id, &message, database),
                Seen::Appended(persist) => {
                    let entries = persist.entries.len() as u64;
                    self.note(id, "appended", [persist.entries.first().map_or(0, |e| e.index), entries, 0]);
                    self.oracle.log.on_appended(id, &persist)?;
                }
                Seen::Synced => self.oracle.log.on_synced(id),
                Seen::Installed(index) => {
                    self.note(id, "snapshot installed", [index, 0, 0]);
                    self.counts.add("snapshot installed");
                    self.oracle.log.on_installed(id, index)?;
                }
                Seen::Members(members) => {
                    let voters = members.iter().filter(|member| !member.is_learner).map(|member| member.id);
                    self.oracle.log.on_voters(id, voters.collect());
                    self.sites.get_mut(&id).expect("it works").members = members;
                    self.on_members_known(id);
                }
                Seen::Committing => self.plan_commit(id),
                Seen::SnapshotTaken(index) => {
                    self.note(id, "log snapshot", [index, 0, 0]);
                    self.counts.add("log snapshot taken");
                }
                Seen::Responded(_) | Seen::Delivered(_) | Seen::Noticed(_) => said.push(seen),
            }
        }
        let Some(node) = self.sites.get(&id).and_then(|site| site.node.as_ref()) else { return Ok(()) };
        let report = node.member.report();
        let new = self.oracle.log.on_progress(id, report.raft_committed, report.raft_applied)?;
        self.oracle.on_committed(new, self.now)?;
        for seen in said {
            self.hear(id, seen)?;
        }
        Ok(())
    }

    fn plan_commit(&mut self, id: u64) {
        let (now, mean) = (self.now, self.profile.disk.commit_mean);
        let site = self.sites.get_mut(&id).expect("it works");
        site.commits += 1;
        let slow = if now < site.slow_disk.1 { site.slow_disk.0 } else { 0 };
        let took = site.random.about(mean + slow) + 1_000;
        let (boot, number) = (site.boot, site.commits);
        self.schedule(now + took, Event::Committed { site: id, boot, number });
    }

    fn on_sent(&mut self, id: u64, message: &Message) -> Result<(), Violation> {
        let kind = message.kind().number();
        self.note(id, "sent", [kind << 32 | message.term(), message.index(), message.entries_len() as u64]);
        self.oracle.log.on_sent(id, message)?;
        for (at, frame) in self.network.send(message, None, self.now) {
            self.schedule(at, Event::Frame(Box::new(frame)));
        }
        Ok(())
    }

    fn on_snapshot_sent(&mut self, id: u64, message: &Message, database: Vec<u8>) {
        self.note(id, "snapshot sent", [message.to(), database.len() as u64, 0]);
        self.counts.add("snapshot sent");
        let arrivals = self.network.send(message, Some(Bytes::from(database)), self.now);
        if arrivals.is_empty() {
            self.report_snapshot(id, message.to(), SnapshotDelivery::Failed);
        }
        for (at, frame) in arrivals {
            self.schedule(at, Event::Frame(Box::new(frame)));
        }
    }

    /// The transport tells the sender how it went with a snapshot, when it can.
    pub(super) fn report_snapshot(&mut self, from: u64, to: u64, delivery: SnapshotDelivery) {
        if let Some(site) = self.sites.get_mut(&from) {
            site.push(Input::SnapshotSent(to, delivery));
            let (boot, at) = (site.boot, self.now + MILLISECOND);
            self.schedule(at, Event::Work { site: from, boot });
        }
    }

    pub(super) fn arrive(&mut self, frame: Frame) -> Result<(), Violation> {
        let Frame { from, to, bytes, database } = frame;
        let is_up = self.sites.get(&to).is_some_and(Site::is_running);
        if self.network.is_cut(from, to) || !is_up {
            if database.is_some() {
                self.report_snapshot(from, to, SnapshotDelivery::Failed);
            }
            return Ok(());
        }
        let message = Message::decode(&bytes)
            .map_err(|error| Violation::new("messages can be read", error.to_string()))?;
        match database {
            None => self.give(to, Input::Message(message)),
            Some(database) => {
                self.give(to, Input::Snapshot(message, database))?;
                self.report_snapshot(from, to, SnapshotDelivery::Done);
                Ok(())
            }
        }
    }

    /// A leader asks the others for their versions now and then, as the process does.
    fn ask_versions(&mut self, id: u64) {
        let now = self.now;
        let Some(site) = self.sites.get(&id) else { return };
        let leads = site.node.as_ref().is_some_and(|node| node.member.leader() == id);
        if !leads || now < site.versions_due {
            return;
        }
        let mut versions = BTreeMap::new();
        for member in &site.members {
            let other = self.sites.get(&member.id);
            let is_reached = other.is_some_and(|other| other.is_awake(now))
                && !self.network.is_cut(id, member.id)
                && !self.network.is_cut(member.id, id);
            let version = || PeerVersion { server: "3.7.0".into(), cluster: "3.7.0".into() };
            versions.insert(member.id, is_reached.then(version));
        }
        let site = self.sites.get_mut(&id).expect("it ticks");
        site.versions_due = now + VERSIONS_EVERY;
        site.push(Input::Versions(versions));
    }

    /// Tells each member with whom it can speak, as far as that has changed.
    pub(super) fn look_at_activity(&mut self) -> Result<(), Violation> {
        let ids: Vec<u64> = self.sites.keys().copied().collect();
        for id in &ids {
            for other in ids.iter().filter(|other| *other != id) {
                let is_up = self.sites[other].is_awake(self.now);
                let is_active =
                    is_up && !self.network.is_cut(*id, *other) && !self.network.is_cut(*other, *id);
                let site = self.sites.get_mut(id).expect("it is known");
                if site.is_running() && site.active.insert(*other, is_active) != Some(is_active) {
                    self.give(*id, Input::Active(*other, is_active))?;
                }
            }
        }
        self.schedule(self.now + 200 * MILLISECOND, Event::Activity);
        Ok(())
    }
}

fn take_in(node: &mut Node, input: Input, now: u64) -> Result<(), Stop> {
    let local = node.clock.at(now);
    match input {
        Input::Message(message) => {
            // A refused message is as good as a lost one.
            let _ = node.member.step(message, local);
        }
        Input::Snapshot(message, database) => node.receive_snapshot(message, &database, now)?,
        Input::SnapshotSent(member, delivery) => node.member.on_snapshot_sent(member, delivery),
        Input::Active(member, is_active) => node.member.on_active(member, is_active, local),
        Input::Gone(member) => node.member.on_gone(member),
        Input::Versions(versions) => node.member.on_peer_versions(versions),
        Input::Submit { token, credentials, request } => {
            node.member.submit(Caller { front: 0, token }, credentials, request, local);
        }
        Input::Watch(call) => node.member.watch(0, call, local),
    }
    Ok(())
}
