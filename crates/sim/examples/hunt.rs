//! Runs seeds until one shows a fault: `hunt storage 600` looks for ten minutes at most.
//!
//! It is what `cargo xtask bugs` builds with a planted fault. The first line says what was found and in which seed;
//! the exit code is 0 if something was, and 1 if not.
#![expect(clippy::print_stdout, reason = "a program of the command line prints")]
#![expect(clippy::disallowed_methods, reason = "the hunt ends after a time of the machine's clock")]

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use etched_backend::RedbBackend;
use etched_disk::Tear;
use etched_sim::storage::{self, LIVES, database};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let simulator = arguments.next().unwrap_or_default();
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(600);
    let run: fn(u64) -> Result<(), String> = match simulator.as_str() {
        "storage" => storage_of_a_member,
        "database" => database_alone,
        _ => {
            println!("no such simulator: {simulator:?}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|_| {}));
    let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut seed = 0;
    while began.elapsed() < limit {
        let found = match catch_unwind(|| run(seed)) {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some(what),
            Err(panic) => Some(format!("a panic: {}", text_of(&*panic))),
        };
        if let Some(what) = found {
            let what = what.lines().next().unwrap_or_default();
            println!("seed {seed} after {:.1} s: {what}", began.elapsed().as_secs_f64());
            return ExitCode::SUCCESS;
        }
        seed += 1;
    }
    println!("nothing in {seed} seeds and {:.0} s", began.elapsed().as_secs_f64());
    ExitCode::FAILURE
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn storage_of_a_member(seed: u64) -> Result<(), String> {
    storage::run(seed, LIVES).map(drop).map_err(|failure| failure.what)
}

fn database_alone(seed: u64) -> Result<(), String> {
    let settings = database::Settings { lives: 12, tear: Tear::Sectors, buffered_percent: 50 };
    database::run::<RedbBackend>(seed, settings).map(drop).map_err(|violation| violation.to_string())
}
