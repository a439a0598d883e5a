//! Makes a scenario that fails small: fewer faults, less time, fewer clients, as long as the same promise is broken.

use etched_sim::{Look, Report, Scenario, run};

struct Shrinker {
    promise: &'static str,
    best: Scenario,
    report: Report,
    runs_left: u64,
}

/// The smallest scenario found within so many runs.
pub(super) fn shrink(scenario: &Scenario, runs: u64) -> Result<Scenario, String> {
    let report = run(scenario, Look::default());
    let Some(failure) = &report.failure else { return Err("this scenario does not fail".into()) };
    let promise = failure.violation.promise;
    let mut shrinker = Shrinker { promise, best: scenario.clone(), report, runs_left: runs };
    shrinker.less_time();
    shrinker.fewer_faults();
    shrinker.fewer_of_the_rest();
    shrinker.fewer_faults();
    let mut found = shrinker.best;
    found.story.push(format!("broke: {promise}"));
    Ok(found)
}

impl Shrinker {
    /// Keeps a scenario if it fails in the same way.
    fn attempt(&mut self, scenario: Scenario) -> bool {
        if self.runs_left == 0 || scenario == self.best {
            return false;
        }
        self.runs_left -= 1;
        let report = run(&scenario, Look::default());
        let is_same = report.failure.as_ref().is_some_and(|found| found.violation.promise == self.promise);
        if is_same {
            (self.best, self.report) = (scenario, report);
        }
        is_same
    }

    /// No longer than until the failure.
    fn less_time(&mut self) {
        let seconds = self.report.simulated / 1_000_000_000 + 1;
        self.attempt(Scenario { seconds: Some(seconds), ..self.best.clone() });
    }

    /// Leaves faults out: first many at once, then one by one.
    fn fewer_faults(&mut self) {
        let count: u64 =
            self.report.counts.iter().filter(|(what, _)| what.starts_with("fault:")).map(|_| 1).sum();
        let last = self.report.counts.of("faults drawn").max(count);
        let mut size = last.div_ceil(2).max(1);
        loop {
            let mut from = 1;
            while from <= last {
                let mut skip = self.best.skip.clone();
                skip.extend(from..(from + size).min(last + 1));
                self.attempt(Scenario { skip, ..self.best.clone() });
                from += size;
            }
            if size == 1 || self.runs_left == 0 {
                return;
            }
            size = size.div_ceil(2);
        }
    }

    fn fewer_of_the_rest(&mut self) {
        for watchers in [0, 1] {
            if self.attempt(Scenario { watchers: Some(watchers), ..self.best.clone() }) {
                break;
            }
        }
        for clients in [0, 1, 2] {
            if self.attempt(Scenario { clients: Some(clients), ..self.best.clone() }) {
                break;
            }
        }
        for members in [1, 3] {
            if self.attempt(Scenario { members: Some(members), ..self.best.clone() }) {
                break;
            }
        }
        self.attempt(Scenario { is_calm: true, ..self.best.clone() });
    }
}
