//! Watch and keep-alive streams: framing, half-close, back-pressure.

use etched_proto::mvccpb::Event;
use etched_watch::{Response, StreamId};
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::api::{FrontId, WatchCall};

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
    // The leader is asked, and cannot be reached.
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: request timed out"));
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
    let id = super::super::method_id("/etcdserverpb.Watch/Watch").unwrap();
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
