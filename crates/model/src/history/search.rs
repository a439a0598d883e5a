//! A search for an order of calls that explains their answers, for one key at a time, without looking at revisions.
//!
//! The method is that of Wing and Gong, with Lowe's memory of what was tried: calls are taken in any order that real
//! time allows, and taken back where an answer does not fit.
//! It works for keys that no call touches together with others: what is true of each of them is true of all.
//! A key with many unanswered calls may take too long; it is then counted as undecided.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Body, Call, Compare, History, Outcome, Put, Record, Relation, Request, Step, Target, Txn, Violation,
    is_within,
};

/// What a search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Keys for which an order was found, or none exists.
    pub keys: usize,
    /// Calls of these keys.
    pub calls: usize,
    /// Keys that took too long.
    pub undecided: usize,
}

/// Searches an order for each key that is used alone.
pub(super) fn check(history: &History, budget: usize, violations: &mut Vec<Violation>) -> Searched {
    let mut searched = Searched::default();
    for (key, operations) in by_key(history) {
        let count = operations.len();
        match Search::new(operations).run(budget) {
            Found::Order => {}
            Found::TooLong => {
                searched.undecided += 1;
                continue;
            }
            Found::None(calls) => {
                let story = format!("no order of the calls of {key:?} explains all answers");
                violations.push(Violation::new("linearizable", 0, &calls, story));
            }
        }
        searched.keys += 1;
        searched.calls += count;
    }
    searched
}

/// A call of one key.
struct Operation<'a> {
    place: usize,
    call: &'a Call,
    /// The answer without revisions; nothing if there was none.
    answer: Option<Body>,
}

/// The calls of each key that is used alone, without unanswered reads.
fn by_key(history: &History) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut keys: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    let mut excluded: Vec<(&str, &str)> = Vec::new();
    for (place, call) in history.calls.iter().enumerate() {
        let answer = match &call.outcome {
            Outcome::Refused(_) => continue,
            Outcome::Unknown if matches!(call.request, Request::Range(_)) => continue,
            Outcome::Unknown => None,
            Outcome::Answered(answer) => Some(without_revisions(&answer.body)),
        };
        match alone(&call.request) {
            Alone::Key(key) => keys.entry(key).or_default().push(Operation { place, call, answer }),
            Alone::Irrelevant => {}
            Alone::No(touched) => excluded.extend(touched),
        }
    }
    keys.retain(|key, _| !excluded.iter().any(|(from, end)| is_within(key, from, end)));
    keys
}

/// What a request has to do with single keys.
enum Alone<'a> {
    /// It is about this key only.
    Key(&'a str),
    /// It changes nothing, or no keys.
    Irrelevant,
    /// It changes these ranges in a way that is more than one key's.
    No(Vec<(&'a str, &'a str)>),
}

fn alone(request: &Request) -> Alone<'_> {
    match request {
        Request::Range(range) => {
            let is_plain = range.end.is_empty() && range.revision == 0 && !range.serializable;
            if is_plain { Alone::Key(&range.key) } else { Alone::Irrelevant }
        }
        Request::Put(put) if put.lease == 0 => Alone::Key(&put.key),
        Request::Put(put) => Alone::No(vec![(&put.key, "")]),
        Request::Delete(delete) if delete.end.is_empty() => Alone::Key(&delete.key),
        Request::Delete(delete) => Alone::No(vec![(&delete.key, &delete.end)]),
        Request::Txn(txn) => alone_in_txn(txn),
        Request::Grant { .. }
        | Request::Revoke { .. }
        | Request::KeepAlive { .. }
        | Request::Compact { .. } => Alone::Irrelevant,
    }
}

