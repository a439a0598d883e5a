//! One gRPC call on its way: counted, timed, and with etcd's texts for the library's own errors.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::{Code, Status};

use super::stats::Stats;
use super::status::{Reading, as_grpc_go};
use super::unary::AnswerBody;
use crate::api::Phases;
use crate::front::Link;
use crate::logging::{self, Level};
use crate::metrics::rpc::{MethodId, Shape};
use crate::trace::Sampled;

/// A call that is being answered.
pub(super) enum Answering {
    /// By the library.
    Library(BoxFuture<Response<Body>, Infallible>),
    /// By this module's own hand.
    Own(Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>),
    /// It is answered already.
    Ready(Option<Response<Body>>),
}

impl Answering {
    /// An answer that is a status and nothing else.
    pub(super) fn status(status: Status) -> Self {
        Self::Ready(Some(status.into_http()))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Response<AnswerBody>> {
        match self {
            Self::Own(answering) => answering.as_mut().poll(context),
            Self::Library(answering) => match answering.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => Poll::Ready(response.map(AnswerBody::Library)),
                Poll::Pending => Poll::Pending,
            },
            Self::Ready(response) => match response.take() {
                Some(response) => Poll::Ready(response.map(AnswerBody::Library)),
                None => Poll::Pending,
            },
        }
    }
}

/// A call; resolves to its response.
pub(crate) struct Call {
    answering: Answering,
    record: Option<Record>,
}

impl Call {
    pub(super) fn new(
        link: Arc<Link>,
        id: MethodId,
        slow: Duration,
        sampled: Option<Sampled>,
        answering: Answering,
    ) -> Self {
        Self { answering, record: Some(Record::new(link, id, slow, sampled)) }
    }

    /// A call of a method that has no counters.
    pub(super) fn uncounted(answering: Answering) -> Self {
        Self { answering, record: None }
    }

    /// A call that does not reach a method.
    pub(super) fn refused(response: Response<Body>) -> Self {
        Self::uncounted(Answering::Ready(Some(response)))
    }
}

impl Future for Call {
    type Output = Response<AnswerBody>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<AnswerBody>> {
        let Poll::Ready(response) = self.answering.poll(context) else { return Poll::Pending };
        let Some(mut record) = self.record.take() else { return Poll::Ready(response) };
        // Only a response that is an error and nothing else has its status here.
        if let Some(status) = Status::from_header_map(response.headers()) {
            let status = as_grpc_go(status, Reading::Request);
            record.finish(status.code());
            return Poll::Ready(status.into_http().map(AnswerBody::Library));
        }
        if record.id.method().shape == Shape::Unary {
            record.answer();
            return Poll::Ready(response);
        }
        Poll::Ready(response.map(|body| AnswerBody::Library(Body::new(RecordedBody { body, record }))))
    }
}

/// Counts the end of a call; one that is dropped before was cancelled by the client.
#[derive(Debug)]
pub(super) struct Record {
    link: Arc<Link>,
    id: MethodId,
    slow: Duration,
    started: Instant,
    is_finished: bool,
    sampled: Option<Box<Sampled>>,
    /// For the line about a slow call.
    pub(super) stats: Option<Box<Stats>>,
    /// Where the time went at the member, if it said so.
    pub(super) phases: Option<Box<Phases>>,
}

impl Record {
    pub(super) fn new(link: Arc<Link>, id: MethodId, slow: Duration, sampled: Option<Sampled>) -> Self {
        Self {
            link,
            id,
            slow,
            started: Instant::now(),
            is_finished: false,
            sampled: sampled.map(Box::new),
            stats: None,
            phases: None,
        }
    }

    /// Whether the member shall say where the time goes.
    pub(super) fn is_sampled(&self) -> bool {
        self.sampled.is_some()
    }

    /// A unary call has its answer.
    pub(super) fn answer(&mut self) {
        self.link.metrics().rpc.receive(self.id);
        self.link.metrics().rpc.send(self.id);
        self.finish(Code::Ok);
    }

    pub(super) fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let took = self.started.elapsed();
        self.link.metrics().rpc.finish(self.id, code, took);
        let method = self.id.method();
        if let Some((sampled, traces)) = self.sampled.as_deref().zip(self.link.metrics().traces.as_ref()) {
            traces.finish(sampled, method, code, self.phases.as_deref());
        }
        if method.shape != Shape::Unary {
            return;
        }
        let is_slow = took > self.slow && !self.slow.is_zero();
        let level = if is_slow { Level::Warn } else { Level::Debug };
        if logging::enabled(level) {
            let stats = self.stats.as_deref().copied().unwrap_or_default();
            stats.write(level, method, took, code, self.phases.as_deref());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

/// The body of a stream, whose last frame tells how it ended.
struct RecordedBody {
    body: AnswerBody,
    record: Record,
}

impl http_body::Body for RecordedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            let code = code_of(trailers);
            self.record.finish(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn code_of(trailers: &HeaderMap) -> Code {
    trailers.get("grpc-status").map_or(Code::Unknown, |value| Code::from_bytes(value.as_bytes()))
}
