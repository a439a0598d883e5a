//! Entries against those that etcd wrote, against the generated form, and against damage.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use etched_auth::{Access, Operation, Permission, Secret};
use etched_key_range::KeyRange;
use etched_mvcc::{RangeQuery, SortOrder, SortTarget};
use etched_proto::etcdserverpb as pb;
use etched_proto::membershippb;
use expect_test::{Expect, expect};
use proptest::collection;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::command::{Compact, Compare, CompareTarget, DeleteRange, Put, Range, Txn, TxnOp};

/// The entries of a log that etcd 3.7.2 wrote, one a line: every kind of command, and odd ones.
const GOLDEN: &str = include_str!("../../tests/golden/entries-3.7.2.hex");

fn unhex(text: &str) -> Bytes {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn entries_that_etcd_wrote_are_read_and_written_byte_for_byte() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in GOLDEN.lines() {
        let entry = unhex(line);
        let (header, command) = decode(&entry).unwrap();
        kinds.insert(field_number(&command));
        let again = encode(&header, &command);
        assert_eq!(decode(&again), Ok((header, command)), "{line}");
        // A compare that gives no value is written with a zero, which means the same.
        let (without, with) = ("0a0510021a0161", "0a0710021a01613000");
        let written = hex(&again).replace(with, without).replace("326f0a", "326d0a");
        assert_eq!(written, line);
    }
    expect![
        "{4, 5, 6, 7, 8, 9, 10, 1000, 1012, 1013, 1100, 1102, 1103, 1104, 1200, 1202, 1203, 1300, 1301, 1302}"
    ]
    .assert_eq(&format!("{kinds:?}"));
}

fn check(entry: &str, expected: Expect) {
    expected.assert_eq(&format!("{:?}", decode(&unhex(entry)).unwrap()));
}

#[test]
fn the_commands_of_entries_that_etcd_wrote() {
    check(
        "22030a016ba2061208b5d4eaf8a4c2e886391204726f6f741807",
        expect![[
            r#"(Header { request_id: 4111120234379389493, username: "root", auth_revision: 7 }, Put(Put { key: b"k", value: b"", lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false }))"#
        ]],
    );
    check(
        "420d080110fbffffffffffffffff01a2060a0885ee83bba4c2e88639",
        expect![
            "(Header { request_id: 4111120234249778949, username: \"\", auth_revision: 0 }, LeaseGrant { id: -5, ttl: 1 })"
        ],
    );
    check(
        "a2060a0881e6e8f5a4c2e88639aa5129088df2f48ec1f7a6d7bd01121c0a026e311216687474703a2f2f3132372e302e302e313a3433373931",
        expect![[
            r#"(Header { request_id: 4111120234373067521, username: "", auth_revision: 0 }, MemberAttributes { member_id: 13668033151171901709, name: "n1", client_urls: ["http://127.0.0.1:43791"] })"#
        ]],
    );
    check(
        "3219120512030a016d12100a0e0a016b20feffffffffffffffff01a2060a0893e6e8f5a4c2e88639",
        expect![[
            r#"(Header { request_id: 4111120234373067539, username: "", auth_revision: 0 }, Txn(Txn { compares: [], success: [Put(Put { key: b"m", value: b"", lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false }), Range(Range { query: RangeQuery { range: KeyRange { start: b"k", end: Single }, revision: -2, limit: 0, order: None, target: Key, keys_only: false, count_only: false, mod_revision_min: 0, mod_revision_max: 0, create_revision_min: 0, create_revision_max: 0 }, serializable: false, unknown_sort: None })], failure: [] }))"#
        ]],
    );
}

#[test]
fn what_a_newer_version_wrote_is_an_error() {
    let check = |entry: &[u8], expected: DecodeError| {
        assert_eq!(decode(&Bytes::copy_from_slice(entry)), Err(expected), "{entry:?}");
    };
    check(&[], DecodeError::NoOperation);
    check(&[0x08, 7], DecodeError::NoOperation);
    check(&[0x62, 0], DecodeError::UnknownField { message: "InternalRaftRequest", field: 12 });
    check(&[0x62, 0], DecodeError::UnknownField { message: "InternalRaftRequest", field: 12 });
    check(&[0x22, 2, 0x38, 1], DecodeError::UnknownField { message: "PutRequest", field: 7 });
    check(&[0x22, 2, 0x08, 1], DecodeError::UnknownField { message: "PutRequest", field: 1 });
    check(&[0x22, 0, 0x2a, 0], DecodeError::SeveralOperations);
    check(&[0x22, 0, 0x22, 0], DecodeError::SeveralOperations);
    check(&[0x32, 6, 0x12, 4, 0x12, 0, 0x1a, 0], DecodeError::SeveralOperations);
    check(&[0x22, 3, 0x0a], DecodeError::Malformed);
    check(&[0x22, 2, 0x0a, 5], DecodeError::Malformed);
    check(&[0x22, 0, 0xa2, 0x06, 3, 0x12, 1, 0xff], DecodeError::Malformed);
}

