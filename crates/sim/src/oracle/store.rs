//! What the keys, leases and alarms must be: each committed entry executed once, in order, in the plainest way.
//!
//! Nothing of the real thing's rules is used here, only the values of its commands and outcomes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_model::kv::{self, KeyValue, Order, Query, Target};
use etched_mvcc::{SortOrder, SortTarget};
use etched_state_machine::{
    AlarmRequest, Command, Compare, CompareTarget, DeleteRange, DeleteRangeDone, Outcome, Put, PutDone,
    Range, RangeOutput, RangeQuery, Refusal, Txn, TxnDone, TxnOp, TxnOpDone,
};

/// The wire's number of the alarm for a full database.
const NO_SPACE: i32 = 1;
/// The wire's number for raising an alarm, and for ending one.
const RAISE: i32 = 1;
const END: i32 = 2;

/// A lease: its attached keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Attached keys.
    keys: BTreeSet<Bytes>,
}

/// The state after all entries committed so far, with all of its history: compaction only moves a mark.
#[derive(Debug)]
pub(crate) struct Store {
    revision: i64,
    compacted: i64,
    /// All versions of each key, by revision; `None` is a deletion.
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    leases: BTreeMap<i64, Lease>,
    alarms: BTreeSet<(u64, i32)>,
    lease_ttl_min: i64,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Vec<u8>>,
}

/// A command that is being executed.
struct Writing<'a> {
    store: &'a mut Store,
    main: i64,
    changes: Vec<Changed>,
}

impl Store {
    pub(crate) fn new(lease_ttl_min: i64) -> Self {
        Self {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            lease_ttl_min,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted
    }

    pub(crate) fn leases(&self) -> &BTreeMap<i64, Lease> {
        &self.leases
    }

    /// Alarms: of which member, and which.
    pub(crate) fn alarms(&self) -> Vec<(u64, i32)> {
        self.alarms.iter().copied().collect()
    }

    /// Whether there was no key at a revision.
    pub(crate) fn is_empty_at(&self, revision: i64) -> bool {
        self.keys.values().all(|versions| version_at(versions, revision).is_none())
    }

    /// A record as it was at a revision.
    pub(crate) fn get(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        version_at(self.keys.get(key)?, revision)
    }

    fn records(&self, range: &KeyRange, revision: i64) -> Vec<KeyValue> {
        let (key, end) = range.to_wire();
        let bounds = range.bounds();
        if range.is_empty() || (!end.is_empty() && &end[..] != b"\0" && end <= key) {
            return Vec::new();
        }
        let found = self.keys.range::<[u8], _>(bounds);
        found.filter_map(|(_, versions)| version_at(versions, revision)).cloned().collect()
    }

    /// Answers a range as of a revision; `query.revision` is not looked at.
    pub(crate) fn range(&self, query: &RangeQuery, revision: i64) -> RangeOutput {
        let records = self.records(&query.range, revision);
        let kv::Answer { records, more, count } = kv::answer(records, &query_of(query));
        let records = records.iter().map(|record| Bytes::from(record.encode())).collect();
        RangeOutput { records, more, count, revision }
    }

    /// Executes a committed command.
    pub(crate) fn apply(&mut self, command: &Command) -> (Result<Outcome, Refusal>, Vec<Changed>) {
        let is_full = self.alarms.iter().any(|(_, kind)| *kind == NO_SPACE);
        let grows = matches!(command, Command::Put(_) | Command::LeaseGrant { .. })
            || matches!(command, Command::Txn(txn) if grows(txn));
        if is_full && grows {
            return (Err(Refusal::NoSpace), Vec::new());
        }
        let main = self.revision + 1;
        let mut writing = Writing { store: self, main, changes: Vec::new() };
        let outcome = writing.run(command);
        let changes = writing.changes;
        self.revision = if changes.is_empty() { self.revision } else { main };
        (outcome, changes)
    }

    /// Evaluates a transaction that only reads, as of a revision.
    pub(crate) fn read_txn(&self, txn: &Txn, revision: i64) -> TxnDone {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare, revision));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let read = |op: &TxnOp| match op {
            TxnOp::Range(range) => {
                let at = if range.query.revision > 0 { range.query.revision } else { revision };
                let output = RangeOutput { revision, ..self.range(&range.query, at) };
                Some(TxnOpDone::Range { revision, output })
            }
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) | TxnOp::Absent => None,
        };
        TxnDone { revision, succeeded, responses: ops.iter().filter_map(read).collect() }
    }

    fn holds(&self, compare: &Compare, revision: i64) -> bool {
        let records = self.records(&compare.range, revision);
        if records.is_empty() {
            return match &compare.target {
                CompareTarget::Version(given)
                | CompareTarget::CreateRevision(given)
                | CompareTarget::ModRevision(given)
                | CompareTarget::Lease(given) => accepts(compare.result, 0.cmp(given)),
                CompareTarget::Value(_) | CompareTarget::Unknown(_) => false,
            };
        }
        records.iter().all(|record| {
            let order = match &compare.target {
                CompareTarget::Version(given) => record.version.cmp(given),
                CompareTarget::CreateRevision(given) => record.create_revision.cmp(given),
                CompareTarget::ModRevision(given) => record.mod_revision.cmp(given),
                CompareTarget::Lease(given) => record.lease.cmp(given),
                CompareTarget::Value(given) => record.value.as_slice().cmp(given),
                CompareTarget::Unknown(_) => return false,
            };
            accepts(compare.result, order)
        })
    }

    fn compact(&mut self, revision: i64) -> Result<Outcome, Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = revision;
        Ok(Outcome::Compact { revision: self.revision })
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Outcome {
        let alarm = (request.member_id, request.alarm);
        match request.action {
            RAISE => _ = self.alarms.insert(alarm),
            END => _ = self.alarms.remove(&alarm),
            _ => {}
        }
        Outcome::Nothing
    }
}

