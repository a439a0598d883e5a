//! gRPC-Web: calls of browsers, by HTTP/1.1 or HTTP/2, translated by the library and answered by the same services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_web::GrpcWebLayer;
use tower_layer::Layer as _;

use super::Services;
use super::unary::AnswerBody;

/// What a page may read of an answer.
const EXPOSED: HeaderValue = HeaderValue::from_static("grpc-status, grpc-message");

/// Whether a request is a call of a browser.
pub(crate) fn is_web_call(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc-web"))
}

/// Answers a call of a browser.
pub(crate) async fn answer_web_call(services: &Arc<Services>, request: Request<Body>) -> Response<Body> {
    let mut service = GrpcWebLayer::new().layer(Inner(Arc::clone(services)));
    let Ok(mut response) = service.call(request).await;
    response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    response
}

/// The services as the library wants them.
#[derive(Clone, Debug)]
struct Inner(Arc<Services>);

impl Service<Request<Body>> for Inner {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.0.call(request);
        Box::pin(async move { Ok(call.await) })
    }
}
