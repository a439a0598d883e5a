//! No content of an entry, however odd, makes a member panic: it would stop all of them, for ever.

use bytes::Bytes;
use etched_backend::Backend;
use etched_proto::etcdserverpb::{self as pb, compare::TargetUnion, request_op::Request};
use etched_state_machine::{ConfChangeKind, ConfChangeRecord, ConfState};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::model;
use crate::support::*;

/// Numbers at which arithmetic goes wrong.
fn odd() -> impl Strategy<Value = i64> {
    prop_oneof![
        proptest::sample::select(std::vec![
            i64::MIN,
            i64::MIN + 1,
            -2,
            -1,
            0,
            1,
            2,
            3,
            9_000_000_001,
            i64::MAX - 1,
            i64::MAX
        ]),
        -3..9i64,
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        proptest::sample::select(std::vec![&b""[..], b"\0", b"\0\0", b"a", b"b", b"c", b"\xff", b"\xff\xff"])
            .prop_map(Bytes::from_static),
        vec(any::<u8>(), 0..3).prop_map(Bytes::from),
    ]
}

fn put() -> impl Strategy<Value = pb::PutRequest> {
    (bytes(), bytes(), odd(), any::<[bool; 3]>()).prop_map(|(key, value, lease, flags)| pb::PutRequest {
        key,
        value,
        lease,
        prev_kv: flags[0],
        ignore_value: flags[1],
        ignore_lease: flags[2],
    })
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    (bytes(), bytes(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn range() -> impl Strategy<Value = pb::RangeRequest> {
    (bytes(), bytes(), vec(odd(), 6), any::<[bool; 3]>(), -1..4i32, -1..6i32).prop_map(
        |(key, range_end, numbers, flags, sort_order, sort_target)| pb::RangeRequest {
            key,
            range_end,
            limit: numbers[0],
            revision: numbers[1],
            sort_order,
            sort_target,
            serializable: flags[0],
            keys_only: flags[1],
            count_only: flags[2],
            min_mod_revision: numbers[2],
            max_mod_revision: numbers[3],
            min_create_revision: numbers[4],
            max_create_revision: numbers[5],
        },
    )
}

fn compare() -> impl Strategy<Value = pb::Compare> {
    let union = prop_oneof![
        odd().prop_map(TargetUnion::Version),
        odd().prop_map(TargetUnion::CreateRevision),
        odd().prop_map(TargetUnion::ModRevision),
        bytes().prop_map(TargetUnion::Value),
        odd().prop_map(TargetUnion::Lease),
    ];
    (-2..6i32, -2..7i32, bytes(), proptest::option::of(union), bytes()).prop_map(
        |(result, target, key, target_union, range_end)| pb::Compare {
            result,
            target,
            key,
            target_union,
            range_end,
        },
    )
}

fn branches(op: impl Strategy<Value = pb::RequestOp> + Clone) -> impl Strategy<Value = pb::TxnRequest> {
    (vec(compare(), 0..2), vec(op.clone(), 0..4), vec(op, 0..4))
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
}

fn txn() -> impl Strategy<Value = pb::TxnRequest> {
    let leaf = prop_oneof![
        3 => put().prop_map(|put| Some(Request::RequestPut(put))),
        2 => delete().prop_map(|delete| Some(Request::RequestDeleteRange(delete))),
        2 => range().prop_map(|range| Some(Request::RequestRange(range))),
        1 => Just(None),
    ];
    let leaf = leaf.prop_map(|request| pb::RequestOp { request });
    let op = leaf.prop_recursive(3, 12, 3, |op| {
        branches(op).prop_map(|txn| pb::RequestOp { request: Some(Request::RequestTxn(txn)) })
    });
    branches(op)
}

fn request() -> impl Strategy<Value = pb::InternalRaftRequest> {
    let with = pb::InternalRaftRequest::default;
    prop_oneof![
        put().prop_map(move |put| pb::InternalRaftRequest { put: Some(put), ..with() }),
        delete().prop_map(move |delete| pb::InternalRaftRequest { delete_range: Some(delete), ..with() }),
        range().prop_map(move |range| pb::InternalRaftRequest { range: Some(range), ..with() }),
        txn().prop_map(move |txn| pb::InternalRaftRequest { txn: Some(txn), ..with() }),
        (odd(), any::<bool>()).prop_map(move |(revision, physical)| pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision, physical }),
            ..with()
        }),
        (odd(), odd()).prop_map(move |(ttl, id)| pb::InternalRaftRequest {
            lease_grant: Some(pb::LeaseGrantRequest { ttl, id }),
            ..with()
        }),
        odd().prop_map(move |id| pb::InternalRaftRequest {
            lease_revoke: Some(pb::LeaseRevokeRequest { id }),
            ..with()
        }),
        vec((odd(), odd()), 0..3).prop_map(move |notes| {
            let checkpoints =
                notes.into_iter().map(|(id, remaining_ttl)| pb::LeaseCheckpoint { id, remaining_ttl });
            let request = pb::LeaseCheckpointRequest { checkpoints: checkpoints.collect() };
            pb::InternalRaftRequest { lease_checkpoint: Some(request), ..with() }
        }),
        (-1..4i32, any::<u64>(), -1..4i32).prop_map(move |(action, member_id, alarm)| {
            pb::InternalRaftRequest { alarm: Some(pb::AlarmRequest { action, member_id, alarm }), ..with() }
        }),
        ".{0,6}".prop_map(move |version| pb::InternalRaftRequest {
            downgrade_version_test: Some(pb::DowngradeVersionTestRequest { ver: version }),
            ..with()
        }),
    ]
}

