//! The services over a scripted member, by real gRPC: conversions, headers, errors, limits, streams.
#![expect(clippy::wildcard_enum_match_arm, reason = "a script answers what its test asks for")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::{Event, KeyValue};
use etched_state_machine::{
    AlarmKind, AlarmMember, Command, CompareTarget, DeleteRangeDone, HashKv, Outcome, PutDone, Range,
    RangeOutput, Refusal, TxnDone, TxnOp, TxnOpDone,
};
use etched_watch::{Response, StreamId};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::compare::TargetUnion;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::api::{Answer, ApiError, FrontId, LeaseTimeToLive, MemberEntry, Request, WatchCall};
use crate::front::fake::{CLUSTER_ID, FakeApi, MEMBER_ID, RAFT_TERM, REVISION, Served, serve};

fn kv(key: &str, value: &str, revision: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: 0,
    }
}

fn record(key: &str, value: &str, revision: i64) -> Bytes {
    kv(key, value, revision).encode_to_vec().into()
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: CLUSTER_ID, member_id: MEMBER_ID, revision, raft_term: RAFT_TERM })
}

/// A header inside a transaction.
fn bare(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn serve_outcome(outcome: Outcome) -> Served {
    serve(FakeApi::new(move |_| Some(Ok(Answer::Applied(outcome.clone())))), "")
}

fn serve_answer(answer: Answer) -> Served {
    serve(FakeApi::new(move |_| Some(Ok(answer.clone()))), "")
}

fn proposed(served: &Served) -> Command {
    match served.api.requests.lock().unwrap().last() {
        Some(Request::Propose(command)) => command.clone(),
        other => panic!("{other:?}"),
    }
}

fn last_range(served: &Served) -> Range {
    match served.api.requests.lock().unwrap().last() {
        Some(Request::Range(range)) => range.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_put_is_handed_over_as_it_came_and_its_previous_record_comes_back() {
    let previous = Some(record("a", "old", 5));
    let served = serve_outcome(Outcome::Put(PutDone { revision: 9, previous }));
    let request = pb::PutRequest {
        key: "a".into(),
        value: "b".into(),
        lease: -3,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    let response = KvClient::new(served.channel().await).put(request).await.unwrap().into_inner();
    assert_eq!(response, pb::PutResponse { header: header(9), prev_kv: Some(kv("a", "old", 5)) });
    let Command::Put(put) = proposed(&served) else { panic!() };
    assert_eq!((&*put.key, &*put.value, put.lease), (&b"a"[..], &b"b"[..], -3));
    assert!(put.prev_kv && put.ignore_value && put.ignore_lease);
    served.stop().await;
}

#[tokio::test]
async fn a_range_is_handed_over_with_all_its_parts() {
    let output = RangeOutput {
        records: vec![record("a", "1", 2), record("b", "2", 3)],
        more: true,
        count: 7,
        revision: 30,
    };
    let served = serve_answer(Answer::Range(output));
    let request = pb::RangeRequest {
        key: "a".into(),
        range_end: "z".into(),
        limit: 2,
        revision: 11,
        sort_order: 2,
        sort_target: 3,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 4,
    };
    let mut client = KvClient::new(served.channel().await);
    let response = client.range(request.clone()).await.unwrap().into_inner();
    let kvs = vec![kv("a", "1", 2), kv("b", "2", 3)];
    assert_eq!(response, pb::RangeResponse { header: header(30), kvs, more: true, count: 7 });
    let range = last_range(&served);
    assert_eq!(range.wire_sort(), (2, 3));
    let query = &range.query;
    assert!(range.serializable && query.keys_only && query.count_only);
    assert_eq!((query.limit, query.revision), (2, 11));
    assert_eq!((query.mod_revision_min, query.mod_revision_max), (1, 2));
    assert_eq!((query.create_revision_min, query.create_revision_max), (3, 4));
    // An unknown order goes through as well: the member refuses it.
    client.range(pb::RangeRequest { sort_order: 9, ..request }).await.unwrap();
    assert_eq!(last_range(&served).unknown_sort, Some((9, 3)));
    served.stop().await;
}

#[tokio::test]
async fn headers_inside_a_transaction_have_a_revision_only() {
    let done = TxnDone {
        revision: 12,
        succeeded: true,
        responses: vec![
            TxnOpDone::Range {
                revision: 11,
                output: RangeOutput { count: 1, revision: 99, ..Default::default() },
            },
            TxnOpDone::Put(PutDone { revision: 12, previous: None }),
            TxnOpDone::DeleteRange(DeleteRangeDone {
                revision: 12,
                deleted: 1,
                previous: vec![record("x", "", 4)],
            }),
            TxnOpDone::Txn(TxnDone { revision: 0, succeeded: false, responses: Vec::new() }),
        ],
    };
    let served = serve_outcome(Outcome::Txn(done));
    let operation = |request| pb::RequestOp { request: Some(request) };
    let request = pb::TxnRequest {
        compare: vec![
            pb::Compare {
                result: 3,
                target: 3,
                key: "k".into(),
                target_union: Some(TargetUnion::Value("v".into())),
                range_end: Bytes::new(),
            },
            // The value is of another kind than the target: it counts as zero.
            pb::Compare { target: 1, target_union: Some(TargetUnion::Version(5)), ..Default::default() },
            pb::Compare { target: 77, ..Default::default() },
        ],
        success: vec![
            operation(pb::request_op::Request::RequestTxn(pb::TxnRequest::default())),
            pb::RequestOp { request: None },
        ],
        failure: vec![operation(pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key: "d".into(),
            ..Default::default()
        }))],
    };
    let response = KvClient::new(served.channel().await).txn(request).await.unwrap().into_inner();
    assert_eq!((response.header, response.succeeded), (header(12), true));
    use pb::response_op::Response as Op;
    let responses: Vec<_> =
        response.responses.into_iter().map(|operation| operation.response.unwrap()).collect();
    let [
        Op::ResponseRange(range),
        Op::ResponsePut(put),
        Op::ResponseDeleteRange(delete),
        Op::ResponseTxn(inner),
    ] = responses.as_slice()
    else {
        panic!("{responses:?}")
    };
    assert_eq!((range.header, range.count), (bare(11), 1));
    assert_eq!((put.header, &put.prev_kv), (bare(12), &None));
    assert_eq!((delete.header, delete.deleted, &*delete.prev_kvs), (bare(12), 1, &[kv("x", "", 4)][..]));
    assert_eq!(inner.header, bare(0));
    let Command::Txn(txn) = proposed(&served) else { panic!() };
    let targets: Vec<_> = txn.compares.into_iter().map(|compare| (compare.result, compare.target)).collect();
    assert_eq!(
        targets,
        [
            (3, CompareTarget::Value("v".into())),
            (0, CompareTarget::CreateRevision(0)),
            (0, CompareTarget::Unknown(77))
        ]
    );
    assert!(matches!(txn.success[..], [TxnOp::Txn(_), TxnOp::Absent]));
    assert!(matches!(txn.failure[..], [TxnOp::DeleteRange(_)]));
    served.stop().await;
}

#[tokio::test]
async fn a_header_without_a_revision_of_its_own_gets_the_stores() {
    let served = serve(
        FakeApi::new(|request| {
            Some(Ok(match request {
                Request::Leases => Answer::Leases(vec![3, -1]),
                Request::LeaseTimeToLive { id: 1, keys: true } => {
                    Answer::LeaseTimeToLive(Some(LeaseTimeToLive {
                        remaining: -1,
                        granted: 20,
                        keys: vec!["a".into()],
                    }))
                }
                Request::LeaseTimeToLive { .. } => Answer::LeaseTimeToLive(None),
                Request::HashKv { revision } => {
                    Answer::HashKv(HashKv { hash: 5, compact_revision: -1, hash_revision: *revision })
                }
                Request::Hash => Answer::Hash(6),
                Request::Barrier | Request::Defragment => Answer::Done,
                Request::Members { linearizable: true } => Answer::Members(vec![MemberEntry {
                    id: 1,
                    name: "n".into(),
                    peer_urls: vec!["p".into()],
                    client_urls: vec!["c".into()],
                    is_learner: true,
                }]),
                other => panic!("{other:?}"),
            }))
        }),
        "",
    );
    let channel = served.channel().await;
    let mut lease = LeaseClient::new(channel.clone());
    let leases = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(leases.header, header(REVISION));
    assert_eq!(leases.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [3, -1]);
    let ttl = lease
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 1, keys: true })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((ttl.id, ttl.ttl, ttl.granted_ttl, ttl.keys), (1, -1, 20, vec![Bytes::from("a")]));
    let ttl = lease
        .lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 2, keys: false })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((ttl.header, ttl.id, ttl.ttl, ttl.granted_ttl), (header(REVISION), 2, -1, 0));
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 8 }).await.unwrap().into_inner();
    assert_eq!(
        (hash.header, hash.hash, hash.compact_revision, hash.hash_revision),
        (header(REVISION), 5, -1, 8)
    );
    let hash = maintenance.hash(pb::HashRequest {}).await.unwrap().into_inner();
    assert_eq!((hash.header, hash.hash), (header(REVISION), 6));
    let defragmented = maintenance.defragment(pb::DefragmentRequest {}).await.unwrap().into_inner();
    assert_eq!(defragmented.header, None);
    let list = pb::MemberListRequest { linearizable: true };
    let members = ClusterClient::new(channel.clone()).member_list(list).await.unwrap().into_inner();
    assert_eq!(members.header, header(0), "headers of the cluster have no revision");
    assert!(members.members[0].is_learner);
    let status = AuthClient::new(channel).auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status, pb::AuthStatusResponse { header: header(REVISION), enabled: false, auth_revision: 1 });
    served.stop().await;
}

