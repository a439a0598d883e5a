//! Runs of one scenario, and what they report.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::Counts;
use crate::oracle::Violation;
use crate::scenario::Scenario;
use crate::trace::Listing;
use crate::world::World;

/// What a run was like.
#[derive(Clone, Debug)]
pub struct Report {
    /// What stands for the run.
    pub scenario: Scenario,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Events that happened.
    pub steps: u64,
    /// Simulated nanoseconds.
    pub simulated: u64,
    /// What happened how often.
    pub counts: Counts,
    /// Lines that were asked for.
    pub printed: String,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
}

/// What went wrong, and where.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The promise that was broken, or the panic.
    pub violation: Violation,
    /// The last things that happened.
    pub lines: Vec<String>,
}

impl Report {
    /// The failure as it is shown, with the command that shows it again.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        let mut text = format!(
            "FAIL promise={:?} seed={} step={} t={}ms hash={:016x}\n",
            failure.violation.promise,
            self.scenario.seed,
            self.steps,
            self.simulated / 1_000_000,
            self.hash
        );
        text.push_str(&format!("{}\n\nthe last events:\n", failure.violation.story));
        for line in &failure.lines {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str(&format!("\nscenario:\n{}", self.scenario));
        text.push_str(&format!("\nagain: cargo xtask sim replay {}\n", self.scenario.seed));
        Some(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.violation.promise, self.violation.story)
    }
}

/// How a run is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// What is printed.
    pub listing: Listing,
    /// Stop after so many events.
    pub step_max: Option<u64>,
}

/// Runs a scenario. A panic of what is tested counts as a broken promise.
#[must_use]
pub fn run(scenario: &Scenario, look: Look) -> Report {
    let mut world = World::new(scenario.clone(), look.listing);
    let began = world.now;
    let result = catch_unwind(AssertUnwindSafe(|| world.run(look.step_max)));
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation { promise: "nothing panics", story: text.unwrap_or_default() })
        }
    };
    let failure = violation.map(|violation| Failure { violation, lines: world.trace.last_lines() });
    Report {
        scenario: world.scenario.clone(),
        hash: world.trace.hash(),
        steps: world.step,
        simulated: world.now - began,
        counts: world.counts.clone(),
        printed: world.trace.take_printed(),
        failure,
    }
}
