//! The reference for watches: all events ever, and a check that replays them against what one watcher was sent.

use std::collections::BTreeMap;

/// Everything that happened to the keys.
#[derive(Clone, Debug)]
pub struct WatchModel {
    events: Vec<ModelEvent>,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    current: i64,
    compacted: i64,
}

/// One change of one key, with all that can be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEvent {
    /// The main revision.
    pub revision: i64,
    /// The key.
    pub key: Vec<u8>,
    /// The value that was written; `None` for a delete.
    pub value: Option<Vec<u8>>,
    /// Whether the key did not exist before.
    pub created: bool,
    /// The value before.
    pub previous: Option<Vec<u8>>,
}

/// What one watcher asked for, as on the wire.
#[derive(Clone, Debug)]
pub struct ModelWish {
    /// The first key.
    pub key: Vec<u8>,
    /// Empty for the one key, one zero byte for no end, else the end.
    pub range_end: Vec<u8>,
    /// The first revision; 0 for the one after the current.
    pub start_revision: i64,
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
    /// With the value before.
    pub prev_kv: bool,
}

/// One response to a watcher, after its creation.
#[derive(Clone, Debug)]
pub struct ModelResponse {
    /// The header's revision.
    pub revision: i64,
    /// Whether more of the same response follows.
    pub fragment: bool,
    /// The events.
    pub events: Vec<ModelEvent>,
}

impl WatchModel {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Self { events: Vec::new(), values: BTreeMap::new(), current: 1, compacted: 0 }
    }

    /// One transaction: writes (`Some`) and deletes (`None`) of different keys. Deleting what is not there changes
    /// nothing; a transaction that changes nothing has no revision.
    pub fn change(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> &[ModelEvent] {
        let before = self.events.len();
        let revision = self.current + 1;
        for (key, value) in changes {
            let previous = match &value {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(&key),
            };
            if value.is_some() || previous.is_some() {
                let created = value.is_some() && previous.is_none();
                self.events.push(ModelEvent { revision, key, value, created, previous });
            }
        }
        self.current += i64::from(self.events.len() > before);
        &self.events[before..]
    }

    /// Forgets how things were before `revision`.
    pub fn compact(&mut self, revision: i64) {
        assert!(self.compacted <= revision && revision <= self.current);
        self.compacted = revision;
    }

    /// The current revision.
    pub fn current(&self) -> i64 {
        self.current
    }

    /// The revision of the last compaction, 0 if there was none.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// All events from a revision on.
    pub fn events_from(&self, revision: i64) -> &[ModelEvent] {
        &self.events[self.events.partition_point(|event| event.revision < revision)..]
    }
}

impl Default for WatchModel {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelWish {
    /// Whether the watcher has to be told of the event.
    pub fn covers(&self, event: &ModelEvent) -> bool {
        let in_range = match self.range_end.as_slice() {
            [] => event.key == self.key,
            [0] => event.key >= self.key,
            end => event.key >= self.key && event.key.as_slice() < end,
        };
        let filtered = if event.value.is_some() { self.no_put } else { self.no_delete };
        in_range && !filtered
    }
}

/// Follows one watcher and compares what it is sent with the replay of all events.
#[derive(Clone, Debug)]
pub struct WatchCheck {
    wish: ModelWish,
    /// The first revision to be told of.
    start: i64,
    /// Where the replay stands: the place among all events of the next one to look at.
    place: usize,
    /// The last revision in a header, which promised all events up to it.
    promised: i64,
    /// The last event's revision, if it ended a whole response.
    last_whole: Option<i64>,
    /// The header of the response of which fragments came.
    fragments_of: Option<i64>,
}

/// A guarantee that was broken, and how.
pub type Violation = String;

impl WatchCheck {
    /// The watcher was created, which was answered with this revision.
    pub fn new(model: &WatchModel, wish: ModelWish, created_at: i64) -> Self {
        let start = if wish.start_revision == 0 { created_at + 1 } else { wish.start_revision };
        let place = model.events.partition_point(|event| event.revision < start);
        Self { wish, start, place, promised: 0, last_whole: None, fragments_of: None }
    }