#[test]
fn a_ticket_where_old_versions_kept_it_is_found() {
    let (header, _) = decode(&Bytes::from_static(&[0x08, 7, 0x22, 0])).unwrap();
    assert_eq!(header.request_id, 7);
}

#[test]
fn transactions_nested_too_deeply_are_an_error_and_those_allowed_are_not() {
    let nested = |depth: usize| {
        let mut txn = Txn::default();
        for _ in 1..depth {
            txn = Txn { success: [TxnOp::Txn(txn)].into(), ..Txn::default() };
        }
        encode(&Header::default(), &Command::Txn(txn))
    };
    assert!(decode(&nested(crate::command::txn::DEPTH_MAX)).is_ok());
    assert_eq!(decode(&nested(crate::command::txn::DEPTH_MAX + 1)), Err(DecodeError::TooDeep));
}

#[test]
fn alarms_are_keys() {
    let alarm = AlarmMember { kind: AlarmKind::Corrupt, member_id: 300 };
    let key = encode_alarm(alarm);
    assert_eq!(key, &[0x08, 0xac, 0x02, 0x10, 2][..]);
    assert_eq!(decode_alarm(&key), Some(alarm));
    let unknown = encode_alarm(AlarmMember { kind: AlarmKind::NoSpace, member_id: 0 });
    assert_eq!(decode_alarm(&unknown), Some(AlarmMember { kind: AlarmKind::NoSpace, member_id: 0 }));
    for broken in [&b""[..], &[0x10, 9], &[0x08, 1], &[0x18, 1], &[0x10]] {
        assert_eq!(decode_alarm(&Bytes::copy_from_slice(broken)), None);
    }
}

fn bytes() -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from)
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    (bytes(), bytes()).prop_map(|(key, end)| KeyRange::from_wire(key, end))
}

fn range() -> impl Strategy<Value = Range> {
    let numbers = collection::vec(any::<i64>(), 6);
    (key_range(), numbers, any::<[bool; 3]>(), -1..4, -1..6).prop_map(
        |(range, numbers, flags, order, target)| {
            let query = RangeQuery {
                range,
                limit: numbers[0],
                revision: numbers[1],
                order: SortOrder::None,
                target: SortTarget::Key,
                keys_only: flags[0],
                count_only: flags[1],
                mod_revision_min: numbers[2],
                mod_revision_max: numbers[3],
                create_revision_min: numbers[4],
                create_revision_max: numbers[5],
            };
            Range::from_wire(query, flags[2], order, target)
        },
    )
}

fn put() -> impl Strategy<Value = Put> {
    (bytes(), bytes(), any::<i64>(), any::<[bool; 3]>()).prop_map(|(key, value, lease, flags)| Put {
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

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        any::<i64>().prop_map(CompareTarget::Version),
        any::<i64>().prop_map(CompareTarget::CreateRevision),
        any::<i64>().prop_map(CompareTarget::ModRevision),
        bytes().prop_map(CompareTarget::Value),
        any::<i64>().prop_map(CompareTarget::Lease),
        (5..i32::MAX).prop_map(CompareTarget::Unknown),
        (i32::MIN..0).prop_map(CompareTarget::Unknown),
    ];
    (key_range(), any::<i32>(), target).prop_map(|(range, result, target)| Compare { range, result, target })
}

fn txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        range().prop_map(TxnOp::Range),
        put().prop_map(TxnOp::Put),
        delete().prop_map(TxnOp::DeleteRange),
        Just(TxnOp::Absent),
    ];
    let op = leaf.prop_recursive(3, 12, 4, |op| {
        (collection::vec(compare(), 0..3), collection::vec(op.clone(), 0..3), collection::vec(op, 0..3))
            .prop_map(|(compares, success, failure)| TxnOp::Txn(Txn { compares, success, failure }))
    });
    (collection::vec(compare(), 0..3), collection::vec(op.clone(), 0..3), collection::vec(op, 0..3))
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        put().prop_map(Command::Put),
        delete().prop_map(Command::DeleteRange),
        txn().prop_map(Command::Txn),
        range().prop_map(Command::Range),
        any::<(i64, bool)>()
            .prop_map(|(revision, physical)| Command::Compact(Compact { revision, physical })),
        any::<(i64, i64)>().prop_map(|(id, ttl)| Command::LeaseGrant { id, ttl }),
        any::<i64>().prop_map(|id| Command::LeaseRevoke { id }),
        collection::vec(any::<(i64, i64)>(), 0..4).prop_map(Command::LeaseCheckpoint),
        any::<(i32, u64, i32)>().prop_map(|(action, member_id, alarm)| Command::Alarm(AlarmRequest {
            action,
            member_id,
            alarm
        })),
        ".{0,8}".prop_map(|version| Command::ClusterVersionSet { version }),
        ".{0,8}".prop_map(|version| Command::DowngradeVersionTest { version }),
        (any::<bool>(), ".{0,8}").prop_map(|(enabled, version)| Command::DowngradeSet { enabled, version }),
        (any::<u64>(), ".{0,4}", collection::vec(".{0,4}", 0..3)).prop_map(
            |(member_id, name, client_urls)| { Command::MemberAttributes { member_id, name, client_urls } }
        ),
        operation().prop_map(Command::Auth),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let text = || ".{0,4}";
    let secret = || text().prop_map(Secret);
    let permission = (0..4, bytes(), bytes()).prop_map(|(access, key, range_end)| Permission {
        access: Access::from_wire(access),
        key,
        range_end,
    });
    let options = proptest::option::of(any::<bool>());
    let two = || (text(), text());
    prop_oneof![
        prop_oneof![
            Just(Operation::Enable),
            Just(Operation::Disable),
            Just(Operation::Status),
            Just(Operation::UserList),
            Just(Operation::RoleList),
        ],
        (text(), secret(), secret()).prop_map(|(name, password, simple_token)| Operation::Authenticate {
            name,
            password,
            simple_token
        }),
        (text(), secret(), secret(), options).prop_map(|(name, password, hashed_password, no_password)| {
            Operation::UserAdd { name, password, hashed_password, no_password }
        }),
        (text(), secret(), secret()).prop_map(|(name, password, hashed_password)| {
            Operation::UserChangePassword { name, password, hashed_password }
        }),
        two().prop_map(|(user, role)| Operation::UserGrantRole { user, role }),
        two().prop_map(|(name, role)| Operation::UserRevokeRole { name, role }),
        text().prop_map(|name| Operation::UserGet { name }),
        text().prop_map(|name| Operation::UserDelete { name }),
        text().prop_map(|name| Operation::RoleAdd { name }),
        text().prop_map(|role| Operation::RoleGet { role }),
        text().prop_map(|role| Operation::RoleDelete { role }),
        (text(), proptest::option::of(permission))
            .prop_map(|(role, permission)| Operation::RoleGrantPermission { role, permission }),
        (text(), bytes(), bytes()).prop_map(|(role, key, range_end)| Operation::RoleRevokePermission {
            role,
            key,
            range_end
        }),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (any::<u64>(), ".{0,4}", any::<u64>()).prop_map(|(request_id, username, auth_revision)| Header {
        request_id,
        username,
        auth_revision,
    })
}