/// Applies an entry that may be undecodable, and commits now and then.
fn apply(member: &mut Member, entry: &Bytes) {
    let view = member.backend.view().unwrap();
    let (index, term) = member.machine.applied();
    if member.machine.apply(&view, index + 1, term, entry).is_err() {
        assert_eq!(member.machine.applied(), (index, term));
    }
    if index % 5 == 4 {
        member.commit();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn valid_entries_with_odd_content_are_applied(requests in vec(request(), 1..30)) {
        let mut member = Member::new();
        for request in requests {
            apply(&mut member, &request.encode_to_vec().into());
        }
        let _ = member.dump();
        member.commit();
        let before = member.dump();
        prop_assert_eq!(member.restarted().dump(), before);
    }

    #[test]
    fn damaged_entries_are_applied_or_refused(
        commands in vec((model::command(), any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        let mut member = Member::new();
        for (command, place, byte) in commands {
            let mut damaged = entry(&command).to_vec();
            let place = place.index(damaged.len());
            damaged[place] = byte;
            apply(&mut member, &damaged.into());
        }
    }

    #[test]
    fn random_bytes_are_refused_or_applied(entries in vec(vec(any::<u8>(), 1..30), 1..20)) {
        let mut member = Member::new();
        for entry in entries {
            apply(&mut member, &entry.into());
        }
    }

    #[test]
    fn changes_of_the_cluster_with_odd_contexts_are_applied(
        changes in vec((0..4usize, 0..3u64, "(\\{\"id\":[0-2],\"peerURLs\":(null|\\[\"[ab]\"\\])(,\"isPromote\":true)?\\})|.{0,9}"), 1..20)
    ) {
        let mut member = Member::new();
        for (index, (kind, node_id, context)) in changes.into_iter().enumerate() {
            let kinds = [
                ConfChangeKind::AddNode,
                ConfChangeKind::RemoveNode,
                ConfChangeKind::UpdateNode,
                ConfChangeKind::AddLearnerNode,
            ];
            let record = ConfChangeRecord { id: 1, kind: kinds[kind], node_id, context: context.into() };
            let state = ConfState { voters: vec![node_id], ..ConfState::default() };
            let valid = member.machine.admit_conf_change(&record);
            let applied = member.machine.apply_conf_change(index as u64 + 1, 1, &record, state);
            prop_assert_eq!(applied.outcome.map(|_| ()), valid);
        }
        member.commit();
        let members = member.machine.members().clone();
        let restarted = member.restarted();
        prop_assert_eq!(restarted.machine.members(), &members);
    }
}