#[tokio::test]
async fn status_tells_what_the_member_reports() {
    let api = FakeApi::new(|_| None);
    let mut report = api.report.lock().unwrap().clone();
    report.leader = 0;
    report.alarms = vec![AlarmMember { kind: AlarmKind::NoSpace, member_id: 5 }];
    report.database_bytes = 100;
    let report = Arc::new(report);
    let served = serve_answer(Answer::Status(report));
    let mut client = MaintenanceClient::new(served.channel().await);
    let status = client.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["etcdserver: no leader", "memberID:5  alarm:NOSPACE"]);
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.2", "3.7.0"));
    assert_eq!((status.db_size, status.db_size_quota), (100, 2 << 30));
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    assert_eq!(status.header, header(REVISION));
    served.stop().await;
}

#[tokio::test]
async fn errors_reach_the_client_with_code_and_text() {
    let served = serve(
        FakeApi::new(|request| {
            Some(Err(match request {
                Request::Range(_) => ApiError::Refused(Refusal::EmptyKey),
                Request::Propose(Command::Put(_)) => ApiError::Refused(Refusal::NoSpace),
                Request::Propose(_) => ApiError::Timeout,
                _ => ApiError::Stopped,
            }))
        }),
        "",
    );
    let mut client = KvClient::new(served.channel().await);
    let error = client.range(pb::RangeRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "etcdserver: key is not provided"));
    let error = client.put(pb::PutRequest::default()).await.unwrap_err();
    let text = "etcdserver: mvcc: database space exceeded";
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, text));
    let error = client.delete_range(pb::DeleteRangeRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: request timed out"));
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let served = serve(FakeApi::new(|_| None), "");
    let channel = served.channel().await;
    let mut auth = AuthClient::new(channel.clone());
    let error = auth.authenticate(pb::AuthenticateRequest::default()).await.unwrap_err();
    let text = "etcdserver: authentication is not enabled";
    assert_eq!((error.code(), error.message()), (Code::FailedPrecondition, text));
    assert_eq!(auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap_err().code(), Code::Unimplemented);
    let mut maintenance = MaintenanceClient::new(channel.clone());
    assert_eq!(maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap_err().code(), Code::Unimplemented);
    let mut cluster = ClusterClient::new(channel);
    let added = cluster.member_add(pb::MemberAddRequest::default()).await;
    assert_eq!(added.unwrap_err().code(), Code::Unimplemented);
    served.stop().await;
}

