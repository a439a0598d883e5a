//! The storage of one member alone: log, backend and snapshot files on a disk that loses power.
//!
//! Each seed is a chain of lives of one data directory.
//! A life writes batches to the log, takes entries back that were not committed, applies, commits the backend, makes
//! snapshots and lets segments go, until the power goes off, the process is killed, the disk fails or is full, or it
//! ends by itself.
//! What the disk kept is opened again, often with another crash while it is opened, and is compared with what was
//! promised (in `model`).
//! Now and then a copy of the disk is damaged: what is opened then is refused, or right.
//!
//! There is no time here, so a slow disk is no fault; a disk that stands still is one for the whole cluster.
//!
//! [`database`] does the same with nothing but a database, also for those that we do not ship.
//!
//! ```
//! use etched_sim::storage;
//!
//! let first = storage::run(7, storage::LIVES).unwrap();
//! let again = storage::run(7, storage::LIVES).unwrap();
//! assert_eq!(first.trace, again.trace);
//! ```

mod damage;
pub mod database;
mod life;
mod model;
mod ours;
mod rig;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use etched_backend::Integrity;
use etched_disk::{Faults, SimDisk};
use etched_wal::WalOptions;

use crate::random::{Purpose, Random};
use model::{Model, Start};
use rig::{OpenFailure, Rig};

/// How many lives a seed has, unless somebody wants it otherwise.
pub const LIVES: u64 = 24;

/// How many of the last events a failure tells.
const EVENTS_KEPT: usize = 40;

/// What a seed did.
#[derive(Clone, Debug)]
pub struct Report {
    /// Stands for everything that happened: equal runs have equal ones.
    pub trace: u64,
    /// How often what happened.
    pub counts: Counts,
}

/// A promise that was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}, life {life}: {what}\n{}", events.join("\n"))]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Which life of it, from 1.
    pub life: u64,
    /// What does not hold.
    pub what: String,
    /// What happened last, oldest first.
    pub events: Vec<String>,
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// How often things happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counts {
            /// Adds what another run counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// The counts by their names.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counts! {
    /// Ends of a life, of whatever kind, and of openings.
    cycles,
    /// Power losses in a life.
    power_losses,
    /// Power losses while the directory was being opened.
    power_losses_while_opening,
    /// Deaths of the process alone.
    kills,
    /// Ends by itself.
    closes,
    /// Syncs that failed.
    sync_failures,
    /// Writes that failed.
    write_failures,
    /// Reads that failed.
    read_failures,
    /// Disks that were full.
    full_disks,
    /// Copies that were damaged.
    damages,
    /// Damaged copies that were refused.
    damages_refused,
    /// Batches of the log that were acknowledged.
    batches,
    /// Entries that took the place of others.
    conflicts,
    /// Torn tails that were cut off.
    torn_tails,
    /// Batches that came back although they were not acknowledged.
    batches_that_came_back,
    /// Batches that came back in part.
    batches_in_part,
    /// Commits of the backend that need not last.
    buffered_commits,
    /// Commits of the backend that last.
    synced_commits,
    /// Openings that showed a commit which was not acknowledged as synced.
    commits_that_came_back,
    /// Snapshot files, with their records in the log.
    snapshots,
    /// Segments that went.
    segments_released,
    /// Segments that were prepared.
    spares,
    /// Directories that a crash left before they held anything.
    made_again,
}

impl Counts {
    /// What has not happened, of all that a long run must have seen.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.named().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

/// Runs a seed for so many lives.
///
/// # Errors
/// A promise was broken.
///
/// # Panics
/// If the crates under test do.
pub fn run(seed: u64, lives: u64) -> Result<Report, Failure> {
    let mut simulation = Simulation::new(seed);
    for life in 1..=lives {
        if let Err(what) = simulation.live() {
            let events = simulation.events.into_iter().collect();
            return Err(Failure { seed, life, what, events });
        }
    }
    Ok(Report { trace: simulation.trace, counts: simulation.counts })
}

/// A chain of lives.
struct Simulation {
    random: Random,
    disk: SimDisk,
    model: Model,
    options: WalOptions,
    families: Families,
    /// What the disk does in this life.
    faults: Faults,
    counts: Counts,
    trace: u64,
    events: VecDeque<String>,
}

/// Which faults a seed knows.
struct Families {
    opening_crashes: bool,
    disk_errors: bool,
    full_disks: bool,
    kills: bool,
    damage: bool,
}

impl Families {
    fn draw(random: &mut Random) -> Self {
        let mut on = || random.below(3) != 0;
        Self { opening_crashes: on(), disk_errors: on(), full_disks: on(), kills: on(), damage: on() }
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Storage);
        let families = Families::draw(&mut random);
        let options = WalOptions { segment_bytes: *random.pick(&[4_096, 8_192, 16_384]) };
        Self {
            disk: SimDisk::new(random.bits()),
            random,
            model: Model::default(),
            options,
            families,
            faults: Faults::default(),
            counts: Counts::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            events: VecDeque::new(),
        }
    }

