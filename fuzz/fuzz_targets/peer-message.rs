//! Hands what libFuzzer makes up to the target `peer-message` of `etched-sim`.
#![no_main]

use etched_sim::fuzz::TARGETS;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGETS.iter().find(|target| target.name == "peer-message");
    (target.expect("the target is in the table").run)(bytes);
});
