//! What clients ask for: a mix of everything, drawn from a seed.
//!
//! Keys below `k/` are used together, those below `l/` have leases, and those below `s/` are used alone, for the search
//! over single keys; of these, new ones come every few seconds, because a search takes long where much is unanswered.

use std::collections::BTreeMap;

use etched_model::history::{
    Answer, Body, Call, Compare, Delete, Outcome, Put, Range, Record, Relation, Request, Step, Target, Txn,
};

use crate::random::Random;

const SHARED_KEYS: u64 = 16;
const SINGLE_KEYS: u64 = 4;
/// How long a key below `s/` is used, in nanoseconds.
const SINGLE_KEY_LIFE: u64 = 8_000_000_000;
/// Leases that a client uses at a time.
const LEASES: usize = 3;

/// One client's source of requests.
#[derive(Debug)]
pub(super) struct Generator {
    client: u32,
    random: Random,
    counter: u64,
    /// What the client saw last of each key, for compares that sometimes hold.
    seen: BTreeMap<String, Record>,
    /// The last revision that the client saw.
    revision: i64,
    leases: Vec<i64>,
}

impl Generator {
    pub(super) fn new(client: u32, seed: u64) -> Self {
        let random = Random::new(seed ^ u64::from(client).wrapping_mul(0x9e37_79b9));
        Self { client, random, counter: 0, seen: BTreeMap::new(), revision: 1, leases: Vec::new() }
    }

    /// The next request, at a time since the run began.
    pub(super) fn next(&mut self, now: u64) -> Request {
        match self.random.below(100) {
            0..=29 => self.single(now),
            30..=44 => {
                let key = self.shared_key();
                Request::Put(self.put(key, 0))
            }
            45..=52 => Request::Delete(self.delete()),
            53..=68 => Request::Txn(self.txn()),
            69..=84 => Request::Range(self.range()),
            _ => self.lease(),
        }
    }

    /// Learns from what became of a request.
    pub(super) fn learn(&mut self, call: &Call) {
        let Outcome::Answered(Answer { revision, body }) = &call.outcome else {
            if let Request::Revoke { lease }
            | Request::KeepAlive { lease }
            | Request::Put(Put { lease, .. }) = &call.request
            {
                self.leases.retain(|held| held != lease);
            }
            return;
        };
        self.revision = self.revision.max(*revision);
        self.learn_records(body);
        match &call.request {
            Request::Grant { lease, .. } => self.leases.push(*lease),
            Request::Revoke { lease } => self.leases.retain(|held| held != lease),
            Request::KeepAlive { lease } if matches!(body, Body::Life { ttl: ..=0 }) => {
                self.leases.retain(|held| held != lease);
            }
            Request::KeepAlive { .. }
            | Request::Range(_)
            | Request::Put(_)
            | Request::Delete(_)
            | Request::Txn(_)
            | Request::Compact { .. } => {}
        }
    }

    fn learn_records(&mut self, body: &Body) {
        match body {
            Body::Range { records, .. } | Body::Delete { previous: records, .. } => {
                for record in records {
                    self.seen.insert(record.key.clone(), record.clone());
                }
            }
            Body::Txn { steps, .. } => steps.iter().for_each(|step| self.learn_records(step)),
            Body::Put { .. } | Body::Life { .. } | Body::Done => {}
        }
    }

