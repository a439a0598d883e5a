//! Texts in the forms that Go programs read and write: quoted strings, numbers, durations, sizes.

pub(crate) mod duration;
pub(crate) mod number;
pub(crate) mod quote;
pub(crate) mod size;
pub(crate) mod words;
