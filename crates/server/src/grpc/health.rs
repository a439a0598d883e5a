//! The gRPC health service: the one name it knows is the empty one, and that serves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;
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
