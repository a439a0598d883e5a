//! The gRPC health service: the one name it knows is the empty one, and that serves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::status;
use crate::front::{Link, Next, OpenStream};

/// Answers calls of the health service.
#[derive(Clone, Debug)]
pub(super) struct HealthService {
    pub(super) link: Arc<Link>,
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = HealthStream;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthStream>, Status> {
        let first = if request.into_inner().service.is_empty() {
            ServingStatus::Serving
        } else {
            ServingStatus::ServiceUnknown
        };
        let stream = OpenStream::new(Arc::clone(&self.link), false, None);
        Ok(Response::new(HealthStream { first: Some(first), stream, is_over: false }))
    }
}

/// The answer to `List`, which the library does not know: the empty name serves.
///
/// ```text
/// prefix | statuses { key: "", value { status: SERVING } }
/// ```
pub(super) fn list() -> http::Response<Body> {
    const ANSWER: &[u8] = b"\0\0\0\0\x08\x0a\x06\x0a\x00\x12\x02\x08\x01";
    let trailers =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(ANSWER)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = http::Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// One status, then nothing until the server stops.
#[derive(Debug)]
pub(super) struct HealthStream {
    first: Option<ServingStatus>,
    stream: OpenStream,
    is_over: bool,
}

impl Stream for HealthStream {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(HealthCheckResponse { status: first.into() })));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        match self.stream.poll_next(context) {
            Poll::Ready(Next::End(ending)) => {
                self.is_over = true;
                Poll::Ready(Some(Err(status::of_ending(ending))))
            }
            Poll::Ready(Next::Delivery(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