/// Sends a message of one type to a method that wants another.
async fn call_raw(served: &Served, path: &'static str, message: pb::PutRequest) -> tonic::Status {
    let mut client = tonic::client::Grpc::new(served.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::PutRequest, pb::PutResponse>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(tonic::Request::new(message), path, codec).await.unwrap_err()
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_refused_in_the_words_of_grpc_go() {
    let served = serve(FakeApi::new(|_| None), "--max-request-bytes=1000");
    let key = |key: &'static [u8]| pb::PutRequest { key: Bytes::from_static(key), ..Default::default() };
    let large = pb::PutRequest { value: vec![0; 525_300].into(), ..Default::default() };
    let length = large.encoded_len();
    for (path, message, code, text) in [
        (
            "/etcdserverpb.Auth/Authenticate",
            key(b"\xff"),
            Code::Internal,
            "grpc: error unmarshalling request: string field contains invalid UTF-8",
        ),
        (
            "/etcdserverpb.Maintenance/Alarm",
            key(b"a"),
            Code::Internal,
            "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
        ),
        (
            "/etcdserverpb.KV/Put",
            large,
            Code::ResourceExhausted,
            &format!("grpc: received message larger than max ({length} vs. 525288)"),
        ),
        (
            "/etcdserverpb.KV/Foo",
            key(b"a"),
            Code::Unimplemented,
            "unknown method Foo for service etcdserverpb.KV",
        ),
        ("/etcdserverpb.Foo/Foo", key(b"a"), Code::Unimplemented, "unknown service etcdserverpb.Foo"),
        ("/grpc.health.v1.Health/Check", key(b"a"), Code::NotFound, "unknown service"),
    ] {
        let error = call_raw(&served, path, message).await;
        assert_eq!((error.code(), error.message()), (code, text), "{path}");
    }
    assert!(served.api.requests.lock().unwrap().is_empty(), "nothing of it reached the member");
    served.stop().await;
}

#[tokio::test]
async fn learners_serve_little() {
    let served = serve_answer(Answer::Range(RangeOutput::default()));
    served.api.report.lock().unwrap().is_learner = true;
    let mut client = KvClient::new(served.channel().await);
    let error = loop {
        // The front looks once per election timeout.
        if let Err(error) = client.put(pb::PutRequest::default()).await
            && error.code() == Code::FailedPrecondition
        {
            break error;
        }
    };
    assert_eq!(error.message(), "etcdserver: rpc not supported for learner");
    let serializable = pb::RangeRequest { serializable: true, ..Default::default() };
    client.range(serializable).await.unwrap();
    let error = client.range(pb::RangeRequest::default()).await.unwrap_err();
    assert_eq!(error.message(), "etcdserver: rpc not supported for learner");
    served.stop().await;
}

/// A member with these keys, all of revision 3, that pages as a store does.
fn serve_keys(keys: &'static [&'static str], value_bytes: usize) -> Served {
    serve(
        FakeApi::new(move |request| {
            let Request::Range(range) = request else { panic!("{request:?}") };
            let value = "v".repeat(value_bytes);
            let found: Vec<_> =
                keys.iter().filter(|key| range.query.range.contains(key.as_bytes())).collect();
            let limit =
                usize::try_from(range.query.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
            let records = if range.query.count_only { 0 } else { limit };
            Some(Ok(Answer::Range(RangeOutput {
                records: found.iter().take(records).map(|key| record(key, &value, 3)).collect(),
                more: !range.query.count_only && found.len() > limit,
                count: found.len() as i64,
                revision: 30,
            })))
        }),
        "",
    )
}

const KEYS: &[&str] = &[
    "k00", "k01", "k02", "k03", "k04", "k05", "k06", "k07", "k08", "k09", "k10", "k11", "k12", "k13", "k14",
    "k15", "k16", "k17", "k18", "k19", "k20", "k21", "k22", "k23", "k24", "k25", "k26", "k27", "k28", "k29",
    "k30", "k31",
];

async fn pieces(served: &Served, request: pb::RangeRequest) -> Vec<pb::RangeResponse> {
    let mut client = KvClient::new(served.channel().await);
    let stream = client.range_stream(request).await.unwrap().into_inner();
    stream.map(|piece| piece.unwrap().range_response.unwrap()).collect().await
}

#[tokio::test]
async fn the_pieces_of_a_streamed_range_make_up_its_answer() {
    let served = serve_keys(KEYS, 1);
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    for (limit, sizes, more) in [
        (0, vec![10, 20, 2], false),
        (25, vec![10, 15], true),
        (32, vec![10, 20, 2], false),
        (7, vec![7], true),
        (-1, vec![32], false),
    ] {
        let got = pieces(&served, pb::RangeRequest { limit, ..all.clone() }).await;
        assert_eq!(got.iter().map(|piece| piece.kvs.len()).collect::<Vec<_>>(), sizes, "{limit}");
        let (last, before) = got.split_last().unwrap();
        assert!(before.iter().all(|piece| piece.header.is_none() && piece.count == 0 && !piece.more));
        assert_eq!((last.header, last.count, last.more), (header(30), 32, more), "{limit}");
        let keys: Vec<_> = got.iter().flat_map(|piece| &piece.kvs).map(|kv| kv.key.clone()).collect();
        let wanted: Vec<_> =
            KEYS.iter().take(keys.len()).map(|key| Bytes::from_static(key.as_bytes())).collect();
        assert_eq!(keys, wanted, "{limit}");
    }
    {
        let requests = served.api.requests.lock().unwrap();
        let ranges: Vec<_> = requests
            .iter()
            .map(|request| match request {
                Request::Range(range) => (range.serializable, range.query.revision),
                other => panic!("{other:?}"),
            })
            .take(3)
            .collect();
        assert_eq!(ranges, [(false, 0), (true, 30), (true, 30)], "pinned after the first piece");
    }
    let counted = pieces(&served, pb::RangeRequest { count_only: true, ..all.clone() }).await;
    assert_eq!(counted, [pb::RangeResponse { header: header(30), count: 32, ..Default::default() }]);
    let none = pieces(&served, pb::RangeRequest { key: "x".into(), ..Default::default() }).await;
    assert_eq!(none, [pb::RangeResponse { header: header(30), ..Default::default() }]);
    let mut client = KvClient::new(served.channel().await);
    let error = client.range_stream(pb::RangeRequest { sort_order: 2, ..all }).await.unwrap_err();
    assert_eq!(error.message(), "RangeStream does not support custom sort orders");
    served.stop().await;
}

#[tokio::test]
async fn large_records_come_in_smaller_pieces() {
    let served = serve_keys(KEYS, 400_000);
    let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let mut client = KvClient::new(served.channel().await).max_decoding_message_size(1 << 30);
    let stream = client.range_stream(all).await.unwrap().into_inner();
    let sizes: Vec<_> = stream.map(|piece| piece.unwrap().range_response.unwrap().kvs.len()).collect().await;
    assert_eq!(sizes, [10, 5, 5, 5, 5, 2]);
    served.stop().await;
}

#[tokio::test]
async fn renewals_are_answered_one_by_one_and_the_stream_ends_with_the_clients_side() {
    let served = serve(
        FakeApi::new(|request| match request {
            Request::LeaseRenew { id: 13 } => Some(Err(ApiError::NotPrimary)),
            Request::LeaseRenew { id } => Some(Ok(Answer::LeaseRenewed { ttl: *id * 10 })),
            other => panic!("{other:?}"),
        }),
        "",
    );
    let mut client = LeaseClient::new(served.channel().await);
    let requests =
        |ids: Vec<i64>| tokio_stream::iter(ids.into_iter().map(|id| pb::LeaseKeepAliveRequest { id }));
    let stream = client.lease_keep_alive(requests(vec![1, 0, 2])).await.unwrap().into_inner();
    let got: Vec<_> = stream.map(Result::unwrap).collect().await;
    let ttls: Vec<_> = got.iter().map(|response| (response.id, response.ttl)).collect();
    assert_eq!(ttls, [(1, 10), (0, 0), (2, 20)]);
    assert_eq!(got[0].header, header(REVISION));
    let mut stream = client.lease_keep_alive(requests(vec![13, 1])).await.unwrap().into_inner();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unknown, "not a primary lessor"));
    assert!(stream.next().await.is_none());
    served.stop().await;
}

