//! Streams: JSON objects of a request's body become messages, messages become lines of the response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::call::{self, Messages};
use super::failure;
use super::json::{self, Escape, Scanner};
use super::schema::{MessageId, Schema};

/// The requests of a stream: a body of JSON values as a body of messages.
///
/// A value that is none, or does not fit, ends the requests and nothing else, as in etcd.
pub(super) struct Requests {
    schema: Arc<Schema>,
    message: MessageId,
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer the scanner has seen.
    scanned: usize,
    scanner: Scanner,
    value_bytes_max: usize,
    is_over: bool,
}

impl Requests {
    pub(super) fn new(schema: Arc<Schema>, message: MessageId, body: Body, value_bytes_max: usize) -> Self {
        Self {
            schema,
            message,
            body,
            buffer: BytesMut::new(),
            scanned: 0,
            scanner: Scanner::new(),
            value_bytes_max,
            is_over: false,
        }
    }

    /// The next whole value in the buffer.
    ///
    /// # Errors
    ///
    /// Why there will be none.
    fn value(&mut self, is_end: bool) -> Result<Option<BytesMut>, String> {
        if let Some(end) = self.scanner.find_end(&self.buffer[self.scanned..])? {
            self.scanned += end;
            return Ok(Some(self.take()));
        }
        self.scanned = self.buffer.len();
        if self.buffer.len() > self.value_bytes_max {
            return Err(format!("a request larger than {} bytes", self.value_bytes_max));
        }
        match (is_end, self.scanner.has_begun()) {
            (true, true) if self.scanner.may_end() => Ok(Some(self.take())),
            (true, true) => Err("unexpected EOF".to_owned()),
            (true, false) | (false, _) => Ok(None),
        }
    }

    fn take(&mut self) -> BytesMut {
        self.scanner = Scanner::new();
        self.buffer.split_to(std::mem::take(&mut self.scanned))
    }

    fn next_message(&mut self, is_end: bool) -> Result<Option<Bytes>, String> {
        let Some(value) = self.value(is_end)? else { return Ok(None) };
        let message = json::to_wire(&self.schema, self.message, value.trim_ascii_start())?;
        call::framed(&message).map(Some).map_err(|status| status.message().to_owned())
    }
}

impl HttpBody for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut is_end = false;
        while !self.is_over {
            match self.next_message(is_end) {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) if is_end => self.is_over = true,
                Ok(None) => match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.buffer.extend_from_slice(&data);
                        }
                    }
                    Some(Err(status)) => {
                        self.is_over = true;
                        return Poll::Ready(Some(Err(status)));
                    }
                    None => is_end = true,
                },
                Err(why) => {
                    crate::log!(Warn, "a request of a stream cannot be decoded", "error" => why);
                    self.is_over = true;
                }
            }
        }
        Poll::Ready(None)
    }
}

/// The responses of a stream as lines.
pub(super) struct Lines {
    schema: Arc<Schema>,
    message: MessageId,
    messages: Messages,
    deadline: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Lines {
    pub(super) fn new(
        schema: Arc<Schema>,
        message: MessageId,
        messages: Messages,
        timeout: Option<Duration>,
    ) -> Self {
        let deadline = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Self { schema, message, messages, deadline, is_over: false }
    }

    /// The next line; `None` at a good end.
    ///
    /// # Errors
    ///
    /// The status with which the stream ended.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            self.is_over = true;
            return Poll::Ready(Some(Err(call::deadline_exceeded())));
        }
        let next = {
            let mut next = std::pin::pin!(self.messages.next());
            ready!(next.as_mut().poll(context))
        };
        Poll::Ready(match next {
            Ok(None) => {
                self.is_over = true;
                None
            }
            Ok(Some(message)) => Some(self.line(&message)),
            Err(status) => {
                self.is_over = true;
                Some(Err(status))
            }
        })
    }

    fn line(&self, message: &[u8]) -> Result<Bytes, Status> {
        let mut line = Vec::with_capacity(message.len() * 2 + 64);
        line.extend_from_slice(b"{\"result\":");
        json::to_json(&self.schema, self.message, message, Escape::Html, &mut line)
            .map_err(|error| Status::internal(error.to_string()))?;
        line.extend_from_slice(b"}\n");
        Ok(line.into())
    }
}

/// A response's body: a first line, and what comes after it.
pub(super) struct LinesBody {
    first: Option<Bytes>,
    rest: Option<Lines>,
}

impl LinesBody {
    pub(super) fn new(first: Option<Bytes>, rest: Option<Lines>) -> Self {
        Self { first, rest }
    }
}

impl HttpBody for LinesBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let line = match ready!(rest.poll_next(context)) {
            None => return Poll::Ready(None),
            Some(Ok(line)) => line,
            Some(Err(status)) => {
                self.rest = None;
                failure::line(&status)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}
