//! What a run is like: drawn from its seed, and changed by what a scenario says.

use crate::clock::{MICROSECOND, MILLISECOND, SECOND};
use crate::random::{Purpose, Random};
use crate::scenario::{Plant, Scenario};

/// What the network does on its own, in parts in a million and nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NetworkProfile {
    pub(crate) delay_min: u64,
    pub(crate) delay_mean: u64,
    pub(crate) loss_ppm: u64,
    pub(crate) duplicate_ppm: u64,
    pub(crate) replay_ppm: u64,
    pub(crate) reorders: bool,
}

/// What the disks do on their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskProfile {
    /// Mean time of a sync of the log; 0 is none.
    pub(crate) sync_mean: u64,
    /// Mean time of a commit of the backend.
    pub(crate) commit_mean: u64,
}

/// Which families of faults strike.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Families {
    pub(crate) partitions: bool,
    pub(crate) process: bool,
    pub(crate) pauses: bool,
    pub(crate) clocks: bool,
    pub(crate) disk_errors: bool,
    pub(crate) disk_full: bool,
    pub(crate) operators: bool,
}

/// Everything that a seed decides before the run begins.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) members: u64,
    /// How long faults strike.
    pub(crate) safety: u64,
    /// Mean time between two faults.
    pub(crate) fault_mean: u64,
    pub(crate) families: Families,
    pub(crate) network: NetworkProfile,
    pub(crate) disk: DiskProfile,
    /// How far the rates of clocks may differ from true time, in parts in a million.
    pub(crate) rate_ppm: u64,
    pub(crate) clients: u64,
    pub(crate) watchers: u64,
    /// Mean time between an answer and the next request of a client.
    pub(crate) think_mean: u64,
    pub(crate) keys: u64,
    /// By how many seconds the lives of leases differ.
    pub(crate) ttl_span: u64,
    pub(crate) value_bytes: u64,
    /// Whether values of hundreds of kilobytes occur.
    pub(crate) has_large_values: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) snapshot_entries: u64,
    pub(crate) catch_up_entries: u64,
    pub(crate) commit_interval: u64,
    pub(crate) compaction_keys: usize,
    pub(crate) stream_queue_bytes: usize,
    pub(crate) history_bytes: usize,
    pub(crate) fragment_bytes: usize,
    pub(crate) proposals_max: usize,
    pub(crate) value_cache_bytes: usize,
    pub(crate) max_size_per_message: u64,
    pub(crate) quota_bytes: i64,
    pub(crate) pre_vote: bool,
    pub(crate) plant: Option<Plant>,
}

impl Profile {
    /// What `scenario` stands for.
    pub(crate) fn draw(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed, Purpose::Profile);
        // Every choice is drawn, whatever a scenario says, so that the others stay.
        let members = *random.pick(&[1, 3, 3, 3, 3, 5]);
        // Long enough for the remaining life of leases to be noted, which happens every five minutes.
        let is_long = random.happens(20_000);
        let safety = if is_long { 700 } else { random.between(10, 40) } * SECOND;
        let fault_mean = *random.pick(&[300, 1_000, 2_000, 5_000]) * MILLISECOND;
        let fault_mean = if is_long { fault_mean * 30 } else { fault_mean };
        let families = draw_families(&mut random);
        let network = draw_network(&mut random);
        let disk = DiskProfile {
            sync_mean: *random.pick(&[0, 100, 1_000, 10_000]) * MICROSECOND,
            commit_mean: *random.pick(&[100, 1_000, 20_000, 300_000]) * MICROSECOND,
        };
        let rate_ppm = *random.pick(&[0, 0, 1_000, 50_000, 300_000]);
        let clients = random.between(1, 8);
        let watchers = random.between(0, 4);
        let think_mean = *random.pick(&[5, 30, 100, 300]) * MILLISECOND;
        let think_mean = if is_long { 20 * think_mean } else { think_mean };
        let keys = *random.pick(&[2, 8, 40, 300]);
        let value_bytes = *random.pick(&[8, 100, 2_000]);
        let has_large_values = random.happens(100_000);
        let mut profile = Self {
            members,
            safety,
            fault_mean,
            families,
            network,
            disk,
            rate_ppm,
            clients,
            watchers,
            think_mean,
            keys,
            ttl_span: if is_long { 900 } else { 4 },
            value_bytes,
            has_large_values,
            segment_bytes: *random.pick(&[8 << 10, 64 << 10, 256 << 10]),
            snapshot_entries: *random.pick(&[10, 50, 300, 10_000]),
            catch_up_entries: *random.pick(&[0, 5, 50, 5_000]),
            commit_interval: *random.pick(&[0, 20, 100, 1_000]) * MILLISECOND,
            compaction_keys: usize::try_from(*random.pick(&[1_u64, 10, 1_000])).expect("small"),
            stream_queue_bytes: *random.pick(&[1 << 9, 1 << 12, 1 << 20]),
            history_bytes: *random.pick(&[1 << 9, 1 << 12, 1 << 20]),
            fragment_bytes: *random.pick(&[1 << 9, 1 << 12, 2 << 20]),
            proposals_max: *random.pick(&[2, 10, 5_000]),
            value_cache_bytes: *random.pick(&[0, 1 << 10, 1 << 20]),
            max_size_per_message: *random.pick(&[1, 4 << 10, 1 << 20]),
            quota_bytes: if random.happens(150_000) { 30 << 10 } else { 0 },
            pre_vote: random.happens(850_000),
            plant: None,
        };
        scenario.change(&mut profile);
        profile
    }
}

fn draw_families(random: &mut Random) -> Families {
    // Swarm: each family is off in a third of the seeds, so that none hides another.
    let mut is_on = || random.happens(666_667);
    Families {
        partitions: is_on(),
        process: is_on(),
        pauses: is_on(),
        clocks: is_on(),
        disk_errors: is_on(),
        disk_full: is_on(),
        operators: is_on(),
    }
}

fn draw_network(random: &mut Random) -> NetworkProfile {
    let delay_min = random.between(0, 5) * MILLISECOND;
    let delay_mean = *random.pick(&[100, 1_000, 5_000, 50_000]) * MICROSECOND;
    let (loss_ppm, duplicate_ppm) = (random.below(100_000), random.below(50_000));
    let (replay_ppm, reorders) = (random.below(10_000), random.happens(500_000));
    let is_noisy = random.happens(600_000);
    let noise = |ppm: u64| if is_noisy { ppm } else { 0 };
    NetworkProfile {
        delay_min,
        delay_mean,
        loss_ppm: noise(loss_ppm),
        duplicate_ppm: noise(duplicate_ppm),
        replay_ppm: noise(replay_ppm),
        reorders: reorders && is_noisy,
    }
}