/// A watch stream of a client, and what the member is told of it.
struct Watching {
    served: Served,
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: tonic::Streaming<pb::WatchResponse>,
    front: FrontId,
    stream: StreamId,
}

async fn watching() -> Watching {
    let served = serve(FakeApi::new(|_| None), "--watch-progress-notify-interval=1s");
    let (requests, receiver) = mpsc::channel(16);
    let mut client = WatchClient::new(served.channel().await);
    let responses = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let (front, call) = served.api.calls.lock().unwrap()[0].clone();
    let WatchCall::Open { stream, progress_interval_ns } = call else { panic!("{call:?}") };
    assert!((1_000_000_000..1_100_000_000).contains(&progress_interval_ns));
    Watching { served, requests, responses, front, stream }
}

impl Watching {
    async fn send(&self, union: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    /// What the member was told so far.
    fn told(&self) -> Vec<WatchCall> {
        self.served.api.calls.lock().unwrap().iter().map(|(_, call)| call.clone()).collect()
    }

    /// Waits until the member was told that many calls.
    async fn calls(&self, count: usize) -> Vec<WatchCall> {
        while self.told().len() < count {
            tokio::task::yield_now().await;
        }
        self.told()
    }
}

#[tokio::test]
async fn a_watch_stream_carries_requests_in_and_responses_out() {
    let mut watching = watching().await;
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: Bytes::from_static(b"\0"),
        start_revision: 5,
        progress_notify: true,
        filters: vec![1, 99],
        prev_kv: true,
        watch_id: 8,
        fragment: true,
    };
    watching.send(RequestUnion::CreateRequest(create)).await;
    watching.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 8 })).await;
    watching.requests.send(pb::WatchRequest { request_union: None }).await.unwrap();
    watching.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let calls = watching.calls(4).await;
    let WatchCall::Create { create, .. } = &calls[1] else { panic!("{calls:?}") };
    assert_eq!((create.start_revision, create.watch_id), (5, 8));
    assert!(create.prev_kv && create.progress_notify && create.fragment);
    assert!(!create.filters.no_put && create.filters.no_delete);
    assert!(create.range.contains(b"zzz"));
    assert!(matches!(calls[2], WatchCall::Cancel { watch_id: 8, .. }));
    assert!(matches!(calls[3], WatchCall::Progress { .. }));

    let event = Event { r#type: 0, kv: Some(kv("a", "1", 6)), prev_kv: None };
    let response = Response {
        watch_id: 8,
        revision: 6,
        events: [Bytes::from(event.encode_to_vec())].into(),
        ..Response::default()
    };
    watching.served.api.deliver(watching.front, watching.stream, 50, response);
    let got = watching.responses.next().await.unwrap().unwrap();
    let wanted =
        pb::WatchResponse { header: header(6), watch_id: 8, events: vec![event], ..Default::default() };
    assert_eq!(got, wanted);
    let compacted = Response { watch_id: 8, canceled: true, compact_revision: 9, ..Response::default() };
    watching.served.api.deliver(watching.front, watching.stream, 20, compacted);
    let got = watching.responses.next().await.unwrap().unwrap();
    assert_eq!((got.header, got.compact_revision), (header(0), 9), "a zero revision stays zero");
    let calls = watching.calls(6).await;
    let consumed: usize =
        calls.iter().map(|call| if let WatchCall::Consumed { bytes, .. } = call { *bytes } else { 0 }).sum();
    assert_eq!(consumed, 70, "all that was delivered is given back");
    watching.served.stop().await;
}

