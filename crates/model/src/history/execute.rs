//! What a request does to the state at a revision, step by step.

use std::collections::BTreeMap;

use super::log::Change;
use super::{
    Body, Compare, Delete, Log, Put, Range, Record, Relation, Request, Step, Target, Txn, is_within,
};

/// What a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) changes: Vec<Change>,
    pub(super) body: Body,
}

/// Executes a request on the state at `base`. What it writes gets the revision after that.
pub(super) fn execute(log: &Log, base: i64, request: &Request) -> Effect {
    let mut state = State { log, base, written: BTreeMap::new(), changes: Vec::new() };
    let body = match request {
        Request::Range(range) => state.range(range),
        Request::Put(put) => state.put(put),
        Request::Delete(delete) => state.delete(delete),
        Request::Txn(txn) => state.txn(txn),
        Request::Revoke { lease } => {
            let keys: Vec<String> = log.attached(*lease, base).into_iter().map(str::to_owned).collect();
            for key in keys {
                state.change(key, None);
            }
            Body::Done
        }
        Request::Grant { ttl, .. } => Body::Life { ttl: *ttl },
        Request::KeepAlive { .. } | Request::Compact { .. } => Body::Done,
    };
    Effect { changes: state.changes, body }
}

struct State<'a> {
    log: &'a Log,
    base: i64,
    /// What this request changed.
    written: BTreeMap<String, Option<Record>>,
    changes: Vec<Change>,
}

impl State<'_> {
    fn get(&self, key: &str) -> Option<Record> {
        match self.written.get(key) {
            Some(written) => written.clone(),
            None => self.log.record(key, self.base).cloned(),
        }
    }

    fn all(&self, key: &str, end: &str) -> Vec<Record> {
        let unchanged = self.log.records(key, end, self.base);
        let unchanged = unchanged.filter(|record| !self.written.contains_key(&record.key)).cloned();
        let written = self.written.iter().filter(|(candidate, _)| is_within(candidate, key, end));
        let written = written.filter_map(|(_, record)| record.clone());
        let all: BTreeMap<String, Record> =
            unchanged.chain(written).map(|record| (record.key.clone(), record)).collect();
        all.into_values().collect()
    }

    fn change(&mut self, key: String, after: Option<Record>) {
        let before = self.get(&key);
        self.written.insert(key.clone(), after.clone());
        self.changes.push(Change { key, after, before });
    }

    fn range(&self, range: &Range) -> Body {
        let mut records = if range.revision > 0 {
            self.log.records(&range.key, &range.end, range.revision).cloned().collect()
        } else {
            self.all(&range.key, &range.end)
        };
        let count = records.len();
        if range.limit > 0 {
            records.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX));
        }
        let more = records.len() < count;
        Body::Range { records, count: i64::try_from(count).expect("fits into memory"), more }
    }

    fn put(&mut self, put: &Put) -> Body {
        let before = self.get(&put.key);
        let revision = self.base + 1;
        let after = Record {
            key: put.key.clone(),
            value: put.value.clone(),
            created: before.as_ref().map_or(revision, |before| before.created),
            modified: revision,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            lease: put.lease,
        };
        self.change(put.key.clone(), Some(after));
        Body::Put { previous: before.filter(|_| put.previous) }
    }

    fn delete(&mut self, delete: &Delete) -> Body {
        let gone = self.all(&delete.key, &delete.end);
        for record in &gone {
            self.change(record.key.clone(), None);
        }
        let deleted = i64::try_from(gone.len()).expect("fits into memory");
        Body::Delete { deleted, previous: if delete.previous { gone } else { Vec::new() } }
    }

    fn txn(&mut self, txn: &Txn) -> Body {
        let succeeded = txn.compares.iter().all(|compare| holds(compare, self.get(&compare.key).as_ref()));
        let steps = if succeeded { &txn.success } else { &txn.failure };
        let steps = steps.iter().map(|step| match step {
            Step::Range(range) => self.range(range),
            Step::Put(put) => self.put(put),
            Step::Delete(delete) => self.delete(delete),
        });
        Body::Txn { succeeded, steps: steps.collect() }
    }
}

/// Whether a compare holds for what is there.
pub(super) fn holds(compare: &Compare, record: Option<&Record>) -> bool {
    let number = |field: fn(&Record) -> i64| record.map_or(0, field);
    let order = match &compare.target {
        Target::Value(value) => match record {
            Some(record) => record.value.cmp(value),
            None => return false,
        },
        Target::Version(version) => number(|record| record.version).cmp(version),
        Target::Created(created) => number(|record| record.created).cmp(created),
        Target::Modified(modified) => number(|record| record.modified).cmp(modified),
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
    }
}
