//! What was tried, what the server says happened, and whether the two agree.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use etched_proto::mvccpb::{Event, KeyValue};
use prost::Message as _;

/// One change of one key, as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) main: i64,
    pub(super) sub: i64,
    pub(super) key: Bytes,
    pub(super) is_delete: bool,
    /// The stored value: an encoded key-value.
    pub(super) stored: Bytes,
}

/// What one write does: keys with their new values, `None` for a deletion, in order.
pub(super) type Ops = Vec<(Bytes, Option<Bytes>)>;

/// A write that was sent.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) ops: Ops,
    /// What else an unanswered write may have done. Written values are unique, so only one of the two can be found.
    pub(super) or: Option<Ops>,
    /// The revision that the answer told; `None` if there was no answer.
    pub(super) revision: Option<i64>,
}

/// Counts for the closing line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) unanswered: u64,
    /// Unanswered writes that took place.
    pub(super) found: u64,
}

/// The whole history as the server told it, checked against what was tried.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: Vec<Change>,
    live: BTreeMap<Bytes, KeyValue>,
    /// Unanswered writes that have not been seen, by what they do.
    open: BTreeMap<Ops, u64>,
    pub(super) revision: i64,
    pub(super) tally: Tally,
}

impl History {
    pub(super) fn new() -> Self {
        Self { revision: 1, ..Self::default() }
    }

    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The keys and values that should be there.
    pub(super) fn live(&self) -> impl Iterator<Item = &KeyValue> {
        self.live.values()
    }

    /// Takes up what was tried since the last call and the events of all revisions since then.
    ///
    /// # Errors
    /// If an answered write is missing, is there twice or elsewhere, a revision is missing, or something happened
    /// that nobody asked for.
    pub(super) fn extend(&mut self, attempts: Vec<Attempt>, events: &[Event], current: i64) -> Result<()> {
        let mut answered = BTreeMap::new();
        for attempt in attempts {
            match attempt.revision {
                Some(revision) => {
                    self.tally.answered += 1;
                    let other = answered.insert(revision, attempt.ops);
                    ensure!(other.is_none(), "two writes were answered with revision {revision}");
                }
                None => {
                    self.tally.unanswered += 1;
                    for ops in [Some(attempt.ops), attempt.or].into_iter().flatten() {
                        *self.open.entry(ops).or_default() += 1;
                    }
                }
            }
        }
        for revision in events.chunk_by(|a, b| main_of(a) == main_of(b)) {
            let ops = self.apply(revision)?;
            match answered.remove(&self.revision) {
                Some(expected) => ensure!(
                    expected == ops,
                    "revision {}: answered for {expected:?}, but it holds {ops:?}",
                    self.revision
                ),
                None => self.find_open(&ops)?,
            }
        }
        if let Some((revision, ops)) = answered.pop_first() {
            bail!(
                "{} answered writes are lost, the first at revision {revision}: {ops:?}",
                answered.len() + 1
            );
        }
        ensure!(self.revision == current, "the store is at {current}, its history ends at {}", self.revision);
        Ok(())
    }

    /// A change that no answer told of must be one of the unanswered writes, each at most once.
    fn find_open(&mut self, ops: &Ops) -> Result<()> {
        let revision = self.revision;
        let count =
            self.open.get_mut(ops).with_context(|| format!("revision {revision}: nobody wrote {ops:?}"))?;
        *count -= 1;
        if *count == 0 {
            self.open.remove(ops);
        }
        self.tally.found += 1;
        Ok(())
    }

    /// Applies the events of the next revision and checks their counters.
    fn apply(&mut self, events: &[Event]) -> Result<Ops> {
        let mut ops = Ops::new();
        for (event, sub) in events.iter().zip(0..) {
            let kv = event.kv.clone().context("an event has a key-value")?;
            let main = kv.mod_revision;
            ensure!(main == self.revision + 1, "revision {main} follows {}", self.revision);
            let is_delete = event.r#type == 1;
            let stored = if is_delete {
                let gone = self.live.remove(&kv.key);
                ensure!(gone.is_some(), "revision {main} deletes {:?}, which is not there", kv.key);
                KeyValue { key: kv.key.clone(), ..Default::default() }.encode_to_vec()
            } else {
                self.check_put(&kv)?;
                self.live.insert(kv.key.clone(), kv.clone());
                kv.encode_to_vec()
            };
            self.changes.push(Change { main, sub, key: kv.key.clone(), is_delete, stored: stored.into() });
            ops.push((kv.key, (!is_delete).then_some(kv.value)));
        }
        self.revision += 1;
        Ok(ops)
    }

    fn check_put(&self, kv: &KeyValue) -> Result<()> {
        let (create, version) =
            self.live.get(&kv.key).map_or((kv.mod_revision, 1), |old| (old.create_revision, old.version + 1));
        let right = kv.create_revision == create && kv.version == version;
        ensure!(right, "{kv:?} should have the version {version} and be created at {create}");
        Ok(())
    }
}

fn main_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: i64, key: &str, value: &str) -> Event {
        let kv = KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            ..Default::default()
        };
        Event { kv: Some(kv), ..Default::default() }
    }

    fn attempt(key: &str, value: &str, revision: Option<i64>) -> Attempt {
        Attempt { ops: vec![(key.to_owned().into(), Some(value.to_owned().into()))], or: None, revision }
    }

    #[test]
    fn an_unanswered_write_may_be_there_once() {
        let mut history = History::new();
        let attempts = vec![attempt("a", "1", Some(2)), attempt("b", "2", None), attempt("c", "3", None)];
        history.extend(attempts, &[put(2, "a", "1"), put(3, "b", "2")], 3).unwrap();
        assert_eq!(history.tally.found, 1);
        let again = history.extend(Vec::new(), &[put(4, "d", "2")], 4).unwrap_err();
        assert!(again.to_string().contains("nobody wrote"), "{again}");
    }

    #[test]
    fn a_lost_answered_write_is_found() {
        let error = History::new().extend(vec![attempt("a", "1", Some(2))], &[], 1).unwrap_err();
        assert!(error.to_string().contains("lost"), "{error}");
    }

    #[test]
    fn a_gap_between_revisions_is_found() {
        let attempts = vec![attempt("a", "1", Some(2)), attempt("b", "1", Some(4))];
        let error = History::new().extend(attempts, &[put(2, "a", "1"), put(4, "b", "1")], 4).unwrap_err();
        assert!(error.to_string().contains("revision 4 follows 2"), "{error}");
    }
}