    fn shared_key(&mut self) -> String {
        format!("k/{:02}", self.random.below(SHARED_KEYS))
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> String {
        self.counter += 1;
        format!("{}.{}", self.client, self.counter)
    }

    fn put(&mut self, key: String, lease: i64) -> Put {
        Put { key, value: self.value(), lease, previous: self.random.one_in(4) }
    }

    fn delete(&mut self) -> Delete {
        let key = self.shared_key();
        let end = match self.random.below(4) {
            0 => format!("{key}~"),
            1 => format!("k/{}", self.random.below(2)),
            _ => String::new(),
        };
        let end = if end > key { end } else { String::new() };
        Delete { key, end, previous: self.random.one_in(2) }
    }

    fn range(&mut self) -> Range {
        let (key, end) = match self.random.below(5) {
            0 => ("k/".to_owned(), "k0".to_owned()),
            1 => (self.shared_key(), "k/1".to_owned()),
            2 => ("l/".to_owned(), "l0".to_owned()),
            _ => (self.shared_key(), String::new()),
        };
        let back = i64::try_from(self.random.below(200)).expect("a small number");
        let revision = match self.random.below(8) {
            0 => (self.revision - back).max(1),
            1 if self.random.one_in(4) => self.revision + back,
            _ => 0,
        };
        let limit = if self.random.one_in(5) { 3 } else { 0 };
        Range { key, end, revision, serializable: self.random.one_in(3), limit }
    }

    fn txn(&mut self) -> Txn {
        let keys: Vec<String> = (0..3).map(|_| self.shared_key()).collect();
        let mut compares = vec![self.compare(&keys[0])];
        if self.random.one_in(3) {
            compares.push(self.compare(&keys[1]));
        }
        Txn { compares, success: self.steps(&keys), failure: self.steps(&keys[1..]) }
    }

    /// A compare that holds in about half of all cases.
    fn compare(&mut self, key: &str) -> Compare {
        let seen = self.seen.get(key).cloned().unwrap_or_default();
        let target = match self.random.below(4) {
            0 => Target::Value(seen.value),
            1 => Target::Version(seen.version),
            2 => Target::Created(seen.created),
            _ => Target::Modified(seen.modified),
        };
        let relation =
            *self.random.pick(&[Relation::Equal, Relation::NotEqual, Relation::Greater, Relation::Less]);
        Compare { key: key.to_owned(), relation, target }
    }

    /// Steps for different keys; etcd refuses to write a key twice in a transaction.
    fn steps(&mut self, keys: &[String]) -> Vec<Step> {
        let mut unused: Vec<&String> = keys.iter().collect();
        unused.sort();
        unused.dedup();
        let mut steps = Vec::new();
        for key in unused {
            steps.push(match self.random.below(4) {
                0 => Step::Range(Range { key: "k/".into(), end: "k0".into(), ..Range::default() }),
                1 => Step::Delete(Delete { key: key.clone(), ..Delete::default() }),
                _ => Step::Put(self.put(key.clone(), 0)),
            });
        }
        steps
    }

    fn single(&mut self, now: u64) -> Request {
        let key = format!("s/{:04}/{}", now / SINGLE_KEY_LIFE, self.random.below(SINGLE_KEYS));
        match self.random.below(10) {
            0..=3 => Request::Range(Range { key, ..Range::default() }),
            4..=6 => Request::Put(self.put(key, 0)),
            7 => Request::Delete(Delete { key, end: String::new(), previous: self.random.one_in(2) }),
            _ => {
                let seen = self.seen.get(&key).cloned().unwrap_or_default();
                let target = if seen.version == 0 || self.random.one_in(3) {
                    Target::Version(seen.version)
                } else {
                    Target::Value(seen.value)
                };
                let compares = vec![Compare { key: key.clone(), relation: Relation::Equal, target }];
                let success = vec![Step::Put(self.put(key.clone(), 0))];
                let failure = vec![Step::Range(Range { key, ..Range::default() })];
                Request::Txn(Txn { compares, success, failure })
            }
        }
    }

    fn lease(&mut self) -> Request {
        if self.leases.len() < LEASES && (self.leases.is_empty() || self.random.one_in(4)) {
            self.counter += 1;
            let lease = i64::from(self.client + 1) << 32 | i64::try_from(self.counter).unwrap_or(1);
            let ttl = 2 + i64::try_from(self.random.below(4)).expect("a small number");
            return Request::Grant { lease, ttl };
        }
        let lease = *self.random.pick(&self.leases);
        match self.random.below(20) {
            0..=7 => {
                let key = format!("l/{lease:x}/{}", self.random.below(3));
                Request::Put(self.put(key, lease))
            }
            8..=14 => Request::KeepAlive { lease },
            15..=17 => Request::Revoke { lease },
            // Nobody renews it from here on: it runs out.
            _ => {
                self.leases.retain(|held| *held != lease);
                Request::Range(self.range())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_asks_for_the_same_again() {
        let draw = || {
            let mut generator = Generator::new(1, 7);
            (0..500).map(|turn| format!("{:?}", generator.next(turn))).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }
}