    /// A response with events.
    ///
    /// # Errors
    ///
    /// Names the guarantee that it breaks.
    pub fn on_events(&mut self, model: &WatchModel, response: &ModelResponse) -> Result<(), Violation> {
        if response.events.is_empty() {
            return Err("a response without events looks like a progress notification".into());
        }
        if self.fragments_of.is_some_and(|revision| revision != response.revision) {
            return Err("atomic: another response came between fragments".into());
        }
        if self.fragments_of.is_none() && self.last_whole == Some(response.events[0].revision) {
            return Err(format!("atomic: revision {} was divided", response.events[0].revision));
        }
        for event in &response.events {
            self.on_event(model, event)?;
        }
        self.fragments_of = response.fragment.then_some(response.revision);
        if !response.fragment {
            self.last_whole = response.events.last().map(|event| event.revision);
            if self.last_whole > Some(response.revision) {
                return Err(format!("bookmarkable: header {} is below its events", response.revision));
            }
            self.promise(model, response.revision)?;
        }
        Ok(())
    }

    /// Nothing but a revision, for this watcher or for all of its stream.
    ///
    /// # Errors
    ///
    /// Names the guarantee that it breaks.
    pub fn on_progress(&mut self, model: &WatchModel, revision: i64) -> Result<(), Violation> {
        if self.fragments_of.is_some() {
            return Err("atomic: a notification came between fragments".into());
        }
        if revision < self.wish.start_revision {
            return Err(format!("a notification at {revision} came before the watcher starts"));
        }
        self.promise(model, revision)
    }

    /// The watcher was ended because history is gone. Whether it was behind only its hub knows; what can be told is
    /// that a watcher which was promised as much as is gone did not need it.
    ///
    /// # Errors
    ///
    /// Says why that cannot be.
    pub fn on_compacted(&mut self, model: &WatchModel, compact_revision: i64) -> Result<(), Violation> {
        if compact_revision > model.compacted || compact_revision == 0 {
            return Err(format!("reliable: there was no compaction at {compact_revision}"));
        }
        if self.promised + 1 >= compact_revision {
            return Err(format!(
                "reliable: nothing below {compact_revision} was needed, {} was reached",
                self.promised
            ));
        }
        Ok(())
    }

    /// Everything was sent.
    ///
    /// # Errors
    ///
    /// Names an event that was not.
    pub fn at_head(&self, model: &WatchModel) -> Result<(), Violation> {
        match self.missed(model) {
            Some(event) => Err(format!("reliable: {event:?} was never sent")),
            None if self.fragments_of.is_some() => Err("reliable: the last fragment was never sent".into()),
            None => Ok(()),
        }
    }

    /// What the watcher asked for.
    pub fn wish(&self) -> &ModelWish {
        &self.wish
    }

