//! The key space, as a list of events.

mod hash;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use hash::Hash;

/// A key-value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Main revision of the last put.
    pub mod_revision: i64,
    /// Puts since the key was created.
    pub version: i64,
    /// The value.
    pub value: Vec<u8>,
    /// The lease; 0 is none.
    pub lease: i64,
}

impl KeyValue {
    /// The bytes of the message `mvccpb.KeyValue`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        bytes_field(&mut out, 1, &self.key);
        number_field(&mut out, 2, self.create_revision);
        number_field(&mut out, 3, self.mod_revision);
        number_field(&mut out, 4, self.version);
        bytes_field(&mut out, 5, &self.value);
        number_field(&mut out, 6, self.lease);
        out
    }
}

fn varint(out: &mut Vec<u8>, number: u64) {
    let low = u8::try_from(number % 128).expect("a remainder by 128 fits");
    if number < 128 {
        out.push(low);
    } else {
        out.push(low + 128);
        varint(out, number / 128);
    }
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        varint(out, number * 8 + 2);
        varint(out, bytes.len() as u64);
        out.extend(bytes);
    }
}

fn number_field(out: &mut Vec<u8>, field: u64, number: i64) {
    if number != 0 {
        varint(out, field * 8);
        varint(out, number.cast_unsigned());
    }
}

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// Its lease; 0 is none.
        lease: i64,
    },
    /// Deletes a range, given as on the wire.
    Delete {
        /// Where it begins.
        key: Vec<u8>,
        /// Where it ends: empty for one key, one zero byte for no end.
        range_end: Vec<u8>,
    },
}

impl Write {
    /// Sets a key.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease }
    }

    /// Deletes a range.
    pub fn delete(key: impl Into<Vec<u8>>, range_end: impl Into<Vec<u8>>) -> Self {
        Self::Delete { key: key.into(), range_end: range_end.into() }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Main and sub revision.
    pub revision: (i64, i64),
    /// The key.
    pub key: Vec<u8>,
    /// The key-value after a put; nothing after a deletion.
    pub after: Option<KeyValue>,
    /// The key-value before.
    pub before: Option<KeyValue>,
}

impl Event {
    /// The key and the value under which the event is stored.
    fn row(&self) -> (Vec<u8>, Vec<u8>) {
        let mut key = self.revision.0.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend(self.revision.1.to_be_bytes());
        match &self.after {
            Some(after) => (key, after.encode()),
            None => {
                key.push(b't');
                (key, KeyValue { key: self.key.clone(), ..KeyValue::default() }.encode())
            }
        }
    }
}

/// The order of an answer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None asked for.
    #[default]
    None,
    /// Rising.
    Ascend,
    /// Falling.
    Descend,
}

/// What an answer is sorted by.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision of the creation.
    Create,
    /// The revision of the last modification.
    Mod,
    /// The value.
    Value,
}

/// A range request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Where the range begins.
    pub key: Vec<u8>,
    /// Where it ends: empty for one key, one zero byte for no end.
    pub range_end: Vec<u8>,
    /// At which revision; current if not positive.
    pub revision: i64,
    /// Most records; no limit if not positive.
    pub limit: i64,
    /// The order.
    pub order: Order,
    /// What is sorted by.
    pub target: Target,
    /// No values.
    pub keys_only: bool,
    /// No records.
    pub count_only: bool,
    /// Lowest and highest revision of the last modification; 0 is off.
    pub mod_revisions: (i64, i64),
    /// Lowest and highest revision of the creation; 0 is off.
    pub create_revisions: (i64, i64),
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The key-values.
    pub records: Vec<KeyValue>,
    /// The limit cut them.
    pub more: bool,
    /// Live keys of the range.
    pub count: i64,
}

/// Why a request was refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The revision is compacted.
    Compacted,
    /// The revision is in the future.
    Future,
}

/// The key space.
#[derive(Clone, Debug)]
pub struct Kv {
    /// Everything that ever happened.
    events: Vec<Event>,
    /// What is still stored.
    stored: BTreeSet<(i64, i64)>,
    revision: i64,
    compact_revision: i64,
    /// Compactions that are not finished: revision, the one before, whether it makes a hash.
    pending: Vec<(i64, i64, bool)>,
    hashes: Vec<Hash>,
}

impl Default for Kv {
    fn default() -> Self {
        Self::new()
    }
}

