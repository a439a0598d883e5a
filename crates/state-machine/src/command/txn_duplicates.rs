//! No key is changed twice in a transaction: the check, with etcd's blind spots.
//!
//! Only one branch of a transaction is done, so the two branches may change the same key, and so may a nested
//! transaction's. Deletes may overlap. Not seen: a put of an earlier nested transaction and a delete of a later one.
//!
//! An open-ended delete counts as touching nothing, as in etcd, where its end `\0` is taken literally. A put that wants
//! to keep something of the key it hits would there take down every member; it is refused here.

use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound;

use etched_key_range::{KeyRange, RangeEnd};

use super::{Put, Txn, TxnOp};
use crate::refusal::Refusal;

/// What a list of operations changes.
#[derive(Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    /// The puts that need their key to be there.
    keeping: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

/// A union of ranges of keys.
#[derive(Default)]
struct Intervals<'a> {
    points: BTreeSet<&'a [u8]>,
    /// Disjoint, start to end.
    spans: BTreeMap<&'a [u8], &'a [u8]>,
    /// Where the longest open-ended range starts.
    open: Option<&'a [u8]>,
}

pub(super) fn check(txn: &Txn) -> Result<(), Refusal> {
    touched(&txn.success)?;
    touched(&txn.failure)?;
    Ok(())
}

fn touched(ops: &[TxnOp]) -> Result<Touched<'_>, Refusal> {
    let mut all = Touched::default();
    for op in ops {
        if let TxnOp::DeleteRange(delete) = op {
            all.deletes.insert(&delete.range);
        }
    }
    for op in ops {
        if let TxnOp::Txn(nested) = op {
            let success = touched(&nested.success)?;
            let failure = touched(&nested.failure)?;
            all.add_nested(success, failure)?;
        }
    }
    for op in ops {
        if let TxnOp::Put(put) = op {
            all.add_put(put)?;
        }
    }
    Ok(all)
}

impl<'a> Touched<'a> {
    fn add_nested(&mut self, success: Self, failure: Self) -> Result<(), Refusal> {
        for key in success.puts.union(&failure.puts) {
            if self.puts.contains(key) || self.deletes.contains(key) {
                return Err(Refusal::DuplicateKey);
            }
        }
        for key in success.keeping.union(&failure.keeping) {
            self.refuse_hit_by_open(key)?;
        }
        for branch in [success, failure] {
            self.puts.extend(branch.puts);
            self.keeping.extend(branch.keeping);
            self.deletes.extend(branch.deletes);
        }
        Ok(())
    }

    fn add_put(&mut self, put: &'a Put) -> Result<(), Refusal> {
        if self.deletes.contains(&put.key) || !self.puts.insert(&put.key) {
            return Err(Refusal::DuplicateKey);
        }
        if put.keeps() {
            self.refuse_hit_by_open(&put.key)?;
            self.keeping.insert(&put.key);
        }
        Ok(())
    }

    fn refuse_hit_by_open(&self, key: &[u8]) -> Result<(), Refusal> {
        if self.deletes.open.is_some_and(|start| start <= key) { Err(Refusal::DuplicateKey) } else { Ok(()) }
    }
}

impl<'a> Intervals<'a> {
    fn insert(&mut self, range: &'a KeyRange) {
        match &range.end {
            RangeEnd::Single => {
                self.points.insert(&range.start);
            }
            RangeEnd::Before(end) => self.insert_span(&range.start, end),
            RangeEnd::Unbounded => self.insert_open(&range.start),
        }
    }

    fn extend(&mut self, other: Self) {
        self.points.extend(other.points);
        for (start, end) in other.spans {
            self.insert_span(start, end);
        }
        if let Some(start) = other.open {
            self.insert_open(start);
        }
    }

    fn insert_open(&mut self, start: &'a [u8]) {
        self.open = Some(self.open.map_or(start, |open| open.min(start)));
    }

    fn insert_span(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        if start >= end {
            return;
        }
        // Merges every span that begins at or before the new end and reaches the new start.
        while let Some((&other_start, &other_end)) =
            self.spans.range::<[u8], _>((Bound::Unbounded, Bound::Included(end))).next_back()
        {
            if other_end < start {
                break;
            }
            self.spans.remove(other_start);
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.spans.insert(start, end);
    }

    /// Whether a range with an end covers the key.
    fn contains(&self, key: &[u8]) -> bool {
        let spanned = self
            .spans
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .is_some_and(|(_, end)| key < *end);
        spanned || self.points.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_merge_where_they_meet() {
        let mut intervals = Intervals::default();
        intervals.insert_span(b"m", b"p");
        intervals.insert_span(b"a", b"c");
        intervals.insert_span(b"z", b"b");
        intervals.insert_span(b"b", b"d");
        intervals.insert_span(b"o", b"q");
        intervals.insert_span(b"p", b"p0");
        assert_eq!(
            intervals.spans.into_iter().collect::<std::vec::Vec<_>>(),
            [(&b"a"[..], &b"d"[..]), (&b"m"[..], &b"q"[..])]
        );
    }
}
