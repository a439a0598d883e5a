//! The log as its users see it: what it keeps, what it refuses, and what each fault may cost.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod crash;
mod damage;
mod faults;
mod golden;
mod log;
mod model;
mod scripts;
