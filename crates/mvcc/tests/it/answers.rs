//! Answers of store and model to the same question.

use std::ops::ControlFlow;

use etched_backend::Backend;
use etched_model::kv::{Event, Order, Query, Refused, Target};
use etched_mvcc::{ChangeKind, HashPlan, RangeError, RangeQuery, SortOrder, SortTarget};

use crate::world::{World, compare_change, range};

fn to_store(query: &Query) -> RangeQuery {
    RangeQuery {
        range: range(&query.key, &query.range_end),
        revision: query.revision,
        limit: query.limit,
        order: match query.order {
            Order::None => SortOrder::None,
            Order::Ascend => SortOrder::Ascend,
            Order::Descend => SortOrder::Descend,
        },
        target: match query.target {
            Target::Key => SortTarget::Key,
            Target::Version => SortTarget::Version,
            Target::Create => SortTarget::Create,
            Target::Mod => SortTarget::Mod,
            Target::Value => SortTarget::Value,
        },
        keys_only: query.keys_only,
        count_only: query.count_only,
        mod_revision_min: query.mod_revisions.0,
        mod_revision_max: query.mod_revisions.1,
        create_revision_min: query.create_revisions.0,
        create_revision_max: query.create_revisions.1,
    }
}

fn refused(error: &RangeError) -> Refused {
    match error {
        RangeError::Compacted => Refused::Compacted,
        RangeError::FutureRevision => Refused::Future,
        other => panic!("{other}"),
    }
}

impl<B: Backend> World<B> {
    pub(crate) fn compare_range(&self, query: &Query) {
        let ours = self.store.range(&self.view(), &to_store(query));
        match (ours, self.model.range(query)) {
            (Ok(ours), Ok(expected)) => {
                let records: Vec<Vec<u8>> = expected.records.iter().map(|record| record.encode()).collect();
                assert_eq!(ours.records, records);
                assert_eq!((ours.more, ours.count), (expected.more, expected.count));
                assert_eq!(ours.revision, self.model.revision());
            }
            (Err(ours), Err(expected)) => assert_eq!(refused(&ours), expected),
            (ours, expected) => panic!("{ours:?}, expected {expected:?}"),
        }
    }

    /// Sizes, chunks, single records and the walk over current keys, for a range.
    pub(crate) fn compare_pieces(&self, query: &Query, chunk_limit: usize, chunk_bytes: usize) {
        let all = Query {
            key: query.key.clone(),
            range_end: query.range_end.clone(),
            revision: query.revision,
            ..Query::default()
        };
        let keys = range(&query.key, &query.range_end);
        let size = self.store.count(&keys, query.revision);
        let expected = match self.model.range(&all) {
            Ok(answer) => answer,
            Err(why) => return assert_eq!(refused(&size.unwrap_err()), why),
        };
        let size = size.unwrap();
        let records: Vec<Vec<u8>> = expected.records.iter().map(|record| record.encode()).collect();
        let framed = |len: usize| len + 1 + if len < 128 { 1 } else { 2 };
        assert_eq!(size.count, expected.count);
        assert_eq!(size.bytes, records.iter().map(|record| record.len() as u64).sum::<u64>());
        assert_eq!(size.framed_bytes, records.iter().map(|record| framed(record.len()) as u64).sum::<u64>());

        let mut gathered = Vec::new();
        let mut rest = Some(keys);
        while let Some(part) = rest {
            let view = self.view();
            let chunk = self
                .store
                .chunk(&view, &part, query.revision, chunk_limit, chunk_bytes, query.keys_only)
                .unwrap();
            assert!(chunk.records.len() <= chunk_limit.max(1));
            assert!(chunk.records.len() <= 1 || chunk.bytes <= chunk_bytes);
            assert_eq!(chunk.bytes, chunk.records.iter().map(|record| record.len()).sum::<usize>());
            gathered.extend(chunk.records);
            rest = chunk
                .next
                .map(|next| range(&next, if query.range_end.is_empty() { &[] } else { &query.range_end }));
        }
        if query.keys_only {
            let keys_only = self.model.range(&Query { keys_only: true, ..all }).unwrap();
            assert_eq!(gathered, keys_only.records.iter().map(|record| record.encode()).collect::<Vec<_>>());
        } else {
            assert_eq!(gathered, records);
        }
        for (key, record) in expected.records.iter().map(|record| &record.key).zip(&records) {
            let ours = self.store.record_at(&self.view(), key, query.revision).unwrap();
            assert_eq!(ours.as_deref(), Some(&record[..]));
        }
        self.compare_current(query);
    }