impl Writing<'_> {
    fn run(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Put(put) => {
                self.admit_put(put)?;
                Ok(Outcome::Put(self.put(put)))
            }
            Command::DeleteRange(delete) => Ok(Outcome::DeleteRange(self.delete(delete))),
            Command::Txn(txn) => {
                let path = self.path(txn);
                self.admit(txn, &mut path.iter().copied())?;
                let mut done = self.txn(txn, &mut path.into_iter());
                done.revision = self.revision_now();
                Ok(Outcome::Txn(done))
            }
            Command::Compact(compact) => self.store.compact(compact.revision),
            Command::LeaseGrant { id, ttl } => {
                if self.store.leases.contains_key(id) {
                    return Err(Refusal::LeaseExists);
                }
                let ttl = (*ttl).max(self.store.lease_ttl_min);
                self.store.leases.insert(*id, Lease::default());
                Ok(Outcome::LeaseGrant { revision: self.store.revision, id: *id, ttl })
            }
            Command::LeaseRevoke { id } => {
                let lease = self.store.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
                for key in lease.keys {
                    self.write(key, None);
                }
                Ok(Outcome::LeaseRevoke { revision: self.revision_now() })
            }
            Command::Alarm(request) => Ok(self.store.alarm(request)),
            Command::LeaseCheckpoint(_)
            | Command::ClusterVersionSet { .. }
            | Command::MemberAttributes { .. }
            | Command::DowngradeSet { .. }
            | Command::Range(_)
            | Command::DowngradeVersionTest { .. }
            | Command::Auth(_)
            | Command::V2(_) => Ok(Outcome::Nothing),
        }
    }

    fn revision_now(&self) -> i64 {
        if self.changes.is_empty() { self.main - 1 } else { self.main }
    }

    fn current(&self, key: &[u8]) -> Option<&KeyValue> {
        self.store.get(key, i64::MAX)
    }

    fn admit_put(&self, put: &Put) -> Result<(), Refusal> {
        if put.lease != 0 && !self.store.leases.contains_key(&put.lease) {
            Err(Refusal::LeaseNotFound)
        } else if (put.ignore_value || put.ignore_lease) && self.current(&put.key).is_none() {
            Err(Refusal::KeyNotFound)
        } else {
            Ok(())
        }
    }

    /// Which branch each transaction on the taken path takes.
    fn path(&self, txn: &Txn) -> Vec<bool> {
        let succeeded = txn.compares.iter().all(|compare| self.store.holds(compare, i64::MAX));
        let mut path = vec![succeeded];
        for op in branch(txn, succeeded) {
            if let TxnOp::Txn(nested) = op {
                path.extend(self.path(nested));
            }
        }
        path
    }

    fn admit(&self, txn: &Txn, path: &mut dyn Iterator<Item = bool>) -> Result<(), Refusal> {
        let succeeded = path.next().expect("the path covers each transaction");
        branch(txn, succeeded).iter().try_for_each(|op| match op {
            TxnOp::Put(put) => self.admit_put(put),
            TxnOp::Txn(nested) => self.admit(nested, path),
            TxnOp::Range(range) if range.query.revision > self.store.revision => Err(Refusal::FutureRevision),
            TxnOp::Range(range)
                if range.query.revision > 0 && range.query.revision < self.store.compacted =>
            {
                Err(Refusal::Compacted)
            }
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => Ok(()),
            TxnOp::Absent => Err(Refusal::KeyNotFound),
        })
    }

    fn txn(&mut self, txn: &Txn, path: &mut dyn Iterator<Item = bool>) -> TxnDone {
        let succeeded = path.next().expect("the path covers each transaction");
        let mut responses = Vec::new();
        for op in branch(txn, succeeded) {
            responses.push(match op {
                TxnOp::Range(range) => self.range(range),
                TxnOp::Put(put) => TxnOpDone::Put(self.put(put)),
                TxnOp::DeleteRange(delete) => TxnOpDone::DeleteRange(self.delete(delete)),
                TxnOp::Txn(nested) => TxnOpDone::Txn(self.txn(nested, path)),
                TxnOp::Absent => continue,
            });
        }
        TxnDone { revision: 0, succeeded, responses }
    }

    fn range(&self, range: &Range) -> TxnOpDone {
        let at = if range.query.revision > 0 { range.query.revision } else { i64::MAX };
        let revision = self.revision_now();
        TxnOpDone::Range { revision, output: RangeOutput { revision, ..self.store.range(&range.query, at) } }
    }

    fn put(&mut self, put: &Put) -> PutDone {
        let before = self.current(&put.key).cloned();
        let value = match &before {
            Some(before) if put.ignore_value => before.value.clone(),
            Some(_) | None => put.value.to_vec(),
        };
        let lease = match &before {
            Some(before) if put.ignore_lease => before.lease,
            Some(_) | None => put.lease,
        };
        let after = KeyValue {
            key: put.key.to_vec(),
            create_revision: before.as_ref().map_or(self.main, |before| before.create_revision),
            mod_revision: self.main,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            value,
            lease,
        };
        self.write(put.key.clone(), Some(after));
        let previous = before.filter(|_| put.prev_kv).map(|before| Bytes::from(before.encode()));
        PutDone { revision: self.main, previous }
    }

    fn delete(&mut self, delete: &DeleteRange) -> DeleteRangeDone {
        let gone = self.store.records(&delete.range, i64::MAX);
        for record in &gone {
            self.write(Bytes::from(record.key.clone()), None);
        }
        let deleted = i64::try_from(gone.len()).expect("few keys");
        let previous = gone.iter().map(|record| Bytes::from(record.encode()));
        let previous = if delete.prev_kv { previous.collect() } else { Vec::new() };
        DeleteRangeDone { revision: self.revision_now(), deleted, previous }
    }

    fn write(&mut self, key: Bytes, after: Option<KeyValue>) {
        let before = self.current(&key).map_or(0, |before| before.lease);
        let lease = after.as_ref().map_or(0, |after| after.lease);
        if let Some(holder) = self.store.leases.get_mut(&before).filter(|_| before != lease) {
            holder.keys.remove(&key);
        }
        if let Some(holder) = self.store.leases.get_mut(&lease) {
            holder.keys.insert(key.clone());
        }
        self.changes
            .push(Changed { key: key.clone(), value: after.as_ref().map(|after| after.value.clone()) });
        let versions = self.store.keys.entry(key).or_default();
        // Within one revision only the last state of a key counts.
        versions.pop_if(|(at, _)| *at == self.main);
        versions.push((self.main, after));
    }
}

