//! All other requests: a task of its own for each, over the services that every protocol uses.
//!
//! The request's body is a pipe whose bytes go back to the client's windows as they are read; the response's body is
//! read ahead of the socket by a bounded number of bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tonic::Status;

use super::super::lane::{Lane, Note};
use super::super::mailbox::lock;
use super::answer::{head_block, trailer_block};
use super::{Call, Driver, timeout};
use crate::grpc::HotMethod;
use crate::http::Role;
use crate::http2::{ErrorCode, RequestHead};

/// Bytes of a request's body that may lie in its pipe before the client must wait.
const PIPE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a response that may be on their way to the socket before the next piece is asked for.
const OUTLET_BYTES_MAX: usize = 64 * 1024;

/// A call that a task answers; dropping it ends the task.
#[derive(Debug)]
pub(super) struct Bridge {
    task: AbortHandle,
    pipe: Arc<Pipe>,
    outlet: Arc<Outlet>,
    deadline: Option<Duration>,
    is_grpc: bool,
    has_begun: bool,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
        self.pipe.fail();
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    /// Begins what a request asks for.
    pub(super) fn on_request(&mut self, stream: u32, head: &RequestHead, is_end: bool) {
        let speaks_grpc = match self.role {
            Role::Client | Role::ClientGrpc => true,
            Role::ClientHttp | Role::Metrics | Role::Peer => false,
        };
        let is_grpc = speaks_grpc && head.field("content-type").is_some_and(crate::grpc::is_call_type);
        let deadline = match head.field("grpc-timeout").filter(|_| is_grpc).map(timeout::read) {
            None => None,
            Some(Ok(timeout)) => Some(self.now.saturating_add(timeout)),
            Some(Err(text)) => {
                let status = Status::internal(format!("malformed grpc-timeout: {text}"));
                return self.send_status_as(stream, StatusCode::BAD_REQUEST, status);
            }
        };
        if is_grpc && let Some(method) = HotMethod::of(head) {
            return self.on_hot_request(stream, method, head, deadline, is_end);
        }
        let pipe = Arc::new(Pipe::new(stream, Arc::clone(&self.lane)));
        let Some(mut request) = request(head, RequestBody(Arc::clone(&pipe))) else {
            let (parts, ()) = plain(StatusCode::BAD_REQUEST).into_parts();
            return self.connection.send_head(stream, &head_block(&parts), true);
        };
        request.extensions_mut().insert(self.visitor.clone());
        if is_end {
            pipe.push(&[], true);
        }
        let outlet = Arc::new(Outlet::default());
        let sender = Sender { stream, lane: Arc::clone(&self.lane), outlet: Arc::clone(&outlet) };
        let task = if is_grpc {
            let call = self.responder.services.call(request);
            tokio::spawn(async move { sender.send(call.await, false).await })
        } else {
            let (role, site) = (self.role, Arc::clone(&self.responder.site));
            let has_no_body = request.method() == Method::HEAD;
            tokio::spawn(async move {
                let mut response = site.answer(role, request.map(tonic::body::Body::new)).await;
                if let Some(length) = response.body().size_hint().exact() {
                    response.headers_mut().insert(CONTENT_LENGTH, length.into());
                }
                sender.send(response, has_no_body).await;
            })
        };
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, stream));
        }
        self.connection.meter(stream);
        let task = task.abort_handle();
        let bridge = Bridge { task, pipe, outlet, deadline, is_grpc, has_begun: false };
        self.calls.insert(stream, Call::Bridged(bridge));
    }

    /// Takes a piece of a request.
    pub(super) fn on_data(&mut self, stream: u32, piece: &[u8], is_end: bool) {
        match self.calls.remove(&stream) {
            Some(Call::Gathering(gathering)) => self.on_message(stream, *gathering, piece, is_end),
            Some(Call::Bridged(bridge)) => {
                if bridge.pipe.push(piece, is_end) {
                    self.connection.consume(stream, piece.len());
                }
                self.calls.insert(stream, Call::Bridged(bridge));
            }
            // The protocol does not let anything follow the end of a request.
            Some(Call::Waiting(waiting)) => {
                self.calls.insert(stream, Call::Waiting(waiting));
            }
            None => self.connection.consume(stream, piece.len()),
        }
    }

    fn send_status_as(&mut self, stream: u32, code: StatusCode, status: Status) {
        let (mut parts, ()) = status.into_http::<()>().into_parts();
        parts.status = code;
        self.connection.send_head(stream, &head_block(&parts), true);
    }

    // === what the task has ===

    pub(super) fn on_response(&mut self, stream: u32, parts: &Parts, is_end: bool) {
        let Some(Call::Bridged(bridge)) = self.calls.get_mut(&stream) else { return };
        bridge.has_begun = true;
        self.connection.send_head(stream, &head_block(parts), is_end);
        if is_end {
            self.forget(stream);
        }
    }

    pub(super) fn on_trailers(&mut self, stream: u32, trailers: &HeaderMap) {
        self.connection.send_trailers(stream, trailer_block(trailers));
        self.forget(stream);
    }

    pub(super) fn on_response_end(&mut self, stream: u32) {
        self.connection.send_end(stream);
        self.forget(stream);
    }

    pub(super) fn on_response_failed(&mut self, stream: u32) {
        self.connection.reset(stream, ErrorCode::INTERNAL_ERROR);
        self.forget(stream);
    }

    /// Lets tasks go on whose bytes have left.
    pub(super) fn tell_progress(&mut self) {
        while let Some((stream, bytes)) = self.connection.metered() {
            if let Some(Call::Bridged(bridge)) = self.calls.get(&stream) {
                bridge.outlet.on_sent(bytes);
            }
        }
    }

    // === early ends ===

    pub(super) fn on_bridge_deadline(&mut self, stream: u32, bridge: &Bridge) {
        let status = Status::deadline_exceeded("context deadline exceeded");
        if !bridge.has_begun {
            self.send_status(stream, status);
        } else if bridge.is_grpc {
            self.send_status_trailers(stream, status);
        }
    }

    pub(super) fn on_bridge_gone(&mut self, stream: u32, bridge: &Bridge) {
        self.drop_deadline(stream, bridge.deadline);
    }
}

