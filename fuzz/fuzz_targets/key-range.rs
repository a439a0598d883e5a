//! Hands what libFuzzer makes up to the target `key-range` of `etched-sim`.
#![no_main]

use etched_sim::fuzz::TARGETS;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGETS.iter().find(|target| target.name == "key-range");
    (target.expect("the target is in the table").run)(bytes);
});
