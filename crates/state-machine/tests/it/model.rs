//! The machine against the plainest model of it that can be: every revision is a whole map.

use std::collections::BTreeMap;

use bytes::Bytes;
use etched_backend::Backend;
use etched_key_range::KeyRange;
use etched_mvcc::{RangeOutput, RangeQuery};
use etched_proto::mvccpb::KeyValue;
use etched_state_machine::{
    Command, Compact, Compare, CompareTarget, DeleteRange, DeleteRangeDone, Outcome, Put, PutDone, Range,
    Refusal, Txn, TxnDone, TxnOp, TxnOpDone,
};
use proptest::prelude::*;
use prost::Message;

use crate::support::Member;

type Keys = BTreeMap<Bytes, KeyValue>;

/// Keys with their whole history, and leases; no alarms, no quota.
pub(crate) struct Model {
    /// What was there at each revision; the first is 1.
    revisions: Vec<Keys>,
    compacted: i64,
    leases: BTreeMap<i64, i64>,
}

/// A transaction under way.
struct Write {
    keys: Keys,
    begin: i64,
    changed: bool,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { revisions: vec![Keys::new()], compacted: -1, leases: BTreeMap::new() }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revisions.len() as i64
    }

    fn now(&self) -> &Keys {
        self.revisions.last().unwrap()
    }

    /// All keys, as [`Member::dump`] gives them.
    pub(crate) fn dump(&self) -> Vec<String> {
        self.now().values().map(|kv| crate::support::show(&record(kv))).collect()
    }

    pub(crate) fn run(&mut self, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Put(put) => {
                self.admit_put(put)?;
                Ok(Outcome::Put(self.write(|write, _| write.put(put))))
            }
            Command::DeleteRange(delete) => {
                Ok(Outcome::DeleteRange(self.write(|write, _| write.delete(delete))))
            }
            Command::Txn(txn) => {
                self.admit_txn(txn)?;
                let mut done = self.write(|write, model| model.txn(write, txn));
                done.revision = self.revision();
                Ok(Outcome::Txn(done))
            }
            Command::Compact(Compact { revision, .. }) => {
                if *revision <= self.compacted {
                    return Err(Refusal::Compacted);
                }
                if *revision > self.revision() {
                    return Err(Refusal::FutureRevision);
                }
                self.compacted = *revision;
                Ok(Outcome::Compact { revision: self.revision() })
            }
            Command::LeaseGrant { id, ttl } => {
                if self.leases.contains_key(id) {
                    return Err(Refusal::LeaseExists);
                }
                self.leases.insert(*id, *ttl);
                Ok(Outcome::LeaseGrant { revision: self.revision(), id: *id, ttl: *ttl })
            }
            Command::LeaseRevoke { id } => {
                self.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
                self.write(|write, _| {
                    let before = write.keys.len();
                    write.keys.retain(|_, kv| kv.lease != *id);
                    write.changed = write.keys.len() < before;
                });
                Ok(Outcome::LeaseRevoke { revision: self.revision() })
            }
            Command::LeaseCheckpoint(_)
            | Command::Alarm(_)
            | Command::ClusterVersionSet { .. }
            | Command::MemberAttributes { .. }
            | Command::DowngradeSet { .. }
            | Command::Range(_)
            | Command::DowngradeVersionTest { .. }
            | Command::V2(_)
            | Command::Auth(_) => panic!("not modelled: {command:?}"),
        }
    }

    fn write<T>(&mut self, run: impl FnOnce(&mut Write, &Self) -> T) -> T {
        let mut write = Write { keys: self.now().clone(), begin: self.revision(), changed: false };
        let done = run(&mut write, self);
        if write.changed {
            self.revisions.push(write.keys);
        }
        done
    }

    fn admit_put(&self, put: &Put) -> Result<(), Refusal> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && !self.now().contains_key(&put.key) {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    fn branch<'a>(&self, txn: &'a Txn) -> (bool, &'a [TxnOp]) {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn admit_txn(&self, txn: &Txn) -> Result<(), Refusal> {
        for op in self.branch(txn).1 {
            match op {
                TxnOp::Put(put) => self.admit_put(put)?,
                TxnOp::Txn(txn) => self.admit_txn(txn)?,
                TxnOp::Range(range) if range.query.revision > self.revision() => {
                    return Err(Refusal::FutureRevision);
                }
                TxnOp::Range(range) if range.query.revision != 0 && range.query.revision < self.compacted => {
                    return Err(Refusal::Compacted);
                }
                TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
                TxnOp::Absent => return Err(Refusal::KeyNotFound),
            }
        }
        Ok(())
    }

    fn txn(&self, write: &mut Write, txn: &Txn) -> TxnDone {
        let (succeeded, ops) = self.branch(txn);
        let responses = ops.iter().map(|op| self.op(write, op)).collect();
        TxnDone { revision: 0, succeeded, responses }
    }

    fn op(&self, write: &mut Write, op: &TxnOp) -> TxnOpDone {
        match op {
            TxnOp::Put(put) => TxnOpDone::Put(write.put(put)),
            TxnOp::DeleteRange(delete) => TxnOpDone::DeleteRange(write.delete(delete)),
            TxnOp::Txn(txn) => TxnOpDone::Txn(self.txn(write, txn)),
            TxnOp::Range(range) => {
                let query = &range.query;
                let keys = match query.revision {
                    revision if revision <= 0 => &write.keys,
                    revision => &self.revisions[usize::try_from(revision).unwrap() - 1],
                };
                let records: Vec<Bytes> = within(keys, &query.range).map(record).collect();
                let limit =
                    usize::try_from(query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
                let output = RangeOutput {
                    count: records.len() as i64,
                    more: records.len() > limit,
                    records: records.into_iter().take(limit).collect(),
                    revision: write.revision(),
                };
                TxnOpDone::Range { revision: write.revision(), output }
            }
            TxnOp::Absent => unreachable!(),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let mut keys = within(self.now(), &compare.range).peekable();
        let holds = |kv: &KeyValue| {
            let ordering = match &compare.target {
                CompareTarget::Version(given) => kv.version.cmp(given),
                CompareTarget::CreateRevision(given) => kv.create_revision.cmp(given),
                CompareTarget::ModRevision(given) => kv.mod_revision.cmp(given),
                CompareTarget::Lease(given) => kv.lease.cmp(given),
                CompareTarget::Value(given) => kv.value.cmp(given),
                CompareTarget::Unknown(_) => std::cmp::Ordering::Equal,
            };
            match compare.result {
                0 => ordering.is_eq(),
                1 => ordering.is_gt(),
                2 => ordering.is_lt(),
                3 => ordering.is_ne(),
                _ => true,
            }
        };
        if keys.peek().is_none() {
            return !matches!(compare.target, CompareTarget::Value(_)) && holds(&KeyValue::default());
        }
        keys.all(holds)
    }
}

impl Write {
    fn revision(&self) -> i64 {
        self.begin + i64::from(self.changed)
    }

    fn put(&mut self, put: &Put) -> PutDone {
        self.changed = true;
        let revision = self.revision();
        let previous = self.keys.get(&put.key).cloned();
        let old = previous.clone().unwrap_or(KeyValue { create_revision: revision, ..KeyValue::default() });
        let new = KeyValue {
            key: put.key.clone(),
            value: if put.ignore_value { old.value } else { put.value.clone() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
            create_revision: old.create_revision,
            mod_revision: revision,
            version: old.version + 1,
        };
        self.keys.insert(put.key.clone(), new);
        PutDone { revision, previous: previous.filter(|_| put.prev_kv).as_ref().map(record) }
    }

    fn delete(&mut self, delete: &DeleteRange) -> DeleteRangeDone {
        let victims: Vec<KeyValue> = within(&self.keys, &delete.range).cloned().collect();
        for victim in &victims {
            self.keys.remove(&victim.key);
            self.changed = true;
        }
        let previous = if delete.prev_kv { victims.iter().map(record).collect() } else { Vec::new() };
        DeleteRangeDone { revision: self.revision(), deleted: victims.len() as i64, previous }
    }
}

fn within<'a>(keys: &'a Keys, range: &'a KeyRange) -> impl Iterator<Item = &'a KeyValue> {
    keys.values().filter(|kv| range.contains(&kv.key))
}

fn record(kv: &KeyValue) -> Bytes {
    kv.encode_to_vec().into()
}

fn key() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(Bytes::from)
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    let end = proptest::sample::select(vec!["", "", "\0", "b", "c", "f"]).prop_map(Bytes::from);
    (key(), end).prop_map(|(key, end)| KeyRange::from_wire(key, end))
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(vec!["", "x", "y", "yy"]).prop_map(Bytes::from)
}

fn lease() -> impl Strategy<Value = i64> {
    proptest::sample::select(vec![0, 0, 1, 2, -3])
}

fn put() -> impl Strategy<Value = Put> {
    let flags =
        [any::<bool>().boxed(), proptest::bool::weighted(0.2).boxed(), proptest::bool::weighted(0.2).boxed()];
    (key(), value(), lease(), flags).prop_map(|(key, value, lease, flags)| Put {
        key,
        value,
        lease,
        prev_kv: flags[0],
        ignore_value: flags[1],
        ignore_lease: flags[2],
    })
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (key_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRange { range, prev_kv })
}

fn range() -> impl Strategy<Value = Range> {
    let revision = prop_oneof![4 => Just(0), 1 => -2..20i64];
    (key_range(), revision, -1..3i64).prop_map(|(range, revision, limit)| {
        Range::new(RangeQuery { revision, limit, ..RangeQuery::new(range) })
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (-1..4i64).prop_map(CompareTarget::Version),
        (0..9i64).prop_map(CompareTarget::CreateRevision),
        (0..9i64).prop_map(CompareTarget::ModRevision),
        value().prop_map(CompareTarget::Value),
        lease().prop_map(CompareTarget::Lease),
        Just(CompareTarget::Unknown(9)),
    ];
    (key_range(), 0..5i32, target).prop_map(|(range, result, target)| Compare { range, result, target })
}

fn txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        4 => put().prop_map(TxnOp::Put),
        2 => delete().prop_map(TxnOp::DeleteRange),
        3 => range().prop_map(TxnOp::Range),
    ];
    let op = leaf.prop_recursive(2, 8, 3, |op| branches(op).prop_map(TxnOp::Txn));
    branches(op)
}