    /// The first event that the watcher has to be sent and was not.
    fn missed<'a>(&self, model: &'a WatchModel) -> Option<&'a ModelEvent> {
        model.events[self.place..]
            .iter()
            .find(|event| event.revision >= self.start && self.wish.covers(event))
    }

    fn promise(&mut self, model: &WatchModel, revision: i64) -> Result<(), Violation> {
        if revision > model.current {
            return Err(format!("bookmarkable: revision {revision} does not exist yet"));
        }
        if revision < self.promised {
            return Err(format!("bookmarkable: {revision} came after {}", self.promised));
        }
        if let Some(missed) = self.missed(model).filter(|missed| missed.revision <= revision) {
            return Err(format!("bookmarkable: {revision} was promised before {missed:?} was sent"));
        }
        self.promised = revision;
        // Nothing up to there is missing.
        let promised = model.events.partition_point(|event| event.revision <= revision);
        self.place = self.place.max(promised);
        Ok(())
    }

    fn on_event(&mut self, model: &WatchModel, sent: &ModelEvent) -> Result<(), Violation> {
        if !self.wish.covers(sent) {
            return Err(format!("filter: {sent:?} was not asked for"));
        }
        if sent.revision <= self.promised {
            return Err(format!("bookmarkable: {sent:?} was sent after {} was promised", self.promised));
        }
        let Some(expected) = self.missed(model).filter(|event| is_same_change(event, sent)) else {
            return Err(self.name_disorder(model, sent));
        };
        if (&sent.value, sent.created) != (&expected.value, expected.created) {
            return Err(format!("created or modified: {sent:?} is not {expected:?}"));
        }
        let may_lack_previous = !self.wish.prev_kv || sent.revision - 1 < model.compacted;
        let previous_is_right = match &sent.previous {
            Some(_) => self.wish.prev_kv && sent.previous == expected.previous,
            None => may_lack_previous || expected.previous.is_none(),
        };
        if !previous_is_right {
            return Err(format!("previous value: {sent:?} is not {expected:?}"));
        }
        let skipped = model.events[self.place..].iter().take_while(|event| *event != expected).count();
        self.place += skipped + 1;
        Ok(())
    }

    /// What is wrong with an event that is not the next one.
    fn name_disorder(&self, model: &WatchModel, sent: &ModelEvent) -> Violation {
        let is_old = |event: &ModelEvent| is_same_change(event, sent);
        if sent.revision < self.start || model.events[..self.place].iter().any(is_old) {
            return format!("ordered, unique: {sent:?} was sent before, or is below the start");
        }
        match self.missed(model) {
            Some(expected) => format!("reliable, resumable: {sent:?} was sent and {expected:?} was not"),
            None => format!("{sent:?} never happened"),
        }
    }
}

fn is_same_change(one: &ModelEvent, other: &ModelEvent) -> bool {
    (one.revision, &one.key) == (other.revision, &other.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> WatchModel {
        let mut model = WatchModel::new();
        model.change(vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), Some(b"1".to_vec()))]);
        model.change(vec![(b"a".to_vec(), Some(b"2".to_vec()))]);
        model.change(vec![(b"a".to_vec(), None)]);
        model
    }

    fn wish() -> ModelWish {
        let (key, range_end) = (vec![0], vec![0]);
        ModelWish { key, range_end, start_revision: 2, no_put: false, no_delete: false, prev_kv: true }
    }

    fn check(responses: &[(i64, &[usize])]) -> Result<(), Violation> {
        let model = model();
        let mut check = WatchCheck::new(&model, wish(), 4);
        for (revision, places) in responses {
            let events = places.iter().map(|place| model.events[*place].clone()).collect();
            check.on_events(&model, &ModelResponse { revision: *revision, fragment: false, events })?;
        }
        check.at_head(&model)
    }

    #[test]
    fn the_replay_passes_in_any_portions_of_whole_revisions() {
        assert_eq!(check(&[(4, &[0, 1, 2, 3])]), Ok(()));
        assert_eq!(check(&[(2, &[0, 1]), (3, &[2]), (4, &[3])]), Ok(()));
    }

    #[test]
    fn each_broken_guarantee_is_named() {
        for (responses, guarantee) in [
            (&[(4, &[0, 1][..]), (4, &[2, 3])][..], "bookmarkable"),
            (&[(2, &[0, 1]), (3, &[3])], "reliable"),
            (&[(2, &[0, 1]), (3, &[2])], "reliable"),
            (&[(1, &[0]), (3, &[1, 2])], "bookmarkable"),
            (&[(2, &[0, 1]), (4, &[0, 2, 3])], "atomic"),
            (&[(3, &[0, 1, 0, 2])], "ordered, unique"),
            (&[(3, &[1, 0])], "reliable, resumable"),
        ] {
            let violation = check(responses).expect_err("the responses are wrong");
            assert!(violation.starts_with(guarantee), "{violation}");
        }
    }
}