impl Kv {
    /// An empty key space: revision 1, never compacted.
    #[must_use]
    pub fn new() -> Self {
        Self {
            events: Vec::new(),
            stored: BTreeSet::new(),
            revision: 1,
            compact_revision: -1,
            pending: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// The current revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The last compaction; -1 if there was none.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// Executes the writes in order as one transaction and returns what changed.
    pub fn txn(&mut self, writes: &[Write]) -> Vec<Event> {
        let main = self.revision + 1;
        let from = self.events.len();
        for write in writes {
            let state = self.state_at(i64::MAX);
            let changes: Vec<(Vec<u8>, Option<KeyValue>)> = match write {
                Write::Put { key, value, lease } => {
                    let old = state.get(key);
                    let after = KeyValue {
                        key: key.clone(),
                        create_revision: old.map_or(main, |old| old.create_revision),
                        mod_revision: main,
                        version: old.map_or(1, |old| old.version + 1),
                        value: value.clone(),
                        lease: *lease,
                    };
                    vec![(key.clone(), Some(after))]
                }
                Write::Delete { key, range_end } => {
                    let hit = state.keys().filter(|candidate| is_within(candidate, key, range_end));
                    hit.map(|hit| (hit.clone(), None)).collect()
                }
            };
            for (key, after) in changes {
                let sub = i64::try_from(self.events.len() - from).expect("few events");
                let before = state.get(&key).cloned();
                self.stored.insert((main, sub));
                self.events.push(Event { revision: (main, sub), key, after, before });
            }
        }
        let changes = self.events[from..].to_vec();
        if !changes.is_empty() {
            self.revision = main;
        }
        changes
    }

    /// All live keys at a revision.
    #[must_use]
    pub fn state_at(&self, revision: i64) -> BTreeMap<Vec<u8>, KeyValue> {
        let mut state = BTreeMap::new();
        for event in self.events.iter().take_while(|event| event.revision.0 <= revision) {
            match &event.after {
                Some(after) => state.insert(event.key.clone(), after.clone()),
                None => state.remove(&event.key),
            };
        }
        state
    }

    /// Answers a range request.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future.
    pub fn range(&self, query: &Query) -> Result<Answer, Refused> {
        let revision = if query.revision <= 0 { self.revision } else { query.revision };
        if revision > self.revision {
            return Err(Refused::Future);
        }
        if revision < self.compact_revision {
            return Err(Refused::Compacted);
        }
        let state = self.state_at(revision);
        let within = |record: &KeyValue| is_within(&record.key, &query.key, &query.range_end);
        Ok(answer(state.into_values().filter(within).collect(), query))
    }

    /// What happened in the revisions `from..=to`, as far as it is still stored.
    ///
    /// # Errors
    ///
    /// `from` is compacted.
    pub fn history(&self, from: i64, to: i64) -> Result<Vec<&Event>, Refused> {
        if from < self.compact_revision {
            return Err(Refused::Compacted);
        }
        Ok(self.stored().filter(|event| (from..=to).contains(&event.revision.0)).collect())
    }

    /// What is stored, as keys and values of the table.
    #[must_use]
    pub fn stored_rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.stored().map(Event::row).collect()
    }

    /// Events that are stored.
    fn stored(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| self.stored.contains(&event.revision))
    }
}

/// Answers a request from the records that its range has at its revision, in the order of keys.
#[must_use]
pub fn answer(mut records: Vec<KeyValue>, query: &Query) -> Answer {
    let count = i64::try_from(records.len()).expect("few records");
    if query.count_only {
        return Answer { records: Vec::new(), more: false, count };
    }
    let limit = if query.limit > 0 { usize::try_from(query.limit).unwrap_or(usize::MAX) } else { usize::MAX };
    let is_key_order =
        query.order == Order::None || (query.order, query.target) == (Order::Ascend, Target::Key);
    if is_key_order && query.mod_revisions == (0, 0) && query.create_revisions == (0, 0) {
        records.truncate(limit.saturating_add(1));
    }
    let passes = |revision: i64, (low, high): (i64, i64)| {
        (low == 0 || revision >= low) && (high == 0 || revision <= high)
    };
    records.retain(|record| {
        passes(record.mod_revision, query.mod_revisions)
            && passes(record.create_revision, query.create_revisions)
    });
    records.sort_by(|a, b| {
        let order = match query.target {
            Target::Key => a.key.cmp(&b.key),
            Target::Version => a.version.cmp(&b.version),
            Target::Create => a.create_revision.cmp(&b.create_revision),
            Target::Mod => a.mod_revision.cmp(&b.mod_revision),
            Target::Value => a.value.cmp(&b.value),
        };
        if query.order == Order::Descend { order.reverse() } else { order }
    });
    let more = records.len() > limit;
    records.truncate(limit);
    if query.keys_only {
        for record in &mut records {
            record.value.clear();
            // A sort by value reads the records, everything else is answered from the index.
            if query.target != Target::Value {
                record.lease = 0;
            }
        }
    }
    Answer { records, more, count }
}

/// Whether a key is in a range that is given as on the wire.
fn is_within(candidate: &[u8], key: &[u8], range_end: &[u8]) -> bool {
    match range_end {
        [] => candidate == key,
        [0] => candidate >= key,
        end => candidate >= key && candidate < end,
    }
}