    fn compare_current(&self, query: &Query) {
        let state = self.model.state_at(i64::MAX);
        let mut visited = Vec::new();
        self.store.for_each_current(&range(&query.key, &query.range_end), &mut |key, meta| {
            visited.push(key.to_vec());
            let record = &state[key];
            assert_eq!(meta.create_revision, record.create_revision);
            assert_eq!(meta.mod_revision.main, record.mod_revision);
            assert_eq!((meta.version, meta.lease), (record.version, record.lease));
            assert_eq!(meta.record_len, record.encode().len());
            assert_eq!(self.store.current(key), Some(*meta));
            ControlFlow::Continue(())
        });
        let keys = Query { revision: 0, ..query.clone() };
        let expected =
            self.model.range(&Query { key: keys.key, range_end: keys.range_end, ..Query::default() });
        let expected: Vec<_> = expected.unwrap().records.into_iter().map(|record| record.key).collect();
        assert_eq!(visited, expected);
        let current = self.store.record(&self.view(), &query.key).unwrap();
        assert_eq!(
            current.map(|record| record.to_vec()),
            state.get(&query.key).map(|record| record.encode())
        );
        assert_eq!(self.store.statistics().keys, state.len() as u64);
    }

    /// History in pieces, with a filter that passes keys below `below`.
    pub(crate) fn compare_history(
        &self,
        from: i64,
        to: i64,
        below: &[u8],
        revisions_max: usize,
        bytes_max: usize,
    ) {
        let expected = match self.model.history(from, to) {
            Ok(events) => events,
            Err(why) => {
                let ours = self.store.history(&self.view(), from, to, &mut |_| true, 1, 1);
                return assert_eq!(refused(&ours.unwrap_err()), why);
            }
        };
        // What a transaction exactly at the compaction wrote and wrote again may be gone or not.
        let all: Vec<&Event> = expected.clone();
        let is_certain = |event: &Event| {
            let (main, sub) = event.revision;
            let again =
                |other: &&Event| other.key == event.key && other.revision.0 == main && other.revision.1 > sub;
            main > self.model.compact_revision() || !all.iter().any(again)
        };
        let expected: Vec<&Event> =
            expected.into_iter().filter(|event| is_certain(event) && &event.key[..] < below).collect();
        let mut gathered = Vec::new();
        let mut next = from;
        loop {
            let part = self
                .store
                .history(&self.view(), next, to, &mut |key| key < below, revisions_max, bytes_max)
                .unwrap();
            assert!(part.next > next || next > to.min(self.store.revision()));
            let mut revisions: Vec<i64> = part.changes.iter().map(|change| change.revision.main).collect();
            revisions.dedup();
            assert!(revisions.len() <= revisions_max.max(1));
            assert!(part.changes.iter().all(|change| (next..part.next).contains(&change.revision.main)));
            gathered.extend(part.changes);
            next = part.next;
            if next > to.min(self.store.revision()) {
                break;
            }
        }
        gathered.retain(|change| {
            let is_stored =
                all.iter().any(|event| event.revision == (change.revision.main, change.revision.sub));
            let event =
                all.iter().find(|event| event.revision == (change.revision.main, change.revision.sub));
            assert!(is_stored || change.revision.main <= self.model.compact_revision());
            event.is_some_and(|event| is_certain(event))
        });
        assert_eq!(gathered.len(), expected.len());
        for (change, event) in gathered.iter().zip(&expected) {
            compare_change(change, event);
            assert_eq!(change.lease_before, 0);
            assert_eq!(change.kind == ChangeKind::Delete, event.after.is_none());
        }
    }

    pub(crate) fn compare_hash(&mut self, revision: i64) {
        if self.model.compaction_pending().is_some() && !self.model.keeps_any(revision) {
            return;
        }
        match (self.hash(revision), self.model.hash(revision)) {
            (Ok(ours), Ok(expected)) => {
                assert_eq!(
                    (ours.hash, ours.compact_revision, ours.hash_revision),
                    (expected.hash, expected.compact_revision, expected.hash_revision)
                );
            }
            (Err(ours), Err(expected)) => assert_eq!(refused(&ours), expected),
            (ours, expected) => panic!("{ours:?}, expected {expected:?}"),
        }
    }

    /// The hash that the compaction at that revision has just made.
    pub(crate) fn compare_hash_of_compaction(&self, revision: i64) {
        let plan = self.store.hash_plan(revision).unwrap();
        let HashPlan::Cached(hash) = plan else { panic!("the compaction made a hash") };
        assert_eq!(hash.hash, self.model.hash(revision).unwrap().hash);
    }
}