    /// Opens what the last life left, lives, and dies.
    fn live(&mut self) -> Result<(), String> {
        let rig = self.open()?;
        if self.families.damage && self.random.below(3) == 0 {
            damage::try_one(self)?;
        }
        self.faults = self.draw_faults();
        self.disk.set_faults(self.faults);
        self.event("life", u64::from(self.faults != Faults::default()));
        let ended = life::live(self, rig);
        self.counts.cycles += 1;
        ended
    }

    /// Opens until it succeeds.
    fn open(&mut self) -> Result<Rig, String> {
        for attempt in 0.. {
            let faults = if attempt < 4 { self.draw_opening_faults() } else { Faults::default() };
            self.disk.set_faults(faults);
            self.model.note_try();
            let opened = Rig::open(&self.disk, self.options, self.model.was_created(), Integrity::Touched);
            self.event("open", self.disk.operations());
            match opened {
                Ok(rig) => {
                    self.disk.set_faults(Faults::default());
                    self.take_over(&rig)?;
                    return Ok(rig);
                }
                Err(failure) if faults == Faults::default() => {
                    return Err(format!("cannot be opened: {failure}"));
                }
                Err(failure) => self.die_while_opening(faults, &failure)?,
            }
        }
        unreachable!("the attempts do not end")
    }

    fn die_while_opening(&mut self, faults: Faults, failure: &OpenFailure) -> Result<(), String> {
        if !failure.is_of_the_disk() {
            return Err(format!("a disk that fails is taken for a fault of the directory: {failure}"));
        }
        self.counts.cycles += 1;
        if self.disk.is_crashed() {
            self.counts.power_losses_while_opening += 1;
            self.lose_power();
        } else {
            self.counts.read_failures += u64::from(faults.read_fails_at.is_some());
            self.count_failures(faults);
            self.end_without_crash();
        }
        Ok(())
    }

    fn count_failures(&mut self, faults: Faults) {
        self.counts.sync_failures += u64::from(faults.sync_fails_at.is_some());
        self.counts.write_failures += u64::from(faults.write_fails_at.is_some());
        self.counts.full_disks += u64::from(faults.growth_bytes_max.is_some());
    }

    /// Compares what was opened with what was promised, and goes on from it.
    fn take_over(&mut self, rig: &Rig) -> Result<(), String> {
        let found = self.model.recognise(&rig.recovered, &rig.from, Start::Newest)?;
        let content = rig.content().map_err(|error| format!("the backend cannot be read: {error}"))?;
        let was_new = self.model.commit_of_backend(rig.applied, &content)?;
        self.model.check_coverage(rig)?;
        let counts = &mut self.counts;
        counts.torn_tails += u64::from(rig.recovered.torn_tail.is_some());
        counts.batches_that_came_back += u64::from(found.is_whole && found.records > 0);
        counts.batches_in_part += u64::from(!found.is_whole && found.records > 0);
        counts.commits_that_came_back += u64::from(was_new);
        counts.made_again += u64::from(rig.was_made && self.model.was_tried());
        self.model.adopt(found, rig);
        self.event("records", found.records as u64);
        self.event("applied", rig.applied);
        Ok(())
    }

    fn draw_faults(&mut self) -> Faults {
        let mut faults = Faults::default();
        let random = &mut self.random;
        match random.below(8) {
            0..=3 => faults.crash_at = Some(random.between(1, 120)),
            4 if self.families.disk_errors => faults.sync_fails_at = Some(random.between(1, 40)),
            5 if self.families.disk_errors => faults.write_fails_at = Some(random.between(1, 60)),
            6 if self.families.full_disks => faults.growth_bytes_max = Some(random.below(60_000)),
            _ => {}
        }
        faults
    }

    fn draw_opening_faults(&mut self) -> Faults {
        let mut faults = Faults::default();
        let random = &mut self.random;
        if self.families.opening_crashes {
            match random.below(8) {
                0..=2 => faults.crash_at = Some(random.between(1, 24)),
                3 if self.families.disk_errors => faults.read_fails_at = Some(random.between(1, 40)),
                4 if self.families.disk_errors => faults.sync_fails_at = Some(random.between(1, 8)),
                5 if self.families.disk_errors => faults.write_fails_at = Some(random.between(1, 12)),
                6 if self.families.full_disks => faults.growth_bytes_max = Some(random.below(4_096)),
                _ => {}
            }
        }
        faults
    }

    fn lose_power(&mut self) {
        let seed = self.random.bits();
        self.disk = self.disk.crash_image(seed);
        self.event("power lost", seed);
    }

    fn kill(&mut self) {
        self.disk = self.disk.killed_image();
        self.event("killed", 0);
    }

    /// The process ends while the power stays on, or goes soon after.
    fn end_without_crash(&mut self) {
        if self.families.kills && self.random.below(2) == 0 {
            self.counts.kills += 1;
            self.kill();
        } else {
            self.counts.power_losses += 1;
            self.lose_power();
        }
    }

    fn event(&mut self, what: &'static str, number: u64) {
        for part in [what.len() as u64, number] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(format!("{what} {number}"));
    }
}
