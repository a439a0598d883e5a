//! Calls that are answered without the library, beside the library.

use std::time::Duration;

use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::auth::{Doorman, Passwords};

use super::super::{Call, Gate, GrpcOptions, Services, method_id};
use super::*;

const SLOW: Duration = Duration::from_secs(1);

/// Status line, headers, body and trailers of a response.
async fn parts(call: Call) -> (http::StatusCode, http::HeaderMap, Bytes, Option<http::HeaderMap>) {
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

/// Services over a member, without connections.
fn services(api: Arc<FakeApi>) -> Services {
    let metrics = Arc::new(crate::metrics::Metrics::new(false));
    let link = crate::front::Link::new(api, metrics);
    let running = Arc::clone(&link);
    tokio::spawn(async move { running.run().await });
    let flags = crate::flags::load("etched", &[], &[]).unwrap().options;
    let doorman = Doorman::new(&flags).unwrap();
    let options =
        GrpcOptions { request_bytes_max: 1000, progress_interval: Duration::from_secs(1), slow_call: SLOW };
    let gate = Gate { doorman: Arc::new(doorman), passwords: Arc::new(Passwords::new(4)) };
    Services::new(link, gate, options).unwrap()
}

/// An answer to each request of this test.
fn answer(request: &Request) -> Option<Result<Answer, ApiError>> {
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
        Request::Propose(Command::Put(_)) => {
            Ok(Answer::Applied(Outcome::Put(PutDone { revision: 9, previous: Some(record("a", "old", 5)) })))
        }
        Request::Propose(Command::DeleteRange(_)) => {
            Ok(Answer::Applied(Outcome::DeleteRange(DeleteRangeDone {
                revision: 9,
                deleted: 2,
                previous: Vec::new(),
            })))
        }
        Request::Propose(Command::Txn(_)) => {
            Ok(Answer::Applied(Outcome::Txn(TxnDone { revision: 0, succeeded: true, responses: Vec::new() })))
        }
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn calls_answered_by_hand_look_as_if_the_library_had_answered_them() {
    let services = services(FakeApi::new(answer));
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
        let id = method_id(&format!("/etcdserverpb.KV/{method}")).unwrap();
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
            let by_hand =
                Call::new(Arc::clone(&services.link), id, SLOW, None, services.dispatch(id, request()));
            let by_library = Call::new(
                Arc::clone(&services.link),
                id,
                SLOW,
                None,
                services.dispatch_to_library("etcdserverpb.KV", method, request()),
            );
            assert_eq!(parts(by_hand).await, parts(by_library).await, "{method} {} in {piece}", body.len());
        }
    }
}
