//! The Watch service: one stream of requests in, one of responses out, many watchers on it.
//!
//! There is no task of its own: the responses are polled when the connection can take more, and that poll reads the
//! requests too.
//! A client that takes nothing is thus not read from either, and its memory here is what the hub's budget allows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use etched_proto::wire::etcdserverpb as wire;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use wire::watch_request::RequestUnion;
use wire::watch_server::Watch;

use super::status::{self, Reading};
use super::{convert, needs_leader};
use crate::api::WatchCall;
use crate::auth::Claim;
use crate::front::{Link, Next, OpenStream};
use crate::metrics::rpc::MethodId;

/// Requests that are read of one stream before others get their turn.
const REQUESTS_PER_POLL_MAX: usize = 64;

/// Answers calls of the Watch service.
#[derive(Clone, Debug)]
pub(super) struct WatchService {
    pub(super) link: Arc<Link>,
    pub(super) progress_interval: Duration,
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = WatchStream;

    async fn watch(
        &self,
        request: Request<Streaming<wire::WatchRequest>>,
    ) -> Result<Response<WatchStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let interval = u64::try_from(self.progress_interval.as_nanos()).unwrap_or(u64::MAX);
        // Streams that were opened together shall not all report at once.
        let interval = interval.saturating_add(self.link.jitter_below(interval / 10));
        let stream = OpenStream::new(Arc::clone(&self.link), needs_leader, Some(interval));
        Ok(Response::new(WatchStream {
            link: Arc::clone(&self.link),
            claim: Claim::of(request.extensions()),
            method: super::method_id("/etcdserverpb.Watch/Watch"),
            requests: Some(request.into_inner()),
            stream,
            given: None,
            is_over: false,
        }))
    }
}

/// The responses of one watch stream.
#[derive(Debug)]
pub(super) struct WatchStream {
    link: Arc<Link>,
    claim: Claim,
    method: Option<MethodId>,
    /// `None` once the client has closed its side, which does not end the stream.
    requests: Option<Streaming<wire::WatchRequest>>,
    stream: OpenStream,
    /// The response that the connection was given last, until it comes for the next.
    given: Option<Given>,
    is_over: bool,
}

/// A response on its way out.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Instant,
    events: usize,
    is_control: bool,
}

impl WatchStream {
    /// Reads what the client has sent.
    ///
    /// # Errors
    ///
    /// The status with which the stream ends, when a message cannot be read.
    fn read_requests(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        for _ in 0..REQUESTS_PER_POLL_MAX {
            let Some(requests) = &mut self.requests else { return Ok(()) };
            match Pin::new(requests).poll_next(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(Ok(request))) => self.on_request(request),
                Poll::Ready(Some(Err(error))) => return Err(status::as_grpc_go(error, Reading::Message)),
            }
        }
        // There may be more: come again.
        context.waker().wake_by_ref();
        Ok(())
    }

    /// The connection comes for more: the response before is encoded, and there was room for it.
    fn note_given(&mut self) {
        let Some(Given { at, events, is_control }) = self.given.take() else { return };
        let (metrics, took) = (self.link.metrics(), at.elapsed());
        if is_control {
            metrics.watch_control.record(took);
        } else if events == 0 {
            metrics.watch_progress.record(took);
        } else {
            metrics.watch_events.record(took);
            metrics.watch_event.record(took / u32::try_from(events).unwrap_or(u32::MAX));
        }
    }

    fn on_request(&self, request: wire::WatchRequest) {
        if let Some(method) = self.method {
            self.link.metrics().rpc.receive(method);
        }
        let stream = self.stream.id();
        let call = match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => {
                let credentials = self.claim.credentials();
                WatchCall::Create { stream, credentials, create: convert::create(request) }
            }
            Some(RequestUnion::CancelRequest(request)) => {
                WatchCall::Cancel { stream, watch_id: request.watch_id }
            }
            Some(RequestUnion::ProgressRequest(_)) => WatchCall::Progress { stream },
            None => return,
        };
        self.link.watch(call);
    }
}

impl Stream for WatchStream {
    type Item = Result<wire::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.note_given();
        if let Err(error) = self.read_requests(context) {
            self.is_over = true;
            self.link.metrics().stream_failures.watch_receive.increment();
            return Poll::Ready(Some(Err(error)));
        }
        match self.stream.poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Next::End(ending)) => {
                self.is_over = true;
                Poll::Ready(Some(Err(status::of_ending(ending))))
            }
            Poll::Ready(Next::Delivery(delivery)) => {
                let response = delivery.response;
                let is_control = response.created || response.canceled;
                self.given = Some(Given { at: Instant::now(), events: response.events.len(), is_control });
                let header = convert::header(self.link.identity(), response.revision, delivery.raft_term);
                if let Some(method) = self.method {
                    self.link.metrics().rpc.send(method);
                }
                Poll::Ready(Some(Ok(convert::watch_response(header, response))))
            }
        }
    }
}
