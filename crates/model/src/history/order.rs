//! Real time: what was known of the store's revision at which moment.

use std::collections::BTreeMap;

use super::{Call, History, Message, Outcome, Request};

/// A place in the order of all that happens: the write that makes a revision, then all reads of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) revision: i64,
    pub(super) is_read: bool,
}

/// Who saw a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witness {
    /// A call, by its place.
    Call(usize),
    /// A watch, by its place.
    Stream(usize),
}

/// Somebody knew at a moment that the store had reached a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) at: u64,
    pub(super) position: Position,
    pub(super) witness: Witness,
}

/// All sights of one order of things.
#[derive(Clone, Debug, Default)]
pub(super) struct Sights {
    /// By time, each with the highest position up to then.
    highest: Vec<Sight>,
    /// When each revision was first known to be reached.
    first: BTreeMap<i64, u64>,
}

impl Sights {
    pub(super) fn new(mut sights: Vec<Sight>) -> Self {
        sights.sort_by_key(|sight| sight.at);
        let mut first = BTreeMap::new();
        let mut highest: Vec<Sight> = Vec::with_capacity(sights.len());
        for sight in sights {
            let best = match highest.last() {
                Some(best) if best.position >= sight.position => Sight { at: sight.at, ..*best },
                Some(_) | None => sight,
            };
            first.entry(best.position.revision).or_insert(sight.at);
            highest.push(best);
        }
        Self { highest, first }
    }

    /// The highest position that was known before a moment.
    pub(super) fn before(&self, moment: u64) -> Option<Sight> {
        let after = self.highest.partition_point(|sight| sight.at < moment);
        self.highest[..after].last().copied()
    }

    /// The revision that was known to be reached before a moment.
    pub(super) fn revision_before(&self, moment: u64) -> i64 {
        self.before(moment).map_or(0, |sight| sight.position.revision)
    }

    /// When it was first known that a revision was reached.
    pub(super) fn first_of(&self, revision: i64) -> Option<u64> {
        self.first.range(revision..).next().map(|(_, at)| *at)
    }
}

/// The position of an answered call; `None` if its header promises nothing.
pub(super) fn position(place: usize, call: &Call, claims: &BTreeMap<i64, usize>) -> Option<Position> {
    let Outcome::Answered(answer) = &call.outcome else { return None };
    if matches!(call.request, Request::Compact { .. }) || answer.revision <= 0 {
        return None;
    }
    let is_read = claims.get(&answer.revision) != Some(&place);
    Some(Position { revision: answer.revision, is_read })
}

/// What all calls and watches of a history saw.
pub(super) fn sights(history: &History, claims: &BTreeMap<i64, usize>) -> Vec<Sight> {
    let mut sights = Vec::new();
    for (place, call) in history.calls.iter().enumerate() {
        if let Some(position) = position(place, call, claims) {
            sights.push(Sight { at: call.returned, position, witness: Witness::Call(place) });
        }
    }
    for (place, stream) in history.streams.iter().enumerate() {
        for told in &stream.told {
            let (revision, is_read) = match &told.what {
                Message::Events { events, .. } => (events.last().map_or(0, |e| e.record.modified), false),
                Message::Progress => (told.revision, true),
                Message::Compacted(_) => continue,
            };
            let position = Position { revision, is_read };
            sights.push(Sight { at: told.at, position, witness: Witness::Stream(place) });
        }
    }
    sights
}
