//! Requests of the service KV.

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use pb::compare::TargetUnion;
use pb::request_op::Request as Op;

use super::super::accepted;
use super::super::request::Request;
use super::{Generator, LEASES, View};

/// The keys that are written one by one. Few, and fewer than thirteen: beyond, the reference sorts unstably.
const KEYS: [&[u8]; 9] = [b"a", b"aa", b"ab", b"b", b"c", b"\0", b"a\0", b"\xff", b"\xff\xff"];
/// Ends of ranges; the first is "only this key", the second "everything from here on".
const ENDS: [&[u8]; 8] = [b"", b"\0", b"b", b"c", b"d", b"ab", b"\xff", b"a"];
/// Values that compare equal often.
const VALUES: [&[u8]; 4] = [b"1", b"2", b"10", b"\0\xff"];
/// Enough keys for a streamed range in several parts; only key order is asked of them.
const BULK: u64 = 40;

impl Generator {
    pub(super) fn key(&mut self) -> Bytes {
        match self.random.below(80) {
            0 => Bytes::new(),
            1..=16 => Bytes::from(format!("m{:02}", self.random.below(BULK))),
            _ => Bytes::from_static(self.random.pick::<&[u8]>(&KEYS)),
        }
    }

    pub(super) fn end(&mut self) -> Bytes {
        match self.random.below(16) {
            0..=5 => Bytes::new(),
            6 | 7 => Bytes::from_static(b"n"),
            _ => Bytes::from_static(self.random.pick::<&[u8]>(&ENDS)),
        }
    }

    fn value(&mut self) -> Bytes {
        match self.random.below(30) {
            0..=4 => Bytes::new(),
            5 => vec![b'v'; usize::try_from(self.random.below(20_000)).expect("a small number")].into(),
            _ => Bytes::from_static(self.random.pick::<&[u8]>(&VALUES)),
        }
    }

    pub(super) fn put(&mut self) -> pb::PutRequest {
        let ignore_value = self.random.one_in(10);
        let ignore_lease = self.random.one_in(10);
        // Mostly without what would make the request invalid.
        let value = if ignore_value && !self.random.one_in(6) { Bytes::new() } else { self.value() };
        let no_lease = (ignore_lease && !self.random.one_in(6)) || !self.random.one_in(6);
        let lease = if no_lease { 0 } else { *self.random.pick(&LEASES) };
        pb::PutRequest {
            key: self.key(),
            value,
            lease,
            prev_kv: self.random.one_in(3),
            ignore_value,
            ignore_lease,
        }
    }

    /// A put to a drawn lease, where the epoch allows it.
    fn put_of(&mut self, view: &View) -> pb::PutRequest {
        let mut put = self.put();
        if view.attach_drawn && !view.drawn.is_empty() && !put.ignore_lease && self.random.one_in(3) {
            put.lease = *self.random.pick(&view.drawn);
        }
        put
    }

