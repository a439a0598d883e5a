//! The simulator as it is used: seeds, scenarios that once failed, and what is done wrong on purpose.

use std::path::Path;

use etched_sim::{Look, Plant, Scenario, run};

/// Runs what must not fail.
fn pass(scenario: &Scenario) {
    let report = run(scenario, Look::default());
    assert!(report.failure.is_none(), "{}", report.describe().unwrap_or_default());
}

#[test]
fn a_few_seeds_break_no_promise() {
    for seed in 1..=12 {
        pass(&Scenario { seconds: Some(8), ..Scenario::of_seed(seed) });
    }
}

#[test]
fn a_seed_stands_for_one_run() {
    for seed in 1..=6 {
        let scenario = Scenario { seconds: Some(6), ..Scenario::of_seed(seed) };
        let (one, other) = (run(&scenario, Look::default()), run(&scenario, Look::default()));
        assert_eq!((one.hash, one.steps), (other.hash, other.steps), "seed {seed}");
    }
}

#[test]
fn no_regression_comes_back() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "scn") {
            let text = std::fs::read_to_string(&path).expect("it is a text");
            pass(&Scenario::parse(&text).expect("it is a scenario"));
            count += 1;
        }
    }
    assert!(count > 0, "there are regressions");
}

#[test]
fn what_is_done_wrong_on_purpose_is_noticed() {
    for plant in Plant::ALL {
        let found = (1..=60).find_map(|seed| {
            let scenario = Scenario { plant: Some(plant), ..Scenario::of_seed(seed) };
            run(&scenario, Look::default()).failure
        });
        assert!(found.is_some(), "{} is not noticed", plant.name());
    }
}
