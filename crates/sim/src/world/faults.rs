//! Faults: when which one strikes whom, and how all of them end.

use std::collections::BTreeSet;

use etched_disk::Faults;

use super::lives::End;
use super::network::NetworkCounts;
use super::{Event, Phase, Site, World};
use crate::clock::{MILLISECOND, SECOND};
use crate::oracle::Violation;

/// A fault that is about to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A process ends.
    End(End),
    /// A process stands still.
    Pause,
    /// A process or its disk is slow.
    Slow(Slowness),
    /// A clock jumps forwards.
    ClockJump,
    /// A disk fails soon.
    Disk(DiskFault),
    /// Some cannot speak with others.
    Cut(Cut),
    /// A link loses most of what it is given.
    Burst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slowness {
    Process,
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskFault {
    PowerLossAtWrite,
    SyncError,
    WriteError,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    One,
    Leader,
    Halves,
    OneWay,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::End(End::PowerLoss) => "fault: power loss",
            Self::End(End::Kill) => "fault: kill",
            Self::End(End::Close) => "fault: graceful stop",
            Self::Pause => "fault: pause",
            Self::Slow(Slowness::Process) => "fault: slow process",
            Self::Slow(Slowness::Disk) => "fault: slow disk",
            Self::ClockJump => "fault: clock jump",
            Self::Disk(DiskFault::PowerLossAtWrite) => "fault: power loss at a write",
            Self::Disk(DiskFault::SyncError) => "fault: sync error",
            Self::Disk(DiskFault::WriteError) => "fault: write error",
            Self::Disk(DiskFault::Full) => "fault: disk full",
            Self::Cut(Cut::One) => "fault: partition of one",
            Self::Cut(Cut::Leader) => "fault: partition of the leader",
            Self::Cut(Cut::Halves) => "fault: partition in halves",
            Self::Cut(Cut::OneWay) => "fault: one-way partition",
            Self::Burst => "fault: burst of loss",
        }
    }
}

impl World {
    fn draw_fault(&mut self) -> Option<Fault> {
        let families = self.profile.families;
        let mut menu = Vec::new();
        if families.process {
            let at_write = Fault::Disk(DiskFault::PowerLossAtWrite);
            menu.extend([End::PowerLoss, End::PowerLoss, End::Kill, End::Close].map(Fault::End));
            menu.extend([at_write, at_write]);
        }
        if families.pauses {
            menu.extend([Fault::Pause, Fault::Slow(Slowness::Process), Fault::Slow(Slowness::Disk)]);
        }
        if families.clocks {
            menu.push(Fault::ClockJump);
        }
        if families.disk_errors {
            menu.extend([DiskFault::SyncError, DiskFault::WriteError].map(Fault::Disk));
        }
        if families.disk_full {
            menu.push(Fault::Disk(DiskFault::Full));
        }
        if families.partitions {
            menu.extend([Cut::One, Cut::Leader, Cut::Leader, Cut::Halves, Cut::OneWay].map(Fault::Cut));
            menu.push(Fault::Burst);
        }
        if menu.is_empty() { None } else { Some(*self.fault_random.pick(&menu)) }
    }

