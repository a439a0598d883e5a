//! What happened, as a running hash and as the last lines of a story.
//!
//! Two runs with the same hash did the same: everything that is sent, written, answered and broken goes into it.

use std::collections::VecDeque;
use std::fmt;

use crate::clock::MICROSECOND;

/// Lines that are kept for a failure.
const LINES_MAX: usize = 200;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    at: u64,
    step: u64,
    /// The member by its number; 0 is nobody.
    member: u64,
    what: &'static str,
    numbers: [u64; 3],
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at / MICROSECOND;
        let [a, b, c] = self.numbers;
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        write!(f, "{:>8} {seconds:>5}.{rest:06} m{} {:<18} {a} {b} {c}", self.step, self.member, self.what)
    }
}

/// What is printed while a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Whether every line is printed.
    pub is_full: bool,
    /// Print this member's lines only.
    pub member: Option<u64>,
}

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<Line>,
    listing: Listing,
    printed: String,
}

impl Trace {
    pub(crate) fn new(listing: Listing) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new(), listing, printed: String::new() }
    }

    /// Something happened.
    pub(crate) fn note(&mut self, at: u64, step: u64, member: u64, what: &'static str, numbers: [u64; 3]) {
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        for number in [at, member].into_iter().chain(numbers) {
            self.mix(number);
        }
        let line = Line { at, step, member, what, numbers };
        if self.listing.is_full && self.listing.member.is_none_or(|wanted| wanted == member) {
            self.printed.push_str(&format!("{line}\n"));
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.lines.iter().map(Line::to_string).collect()
    }

    /// The lines to print since the last call.
    pub(crate) fn take_printed(&mut self) -> String {
        std::mem::take(&mut self.printed)
    }
}
