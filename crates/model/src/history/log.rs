//! What happened at each revision, put together from what watches were told.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Event, History, Message, Record, Violation, is_within};

/// All changes by revision, and each key's life.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The changes of revision 2, 3, and so on.
    revisions: Vec<Vec<Change>>,
    keys: BTreeMap<String, Vec<(i64, Option<Record>)>>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it is after the change; nothing after a deletion.
    pub after: Option<Record>,
    /// What it was before.
    pub before: Option<Record>,
}

/// The revision of an empty store.
const FIRST: i64 = 1;

impl Log {
    /// Puts together what the watches for everything were told. Where two tell different things, the first is
    /// believed and the other reported.
    ///
    /// # Errors
    ///
    /// A revision is missing, so nothing can be judged.
    pub fn of(history: &History, violations: &mut Vec<Violation>) -> Result<Self, Violation> {
        let mut told: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        for stream in history.streams.iter().filter(|stream| stream.wish.is_for_all()) {
            for (revision, events) in stream_revisions(stream) {
                match told.get(&revision) {
                    None => drop(told.insert(revision, events)),
                    Some(known) if is_same(known, &events) => {}
                    Some(known) => violations.push(Violation::new(
                        "one history",
                        revision,
                        &[],
                        format!(
                            "revision {revision} is {known:?} and, by member {}, {events:?}",
                            stream.member
                        ),
                    )),
                }
            }
        }
        let mut log = Self::default();
        for (revision, events) in told {
            let expected = log.end() + 1;
            if revision != expected {
                let story = format!("no watch was told of revision {expected}; the next known is {revision}");
                return Err(Violation::new("revisions without gaps", expected, &[], story));
            }
            log.push(&events, violations);
        }
        Ok(log)
    }

    /// Takes up the next revision, and checks what events say of the keys' lives.
    pub(super) fn push(&mut self, events: &[Event], violations: &mut Vec<Violation>) {
        let revision = self.end() + 1;
        let mut changes: Vec<Change> = Vec::new();
        for event in events {
            let key = &event.record.key;
            let before = changes
                .iter()
                .rev()
                .find(|change| change.key == *key)
                .map_or_else(|| self.record(key, revision - 1).cloned(), |change| change.after.clone());
            let expected = life(&event.record, revision, before.as_ref(), event.deleted);
            if event.record != expected || (event.deleted && before.is_none()) {
                let story = format!("revision {revision}: {event:?} follows {before:?}");
                violations.push(Violation::new("lives of keys", revision, &[], story));
            }
            let after = (!event.deleted).then(|| event.record.clone());
            changes.push(Change { key: key.clone(), after, before });
        }
        for change in &changes {
            self.keys.entry(change.key.clone()).or_default().push((revision, change.after.clone()));
        }
        self.revisions.push(changes);
    }

    /// The last revision.
    pub fn end(&self) -> i64 {
        FIRST + i64::try_from(self.revisions.len()).expect("as many as fit into memory")
    }

    /// What happened at a revision; nothing at one that does not exist.
    pub fn changes(&self, revision: i64) -> &[Change] {
        let place = usize::try_from(revision - FIRST - 1).ok();
        place.and_then(|place| self.revisions.get(place)).map_or(&[], Vec::as_slice)
    }

    /// A key at a revision.
    pub fn record(&self, key: &str, revision: i64) -> Option<&Record> {
        self.keys.get(key).and_then(|life| at(life, revision))
    }

    /// All keys of a range at a revision.
    pub fn records(&self, key: &str, end: &str, revision: i64) -> impl Iterator<Item = &Record> {
        let from = (Bound::Included(key), Bound::Unbounded);
        self.keys
            .range::<str, _>(from)
            .take_while(move |(candidate, _)| is_within(candidate, key, end))
            .filter_map(move |(_, life)| at(life, revision))
    }

    /// The keys that a lease has at a revision.
    pub fn attached(&self, lease: i64, revision: i64) -> Vec<&str> {
        let records = self.records("\0", "\0", revision);
        records.filter(|record| record.lease == lease).map(|record| record.key.as_str()).collect()
    }
}

/// A key's record at a revision.
fn at(life: &[(i64, Option<Record>)], revision: i64) -> Option<&Record> {
    let after = life.partition_point(|(changed, _)| *changed <= revision);
    life[..after].last().and_then(|(_, record)| record.as_ref())
}

/// What the record of an event must be.
fn life(record: &Record, revision: i64, before: Option<&Record>, deleted: bool) -> Record {
    if deleted {
        return Record { key: record.key.clone(), modified: revision, ..Record::default() };
    }
    Record {
        created: before.map_or(revision, |before| before.created),
        modified: revision,
        version: before.map_or(1, |before| before.version + 1),
        ..record.clone()
    }
}

/// The events of a stream by revision, those of one revision together. The last one may be cut off.
fn stream_revisions(stream: &super::Stream) -> BTreeMap<i64, Vec<Event>> {
    let mut revisions: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    let mut cut = None;
    for told in &stream.told {
        if let Message::Events { events, fragment } = &told.what {
            for event in events {
                revisions.entry(event.record.modified).or_default().push(event.clone());
            }
            cut = if *fragment { events.last().map(|event| event.record.modified) } else { None };
        }
    }
    if let Some(cut) = cut {
        revisions.remove(&cut);
    }
    revisions
}

/// Whether two tell the same, apart from what was before.
fn is_same(one: &[Event], other: &[Event]) -> bool {
    let told = |event: &Event| (event.deleted, event.record.clone());
    one.iter().map(told).eq(other.iter().map(told))
}
