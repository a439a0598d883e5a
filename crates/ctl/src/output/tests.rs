//! Every answer in every format. The expectations were compared with what etcdctl 3.7.2 prints.

use std::time::Duration;

use etched_proto::etcdserverpb::response_op::Response;
use etched_proto::etcdserverpb::{
    AlarmMember, AlarmResponse, DeleteRangeResponse, DowngradeInfo, DowngradeResponse, HashKvResponse,
    LeaseGrantResponse, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveResponse, Member, MemberAddResponse, MemberListResponse, MoveLeaderResponse, PutResponse,
    RangeResponse, ResponseHeader, ResponseOp, StatusResponse, TxnResponse,
};
use etched_proto::mvccpb::{Event, KeyValue};
use expect_test::{Expect, expect};

use super::{Answer, DowngradeStep, Format, Health, MemberChange, Style, WatchAnswer};

fn render(answer: &Answer, format: Format, hex: bool) -> String {
    match answer.render(Style { format, hex }) {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(failure) => format!("exit {}: {}", failure.exit as u8, failure.message),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
fn check(answer: &Answer, format: Format, expected: Expect) {
    expected.assert_eq(&render(answer, format, false));
}

#[expect(clippy::needless_pass_by_value, reason = "expectations are written in place")]
fn check_hex(answer: &Answer, format: Format, expected: Expect) {
    expected.assert_eq(&render(answer, format, true));
}

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 0xabc, member_id: 0x8e9e_05c5_2164_694d, revision: 7, raft_term: 2 })
}

fn kv() -> KeyValue {
    KeyValue {
        key: "foo".into(),
        create_revision: 2,
        mod_revision: 5,
        version: 3,
        value: b"b\"\n\xc3\xa9".as_slice().into(),
        lease: 0x2f,
    }
}

fn get() -> Answer {
    let response = RangeResponse { header: header(), kvs: vec![kv()], more: true, count: 4 };
    Answer::Get { response, values_only: false }
}

