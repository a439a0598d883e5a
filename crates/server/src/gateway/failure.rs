//! Errors as HTTP answers: for clients of both generations of the gateway that etcd has had.
//!
//! The newer one writes `code` and `message`; the older one wrote the text as `error` too, and in streams had other
//! names for the code. All of them stand together.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, TRAILER, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use tonic::{Code, Status};

use super::json::quoted;
use super::{JSON, whole};
use tonic::body::Body;

/// The HTTP status of a gRPC code.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The answer to a call that failed.
pub(super) fn response(status: &Status) -> Response<Body> {
    let text = quoted(status.message());
    let code = status.code() as i32;
    let body = format!("{{\"error\":{text},\"code\":{code},\"message\":{text}}}");
    let mut response = whole(http_status(status.code()), body.into());
    if status.code() == Code::Unauthenticated
        && let Ok(value) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// The same for a client that takes trailers: the one of a refused call is named in the head and comes behind the body.
pub(super) fn response_with_trailers(status: &Status) -> Response<Body> {
    let mut response = response(status);
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("Grpc-Trailer-Content-Type"));
    // A body whose length is told has none.
    response.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    response.map(|body| {
        Body::new(body.with_trailers(async {
            let name = HeaderName::from_static("grpc-trailer-content-type");
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert(name, HeaderValue::from_static("application/grpc"));
            Some(Ok(trailers))
        }))
    })
}

/// The last line of a stream that failed.
pub(super) fn line(status: &Status) -> Bytes {
    let text =
        quoted(status.message()).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let code = status.code() as i32;
    let http = http_status(status.code());
    let reason = quoted(http.canonical_reason().unwrap_or_default());
    let line = format!(
        "{{\"error\":{{\"code\":{code},\"message\":{text},\"grpc_code\":{code},\"http_code\":{},\"http_status\":{reason}}}}}\n",
        http.as_u16()
    );
    line.into()
}

/// The head of a stream whose first line is its last.
pub(super) fn stream_head(status: &Status, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http_status(status.code());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
