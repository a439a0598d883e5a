//! One member, driven by hand: every turn, sync, commit and tick is the test's.
#![expect(clippy::panic, clippy::expect_used, reason = "a test stops where it goes wrong")]

mod corners;
mod harness;
mod scenarios;
