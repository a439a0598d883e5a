//! Bytes from disk, wire or user, changed at random: whatever they are, nothing panics.
//!
//! A [`Target`] takes any bytes, and has examples of good ones to begin with. [`hunt`] changes them by the choices of
//! a seed, with no knowledge of the code behind; `fuzz/` hands the same functions to libFuzzer, which has some.

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::random::{Purpose, Random};

pub use targets::TARGETS;

/// A parser and what stands behind it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Good bytes, to begin with.
    pub examples: fn() -> Vec<Vec<u8>>,
}

/// Bytes at which a target panicked, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} panics ({message}) at {}", hexadecimal(bytes))]
pub struct Found {
    /// The target's name.
    pub target: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The text of the panic.
    pub message: String,
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs changed examples while `goes_on` says so, and returns how many.
///
/// # Errors
/// The target panicked; builds that abort then end here.
pub fn hunt(target: &Target, seed: u64, goes_on: &mut dyn FnMut() -> bool) -> Result<u64, Found> {
    let mut random = Random::new(seed, Purpose::Storage);
    let mut examples = (target.examples)();
    examples.push(Vec::new());
    let mut runs = 0;
    while goes_on() {
        let bytes = mutate::mutate(&mut random, &examples);
        let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
        ran.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let message = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Found { target: target.name, bytes, message: message.unwrap_or_default() }
        })?;
        runs += 1;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_panics_at_its_examples_or_near_them() {
        for target in TARGETS {
            for example in (target.examples)() {
                (target.run)(&example);
            }
            let mut left = 300;
            let mut goes_on = || {
                left -= 1;
                left > 0
            };
            assert_eq!(hunt(target, 1, &mut goes_on), Ok(299));
        }
    }

    #[test]
    fn a_panic_is_found_and_told() {
        let target = Target {
            name: "picky",
            run: |bytes| assert!(bytes.first() != Some(&7), "seven"),
            examples: || vec![vec![6, 1, 2, 3]],
        };
        let found = hunt(&target, 1, &mut || true).unwrap_err();
        assert_eq!((found.target, found.message.as_str(), found.bytes[0]), ("picky", "seven", 7));
    }
}
