//! Large ranges in chunks.

use std::pin::Pin;
use std::task::{Context, Poll};

use etched_proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use tokio_stream::{Stream, StreamExt};
use tonic::Streaming;

use crate::error::{Effect, Failure};
use crate::namespace::Namespace;
use crate::{Client, Error};

/// The chunks of a large range, in key order; made by [`Client::range_stream`].
///
/// The header, the count and whether there is more are in the last chunk only.
/// The next chunk is fetched only as fast as chunks are taken.
#[derive(Debug)]
#[must_use = "nothing is read until the chunks are taken"]
pub struct RangeChunks {
    first: Option<RangeResponse>,
    rest: Streaming<RangeStreamResponse>,
    over: bool,
    namespace: Namespace,
}

impl RangeChunks {
    /// The next chunk; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Compacted`](crate::ErrorKind::Compacted) if a compaction overtook the read,
    /// [`Error::Broken`] if the connection broke. Chunks already taken stay valid, but the range is not complete.
    pub async fn next(&mut self) -> Option<Result<RangeResponse, Error>> {
        StreamExt::next(self).await
    }
}

impl Stream for RangeChunks {
    type Item = Result<RangeResponse, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(this.namespace.leave_range(first))));
        }
        if this.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.rest).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(chunk))) => {
                let chunk = chunk.range_response.unwrap_or_default();
                Poll::Ready(Some(Ok(this.namespace.leave_range(chunk))))
            }
            Poll::Ready(Some(Err(status))) => {
                this.over = true;
                Poll::Ready(Some(Err(Failure::of(status).into_error(Effect::Read))))
            }
            Poll::Ready(None) => {
                this.over = true;
                Poll::Ready(None)
            }
        }
    }
}

/// Opens the stream and waits for its first chunk, so that a refusal is found while the request can be repeated.
pub(super) async fn open(client: &Client, request: RangeRequest) -> Result<RangeChunks, Error> {
    client
        .call(Effect::Read, request, |mut stubs, mut request| async move {
            let namespace = client.namespace.clone();
            // The time limit is for the first chunk; a large range may take as long as its reader.
            request.metadata_mut().remove("grpc-timeout");
            let mut rest = stubs.kv().range_stream(request).await?.into_inner();
            let first = rest.message().await?.map(|chunk| chunk.range_response.unwrap_or_default());
            Ok(tonic::Response::new(RangeChunks { over: first.is_none(), first, rest, namespace }))
        })
        .await
}
