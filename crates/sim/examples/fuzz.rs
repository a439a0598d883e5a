//! Changes good bytes at random and gives them to every parser below the server: `fuzz 10` takes ten seconds for each.
#![expect(clippy::print_stdout, reason = "a program of the command line prints")]
#![expect(clippy::disallowed_methods, reason = "a hunt ends after a time of the machine's clock")]

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use etched_sim::fuzz::{TARGETS, hunt};

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let only = std::env::args().nth(2);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut code = ExitCode::SUCCESS;
    std::panic::set_hook(Box::new(|_| {}));
    for target in TARGETS.iter().filter(|target| only.as_ref().is_none_or(|name| name == target.name)) {
        let until = Instant::now() + Duration::from_secs(seconds);
        match hunt(target, now.as_secs(), &mut || Instant::now() < until) {
            Ok(runs) => println!("{:20} {runs:>10} inputs", target.name),
            Err(found) => {
                println!("{found}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