#[tokio::test]
async fn a_watch_goes_on_after_the_client_closed_its_side() {
    let mut watching = watching().await;
    let (idle, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut watching.requests, idle));
    for revision in 1..=3 {
        let response = Response { watch_id: 0, revision, ..Response::default() };
        watching.served.api.deliver(watching.front, watching.stream, 1, response);
        let got = watching.responses.next().await.unwrap().unwrap();
        assert_eq!(got.header.unwrap().revision, revision);
    }
    let Watching { served, responses, requests, .. } = watching;
    drop(responses);
    let closed = || matches!(served.api.calls.lock().unwrap().last(), Some((_, WatchCall::Close { .. })));
    while !closed() {
        tokio::task::yield_now().await;
    }
    let id = super::method_id("/etcdserverpb.Watch/Watch").unwrap();
    while served.metrics.rpc.handled(id, Code::Cancelled) == 0 {
        tokio::task::yield_now().await;
    }
    drop(requests);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_leaves_what_is_delivered_unconsumed() {
    let watching = watching().await;
    let event = Event { r#type: 0, kv: Some(kv("a", &"v".repeat(100_000), 6)), prev_kv: None };
    let bytes = Bytes::from(event.encode_to_vec());
    for _ in 0..200 {
        let response = Response { revision: 6, events: [bytes.clone()].into(), ..Response::default() };
        watching.served.api.deliver(watching.front, watching.stream, 100_000, response);
    }
    let consumed = || -> usize {
        let calls = watching.served.api.calls.lock().unwrap();
        let sizes = calls.iter().map(|(_, call)| match call {
            WatchCall::Consumed { bytes, .. } => *bytes,
            _ => 0,
        });
        sizes.sum()
    };
    // The front takes what fits into windows and buffers, and then no more: watch it come to rest.
    let (mut before, mut rounds) = (0, 0);
    while rounds < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let now = consumed();
        rounds = if now == before && now > 0 { rounds + 1 } else { 0 };
        before = now;
    }
    assert!(before < 10_000_000, "{before} of 20,000,000 bytes left the queue");
    watching.served.stop().await;
}