fn branch(txn: &Txn, succeeded: bool) -> &[TxnOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Whether either branch writes something.
fn grows(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Put(_) => true,
        TxnOp::Txn(nested) => grows(nested),
        TxnOp::Range(_) | TxnOp::DeleteRange(_) | TxnOp::Absent => false,
    })
}

fn version_at(versions: &[(i64, Option<KeyValue>)], revision: i64) -> Option<&KeyValue> {
    let place = versions.partition_point(|(at, _)| *at <= revision);
    versions[..place].last().and_then(|(_, after)| after.as_ref())
}

/// Whether a compare of the wire's kind `result` accepts an order.
fn accepts(result: i32, order: std::cmp::Ordering) -> bool {
    match result {
        0 => order.is_eq(),
        1 => order.is_gt(),
        2 => order.is_lt(),
        _ => order.is_ne(),
    }
}

fn query_of(query: &RangeQuery) -> Query {
    let (key, range_end) = query.range.to_wire();
    Query {
        key: key.to_vec(),
        range_end: range_end.to_vec(),
        revision: query.revision,
        limit: query.limit,
        order: match query.order {
            SortOrder::None => Order::None,
            SortOrder::Ascend => Order::Ascend,
            SortOrder::Descend => Order::Descend,
        },
        target: match query.target {
            SortTarget::Key => Target::Key,
            SortTarget::Version => Target::Version,
            SortTarget::Create => Target::Create,
            SortTarget::Mod => Target::Mod,
            SortTarget::Value => Target::Value,
        },
        keys_only: query.keys_only,
        count_only: query.count_only,
        mod_revisions: (query.mod_revision_min, query.mod_revision_max),
        create_revisions: (query.create_revision_min, query.create_revision_max),
    }
}