/// A request as the services take it; `None` if it cannot be one.
fn request(head: &RequestHead, body: RequestBody) -> Option<Request<RequestBody>> {
    let mut request = Request::new(body);
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(&head.method).ok()?;
    let path = PathAndQuery::from_maybe_shared(head.path.clone()).ok()?;
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.reserve(head.fields.len() + 1);
    for (name, value) in &head.fields {
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(value.clone()).ok()?);
    }
    if !head.authority.is_empty() && !headers.contains_key(HOST) {
        // Whatever the client calls this server; those who care look at it.
        headers.insert(HOST, HeaderValue::from_maybe_shared(head.authority.clone()).ok()?);
    }
    Some(request)
}

fn plain(status: StatusCode) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

// === the request's body ===

/// The way of a request's body to whoever reads it.
#[derive(Debug)]
struct Pipe {
    stream: u32,
    lane: Arc<Lane>,
    state: Mutex<PipeState>,
}

#[derive(Debug, Default)]
struct PipeState {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes that are to be given back to the client when they are read.
    owed: usize,
    is_over: bool,
    has_failed: bool,
    is_unwanted: bool,
    waker: Option<Waker>,
}

impl Pipe {
    fn new(stream: u32, lane: Arc<Lane>) -> Self {
        Self { stream, lane, state: Mutex::default() }
    }

    /// Adds a piece; `true` if its bytes can be given back to the client at once.
    fn push(&self, piece: &[u8], is_end: bool) -> bool {
        let mut state = lock(&self.state);
        state.is_over |= is_end;
        let mut is_returned = true;
        if !piece.is_empty() && !state.is_unwanted {
            state.pieces.push_back(Bytes::copy_from_slice(piece));
            state.bytes += piece.len();
            if state.bytes > PIPE_BYTES_MAX {
                state.owed += piece.len();
                is_returned = false;
            }
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        is_returned
    }

    /// The client is gone.
    fn fail(&self) {
        let mut state = lock(&self.state);
        state.has_failed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Nobody reads any more.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.is_unwanted = true;
        state.pieces.clear();
        state.bytes = 0;
        let owed = std::mem::take(&mut state.owed);
        drop(state);
        if owed > 0 {
            self.lane.send(self.stream, Note::Read(owed));
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let mut state = lock(&self.state);
        if let Some(piece) = state.pieces.pop_front() {
            state.bytes -= piece.len();
            let owed = if state.bytes <= PIPE_BYTES_MAX { std::mem::take(&mut state.owed) } else { 0 };
            drop(state);
            if owed > 0 {
                self.lane.send(self.stream, Note::Read(owed));
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        if state.has_failed {
            return Poll::Ready(Some(Err(Status::cancelled("context canceled"))));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The reading end of a request's body.
pub(super) struct RequestBody(Arc<Pipe>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.0.state);
        state.is_over && state.pieces.is_empty()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.0.close();
    }
}

// === the response ===

/// How much of a response is on its way to the socket.
#[derive(Debug, Default)]
struct Outlet {
    state: Mutex<OutletState>,
}

#[derive(Debug, Default)]
struct OutletState {
    bytes: usize,
    waker: Option<Waker>,
}

impl Outlet {
    fn on_taken(&self, bytes: usize) {
        lock(&self.state).bytes += bytes;
    }

    fn on_sent(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.bytes < OUTLET_BYTES_MAX
            && let Some(waker) = state.waker.take()
        {
            waker.wake();
        }
    }

    fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.bytes < OUTLET_BYTES_MAX {
            return Poll::Ready(());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The sending end of a response.
struct Sender {
    stream: u32,
    lane: Arc<Lane>,
    outlet: Arc<Outlet>,
}

impl Sender {
    async fn send<B>(self, response: Response<B>, has_no_body: bool)
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = response.into_parts();
        let is_whole = has_no_body || body.is_end_stream();
        self.lane.send(self.stream, Note::Head(Box::new(parts), is_whole));
        if !is_whole {
            self.send_body(std::pin::pin!(body)).await;
        }
    }

    async fn send_body<B>(&self, mut body: Pin<&mut B>)
    where
        B: Body<Data = Bytes>,
    {
        loop {
            poll_fn(|context| self.outlet.poll_ready(context)).await;
            let note = match body.frame().await {
                None => Note::End,
                Some(Err(_)) => Note::Failed,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.outlet.on_taken(bytes.len());
                        self.lane.send(self.stream, Note::Data(bytes));
                        continue;
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Note::Trailers(trailers),
                        Err(_) => continue,
                    },
                },
            };
            return self.lane.send(self.stream, note);
        }
    }
}