#[test]
fn a_get_in_all_formats() {
    check(
        &get(),
        Format::Simple,
        expect![[r#"
        foo
        b"
        é
    "#]],
    );
    check_hex(
        &get(),
        Format::Simple,
        expect![[r#"
        \x66\x6f\x6f
        \x62\x22\x0a\xc3\xa9
    "#]],
    );
    check(
        &get(),
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"kvs":[{"key":"Zm9v","create_revision":2,"mod_revision":5,"version":3,"value":"YiIKw6k=","lease":47}],"more":true,"count":4}
    "#]],
    );
    check(
        &get(),
        Format::Fields,
        expect![[r#"
        "ClusterID" : 2748
        "MemberID" : 10276657743932975437
        "Revision" : 7
        "RaftTerm" : 2
        "Key" : "foo"
        "CreateRevision" : 2
        "ModRevision" : 5
        "Version" : 3
        "Value" : "b\"\né"
        "Lease" : 47
        "More" : true
        "Count" : 4
    "#]],
    );
    check_hex(
        &get(),
        Format::Fields,
        expect![[r#"
        "ClusterID" : abc
        "MemberID" : 8e9e05c52164694d
        "Revision" : 7
        "RaftTerm" : 2
        "Key" : "foo"
        "CreateRevision" : 2
        "ModRevision" : 5
        "Version" : 3
        "Value" : "b\"\né"
        "Lease" : 000000000000002f
        "More" : true
        "Count" : 4
    "#]],
    );
    check(&get(), Format::Table, expect!["exit 4: table not supported as output format"]);
}

#[test]
fn a_get_of_values_alone_and_of_nothing() {
    let response = RangeResponse { header: header(), kvs: vec![kv(), kv()], more: false, count: 2 };
    check(
        &Answer::Get { response, values_only: true },
        Format::Simple,
        expect![[r#"
        b"
        é
        b"
        é
    "#]],
    );
    let response = RangeResponse { header: header(), ..RangeResponse::default() };
    check(
        &Answer::Get { response, values_only: false },
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2}}
    "#]],
    );
}

#[test]
fn protobuf_is_the_message_itself() {
    let answer = Answer::Put(PutResponse { header: header(), prev_kv: None });
    let bytes = answer.render(Style { format: Format::Protobuf, hex: false }).unwrap();
    assert_eq!(
        bytes,
        [
            &[10, 18, 8, 0xbc, 21, 16][..],
            &[0xcd, 0xd2, 0x91, 0x8b, 0xd2, 0xb8, 0x81, 0xcf, 0x8e, 1, 24, 7, 32, 2]
        ]
        .concat()
    );
    let status = Answer::Status(Vec::new()).render(Style { format: Format::Protobuf, hex: false });
    assert_eq!(status.unwrap_err().message, "protobuf not supported as output format");
}

#[test]
fn puts_and_deletions() {
    let put = Answer::Put(PutResponse { header: header(), prev_kv: Some(kv()) });
    check(
        &put,
        Format::Simple,
        expect![[r#"
        OK
        foo
        b"
        é
    "#]],
    );
    check(
        &put,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"prev_kv":{"key":"Zm9v","create_revision":2,"mod_revision":5,"version":3,"value":"YiIKw6k=","lease":47}}
    "#]],
    );
    let del = Answer::Del(DeleteRangeResponse { header: header(), deleted: 1, prev_kvs: vec![kv()] });
    check(
        &del,
        Format::Simple,
        expect![[r#"
        1
        foo
        b"
        é
    "#]],
    );
    check(
        &del,
        Format::Fields,
        expect![[r#"
        "ClusterID" : 2748
        "MemberID" : 10276657743932975437
        "Revision" : 7
        "RaftTerm" : 2
        "Deleted" : 1
        "PrevKey" : "foo"
        "PrevCreateRevision" : 2
        "PrevModRevision" : 5
        "PrevVersion" : 3
        "PrevValue" : "b\"\né"
        "PrevLease" : 47
    "#]],
    );
}

#[test]
fn a_transaction_shows_its_operations() {
    let inner = Some(ResponseHeader { revision: 7, ..ResponseHeader::default() });
    let op = |response| ResponseOp { response: Some(response) };
    let responses = vec![
        op(Response::ResponsePut(PutResponse { header: inner, prev_kv: None })),
        op(Response::ResponseDeleteRange(DeleteRangeResponse {
            header: inner,
            deleted: 0,
            prev_kvs: Vec::new(),
        })),
        op(Response::ResponseRange(RangeResponse { header: inner, ..RangeResponse::default() })),
    ];
    let txn = Answer::Txn(TxnResponse { header: header(), succeeded: true, responses });
    check(
        &txn,
        Format::Simple,
        expect![[r#"
        SUCCESS

        OK

        0

    "#]],
    );
    check(
        &txn,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"succeeded":true,"responses":[{"Response":{"response_put":{"header":{"revision":7}}}},{"Response":{"response_delete_range":{"header":{"revision":7}}}},{"Response":{"response_range":{"header":{"revision":7}}}}]}
    "#]],
    );
    check(
        &txn,
        Format::Fields,
        expect![[r#"
        "ClusterID" : 2748
        "MemberID" : 10276657743932975437
        "Revision" : 7
        "RaftTerm" : 2
        "Succeeded" : true
        "ClusterID" : 0
        "MemberID" : 0
        "Revision" : 7
        "RaftTerm" : 0
        "ClusterID" : 0
        "MemberID" : 0
        "Revision" : 7
        "RaftTerm" : 0
        "Deleted" : 0
        "ClusterID" : 0
        "MemberID" : 0
        "Revision" : 7
        "RaftTerm" : 0
        "More" : false
        "Count" : 0
    "#]],
    );
}

#[test]
fn a_watch_shows_events() {
    let deleted = KeyValue { key: "foo".into(), mod_revision: 7, ..KeyValue::default() };
    let events = vec![Event { r#type: 1, kv: Some(deleted), prev_kv: Some(kv()) }];
    let watch = Answer::Watch(WatchAnswer { header: header(), events, ..WatchAnswer::default() });
    check(
        &watch,
        Format::Simple,
        expect![[r#"
        DELETE
        foo
        b"
        é
        foo

    "#]],
    );
    check(
        &watch,
        Format::Json,
        expect![[r#"
        {"Header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"Events":[{"type":1,"kv":{"key":"Zm9v","mod_revision":7},"prev_kv":{"key":"Zm9v","create_revision":2,"mod_revision":5,"version":3,"value":"YiIKw6k=","lease":47}}],"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}
    "#]],
    );
    let canceled =
        Answer::Watch(WatchAnswer { compact_revision: 9, canceled: true, ..WatchAnswer::default() });
    check(&canceled, Format::Simple, expect![""]);
    check(
        &canceled,
        Format::Json,
        expect![[r#"
        {"Header":{},"Events":null,"CompactRevision":9,"Canceled":true,"Created":false,"CancelReason":""}
    "#]],
    );
    check(
        &canceled,
        Format::Fields,
        expect![[r#"
        "ClusterID" : 0
        "MemberID" : 0
        "RaftTerm" : 0
    "#]],
    );
}

#[test]
fn leases_are_hexadecimal_in_the_simple_format_and_decimal_in_json() {
    let grant = LeaseGrantResponse { header: header(), id: 0x2f, ttl: 60, error: String::new() };
    check(
        &Answer::LeaseGrant(grant.clone()),
        Format::Simple,
        expect![[r#"
        lease 000000000000002f granted with TTL(60s)
    "#]],
    );
    check(
        &Answer::LeaseGrant(grant),
        Format::Json,
        expect![[r#"
        {"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2,"ID":47,"TTL":60,"Error":""}
    "#]],
    );
    let revoke = Answer::LeaseRevoke { id: 0x2f, response: LeaseRevokeResponse { header: header() } };
    check(
        &revoke,
        Format::Simple,
        expect![[r#"
        lease 000000000000002f revoked
    "#]],
    );
    let keep_alive = Answer::LeaseKeepAlive(LeaseKeepAliveResponse { header: header(), id: 0x2f, ttl: 60 });
    check(
        &keep_alive,
        Format::Simple,
        expect![[r#"
        lease 000000000000002f keepalived with TTL(60)
    "#]],
    );
    check_hex(
        &keep_alive,
        Format::Fields,
        expect![[r#"
        "ClusterID" : abc
        "MemberID" : 8e9e05c52164694d
        "Revision" : 7
        "RaftTerm" : 2
        "ID" : 000000000000002f
        "TTL" : 60
    "#]],
    );
    let list =
        Answer::LeaseList(LeaseLeasesResponse { header: header(), leases: vec![LeaseStatus { id: 0x2f }] });
    check(
        &list,
        Format::Simple,
        expect![[r#"
        found 1 leases
        000000000000002f
    "#]],
    );
    check(
        &list,
        Format::Json,
        expect![[r#"
        {"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2,"leases":[{"id":47}]}
    "#]],
    );
}

#[test]
fn the_life_of_a_lease() {
    let live = LeaseTimeToLiveResponse {
        header: header(),
        id: 0x2f,
        ttl: 59,
        granted_ttl: 60,
        keys: vec!["a".into(), "b".into()],
    };
    let with_keys = Answer::LeaseTimeToLive { response: live.clone(), with_keys: true };
    check(
        &with_keys,
        Format::Simple,
        expect![[r#"
        lease 000000000000002f granted with TTL(60s), remaining(59s), attached keys([a b])
    "#]],
    );
    check(
        &with_keys,
        Format::Json,
        expect![[r#"
        {"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2,"id":47,"ttl":59,"granted-ttl":60,"keys":["YQ==","Yg=="]}
    "#]],
    );
    let without_keys = LeaseTimeToLiveResponse { keys: Vec::new(), ..live };
    check(
        &Answer::LeaseTimeToLive { response: without_keys, with_keys: false },
        Format::Simple,
        expect![[r#"
        lease 000000000000002f granted with TTL(60s), remaining(59s)
    "#]],
    );
    let gone =
        LeaseTimeToLiveResponse { header: header(), id: 0x2f, ttl: -1, ..LeaseTimeToLiveResponse::default() };
    let gone = Answer::LeaseTimeToLive { response: gone, with_keys: true };
    check(
        &gone,
        Format::Simple,
        expect![[r#"
        lease 000000000000002f already expired
    "#]],
    );
    check(
        &gone,
        Format::Json,
        expect![[r#"
        {"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2,"id":47,"ttl":-1,"granted-ttl":0,"keys":null}
    "#]],
    );
}

#[test]
fn members_in_all_formats() {
    let started = Member {
        id: 0x8e9e_05c5_2164_694d,
        name: "m<1>".to_owned(),
        peer_ur_ls: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
        client_ur_ls: vec!["http://a:2".to_owned()],
        is_learner: false,
    };
    let unstarted =
        Member { id: 0xf, peer_ur_ls: vec!["http://c:1".to_owned()], is_learner: true, ..Member::default() };
    let header = header().map(|header| ResponseHeader { revision: 0, ..header });
    let list = Answer::MemberList(MemberListResponse { header, members: vec![started, unstarted] });
    check(
        &list,
        Format::Simple,
        expect![[r#"
        8e9e05c52164694d, started, m<1>, http://a:1,http://b:1, http://a:2, false
        f, unstarted, , http://c:1, , true
    "#]],
    );
    check(
        &list,
        Format::Table,
        expect![[r#"
        ┌──────────────────┬───────────┬──────┬───────────────────────┬──────────────┬────────────┐
        │        ID        │  STATUS   │ NAME │      PEER ADDRS       │ CLIENT ADDRS │ IS LEARNER │
        ├──────────────────┼───────────┼──────┼───────────────────────┼──────────────┼────────────┤
        │ 8e9e05c52164694d │   started │ m<1> │ http://a:1,http://b:1 │   http://a:2 │      false │
        │                f │ unstarted │      │            http://c:1 │              │       true │
        └──────────────────┴───────────┴──────┴───────────────────────┴──────────────┴────────────┘
    "#]],
    );
    check_hex(
        &list,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":"abc","member_id":"8e9e05c52164694d","raft_term":2},"members":[{"ID":"8e9e05c52164694d","name":"m\u003c1\u003e","peerURLs":["http://a:1","http://b:1"],"clientURLs":["http://a:2"]},{"ID":"f","peerURLs":["http://c:1"],"isLearner":true}]}
    "#]],
    );
    check(
        &list,
        Format::Fields,
        expect![[r#"
        "ClusterID" : 2748
        "MemberID" : 10276657743932975437
        "RaftTerm" : 2
        "ID" : 10276657743932975437
        "Name" : "m<1>"
        "PeerURL" : "http://a:1"
        "PeerURL" : "http://b:1"
        "ClientURL" : "http://a:2"
        "IsLearner" : false

        "ID" : 15
        "Name" : ""
        "PeerURL" : "http://c:1"
        "IsLearner" : true

    "#]],
    );
}

#[test]
fn a_member_that_is_added() {
    let member =
        Member { id: 0xf, peer_ur_ls: vec!["http://c:1".to_owned()], is_learner: true, ..Member::default() };
    let header = header().map(|header| ResponseHeader { revision: 0, ..header });
    let response = MemberAddResponse { header, member: Some(member.clone()), members: vec![member] };
    let added = Answer::MemberAdd(response);
    check(
        &added,
        Format::Simple,
        expect![[r#"
        Member                f added as learner to cluster              abc
    "#]],
    );
    check(
        &added,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"raft_term":2},"member":{"ID":15,"peerURLs":["http://c:1"],"isLearner":true},"members":[{"ID":15,"peerURLs":["http://c:1"],"isLearner":true}]}
    "#]],
    );
    check_hex(
        &added,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":"abc","member_id":"8e9e05c52164694d","raft_term":2},"member":{"ID":"f","peerURLs":["http://c:1"],"isLearner":true},"members":[{"ID":"f","peerURLs":["http://c:1"],"isLearner":true}]}
    "#]],
    );
    check(&added, Format::Fields, expect!["exit 4: fields not supported as output format"]);
}

#[test]
fn removals_updates_and_promotions_of_members() {
    let member =
        Member { id: 0xf, peer_ur_ls: vec!["http://c:1".to_owned()], is_learner: true, ..Member::default() };
    let header = header().map(|header| ResponseHeader { revision: 0, ..header });
    let changed = |change, members| Answer::MemberChanged {
        change,
        id: 0xf,
        response: MemberListResponse { header, members },
    };
    let removed = changed(MemberChange::Removed, Vec::new());
    check(
        &removed,
        Format::Simple,
        expect![[r#"
        Member                f removed from cluster              abc
    "#]],
    );
    check(
        &removed,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"raft_term":2}}
    "#]],
    );
    check_hex(
        &removed,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":"abc","member_id":"8e9e05c52164694d","raft_term":2},"members":[]}
    "#]],
    );
    check(
        &changed(MemberChange::Updated, vec![member.clone()]),
        Format::Simple,
        expect![[r#"
        Member                f updated in cluster              abc
    "#]],
    );
    let promoted = changed(MemberChange::Promoted, vec![member]);
    check(
        &promoted,
        Format::Simple,
        expect![[r#"
        Member                f promoted in cluster              abc
    "#]],
    );
    check(&promoted, Format::Table, expect!["exit 4: table not supported as output format"]);
}

#[test]
fn changes_of_the_leader_and_the_version() {
    let moved =
        Answer::MoveLeader { leader: 0xa, target: 0xb, response: MoveLeaderResponse { header: None } };
    check(
        &moved,
        Format::Simple,
        expect![[r#"
        Leadership transferred from a to b
    "#]],
    );
    check(
        &moved,
        Format::Json,
        expect![[r#"
        {}
    "#]],
    );
    check(&moved, Format::Protobuf, expect![""]);
    let response = DowngradeResponse { header: header(), version: "3.7".to_owned() };
    let downgrade = Answer::Downgrade { step: DowngradeStep::Enable, response };
    check(
        &downgrade,
        Format::Simple,
        expect![[r#"
        Downgrade enable success, cluster version 3.7
    "#]],
    );
    check(
        &downgrade,
        Format::Json,
        expect![[r#"
        {"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"version":"3.7"}
    "#]],
    );
    check(&downgrade, Format::Fields, expect!["exit 4: fields not supported as output format"]);
}

#[test]
fn the_health_of_endpoints() {
    let health = |healthy, error: &str| Health {
        endpoint: "a:1".to_owned(),
        healthy,
        took: Duration::from_micros(1_250),
        error: error.to_owned(),
    };
    let all = Answer::Health(vec![health(true, ""), health(false, "Active Alarm(s): NOSPACE ")]);
    check(
        &all,
        Format::Simple,
        expect![[r#"
        a:1 is healthy: successfully committed proposal: took = 1.25ms
    "#]],
    );
    check(
        &all,
        Format::Table,
        expect![[r#"
        ┌──────────┬────────┬────────┬──────────────────────────┐
        │ ENDPOINT │ HEALTH │  TOOK  │          ERROR           │
        ├──────────┼────────┼────────┼──────────────────────────┤
        │      a:1 │   true │ 1.25ms │                          │
        │      a:1 │  false │ 1.25ms │ Active Alarm(s): NOSPACE │
        └──────────┴────────┴────────┴──────────────────────────┘
    "#]],
    );
    check(
        &all,
        Format::Json,
        expect![[r#"
        [{"endpoint":"a:1","health":true,"took":"1.25ms"},{"endpoint":"a:1","health":false,"took":"1.25ms","error":"Active Alarm(s): NOSPACE "}]
    "#]],
    );
    expect!["a:1 is unhealthy: failed to commit proposal: x"]
        .assert_eq(&super::unhealthy(&health(false, "x")));
}

fn status() -> StatusResponse {
    StatusResponse {
        header: header(),
        version: "3.7.2".to_owned(),
        db_size: 24_576,
        leader: 0x8e9e_05c5_2164_694d,
        raft_index: 9,
        raft_term: 2,
        raft_applied_index: 8,
        errors: vec!["memberID:1 alarm:NOSPACE".to_owned()],
        db_size_in_use: 16_384,
        is_learner: false,
        storage_version: "3.7.0".to_owned(),
        db_size_quota: 2_147_483_648,
        downgrade_info: Some(DowngradeInfo::default()),
    }
}

#[test]
fn the_state_of_endpoints() {
    let all = Answer::Status(vec![("a:1".to_owned(), status())]);
    check(
        &all,
        Format::Simple,
        expect![[r#"
        a:1, 8e9e05c52164694d, 3.7.2, 3.7.0, 25 kB, 16 kB, 34%, 2.1 GB, true, false, 2, 9, 8, memberID:1 alarm:NOSPACE, , false
    "#]],
    );
    check(
        &all,
        Format::Json,
        expect![[r#"
        [{"Endpoint":"a:1","Status":{"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"version":"3.7.2","dbSize":24576,"leader":10276657743932975437,"raftIndex":9,"raftTerm":2,"raftAppliedIndex":8,"errors":["memberID:1 alarm:NOSPACE"],"dbSizeInUse":16384,"storageVersion":"3.7.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]
    "#]],
    );
    check_hex(
        &all,
        Format::Fields,
        expect![[r#"
        "ClusterID" : abc
        "MemberID" : 8e9e05c52164694d
        "Revision" : 7
        "RaftTerm" : 2
        "Version" : "3.7.2"
        "StorageVersion" : "3.7.0"
        "DBSize" : 24576
        "DBSizeInUse" : 16384
        "DBSizeQuota" : 2147483648
        "Leader" : 10276657743932975437
        "IsLearner" : false
        "RaftIndex" : 9
        "RaftAppliedIndex" : 8
        "Errors" : [memberID:1 alarm:NOSPACE]
        "Endpoint" : "a:1"
        "DowngradeTargetVersion" : ""
        "DowngradeEnabled" : false

    "#]],
    );
    let table = render(&all, Format::Table, false);
    assert!(table.contains("│ PERCENTAGE NOT IN USE │") && table.contains("│                   34% │"));
}

#[test]
fn a_server_that_tells_no_sizes_or_wrong_ones_does_no_harm() {
    for (db_size, db_size_in_use) in [(0, 0), (-1, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MAX)] {
        let status = StatusResponse { db_size, db_size_in_use, ..status() };
        let all = Answer::Status(vec![("a:1".to_owned(), status)]);
        assert!(render(&all, Format::Simple, false).contains('%'));
    }
}

#[test]
fn hashes_of_endpoints() {
    let hash = HashKvResponse { header: header(), hash: 99, compact_revision: -1, hash_revision: 7 };
    let all = Answer::HashKv(vec![("a:1".to_owned(), hash)]);
    check(
        &all,
        Format::Simple,
        expect![[r#"
        a:1, 99, 7
    "#]],
    );
    check(
        &all,
        Format::Json,
        expect![[r#"
        [{"Endpoint":"a:1","HashKV":{"header":{"cluster_id":2748,"member_id":10276657743932975437,"revision":7,"raft_term":2},"hash":99,"compact_revision":-1,"hash_revision":7}}]
    "#]],
    );
    check(
        &all,
        Format::Table,
        expect![[r#"
        ┌──────────┬──────┬───────────────┐
        │ ENDPOINT │ HASH │ HASH REVISION │
        ├──────────┼──────┼───────────────┤
        │      a:1 │   99 │             7 │
        └──────────┴──────┴───────────────┘
    "#]],
    );
}

#[test]
fn alarms() {
    let alarms = vec![AlarmMember { member_id: 15, alarm: 1 }];
    let all = Answer::Alarm(AlarmResponse { header: header(), alarms });
    check(
        &all,
        Format::Simple,
        expect![[r#"
        memberID:15 alarm:NOSPACE
    "#]],
    );
    check_hex(
        &all,
        Format::Fields,
        expect![[r#"
        "ClusterID" : abc
        "MemberID" : 8e9e05c52164694d
        "Revision" : 7
        "RaftTerm" : 2
        "MemberID" : f
        "AlarmType" : NOSPACE

    "#]],
    );
    let none = Answer::Alarm(AlarmResponse::default());
    check(
        &none,
        Format::Json,
        expect![[r#"
        {}
    "#]],
    );
    check(&none, Format::Simple, expect![""]);
}
