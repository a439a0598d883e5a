//! What clients ask for.

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_mvcc::{SortOrder, SortTarget};
use etched_replica::Request;
use etched_state_machine::{
    Command, Compact, Compare, CompareTarget, DeleteRange, Put, Range, RangeQuery, Txn, TxnOp,
};

use super::World;
use super::site::TTL_MIN;
use crate::random::Random;

/// How deep transactions are nested.
const NESTED_MAX: u64 = 2;

/// What a request is drawn with.
struct Drawing<'a> {
    random: &'a mut Random,
    keys: u64,
    value_bytes: u64,
    has_large_values: bool,
    /// Makes each value its own.
    mark: String,
    revision: i64,
    leases: &'a [(i64, i64)],
}

impl World {
    pub(super) fn draw_request(&mut self, place: usize) -> Request {
        let client = &mut self.clients[place];
        client.writes += 1;
        let mark = format!("{place}.{}", client.writes);
        let mut drawing = Drawing {
            random: &mut client.random,
            keys: self.profile.keys,
            value_bytes: self.profile.value_bytes,
            has_large_values: self.profile.has_large_values,
            mark,
            revision: self.oracle.store.revision(),
            leases: &self.leases,
        };
        match drawing.random.below(100) {
            0..30 => Request::Propose(Command::Put(drawing.put())),
            30..55 => Request::Range(drawing.range(true)),
            55..63 => Request::Propose(Command::DeleteRange(drawing.delete())),
            63..78 => Request::Propose(Command::Txn(drawing.txn(NESTED_MAX))),
            78..82 => Request::Propose(Command::Txn(drawing.read_txn())),
            82..84 => Request::Propose(Command::Compact(drawing.compact())),
            84..88 => {
                self.leases_made += 1;
                let ttl =
                    TTL_MIN + i64::try_from(drawing.random.below(self.profile.ttl_span)).expect("small");
                Request::Propose(Command::LeaseGrant { id: self.leases_made, ttl })
            }
            88..90 => Request::Propose(Command::LeaseRevoke { id: drawing.lease() }),
            90..96 => Request::LeaseRenew { id: drawing.lease() },
            96..97 => Request::LeaseTimeToLive { id: drawing.lease(), keys: true },
            _ => Request::HashKv { revision: drawing.old_revision() },
        }
    }
}

impl Drawing<'_> {
    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{:03}", self.random.below(self.keys)))
    }

    fn span(&mut self) -> KeyRange {
        let key = self.key();
        match self.random.below(10) {
            0..6 => KeyRange::single(key),
            6 => KeyRange::all(),
            7 => KeyRange::prefix(b"k0"),
            8 => KeyRange::from_wire(key, Bytes::from_static(&[0])),
            _ => {
                let end = self.key();
                KeyRange::from_wire(key, end)
            }
        }
    }

    /// A known lease, or one that is none.
    fn lease(&mut self) -> i64 {
        if self.leases.is_empty() || self.random.happens(100_000) {
            return 1 + i64::try_from(self.random.below(1_000)).expect("small");
        }
        self.random.pick(self.leases).0
    }

    fn value(&mut self) -> Bytes {
        let bytes = if self.has_large_values && self.random.happens(20_000) {
            self.random.below(300_000)
        } else {
            self.random.below(self.value_bytes + 1)
        };
        let mut value = format!("{}:", self.mark).into_bytes();
        value.resize(value.len() + usize::try_from(bytes).expect("small"), b'x');
        Bytes::from(value)
    }

    fn put(&mut self) -> Put {
        let key = self.key();
        let lease = if self.random.happens(150_000) { self.lease() } else { 0 };
        let prev_kv = self.random.happens(200_000);
        let (ignore_value, ignore_lease) = (self.random.happens(30_000), self.random.happens(30_000));
        let value = self.value();
        Put {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> DeleteRange {
        DeleteRange { range: self.span(), prev_kv: self.random.happens(300_000) }
    }

    /// A revision of the near past or future; 0 is now.
    fn old_revision(&mut self) -> i64 {
        let back = i64::try_from(self.random.below(60)).expect("small");
        match self.random.below(10) {
            0..7 => 0,
            7..9 => (self.revision - back).max(0),
            _ => self.revision + back,
        }
    }

    fn range(&mut self, with_revision: bool) -> Range {
        let range = self.span();
        let revision = if with_revision { self.old_revision() } else { 0 };
        let mut query = RangeQuery { revision, ..RangeQuery::new(range) };
        if self.random.happens(200_000) {
            query.limit = i64::try_from(1 + self.random.below(5)).expect("small");
        }
        if self.random.happens(200_000) {
            query.order = *self.random.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
            query.target = *self.random.pick(&[
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]);
        }
        query.keys_only = self.random.happens(50_000);
        query.count_only = self.random.happens(50_000);
        if self.random.happens(50_000) {
            query.mod_revision_min = (self.revision - 30).max(0);
        }
        Range { query, serializable: self.random.happens(300_000), unknown_sort: None }
    }

    fn compare(&mut self) -> Compare {
        let range = if self.random.happens(100_000) { self.span() } else { KeyRange::single(self.key()) };
        let result = i32::try_from(self.random.below(4)).expect("small");
        let near = i64::try_from(self.random.below(4)).expect("small");
        let target = match self.random.below(5) {
            0 => CompareTarget::Version(near),
            1 => CompareTarget::CreateRevision((self.revision - near).max(0)),
            2 => CompareTarget::ModRevision((self.revision - near).max(0)),
            3 => CompareTarget::Lease(near),
            _ => CompareTarget::Value(self.value()),
        };
        Compare { range, result, target }
    }

    fn txn(&mut self, depth: u64) -> Txn {
        let compares = (0..self.random.below(3)).map(|_| self.compare()).collect();
        // Different keys: a transaction that changes a key twice is refused before it is proposed.
        let first = self.random.below(self.keys);
        let success = self.branch(first, depth);
        let failure = self.branch(first, depth);
        Txn { compares, success, failure }
    }

    fn branch(&mut self, first: u64, depth: u64) -> Vec<TxnOp> {
        let mut ops = Vec::new();
        for place in 0..self.random.below(4) {
            let key = Bytes::from(format!("k{:03}", (first + place) % self.keys));
            let op = match self.random.below(10) {
                0..5 => TxnOp::Put(Put { key, ..self.put() }),
                // As in etcd, a later nested transaction may delete what an earlier one has put, in the same revision;
                // the reference has one event of a key in a revision.
                5..7 if depth == NESTED_MAX => {
                    TxnOp::DeleteRange(DeleteRange { range: KeyRange::single(key), prev_kv: false })
                }
                7 if depth > 0 => TxnOp::Txn(self.txn(depth - 1)),
                _ => TxnOp::Range(self.range(false)),
            };
            ops.push(op);
        }
        ops
    }

    fn read_txn(&mut self) -> Txn {
        let compares = (0..1 + self.random.below(2)).map(|_| self.compare()).collect();
        let mut reads = |count: u64| -> Vec<TxnOp> {
            (0..count).map(|_| TxnOp::Range(Range { serializable: false, ..self.range(false) })).collect()
        };
        Txn { compares, success: reads(2), failure: reads(1) }
    }

    fn compact(&mut self) -> Compact {
        let back = i64::try_from(self.random.below(20)).expect("small");
        let revision = (self.revision - back + 1).max(1);
        Compact { revision, physical: self.random.happens(300_000) }
    }
}