#[tokio::test]
async fn unreadable_messages_of_a_stream_end_it() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut client = tonic::client::Grpc::new(served.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::PutRequest, pb::WatchResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    // Field 1 of a watch request is a message: these bytes are none.
    let messages = tokio_stream::iter([pb::PutRequest { key: "\u{1}".into(), ..Default::default() }]);
    let mut stream = client.streaming(tonic::Request::new(messages), path, codec).await.unwrap().into_inner();
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    let text = "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
    assert_eq!(error.message(), text);
    served.stop().await;
}

#[tokio::test]
async fn clients_are_counted_by_the_version_they_claim() {
    let served = serve_answer(Answer::Range(RangeOutput::default()));
    let mut client = KvClient::new(served.channel().await);
    let mut request = tonic::Request::new(pb::RangeRequest::default());
    request.metadata_mut().insert("client-api-version", "3.5".parse().unwrap());
    request.metadata_mut().insert("something-else", "x".parse().unwrap());
    client.range(request).await.unwrap();
    client.range(pb::RangeRequest::default()).await.unwrap();
    let count =
        |version: &str| served.metrics.client_requests(version, crate::metrics::CallKind::Unary).get();
    assert_eq!((count("3.5"), count("unknown")), (1, 1));
    served.stop().await;
}

