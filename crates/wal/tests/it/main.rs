//! The log as its users see it: what it keeps, what it refuses, and what each fault may cost.

mod crash;
mod damage;
mod faults;
mod golden;
mod log;
mod model;
mod scripts;
