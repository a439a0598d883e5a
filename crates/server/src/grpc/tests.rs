//! The services over a scripted member, by real gRPC: conversions, headers, errors, limits, streams.
#![expect(clippy::wildcard_enum_match_arm, reason = "a script answers what its test asks for")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use etched_proto::etcdserverpb as pb;
use etched_proto::mvccpb::KeyValue;
use etched_state_machine::{
    AlarmKind, AlarmMember, Command, CompareTarget, DeleteRangeDone, HashKv, Outcome, PutDone, Range,
    RangeOutput, Refusal, TxnDone, TxnOp, TxnOpDone,
};
use pb::cluster_client::ClusterClient;
use pb::compare::TargetUnion;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use prost::Message;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::api::{Answer, ApiError, LeaseTimeToLive, MemberEntry, Request};
use crate::front::fake::{CLUSTER_ID, FakeApi, MEMBER_ID, RAFT_TERM, REVISION, Served, serve};

mod auth;
mod by_hand;
mod pieces;
mod streams;

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

fn txn_request() -> pb::TxnRequest {
    let operation = |request| pb::RequestOp { request: Some(request) };
    pb::TxnRequest {
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
    }
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
    let request = txn_request();
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
    let members = ClusterClient::new(channel).member_list(list).await.unwrap().into_inner();
    assert_eq!(members.header, header(0), "headers of the cluster have no revision");
    assert!(members.members[0].is_learner);
    served.stop().await;
}

#[tokio::test]
async fn status_tells_what_the_member_reports() {
    let api = FakeApi::new(|_| None);
    let mut report = api.report.lock().unwrap().clone();
    report.leader = 0;
    report.alarms = [5, 0].map(|member_id| AlarmMember { kind: AlarmKind::NoSpace, member_id }).to_vec();
    report.database_bytes = 100;
    let report = Arc::new(report);
    let served = serve_answer(Answer::Status(report));
    let mut client = MaintenanceClient::new(served.channel().await);
    let status = client.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["etcdserver: no leader", "memberID:5  alarm:NOSPACE", "alarm:NOSPACE"]);
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
async fn a_snapshot_is_the_database_and_its_hash() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut maintenance = MaintenanceClient::new(served.channel().await);
    let mut stream = maintenance.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let mut got = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        got.push((response.blob, response.remaining_bytes, response.version));
    }
    let whole = Bytes::from_static(b"a database in two parts");
    assert_eq!(got[0], (whole, 0, "3.7.0".to_owned()));
    assert_eq!((got[1].0.len(), got.len()), (32, 2));
    served.stop().await;
}

#[tokio::test]
async fn members_are_changed_and_a_promotion_is_passed_on_to_the_leader() {
    let served = serve(
        FakeApi::new(|request| match request {
            Request::MemberAdd { peer_urls, is_learner: true, .. } => {
                let member = MemberEntry {
                    id: 7,
                    name: String::new(),
                    peer_urls: peer_urls.clone(),
                    client_urls: Vec::new(),
                    is_learner: true,
                };
                Some(Ok(Answer::MemberChanged { member: Some(member.clone()), members: vec![member] }))
            }
            Request::MemberPromote { .. } => Some(Err(ApiError::NotLeader)),
            other => panic!("{other:?}"),
        }),
        "",
    );
    let mut cluster = ClusterClient::new(served.channel().await);
    let peer_urls = vec!["http://127.0.0.1:7".to_owned()];
    let request = pb::MemberAddRequest { peer_ur_ls: peer_urls.clone(), is_learner: true };
    let added = cluster.member_add(request).await.unwrap().into_inner();
    assert_eq!(added.header, header(0));
    let member = added.member.unwrap();
    assert_eq!((member.id, member.peer_ur_ls, member.is_learner), (7, peer_urls, true));
    assert_eq!(added.members.len(), 1);
    let error = cluster.member_promote(pb::MemberPromoteRequest { id: 7 }).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: request timed out"));
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

/// The answer to `List`, which the library does not have.
#[derive(Clone, PartialEq, Message)]
struct HealthList {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: std::collections::BTreeMap<String, tonic_health::pb::HealthCheckResponse>,
}

#[tokio::test]
async fn health_lists_the_one_name_that_it_knows() {
    let served = serve(FakeApi::new(|_| None), "");
    let mut client = tonic::client::Grpc::new(served.channel().await);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::PutRequest, HealthList>::default();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/List");
    let request = tonic::Request::new(pb::PutRequest::default());
    let list: HealthList = client.unary(request, path, codec).await.unwrap().into_inner();
    let statuses: Vec<(&str, i32)> =
        list.statuses.iter().map(|(name, health)| (name.as_str(), health.status)).collect();
    assert_eq!(statuses, [("", 1)]);
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

#[tokio::test]
async fn an_election_without_its_leader_is_refused() {
    // etcd issue 9379: it crashed.
    use etched_proto::v3electionpb::{ProclaimRequest, ResignRequest, election_client::ElectionClient};
    let served = serve(FakeApi::new(|request| panic!("nothing is asked for: {request:?}")), "");
    let mut election = ElectionClient::new(served.channel().await);
    let proclaimed = election.proclaim(ProclaimRequest { leader: None, value: Bytes::new() }).await;
    let resigned = election.resign(ResignRequest { leader: None }).await;
    for error in [proclaimed.unwrap_err(), resigned.unwrap_err()] {
        assert_eq!((error.code(), error.message()), (Code::Unknown, "\"leader\" field must be provided"));
    }
    served.stop().await;
}