fn branches(op: impl Strategy<Value = TxnOp> + Clone) -> impl Strategy<Value = Txn> {
    use proptest::collection::vec;
    (vec(compare(), 0..2), vec(op.clone(), 0..4), vec(op, 0..4))
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

/// Any command that the model knows; some of them no client could get past the check.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => put().prop_map(Command::Put),
        2 => delete().prop_map(Command::DeleteRange),
        6 => txn().prop_map(Command::Txn),
        1 => (0..20i64).prop_map(|revision| Command::Compact(Compact { revision, physical: false })),
        2 => (lease(), 2..9i64).prop_map(|(id, ttl)| Command::LeaseGrant { id: if id == 0 { 4 } else { id }, ttl }),
        1 => lease().prop_map(|id| Command::LeaseRevoke { id }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_answer_is_that_of_the_model(commands in proptest::collection::vec(command(), 1..40)) {
        let mut member = Member::new();
        let mut model = Model::new();
        for (step, command) in commands.into_iter().enumerate() {
            let expected = model.run(&command);
            let applied = member.apply(command.clone());
            prop_assert_eq!(&applied.outcome, &expected, "{:?}", command);
            prop_assert_eq!(applied.revision, model.revision());
            prop_assert_eq!(member.dump(), model.dump());
            if step % 7 == 6 {
                member.commit();
            }
        }
        for (id, lease) in member.machine.leases().iter() {
            let attached: Vec<&Bytes> =
                model.now().values().filter(|kv| kv.lease == id).map(|kv| &kv.key).collect();
            let mut keys: Vec<&Bytes> = lease.keys().collect();
            keys.sort();
            prop_assert_eq!(keys, attached);
        }
        prop_assert_eq!(member.machine.leases().iter().count(), model.leases.len());
    }

    #[test]
    fn a_read_only_transaction_answers_as_one_in_the_log(
        commands in proptest::collection::vec(command(), 1..20),
        compares in proptest::collection::vec(compare(), 0..3),
        ranges in proptest::collection::vec(range(), 0..4),
    ) {
        let mut member = Member::new();
        for command in commands {
            let _ = member.run(command);
        }
        let ranges: Vec<TxnOp> = ranges.into_iter().map(TxnOp::Range).collect();
        let txn = Txn { compares, success: ranges.clone(), failure: ranges };
        let read = member.machine.read_txn(&member.backend.view().unwrap(), &txn);
        let logged = member.run(Command::Txn(txn));
        match (read, logged) {
            (Ok(read), Ok(Outcome::Txn(logged))) => prop_assert_eq!(read, logged),
            (Err(read), Err(logged)) => prop_assert_eq!(read, logged.into()),
            (read, logged) => prop_assert!(false, "{:?} {:?}", read, logged),
        }
    }
}
