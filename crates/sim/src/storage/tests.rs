//! Seeds that are run for ever.

use super::*;

/// Seeds of a test run; the program runs as many as it has time for.
const SEEDS: u64 = 200;

#[test]
fn many_seeds_lose_nothing_and_repeat_themselves() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let report = run(seed, LIVES).unwrap_or_else(|failure| panic!("{failure}"));
        if seed % 20 == 0 {
            assert_eq!(run(seed, LIVES).unwrap().trace, report.trace, "seed {seed}");
        }
        counts.add(&report.counts);
    }
    assert_eq!(counts.missing(), [""; 0], "{counts:?}");
}

#[test]
fn other_seeds_do_other_things() {
    assert_ne!(run(1, 2).unwrap().trace, run(2, 2).unwrap().trace);
}

#[test]
fn our_database_survives_crashes_while_it_recovers() {
    for (tear, buffered_percent) in [(etched_disk::Tear::Sectors, 60), (etched_disk::Tear::Bytes, 20)] {
        let settings = database::Settings { lives: 12, tear, buffered_percent };
        for seed in 0..60 {
            let cycles = database::run::<etched_backend::RedbBackend>(seed, settings);
            assert!(cycles.is_ok(), "seed {seed}, {tear:?}: {cycles:?}");
        }
    }
}
