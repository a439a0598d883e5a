//! The guarantees of watches, judged by a replay: filter, ordered, unique, atomic, bookmarkable, resumable, reliable,
//! created, previous.

use std::collections::BTreeSet;

use super::compaction::{may_be_compacted, may_be_compacted_at};
use super::judge::Case;
use super::log::Change;
use super::{Event, Message, Stream, Told, Violation, Wish, is_within};

/// Checks what one watch was told.
///
/// # Errors
///
/// Names the first guarantee that is broken.
pub(super) fn check(case: &Case<'_>, stream: &Stream) -> Result<(), Violation> {
    let Some(created) = stream.created else { return Ok(()) };
    let start = if stream.wish.start > 0 { stream.wish.start } else { created + 1 };
    let mut replay = Replay {
        case,
        wish: &stream.wish,
        start,
        next: (start, 0),
        seen: BTreeSet::new(),
        last: 0,
        promised: 0,
        last_whole: 0,
        in_fragments: false,
    };
    for told in &stream.told {
        match &told.what {
            Message::Events { events, fragment } => replay.on_events(told, events, *fragment)?,
            Message::Progress => replay.on_progress(told.revision)?,
            Message::Compacted(revision) => replay.on_compacted(told, *revision)?,
        }
    }
    Ok(())
}

struct Replay<'a> {
    case: &'a Case<'a>,
    wish: &'a Wish,
    start: i64,
    /// The place of the next change to look at: its revision and its place there.
    next: (i64, usize),
    seen: BTreeSet<(i64, String)>,
    /// The last event's revision.
    last: i64,
    /// The last notification.
    promised: i64,
    /// The last revision of the last whole message.
    last_whole: i64,
    in_fragments: bool,
}

impl<'a> Replay<'a> {
    fn on_events(&mut self, told: &Told, events: &[Event], fragment: bool) -> Result<(), Violation> {
        let Some(first) = events.first() else {
            return Err(violation("reliable", told.revision, "a message without events".into()));
        };
        let begins = first.record.modified;
        if !self.in_fragments && self.last_whole == begins {
            return Err(violation("atomic", begins, format!("revision {begins} was divided")));
        }
        for event in events {
            self.on_event(told, event)?;
        }
        self.in_fragments = fragment;
        if told.revision < self.last {
            let story = format!("the header says {}, events are at {}", told.revision, self.last);
            return Err(violation("bookmarkable", self.last, story));
        }
        if fragment {
            return Ok(());
        }
        self.last_whole = self.last;
        match self.missed().filter(|(revision, _)| *revision <= self.last) {
            Some((_, missed)) => {
                let story =
                    format!("{missed:?} belongs to revision {}, which was told without it", self.last);
                Err(violation("atomic", self.last, story))
            }
            None => Ok(()),
        }
    }

    fn on_event(&mut self, told: &Told, event: &Event) -> Result<(), Violation> {
        let revision = event.record.modified;
        if !covers(self.wish, event.deleted, &event.record.key) {
            return Err(violation("filter", revision, format!("{event:?} was not asked for")));
        }
        if !self.seen.insert((revision, event.record.key.clone())) {
            return Err(violation("unique", revision, format!("{event:?} was told twice")));
        }
        if revision < self.last {
            return Err(violation(
                "ordered",
                revision,
                format!("{event:?} came after revision {}", self.last),
            ));
        }
        if revision <= self.promised {
            let story = format!("{event:?} came after the notification of {}", self.promised);
            return Err(violation("bookmarkable", revision, story));
        }
        if revision < self.start {
            return Err(violation("resumable", revision, format!("{event:?} is below {}", self.start)));
        }
        let is_first = self.last == 0;
        self.last = revision;
        let Some((at, change)) = self.missed() else {
            return Err(violation("reliable", revision, format!("{event:?} never happened")));
        };
        if (at, &change.key) != (revision, &event.record.key) {
            return Err(self.skipped(is_first, event, at, change));
        }
        self.check_content(told, event, change)?;
        self.next.1 += 1;
        Ok(())
    }

    /// An event came that is not the next one.
    fn skipped(&self, is_first: bool, event: &Event, at: i64, missed: &Change) -> Violation {
        let revision = event.record.modified;
        let changes = self.case.log.changes(revision);
        if !changes.iter().any(|change| change.key == event.record.key) {
            return violation("reliable", revision, format!("{event:?} never happened"));
        }
        let promise = match at == revision {
            true => "ordered",
            false if is_first => "resumable",
            false => "reliable",
        };
        violation(promise, at, format!("{event:?} was told, {missed:?} of revision {at} was not"))
    }

    fn check_content(&self, told: &Told, event: &Event, change: &Change) -> Result<(), Violation> {
        let revision = event.record.modified;
        if change.after.is_none() != event.deleted
            || change.after.as_ref().is_some_and(|after| *after != event.record)
        {
            return Err(violation("created", revision, format!("{event:?} is {change:?}")));
        }
        let is_right = match (&event.previous, &change.before) {
            (Some(previous), Some(before)) => self.wish.previous && previous == before,
            (Some(_), None) => false,
            (None, Some(_)) => !self.wish.previous || may_be_compacted(self.case, revision - 1, told.at),
            (None, None) => true,
        };
        if is_right {
            return Ok(());
        }
        Err(violation("previous", revision, format!("{event:?} follows {:?}", change.before)))
    }

    fn on_progress(&mut self, revision: i64) -> Result<(), Violation> {
        let broken = |story: String| Err(violation("bookmarkable", revision, story));
        if self.in_fragments {
            return broken("a notification came between fragments".into());
        }
        if revision < self.promised.max(self.last) {
            return broken(format!("{revision} was notified after {}", self.promised.max(self.last)));
        }
        if revision > self.case.log.end() {
            return broken(format!("{revision} was notified and does not exist"));
        }
        if let Some((at, missed)) = self.missed().filter(|(at, _)| *at <= revision) {
            return broken(format!("{revision} was notified before {missed:?} of revision {at} was told"));
        }
        self.promised = revision;
        Ok(())
    }

    fn on_compacted(&self, told: &Told, compacted: i64) -> Result<(), Violation> {
        if !may_be_compacted_at(self.case, compacted, told.at) {
            return Err(violation("reliable", compacted, format!("there is no compaction at {compacted}")));
        }
        let needed = self.start.max(self.last + 1).max(self.promised + 1);
        if needed >= compacted {
            let story =
                format!("it ended for a compaction at {compacted}, but needs {needed} and later ones");
            return Err(violation("reliable", compacted, story));
        }
        Ok(())
    }

    /// The next change that must be told, with its revision.
    fn missed(&mut self) -> Option<(i64, &'a Change)> {
        let log = self.case.log;
        while self.next.0 <= log.end() {
            let (revision, place) = self.next;
            match log.changes(revision).get(place) {
                Some(change) if covers(self.wish, change.after.is_none(), &change.key) => {
                    return Some((revision, change));
                }
                Some(_) => self.next.1 += 1,
                None => self.next = (revision + 1, 0),
            }
        }
        None
    }
}

fn covers(wish: &Wish, deleted: bool, key: &str) -> bool {
    let is_filtered = if deleted { wish.no_delete } else { wish.no_put };
    is_within(key, &wish.key, &wish.end) && !is_filtered
}

fn violation(promise: &'static str, revision: i64, story: String) -> Violation {
    Violation::new(promise, revision, &[], story)
}
