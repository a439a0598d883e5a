//! Sampling, and what a collector receives.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use prost::Message;

use super::*;
use crate::metrics::rpc::{Found, find};

const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(bytes = "bytes", tag = "1")]
    resource: Bytes,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "7")]
    start_ns: u64,
    #[prost(fixed64, tag = "8")]
    end_ns: u64,
}

/// Answers each export with an empty message and passes its bytes on.
async fn collect(
    request: http::Request<hyper::body::Incoming>,
    sender: Sender<Bytes>,
) -> Result<http::Response<tonic::body::Body>, std::convert::Infallible> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    sender.send(body.slice(5..)).unwrap();
    let empty = tonic::body::Body::new(
        http_body_util::Full::new(Bytes::from_static(&[0; 5]))
            .with_trailers(async {
                Some(Ok(http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])))
            })
            .map_err(|error: std::convert::Infallible| match error {}),
    );
    let response = http::Response::builder().header("content-type", "application/grpc");
    Ok(response.body(empty).unwrap())
}

/// A collector on a thread of its own; gives its address.
fn collector(sender: Sender<Bytes>) -> SocketAddr {
    let (tell, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = hyper::service::service_fn(move |request| collect(request, sender.clone()));
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service),
                );
            }
        });
    });
    address.recv().unwrap()
}

fn options(address: &str, sampling_rate: u32) -> TraceOptions {
    TraceOptions {
        address: address.to_owned(),
        service_name: "etcd".to_owned(),
        instance_id: "m1".to_owned(),
        sampling_rate,
    }
}

fn put() -> &'static Method {
    match find("/etcdserverpb.KV/Put") {
        Found::Method(id) => id.method(),
        other @ (Found::NoMethod { .. } | Found::NoService { .. } | Found::Malformed) => panic!("{other:?}"),
    }
}

#[test]
fn a_sampled_put_reaches_the_collector_with_its_phases() {
    let (sender, exports) = channel();
    let traces = Traces::start(&options(&collector(sender).to_string(), 0)).unwrap();
    let mut sampled = traces.sample(Some(PARENT)).unwrap();
    sampled.started_ns = 1_000;
    let phases = Phases {
        turn_before_ns: 10,
        taken_ns: 2_000,
        appended_ns: 3_000,
        synced_ns: 900_000,
        applied_ns: 900_500,
        answered_ns: 901_000,
    };
    traces.finish(&sampled, put(), Code::Ok, Some(&phases));
    traces.stop();
    let export = Export::decode(exports.recv_timeout(Duration::from_secs(20)).unwrap()).unwrap();
    let resource = &export.resources[0];
    for text in ["service.name", "etcd", "service.instance.id", "m1"] {
        assert!(resource.resource.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    let spans: Vec<&Span> = resource.scopes.iter().flat_map(|scope| &scope.spans).collect();
    let whole = spans.iter().find(|span| span.name == "etcdserverpb.KV/Put").unwrap();
    assert_eq!(whole.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(whole.parent_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    let parts = ["queue", "propose", "log", "agreement", "apply", "answer"];
    for name in parts {
        let part = spans.iter().find(|span| span.name == name).unwrap();
        assert_eq!(part.parent_id, whole.span_id, "{name}");
        assert!(part.start_ns >= whole.start_ns && part.end_ns <= whole.end_ns, "{name}");
    }
    let log = spans.iter().find(|span| span.name == "log").unwrap();
    assert_eq!(log.end_ns - log.start_ns, 897_000, "the sync is the slow part");
    assert_eq!(spans.len(), 1 + parts.len());
}

#[test]
fn a_client_decides_and_else_it_is_chance() {
    let never = Traces::start(&options("127.0.0.1:9", 0)).unwrap();
    let always = Traces::start(&options("127.0.0.1:9", RATE_MAX)).unwrap();
    let unsampled = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert!(never.sample(None).is_none());
    assert!(never.sample(Some(PARENT)).is_some());
    assert!(always.sample(None).is_some());
    assert!(always.sample(Some(unsampled)).is_none());
    let half = Traces::start(&options("127.0.0.1:9", RATE_MAX / 2)).unwrap();
    let sampled = (0..10_000).filter(|_| half.sample(None).is_some()).count();
    assert!((4_000..6_000).contains(&sampled), "{sampled}");
}

#[test]
fn a_malformed_traceparent_counts_as_none() {
    assert!(parse_traceparent(PARENT).is_some());
    for wrong in [
        &b""[..],
        b"\xff\xfe",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert!(parse_traceparent(wrong).is_none(), "{wrong:?}");
    }
}