    pub(super) fn delete(&mut self) -> pb::DeleteRangeRequest {
        // Rarely everything: there should be something to read.
        let range_end = if self.random.one_in(4) { self.end() } else { Bytes::new() };
        pb::DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.random.one_in(2) }
    }

    pub(super) fn read(&mut self, view: &View) -> Request {
        let range = self.range(view);
        if !self.random.one_in(5) {
            return Request::Range(range);
        }
        Request::RangeStream(accepted::streamable(range))
    }

    fn range(&mut self, view: &View) -> pb::RangeRequest {
        let mut range = pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            revision: self.revision(view),
            serializable: self.random.one_in(3),
            keys_only: self.random.one_in(6),
            count_only: self.random.one_in(6),
            ..Default::default()
        };
        if self.random.one_in(2) {
            range.limit = *self.random.pick(&[1, 2, 3, 5, 20, -1, i64::MAX, i64::MIN]);
        }
        if self.random.one_in(3) {
            range.sort_order = *self.random.pick(&[0, 1, 1, 2, 2, 3, -1]);
            range.sort_target = *self.random.pick(&[0, 1, 2, 3, 4, 4, 5, -1]);
        }
        for bound in [
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            if self.random.one_in(15) {
                *bound = self.revision(view);
            }
        }
        accepted::stably_sorted(range)
    }

    pub(super) fn txn(&mut self, view: &View) -> Request {
        let mut txn = self.txn_at(view, 0);
        if self.random.one_in(200) {
            let op = txn.success.first().cloned().unwrap_or_default();
            txn.success.resize(129, op);
        }
        Request::Txn(accepted::harmless(txn))
    }

    fn txn_at(&mut self, view: &View, depth: u32) -> pb::TxnRequest {
        let compares = self.random.below(3);
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare(view)).collect(),
            success: self.branch(view, depth),
            failure: self.branch(view, depth),
        }
    }

    fn branch(&mut self, view: &View, depth: u32) -> Vec<pb::RequestOp> {
        let ops = self.random.below(4);
        (0..ops).map(|_| pb::RequestOp { request: self.op(view, depth) }).collect()
    }

    fn op(&mut self, view: &View, depth: u32) -> Option<Op> {
        match self.random.below(100) {
            0 => None,
            1..=35 => Some(Op::RequestRange(self.range_in_txn(view))),
            36..=69 => Some(Op::RequestPut(self.put_of(view))),
            70..=87 => Some(Op::RequestDeleteRange(self.delete())),
            _ if depth < 3 => Some(Op::RequestTxn(self.txn_at(view, depth + 1))),
            _ => Some(Op::RequestPut(self.put())),
        }
    }

    /// Mostly of the present: a refused range refuses the whole transaction.
    fn range_in_txn(&mut self, view: &View) -> pb::RangeRequest {
        let mut range = self.range(view);
        if !self.random.one_in(8) {
            range.revision = 0;
        }
        if !self.random.one_in(8) {
            (range.sort_order, range.sort_target) =
                (range.sort_order.clamp(0, 2), range.sort_target.clamp(0, 4));
        }
        accepted::stably_sorted(range)
    }

    fn compare(&mut self, view: &View) -> pb::Compare {
        let target: i32 = *self.random.pick(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 9]);
        let kind =
            if self.random.one_in(12) { self.random.below(6) } else { u64::from(target.unsigned_abs()) };
        let number = *self.random.pick(&[0, 1, 2, view.revision, view.revision - 3, -1, i64::MAX]);
        let target_union = match kind {
            0 => Some(TargetUnion::Version(number)),
            1 => Some(TargetUnion::CreateRevision(number)),
            2 => Some(TargetUnion::ModRevision(number)),
            3 => Some(TargetUnion::Value(self.value())),
            4 => Some(TargetUnion::Lease(*self.random.pick(&[0, 1, 2, -5]))),
            _ => None,
        };
        let range_end = if self.random.one_in(4) { self.end() } else { Bytes::new() };
        let result = *self.random.pick(&[0, 1, 2, 3, 0, 1, 2, 3, 7]);
        pb::Compare { result, target, key: self.key(), range_end, target_union }
    }

    pub(super) fn compact(&mut self, view: &View) -> Request {
        let back = i64::try_from(self.random.below(30)).expect("a small number");
        let revision = match self.random.below(8) {
            0 => self.revision(view),
            _ => (view.revision - back).max(view.compacted + 1),
        };
        Request::Compact(pb::CompactionRequest { revision, physical: !self.random.one_in(4) })
    }

    /// Larger than a request may be: by the server's own limit, or by gRPC's.
    pub(super) fn oversized(&mut self) -> Request {
        let len = *self.random.pick(&[1_572_700, 1_572_864, 1_600_000, 2_097_000, 2_097_152, 2_200_000]);
        let value = Bytes::from(vec![b'x'; len]);
        Request::Put(pb::PutRequest { key: "big".into(), value, ..Default::default() })
    }
}
