//! One HTTP/2 connection on its front: one task that runs to completion.
//!
//! ```text
//! socket ─▶ read ─▶ Connection::next ─┬─ hot call ──▶ batch ─▶ mailbox ─▶ member
//!                                     └─ other call ─▶ a task of its own    │
//! socket ◀─ write ◀─ Connection::pump ◀── lane ◀── notes of tasks, completions
//! ```
//!
//! All frames of a read are looked at and all answers that have come are written together; a hot call costs neither a
//! task nor a future.
//! While the client does not read what waits for it, nothing more is read from it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::connection::{Answerer, Responder, told_to_stop};
use super::lane::{Lane, Note};
use super::mailbox::lock;
use crate::api::Submission;
use crate::auth::KnownClaim;
use crate::flags::{LimitOptions, ListenOptions};
use crate::grpc::SpareStats;
use crate::http::Role;
use crate::http2::{Connection, Event, Options};
use crate::tls::Visitor;

mod answer;
mod bridge;
mod calls;
mod dump;
#[cfg(test)]
mod tests;
mod timeout;

use bridge::Bridge;
use calls::{Gathering, Waiting};

/// What a client may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Names and values of a request's fields together.
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// Open streams of a connection, whatever is configured.
const STREAMS_MAX: u32 = 1 << 16;
/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// With more than this to be written, nothing is read.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;
/// Reads and writes of one connection before others have their turn.
const ROUNDS_MAX: usize = 16;
/// Pieces of one write.
const SLICES_MAX: usize = 64;
/// How long a client may take to read why its connection is ended.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// How long an unused timer sleeps.
const IDLE_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How HTTP/2 is spoken on all connections of a front.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    options: Options,
    /// Where each connection reads into while it has its turn.
    scratch: Arc<Mutex<Box<[u8]>>>,
}

impl Http2 {
    pub(super) fn new(limits: &LimitOptions, listen: &ListenOptions) -> Self {
        let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
        let options = Options {
            streams_max: limits.max_concurrent_streams.min(STREAMS_MAX),
            stream_window: STREAM_WINDOW_BYTES,
            connection_window: CONNECTION_WINDOW_BYTES,
            headers_bytes_max: HEADERS_BYTES_MAX,
            ping_interval: unless_zero(listen.keepalive_interval),
            ping_timeout: unless_zero(listen.keepalive_timeout),
            ping_min_time: listen.keepalive_min_time,
        };
        Self { options, scratch: Arc::new(Mutex::new(vec![0; READ_BYTES].into())) }
    }
}

/// Serves a connection whose preface was read, until it is over.
///
/// # Errors
///
/// When the socket fails.
pub(super) async fn serve<I>(
    io: I,
    behind_preface: Vec<u8>,
    answerer: Answerer,
    http2: Http2,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Answerer { role, visitor, responder } = answerer;
    let stop: Stop = Box::pin(async move { told_to_stop(&mut stop).await });
    let mut driver = Driver {
        io,
        connection: Connection::new(http2.options),
        scratch: http2.scratch,
        role,
        known_claim: KnownClaim::new(visitor.clone()),
        visitor,
        responder,
        lane: Arc::new(Lane::default()),
        notes: Vec::new(),
        calls: BTreeMap::new(),
        spare_stats: SpareStats::default(),
        gathered_bytes: 0,
        deadlines: BTreeSet::new(),
        outgoing: Vec::new(),
        began: Instant::now(),
        now: Duration::ZERO,
        timer: Box::pin(tokio::time::sleep(IDLE_TIME)),
        timer_at: Duration::MAX,
        stop: Some(stop),
        linger_until: None,
    };
    driver.take_in(&behind_preface);
    std::future::poll_fn(|context| driver.poll(context)).await
}

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is done for a stream.
#[derive(Debug)]
enum Call {
    /// The message of a hot call comes in.
    Gathering(Box<Gathering>),
    /// The member works on a hot call.
    Waiting(Waiting),
    /// A task of its own answers.
    Bridged(Bridge),
}

/// A connection and everything that belongs to it.
struct Driver<I> {
    io: I,
    connection: Connection,
    scratch: Arc<Mutex<Box<[u8]>>>,
    role: Role,
    visitor: Visitor,
    known_claim: KnownClaim,
    responder: Arc<Responder>,
    lane: Arc<Lane>,
    notes: Vec<(u32, Note)>,
    calls: BTreeMap<u32, Call>,
    spare_stats: SpareStats,
    /// Bytes of messages that are not complete.
    gathered_bytes: usize,
    deadlines: BTreeSet<(Duration, u32)>,
    outgoing: Vec<Submission>,
    began: Instant,
    now: Duration,
    timer: Pin<Box<Sleep>>,
    timer_at: Duration,
    stop: Option<Stop>,
    /// The output is closed; what the client still sends is thrown away until then.
    linger_until: Option<Duration>,
}

