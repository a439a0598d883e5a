//! Answers requests of other members.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;

/// Answers requests that arrive on listeners for other members; cheap to clone.
#[derive(Clone)]
pub struct PeerService {}

impl PeerService {
    /// Answers one request.
    pub async fn handle(&self, _request: Request<Incoming>) -> Response<PeerBody> {
        let mut response = Response::new(PeerBody {});
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }
}

/// The body of an answer: whole, or an endless stream.
#[derive(Debug)]
pub struct PeerBody {}

impl http_body::Body for PeerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
