//! `cargo xtask ci`: everything that must hold before a change is taken, in the order of its price.
//!
//! The cheap checks all run, so that one push shows all that is wrong; what needs the release build runs only if they
//! pass.
//! Tests and lints share one debug build, all that runs servers shares one release build with this program.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{bugs, chaos, clients, compat, crash, fuzz, mixed, sim, tidy, v2, workspace};

/// How long the comparison with etcd runs.
const COMPAT_SECONDS: u64 = 120;
/// How many requests of the v2 API are compared.
const V2_REQUESTS: u64 = 2_000;
/// How many seeds of the storage of a member are run: those before the open finding of docs/simulator.md.
const STORAGE_SEEDS: u64 = 1_000;
/// How long each parser is fed with anything.
const FUZZ_SECONDS: u64 = 2;
/// How often the server is killed.
const KILLS: u64 = 12;
/// How many members are tortured for how many minutes.
const TORTURES: [(u8, f64); 2] = [(3, 2.0), (5, 1.5)];
/// Each run draws the same faults, so that a gate judges the change.
const TORTURE_SEED: u64 = 7;

/// The steps that ran: name, time, and what went wrong.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration, Option<String>)>,
}

impl Steps {
    fn step(&mut self, name: &'static str, run: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let begin = Instant::now();
        let failure = run().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            println!("{name}: {failure}");
        }
        self.done.push((name, begin.elapsed(), failure));
    }

    fn is_good(&self) -> bool {
        self.done.iter().all(|(_, _, failure)| failure.is_none())
    }
}

/// Runs all steps and prints a summary.
///
/// # Errors
/// If a step fails.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("fmt", || cargo(&["fmt", "--all", "--check"]));
    steps.step("tidy", tidy::run);
    steps.step("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    steps.step("doc", || {
        let mut command = Command::new(env!("CARGO"));
        command.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        run_command(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.step("test", test);
    steps.step("sim", sim::cluster::gate);
    if steps.is_good() {
        steps.step("sim --storage", || sim::run(&sim::Options::of_ci(STORAGE_SEEDS)));
        steps.step("bugs redb-4-1", || bugs::run(&bugs::Options::of_ci("redb-4-1")));
        steps.step("fuzz", || fuzz::run(&fuzz::Options::of_ci(FUZZ_SECONDS)));
        steps.step("release build", || cargo(&["build", "--release", "-p", "etched"]));
    }
    if steps.is_good() {
        steps.step("compat", || compat::run(&compat::Options::of_ci(COMPAT_SECONDS, false)));
        steps.step("compat --auth", || compat::run(&compat::Options::of_ci(COMPAT_SECONDS, true)));
        steps.step("v2", || v2::run(&v2::Options::of_ci(V2_REQUESTS)));
        steps.step("crash", || crash::run(&crash::Options::of_ci(KILLS)));
        for (members, minutes) in TORTURES {
            let options = chaos::Options::of_ci(members, minutes, TORTURE_SEED);
            steps.step("chaos", || chaos::run(&options));
        }
        steps.step("mixed", || mixed::run(&mixed::Options::of_ci()));
        steps.step("clients", || clients::run(&clients::Options::of_ci()));
    }
    println!();
    for (name, time, failure) in &steps.done {
        let verdict = if failure.is_some() { "FAILED" } else { "ok" };
        println!("{name:14} {verdict:7} {} s", time.as_secs());
    }
    match steps.done.iter().find_map(|(name, _, failure)| failure.as_ref().map(|_| name)) {
        Some(name) => bail!("{name} failed"),
        None => Ok(()),
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run_command(Command::new(env!("CARGO")).args(arguments))
}

fn run_command(command: &mut Command) -> Result<()> {
    let status =
        command.current_dir(workspace::root()).status().with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Runs all tests and counts them.
fn test() -> Result<()> {
    let mut child = Command::new(env!("CARGO"))
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(workspace::root())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("a pipe was asked for")?;
    let mut tests = Tests::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if tests.read(&line) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    for line in &tests.failures {
        println!("{line}");
    }
    println!("tests: {} passed, {} failed, {} ignored", tests.passed, tests.failed, tests.ignored);
    ensure!(status.success(), "tests fail");
    Ok(())
}

/// What the output of libtest says so far.
#[derive(Default)]
struct Tests {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// What the failed tests printed, to be shown again where a reader looks first: at the end.
    failures: Vec<String>,
    is_failure: bool,
}

impl Tests {
    /// How much of the failures is kept.
    const FAILURE_LINES: usize = 1_000;

    /// Takes a line; whether it is worth showing, which thousands of passed tests are not.
    fn read(&mut self, line: &str) -> bool {
        self.passed += count_before(line, " passed");
        self.failed += count_before(line, " failed");
        self.ignored += count_before(line, " ignored");
        self.is_failure |= line.starts_with("---- ");
        self.is_failure &= !line.starts_with("test result: ");
        if self.is_failure && self.failures.len() < Self::FAILURE_LINES {
            self.failures.push(line.to_owned());
        }
        !(line.starts_with("test ") && line.ends_with(" ... ok"))
    }
}

/// The number before `what` in a line such as "test result: ok. 12 passed; 0 failed; 0 ignored".
fn count_before(line: &str, what: &str) -> u64 {
    let counts = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(what));
    counts.and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// `cargo xtask each`: every package alone, with its default features and with none.
///
/// # Errors
/// If one does not compile by itself.
pub(crate) fn each() -> Result<()> {
    let metadata = workspace::metadata()?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().context("a package has a name")?;
        for features in [&[][..], &["--no-default-features"]] {
            println!("{name} {}", features.join(" "));
            cargo(&[&["check", "--quiet", "-p", name], features].concat())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_counted() {
        let line =
            "test result: ok. 12 passed; 3 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!([" passed", " failed", " ignored"].map(|what| count_before(line, what)), [12, 3, 4]);
        assert_eq!(count_before("running 12 passed", " passed"), 0);
    }

    #[test]
    fn failures_are_told_again_at_the_end() {
        let output = [
            "test one ... ok",
            "test two ... FAILED",
            "failures:",
            "---- two stdout ----",
            "left is not right",
            "failures:",
            "    two",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "Running another",
        ];
        let mut tests = Tests::default();
        let shown = output.map(|line| tests.read(line));
        assert_eq!(shown.iter().position(|shown| !shown), Some(0));
        assert_eq!(tests.failures, output[3..7]);
        assert_eq!((tests.passed, tests.failed), (1, 1));
    }
}
