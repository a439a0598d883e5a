//! To be written.

pub mod lease;