/// How far the socket let something go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There may be more.
    Some,
    /// The socket wakes when it can go on, or there is nothing to do.
    None,
    /// The client closed its side.
    Closed,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.now = self.began.elapsed();
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(context).is_ready()
        {
            self.stop = None;
            self.connection.shut_down(self.now);
        }
        self.on_time();
        if self.linger_until.is_some() {
            return self.poll_linger(context);
        }
        for _ in 0..ROUNDS_MAX {
            let read = self.read(context)?;
            if read == Progress::Closed {
                return Poll::Ready(Ok(()));
            }
            self.take_notes(context);
            self.submit();
            let written = self.write(context)?;
            if self.connection.is_dead() {
                return Poll::Ready(Ok(()));
            }
            if self.connection.is_over() && self.connection.output_len() == 0 {
                self.calls.clear();
                self.linger_until = Some(self.now + LINGER_TIME);
                return self.poll_linger(context);
            }
            if read == Progress::None && written == Progress::None {
                self.arm(context);
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        self.arm(context);
        Poll::Pending
    }

    /// One read, if there is room for what it may bring.
    fn read(&mut self, context: &mut Context<'_>) -> io::Result<Progress> {
        if self.connection.output_len() > UNWRITTEN_BYTES_MAX {
            return Ok(Progress::None);
        }
        let scratch = Arc::clone(&self.scratch);
        let mut scratch = lock(&scratch);
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(Progress::None),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Ok(Progress::Closed),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled();
                self.take_in(bytes);
                Ok(Progress::Some)
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(event) = self.connection.next(&mut input, self.now) {
            match event {
                Event::Request { stream, head, is_end } => {
                    dump::request(&head);
                    self.on_request(stream, &head, is_end);
                }
                Event::Data { stream, bytes, is_end } => self.on_data(stream, bytes, is_end),
                Event::End { stream } => self.on_data(stream, &[], true),
                Event::Reset { stream } => self.forget(stream),
            }
        }
    }

    /// Takes what other tasks have for this connection.
    fn take_notes(&mut self, context: &Context<'_>) {
        let mut notes = std::mem::take(&mut self.notes);
        self.lane.take(&mut notes, context.waker());
        for (stream, note) in notes.drain(..) {
            match note {
                Note::Completed(completion) => self.on_completed(stream, completion),
                Note::Head(parts, is_end) => self.on_response(stream, &parts, is_end),
                Note::Data(bytes) => self.connection.send_data(stream, Box::new(bytes)),
                Note::Trailers(trailers) => self.on_trailers(stream, &trailers),
                Note::End => self.on_response_end(stream),
                Note::Failed => self.on_response_failed(stream),
                Note::Read(bytes) => self.connection.consume(stream, bytes),
            }
        }
        self.notes = notes;
    }

    /// Hands over what gathered for the member.
    fn submit(&mut self) {
        self.responder.services.link().mailbox().send_all(&mut self.outgoing);
    }

    /// One write of what can be sent.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<Progress> {
        self.connection.pump();
        self.tell_progress();
        if self.connection.output_len() == 0 {
            return Ok(Progress::None);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.connection.slices(&mut slices);
        let io = Pin::new(&mut self.io);
        let written = if io.is_write_vectored() {
            io.poll_write_vectored(context, &slices[..count])
        } else {
            io.poll_write(context, &slices[0])
        };
        match written {
            Poll::Pending => Ok(Progress::None),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(bytes)) => {
                self.connection.written(bytes);
                self.connection.pump();
                self.tell_progress();
                match self.connection.output_len() {
                    0 => self.flush(context),
                    _ => Ok(Progress::Some),
                }
            }
        }
    }

    /// Some kinds of socket keep what was written until they are told that it is all.
    fn flush(&mut self, context: &mut Context<'_>) -> io::Result<Progress> {
        match Pin::new(&mut self.io).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(Progress::None),
        }
    }

    /// Forgets a stream that nothing can be sent on.
    fn forget(&mut self, stream: u32) {
        if let Some(call) = self.calls.remove(&stream) {
            match call {
                Call::Gathering(gathering) => self.on_gathering_gone(&gathering),
                Call::Waiting(waiting) => self.on_waiting_gone(stream, &waiting),
                Call::Bridged(bridge) => self.on_bridge_gone(stream, &bridge),
            }
        }
    }

    // === time ===

    fn on_time(&mut self) {
        if self.now < self.timer_at {
            return;
        }
        self.timer_at = Duration::MAX;
        self.connection.on_time(self.now);
        while let Some((deadline, stream)) = self.deadlines.first().copied()
            && deadline <= self.now
        {
            self.deadlines.pop_first();
            self.on_deadline(stream);
        }
    }

    /// Makes sure that this task runs when something is due.
    fn arm(&mut self, context: &mut Context<'_>) {
        let call = self.deadlines.first().map(|(deadline, _)| *deadline);
        let due = self.connection.deadline().into_iter().chain(call).chain(self.linger_until).min();
        let Some(due) = due.filter(|due| *due < self.timer_at) else { return };
        self.timer_at = due;
        self.timer.as_mut().reset((self.began + due).into());
        if self.timer.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }

    /// Lets the client read the last words: a socket that is closed with something unread would take them back.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger_until.is_some_and(|until| self.now >= until)
            || Pin::new(&mut self.io).poll_shutdown(context)?.is_pending()
        {
            // A socket that cannot even be shut down is not worth the wait.
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS_MAX {
            let scratch = Arc::clone(&self.scratch);
            let mut scratch = lock(&scratch);
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer)? {
                Poll::Ready(()) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(()) => {}
                Poll::Pending => {
                    self.arm(context);
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Requests under way whose completions nobody waits for any more.
impl<I> Drop for Driver<I> {
    fn drop(&mut self) {
        let mut table = self.responder.services.link().mailbox().calls();
        for call in self.calls.values() {
            match call {
                Call::Waiting(waiting) => table.abandon(waiting.token),
                Call::Gathering(_) | Call::Bridged(_) => {}
            }
        }
    }
}