fn alone_in_txn(txn: &Txn) -> Alone<'_> {
    let mut keys: BTreeSet<&str> = txn.compares.iter().map(|compare| compare.key.as_str()).collect();
    let mut is_plain =
        txn.compares.iter().all(|compare| matches!(compare.target, Target::Value(_) | Target::Version(_)));
    let mut written = Vec::new();
    for step in txn.success.iter().chain(&txn.failure) {
        let (key, end) = match step {
            Step::Range(range) => {
                is_plain &= range.revision == 0;
                (range.key.as_str(), range.end.as_str())
            }
            Step::Put(put) => {
                is_plain &= put.lease == 0;
                (put.key.as_str(), "")
            }
            Step::Delete(delete) => (delete.key.as_str(), delete.end.as_str()),
        };
        if !matches!(step, Step::Range(_)) {
            written.push((key, end));
        }
        is_plain &= end.is_empty();
        keys.insert(key);
    }
    match keys.first() {
        Some(key) if is_plain && keys.len() == 1 => Alone::Key(key),
        Some(_) | None if written.is_empty() => Alone::Irrelevant,
        Some(_) | None => Alone::No(written),
    }
}

/// A key: its value and version; nothing if it does not exist.
type State = Option<(String, i64)>;

fn without_revisions(body: &Body) -> Body {
    let record = |record: &Record| Record { created: 0, modified: 0, lease: 0, ..record.clone() };
    match body {
        Body::Range { records, count, more } => {
            Body::Range { records: records.iter().map(record).collect(), count: *count, more: *more }
        }
        Body::Put { previous } => Body::Put { previous: previous.as_ref().map(record) },
        Body::Delete { deleted, previous } => {
            Body::Delete { deleted: *deleted, previous: previous.iter().map(record).collect() }
        }
        Body::Txn { succeeded, steps } => {
            Body::Txn { succeeded: *succeeded, steps: steps.iter().map(without_revisions).collect() }
        }
        Body::Life { .. } | Body::Done => body.clone(),
    }
}

fn record(key: &str, state: &State) -> Option<Record> {
    state.as_ref().map(|(value, version)| Record {
        key: key.to_owned(),
        value: value.clone(),
        version: *version,
        ..Record::default()
    })
}

/// What a call does to its key.
fn apply(state: &State, request: &Request) -> (State, Body) {
    match request {
        Request::Range(range) => (state.clone(), read(&range.key, state)),
        Request::Put(put) => write(state, put),
        Request::Delete(delete) => remove(state, &delete.key, delete.previous),
        Request::Txn(txn) => {
            let succeeded = txn.compares.iter().all(|compare| holds(compare, state));
            let mut state = state.clone();
            let mut steps = Vec::new();
            for step in if succeeded { &txn.success } else { &txn.failure } {
                let (after, body) = match step {
                    Step::Range(range) => (state.clone(), read(&range.key, &state)),
                    Step::Put(put) => write(&state, put),
                    Step::Delete(delete) => remove(&state, &delete.key, delete.previous),
                };
                state = after;
                steps.push(body);
            }
            (state, Body::Txn { succeeded, steps })
        }
        Request::Grant { .. }
        | Request::Revoke { .. }
        | Request::KeepAlive { .. }
        | Request::Compact { .. } => (state.clone(), Body::Done),
    }
}

fn read(key: &str, state: &State) -> Body {
    let records: Vec<Record> = record(key, state).into_iter().collect();
    let count = i64::from(!records.is_empty());
    Body::Range { records, count, more: false }
}

fn write(state: &State, put: &Put) -> (State, Body) {
    let previous = record(&put.key, state).filter(|_| put.previous);
    let version = state.as_ref().map_or(1, |(_, version)| version + 1);
    (Some((put.value.clone(), version)), Body::Put { previous })
}

fn remove(state: &State, key: &str, previous: bool) -> (State, Body) {
    let gone: Vec<Record> = record(key, state).into_iter().collect();
    let deleted = i64::from(!gone.is_empty());
    (None, Body::Delete { deleted, previous: if previous { gone } else { Vec::new() } })
}

fn holds(compare: &Compare, state: &State) -> bool {
    let order = match (&compare.target, state) {
        (Target::Value(_), None) => return false,
        (Target::Value(value), Some((held, _))) => held.cmp(value),
        (Target::Version(version), state) => state.as_ref().map_or(0, |(_, held)| *held).cmp(version),
        (Target::Created(_) | Target::Modified(_), _) => return false,
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
    }
}

