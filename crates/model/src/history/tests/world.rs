//! A store that does everything right, one call after the other, and writes a history of it.

use crate::history::execute::execute;
use crate::history::log::Change;
use crate::history::{
    Answer, Body, Call, Compare, Delete, Event, Hash, History, Log, Message, Outcome, Put, Range, Record,
    Refusal, Relation, Request, Step, Stream, Target, Told, Txn, Wish,
};

/// The time between two calls.
pub(super) const STEP: u64 = 1_000_000;

pub(super) struct World {
    pub(super) history: History,
    pub(super) time: u64,
    log: Log,
}

impl World {
    /// An empty store; watch 0 is told of everything.
    pub(super) fn new() -> Self {
        let wish = Wish { key: "\0".into(), end: "\0".into(), start: 1, previous: true, ..Wish::default() };
        let scribe = Stream { wish, created: Some(1), ..Stream::default() };
        let history = History { streams: vec![scribe], ..History::default() };
        Self { history, time: STEP, log: Log::default() }
    }

    /// Some of everything.
    pub(super) fn busy() -> Self {
        let mut world = Self::new();
        for round in 0..4 {
            world.put("a", &format!("a{round}"));
            world.put("b", &format!("b{round}"));
            world.call(txn(
                vec![compare("a", Relation::Equal, Target::Value(format!("a{round}")))],
                vec![
                    put_step("a", &format!("x{round}")),
                    delete_step("b", ""),
                    put_step("c", &format!("c{round}")),
                ],
                vec![],
            ));
            world.read("a", "z");
            world.call(Request::Delete(Delete { key: "a".into(), end: "c".into(), previous: true }));
        }
        world
    }

    pub(super) fn revision(&self) -> i64 {
        self.log.end()
    }

    /// A call that is executed and answered. Returns its place.
    pub(super) fn call(&mut self, request: Request) -> usize {
        let (body, revision) = self.execute(&request);
        self.record(request, Outcome::Answered(Answer { revision, body }))
    }

    /// A call that is not answered, executed or not.
    pub(super) fn unanswered(&mut self, request: Request, happens: bool) -> usize {
        if happens {
            self.execute(&request);
        }
        self.record(request, Outcome::Unknown)
    }

    pub(super) fn refused(&mut self, request: Request, refusal: Refusal) -> usize {
        self.record(request, Outcome::Refused(refusal))
    }

    pub(super) fn record(&mut self, request: Request, outcome: Outcome) -> usize {
        let (invoked, returned) = (self.time - STEP / 2, self.time + STEP / 4);
        self.time += STEP;
        let call = Call { client: 0, member: 0, boot: Some(0), invoked, returned, request, outcome };
        self.history.calls.push(call);
        self.history.calls.len() - 1
    }

    /// Executes without a record of the call.
    pub(super) fn execute(&mut self, request: &Request) -> (Body, i64) {
        let effect = execute(&self.log, self.log.end(), request);
        if !effect.changes.is_empty() {
            let revision = self.log.end() + 1;
            let events: Vec<Event> = effect.changes.iter().map(|change| event(revision, change)).collect();
            self.log.push(&events, &mut Vec::new());
            let what = Message::Events { events, fragment: false };
            self.history.streams[0].told.push(Told { at: self.time, revision, what });
        }
        (effect.body, self.log.end())
    }

    pub(super) fn put(&mut self, key: &str, value: &str) -> usize {
        self.call(put(key, value))
    }

    pub(super) fn read(&mut self, key: &str, end: &str) -> usize {
        self.call(Request::Range(Range { key: key.into(), end: end.into(), ..Range::default() }))
    }

    /// A watch that is told of everything at the end, a message for each revision.
    pub(super) fn watch(&mut self, wish: Wish) -> usize {
        let mut told = Vec::new();
        for revision in wish.start.max(2)..=self.log.end() {
            let events: Vec<Event> =
                self.log.changes(revision).iter().map(|change| event(revision, change)).collect();
            told.push(Told { at: self.time, revision, what: Message::Events { events, fragment: false } });
        }
        let created = Some(self.revision());
        self.history.streams.push(Stream { wish, created, invoked: self.time, told, ..Stream::default() });
        self.history.streams.len() - 1
    }

    pub(super) fn hash(&mut self, member: u32, hash: u32) {
        let revision = self.revision();
        self.history.hashes.push(Hash { member, revision, compacted: -1, hash });
    }

    /// The answer of a call, to be falsified.
    pub(super) fn answer(&mut self, place: usize) -> &mut Answer {
        match &mut self.history.calls[place].outcome {
            Outcome::Answered(answer) => answer,
            other @ (Outcome::Unknown | Outcome::Refused(_)) => panic!("{other:?} is no answer"),
        }
    }

    /// The events of a message to a watch, to be falsified.
    pub(super) fn events(&mut self, stream: usize, message: usize) -> &mut Vec<Event> {
        match &mut self.history.streams[stream].told[message].what {
            Message::Events { events, .. } => events,
            other @ (Message::Progress | Message::Compacted(_)) => panic!("{other:?} has no events"),
        }
    }
}

fn event(revision: i64, change: &Change) -> Event {
    let gone = Record { key: change.key.clone(), modified: revision, ..Record::default() };
    Event {
        deleted: change.after.is_none(),
        record: change.after.clone().unwrap_or(gone),
        previous: change.before.clone(),
    }
}

pub(super) fn put(key: &str, value: &str) -> Request {
    Request::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
}

pub(super) fn put_with(key: &str, value: &str, lease: i64) -> Request {
    Request::Put(Put { key: key.into(), value: value.into(), lease, previous: false })
}

pub(super) fn put_step(key: &str, value: &str) -> Step {
    Step::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
}

pub(super) fn delete(key: &str) -> Request {
    Request::Delete(Delete { key: key.into(), ..Delete::default() })
}

pub(super) fn delete_step(key: &str, end: &str) -> Step {
    Step::Delete(Delete { key: key.into(), end: end.into(), previous: false })
}

pub(super) fn compare(key: &str, relation: Relation, target: Target) -> Compare {
    Compare { key: key.into(), relation, target }
}

pub(super) fn txn(compares: Vec<Compare>, success: Vec<Step>, failure: Vec<Step>) -> Request {
    Request::Txn(Txn { compares, success, failure })
}

pub(super) fn all() -> Wish {
    Wish { key: "\0".into(), end: "\0".into(), start: 2, previous: true, ..Wish::default() }
}