proptest! {
    #[test]
    fn every_command_survives_its_entry(header in header(), command in command()) {
        let entry = encode(&header, &command);
        prop_assert_eq!(decode(&entry), Ok((header, command)));
    }

    #[test]
    fn the_generated_form_reads_and_writes_the_same_bytes(header in header(), command in command()) {
        let entry = encode(&header, &command);
        let oracle = pb::InternalRaftRequest::decode(entry.clone()).unwrap();
        let wanted = pb::RequestHeader {
            id: header.request_id,
            username: header.username,
            auth_revision: header.auth_revision,
        };
        prop_assert_eq!(oracle.header.as_ref(), Some(&wanted));
        prop_assert_eq!(entry.len(), oracle.encoded_len());
        let generated = Bytes::from(oracle.encode_to_vec());
        prop_assert_eq!(decode(&generated), decode(&entry));
    }

    #[test]
    fn garbage_is_read_without_a_panic(entry in collection::vec(any::<u8>(), 0..40)) {
        let _ = decode(&entry.into());
    }

    #[test]
    fn damaged_entries_are_read_without_a_panic(
        header in header(),
        command in command(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut entry = encode(&header, &command).to_vec();
        let place = place.index(entry.len());
        entry[place] = byte;
        entry.truncate(cut.index(entry.len()) + 1);
        let _ = decode(&entry.into());
    }
}

#[test]
fn compares_whose_value_is_of_another_kind_mean_zero() {
    let compare = pb::Compare {
        result: 1,
        target: pb::compare::CompareTarget::Value.into(),
        key: "k".into(),
        target_union: Some(pb::compare::TargetUnion::Version(9)),
        range_end: Bytes::new(),
    };
    let request = pb::InternalRaftRequest {
        txn: Some(pb::TxnRequest { compare: [compare].into(), ..Default::default() }),
        ..Default::default()
    };
    let (_, command) = decode(&request.encode_to_vec().into()).unwrap();
    let Command::Txn(txn) = command else { panic!("a transaction went in") };
    assert_eq!(
        txn.compares,
        Vec::from([Compare {
            range: KeyRange::single("k".into()),
            result: 1,
            target: CompareTarget::Value(Bytes::new()),
        }])
    );
}

#[test]
fn attributes_are_those_of_the_generated_form() {
    let request = pb::InternalRaftRequest {
        cluster_member_attr_set: Some(membershippb::ClusterMemberAttrSetRequest {
            member_id: 7,
            member_attributes: Some(membershippb::Attributes {
                name: "n".into(),
                client_urls: ["a".into(), String::new()].into(),
            }),
        }),
        ..Default::default()
    };
    let (_, command) = decode(&request.encode_to_vec().into()).unwrap();
    assert_eq!(
        command,
        Command::MemberAttributes {
            member_id: 7,
            name: "n".into(),
            client_urls: ["a".into(), String::new()].into()
        }
    );
}