/// What a search found.
enum Found {
    Order,
    TooLong,
    /// There is no order; the calls at which the longest attempt ended.
    None(Vec<usize>),
}

/// A moment: a call begins or its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Begin(usize),
    Answer(usize),
}

/// The state of a search. Moments are a doubly linked list from which calls are taken; place 0 is before the first.
struct Search<'a> {
    operations: Vec<Operation<'a>>,
    moments: Vec<Moment>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The places of each call's moments; 0 where no answer came.
    places: Vec<(usize, usize)>,
}

impl<'a> Search<'a> {
    fn new(operations: Vec<Operation<'a>>) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            times.push((operation.call.invoked, false, index));
            if operation.answer.is_some() {
                times.push((operation.call.returned, true, index));
            }
        }
        // At the same time, beginnings come first: such calls overlap.
        times.sort_unstable();
        let mut places = vec![(0, 0); operations.len()];
        let mut moments = vec![Moment::Begin(usize::MAX)];
        for (_, is_answer, index) in times {
            let place = moments.len();
            if is_answer {
                places[index].1 = place;
                moments.push(Moment::Answer(index));
            } else {
                places[index].0 = place;
                moments.push(Moment::Begin(index));
            }
        }
        let count = moments.len();
        let next = (1..count).chain([0]).collect();
        let previous = [count - 1].into_iter().chain(0..count - 1).collect();
        Self { operations, moments, next, previous, places }
    }

    /// Takes a call out of the list.
    fn lift(&mut self, index: usize) {
        let (begin, answer) = self.places[index];
        for place in [begin, answer] {
            if place != 0 {
                let (before, after) = (self.previous[place], self.next[place]);
                self.next[before] = after;
                self.previous[after] = before;
            }
        }
    }

    /// Puts back the call that was taken last.
    fn unlift(&mut self, index: usize) {
        let (begin, answer) = self.places[index];
        for place in [answer, begin] {
            if place != 0 {
                let (before, after) = (self.previous[place], self.next[place]);
                self.next[before] = place;
                self.previous[after] = place;
            }
        }
    }

    fn run(mut self, budget: usize) -> Found {
        let mut open = self.operations.iter().filter(|operation| operation.answer.is_some()).count();
        let mut state: State = None;
        let mut taken: Vec<(usize, State)> = Vec::new();
        let mut is_taken = vec![0_u64; self.operations.len().div_ceil(64)];
        let mut tried: BTreeSet<(Vec<u64>, State)> = BTreeSet::new();
        let mut longest = (0, Vec::new());
        let mut place = self.next[0];
        for _ in 0..budget {
            if open == 0 {
                return Found::Order;
            }
            match self.moments[place] {
                Moment::Begin(index) => {
                    let operation = &self.operations[index];
                    let (after, body) = apply(&state, &operation.call.request);
                    let fits = operation.answer.as_ref().is_none_or(|answer| *answer == body);
                    is_taken[index / 64] ^= 1 << (index % 64);
                    if fits && tried.insert((is_taken.clone(), after.clone())) {
                        open -= usize::from(operation.answer.is_some());
                        taken.push((index, std::mem::replace(&mut state, after)));
                        self.lift(index);
                        place = self.next[0];
                    } else {
                        is_taken[index / 64] ^= 1 << (index % 64);
                        place = self.next[place];
                    }
                }
                Moment::Answer(stuck) => {
                    if taken.len() >= longest.0 {
                        let last = taken.last().map(|(index, _)| self.operations[*index].place);
                        longest =
                            (taken.len(), last.into_iter().chain([self.operations[stuck].place]).collect());
                    }
                    let Some((index, before)) = taken.pop() else { return Found::None(longest.1) };
                    state = before;
                    is_taken[index / 64] ^= 1 << (index % 64);
                    open += usize::from(self.operations[index].answer.is_some());
                    self.unlift(index);
                    place = self.next[self.places[index].0];
                }
            }
        }
        Found::TooLong
    }
}