#[tokio::test]
async fn health_is_serving_and_reflection_lists_the_services() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let served = serve(FakeApi::new(|_| None), "");
    let channel = served.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(request.clone()).await.unwrap().into_inner().status, 1);
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
    let list = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut stream = client.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let response = stream.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = response else { panic!("{response:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"etcdserverpb.KV".to_owned()), "{names:?}");
    served.stop().await;
}

#[tokio::test]
async fn without_a_leader_only_those_who_want_one_are_refused() {
    let served = serve_answer(Answer::Range(RangeOutput::default()));
    served.api.has_leader.store(false, Ordering::Relaxed);
    let mut client = KvClient::new(served.channel().await);
    client.range(pb::RangeRequest::default()).await.unwrap();
    let mut request = tonic::Request::new(pb::RangeRequest::default());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let error = client.range(request).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: no leader"));
    served.stop().await;
}

/// Status line, headers, body and trailers of a response.
async fn parts(call: super::Call) -> (http::StatusCode, http::HeaderMap, Bytes, Option<http::HeaderMap>) {
    let (head, body) = call.await.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (head.status, head.headers, collected.to_bytes(), trailers)
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    body
}

#[tokio::test]
async fn calls_answered_by_hand_look_as_if_the_library_had_answered_them() {
    let api = FakeApi::new(|request| {
        Some(match request {
            Request::Range(range) if range.query.range.contains(b"bad") => {
                Err(ApiError::Refused(Refusal::EmptyKey))
            }
            Request::Range(_) => Ok(Answer::Range(RangeOutput {
                records: vec![record("a", &"v".repeat(50), 2)],
                more: true,
                count: 9,
                revision: 30,
            })),
            Request::Propose(Command::Put(_)) => Ok(Answer::Applied(Outcome::Put(PutDone {
                revision: 9,
                previous: Some(record("a", "old", 5)),
            }))),
            Request::Propose(Command::DeleteRange(_)) => {
                Ok(Answer::Applied(Outcome::DeleteRange(DeleteRangeDone {
                    revision: 9,
                    deleted: 2,
                    previous: Vec::new(),
                })))
            }
            Request::Propose(Command::Txn(_)) => Ok(Answer::Applied(Outcome::Txn(TxnDone {
                revision: 0,
                succeeded: true,
                responses: Vec::new(),
            }))),
            other => panic!("{other:?}"),
        })
    });
    let metrics = Arc::new(crate::metrics::Metrics::new(false));
    let link = crate::front::Link::new(api, metrics);
    let running = Arc::clone(&link);
    tokio::spawn(async move { running.run().await });
    let options = super::GrpcOptions {
        request_bytes_max: 1000,
        progress_interval: std::time::Duration::from_secs(1),
        slow_call: std::time::Duration::from_secs(1),
    };
    let services = super::Services::new(link, options).unwrap();
    let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
    let bad = pb::RangeRequest { key: "bad".into(), ..Default::default() };
    let put = pb::PutRequest { key: "a".into(), value: vec![7; 300].into(), ..Default::default() };
    let mut compressed = framed(&range);
    compressed[0] = 1;
    for (method, body) in [
        ("Range", framed(&range)),
        ("Range", framed(&bad)),
        ("Put", framed(&put)),
        ("DeleteRange", framed(&pb::DeleteRangeRequest { key: "a".into(), ..Default::default() })),
        ("Txn", framed(&pb::TxnRequest::default())),
        ("Txn", vec![0, 0, 0, 0, 0]),
        ("Range", vec![0, 0, 0, 0, 2, 0x0a, 1]),
        ("Put", framed(&pb::PutRequest { value: vec![0; 600_000].into(), ..Default::default() })),
        ("Range", compressed),
        ("Range", vec![0, 0, 0, 0, 9, 1]),
    ] {
        let id = super::method_id(&format!("/etcdserverpb.KV/{method}")).unwrap();
        // In one piece, and in many.
        for piece in [body.len(), 1 + body.len() / 7] {
            let request = || {
                let frames: Vec<_> = body
                    .chunks(piece)
                    .map(|piece| {
                        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(piece)))
                    })
                    .collect();
                let body = StreamBody::new(tokio_stream::iter(frames));
                http::Request::post(format!("/etcdserverpb.KV/{method}")).body(body).unwrap()
            };
            let by_hand = super::Call::new(
                Arc::clone(&services.link),
                id,
                options.slow_call,
                services.dispatch(id, request()),
            );
            let by_library = super::Call::new(
                Arc::clone(&services.link),
                id,
                options.slow_call,
                services.dispatch_to_library("etcdserverpb.KV", method, request()),
            );
            assert_eq!(parts(by_hand).await, parts(by_library).await, "{method} {} in {piece}", body.len());
        }
    }
}