    /// One fault strikes, unless the scenario leaves it out.
    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        if self.phase == Phase::Liveness {
            return Ok(());
        }
        let next = self.fault_random.about(self.profile.fault_mean) + MILLISECOND;
        self.schedule(self.now + next, Event::Fault);
        let Some(fault) = self.draw_fault() else { return Ok(()) };
        self.faults += 1;
        let number = self.faults;
        self.counts.add("faults drawn");
        let ids: Vec<u64> = self.sites.keys().copied().collect();
        let victim = *self.fault_random.pick(&ids);
        let (span, amount) =
            (self.fault_random.about(2 * SECOND) + 10 * MILLISECOND, self.fault_random.bits());
        if self.scenario.skip.contains(&number) {
            return Ok(());
        }
        self.counts.add(fault.name());
        self.note(victim, fault.name(), [number, span, 0]);
        match fault {
            Fault::End(end) => return self.end_running(victim, end),
            Fault::Pause => self.pause(victim, span),
            Fault::Slow(slowness) => self.slow_down(slowness, victim, span, amount),
            Fault::ClockJump => self.jump(victim, amount),
            Fault::Disk(disk_fault) => self.plan_disk_fault(disk_fault, victim, span, amount),
            Fault::Cut(cut) => self.partition(cut, victim, span, amount),
            Fault::Burst => {
                let other = ids[usize::try_from(amount % ids.len() as u64).expect("few members")];
                self.network.burst(victim, other, self.now + span, 500_000 + amount % 500_001);
            }
        }
        Ok(())
    }

    fn end_running(&mut self, id: u64, end: End) -> Result<(), Violation> {
        if self.sites.get(&id).is_some_and(Site::is_running) { self.end_life(id, end) } else { Ok(()) }
    }

    fn pause(&mut self, id: u64, span: u64) {
        let until = self.now + span;
        let site = self.sites.get_mut(&id).expect("members stay known");
        site.paused_until = site.paused_until.max(until);
        self.schedule(until, Event::Resume { site: id });
    }

    pub(super) fn resume(&mut self, id: u64) -> Result<(), Violation> {
        let Some(site) = self.sites.get(&id) else { return Ok(()) };
        if !site.is_awake(self.now) {
            return Ok(());
        }
        let boot = site.boot;
        self.counts.add("member paused and resumed");
        self.go_on(id, boot)
    }

    fn slow_down(&mut self, slowness: Slowness, id: u64, span: u64, amount: u64) {
        let until = self.now + span;
        let site = self.sites.get_mut(&id).expect("members stay known");
        match slowness {
            Slowness::Process => site.slow = (amount % (20 * MILLISECOND), until),
            Slowness::Disk => site.slow_disk = (amount % (500 * MILLISECOND), until),
        }
    }

    fn jump(&mut self, id: u64, amount: u64) {
        let (now, by) = (self.now, amount % (3 * SECOND));
        if let Some(node) = self.sites.get_mut(&id).and_then(|site| site.node.as_mut()) {
            node.clock.jump(now, by);
            self.oracle.leases.jumped += by;
        }
    }

    fn plan_disk_fault(&mut self, fault: DiskFault, id: u64, span: u64, amount: u64) {
        let site = self.sites.get_mut(&id).expect("members stay known");
        if !site.is_running() {
            return;
        }
        let place = Some(1 + amount % 30);
        let faults = match fault {
            DiskFault::PowerLossAtWrite => Faults { crash_at: place, ..Faults::default() },
            DiskFault::SyncError => Faults { sync_fails_at: place, ..Faults::default() },
            DiskFault::WriteError => Faults { write_fails_at: place, ..Faults::default() },
            DiskFault::Full => Faults { growth_bytes_max: Some(amount % 20_000), ..Faults::default() },
        };
        site.disk.set_faults(faults);
        site.ends_as_planned = fault != DiskFault::PowerLossAtWrite;
        site.is_disk_full = fault == DiskFault::Full;
        if fault == DiskFault::Full {
            let boot = site.boot;
            self.schedule(self.now + span, Event::Room { site: id, boot });
        }
    }

    pub(super) fn make_room(&mut self, id: u64, boot: u64) {
        if let Some(site) = self.sites.get_mut(&id).filter(|site| site.boot == boot && site.is_running()) {
            site.disk.set_faults(Faults::default());
            (site.ends_as_planned, site.is_disk_full) = (false, false);
        }
    }

    fn partition(&mut self, cut: Cut, victim: u64, span: u64, amount: u64) {
        let ids: Vec<u64> = self.sites.keys().copied().collect();
        let leader = self
            .sites
            .values()
            .find(|site| site.node.as_ref().is_some_and(|node| node.member.leader() == site.id));
        let alone = leader.filter(|_| cut == Cut::Leader).map_or(victim, |site| site.id);
        let side: BTreeSet<u64> = match cut {
            Cut::Halves => {
                let is_in = |place: usize| amount >> (place % 64) & 1 == 1;
                ids.iter().enumerate().filter(|(place, _)| is_in(*place)).map(|(_, id)| *id).collect()
            }
            Cut::One | Cut::Leader | Cut::OneWay => [alone].into(),
        };
        let mut directions = BTreeSet::new();
        for inside in &side {
            for outside in ids.iter().filter(|id| !side.contains(id)) {
                let (both, out) = (cut != Cut::OneWay, amount.is_multiple_of(2));
                if both || out {
                    directions.insert((*inside, *outside));
                }
                if both || !out {
                    directions.insert((*outside, *inside));
                }
            }
        }
        self.network.cut(&directions);
        self.schedule(self.now + span, Event::Heal(directions));
    }

    /// No more faults: what is broken is mended.
    pub(super) fn end_faults(&mut self) {
        self.phase = Phase::Liveness;
        self.note(0, "faults end", [self.faults, 0, 0]);
        self.network.heal_all();
        self.network.calm();
        let now = self.now;
        let mut sleeping = Vec::new();
        for site in self.sites.values_mut() {
            site.faults_at_start = None;
            site.disk.set_faults(Faults::default());
            site.ends_as_planned = false;
            (site.slow, site.slow_disk) = ((0, 0), (0, 0));
            site.paused_until = site.paused_until.min(now);
            sleeping.push((site.id, site.boot, site.is_running()));
        }
        for (site, boot, is_running) in sleeping {
            let event = if is_running { Event::Work { site, boot } } else { Event::Start { site, boot } };
            self.schedule(now + MILLISECOND, event);
        }
        let NetworkCounts { lost, repeated, replayed, cut } = self.network.counts;
        self.counts.add_many("fault: frame lost", lost);
        self.counts.add_many("fault: frame repeated", repeated);
        self.counts.add_many("fault: old frame replayed", replayed);
        self.counts.add_many("fault: frame cut off", cut);
    }
}
