//! Texts in the forms that Go programs read and write: quoted strings, numbers, durations, sizes, times and boxes.

pub(crate) mod boxes;
pub(crate) mod duration;
pub(crate) mod number;
pub(crate) mod quote;
pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod words;
