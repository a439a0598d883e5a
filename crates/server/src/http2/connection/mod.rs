//! One connection as a value: bytes in, events out; answers in, bytes out.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;

use super::frame::{
    self, ErrorCode, Head, SETTING_HEADERS_MAX, SETTING_STREAMS_MAX, SETTING_WINDOW, STREAM_MAX,
    WINDOW_DEFAULT, WINDOW_MAX,
};
use super::guard::Guard;
use super::hpack::Decoder;
use super::output::Output;
use super::request::RequestHead;

mod headers;
mod receive;
mod send;

/// The payload of the ping that asks whether the client has seen that the server goes away.
const DRAIN_PING: [u8; 8] = *b"etched-d";
/// The payload of the ping that asks whether the client is there.
const ALIVE_PING: [u8; 8] = *b"etched-a";
/// How long the client may take to see that the server goes away.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Closed streams that are remembered, so that what was on its way to them can be told from errors.
const CLOSED_MAX: usize = 256;

/// What a connection allows and wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Streams that a client may have open.
    pub(crate) streams_max: u32,
    /// What a client may send on a stream before it is consumed, in bytes.
    pub(crate) stream_window: u32,
    /// The same for all streams together.
    pub(crate) connection_window: u32,
    /// The names and values of a request's fields together, in bytes.
    pub(crate) headers_bytes_max: u32,
    /// Time without traffic after which the client is asked whether it is there.
    pub(crate) ping_interval: Option<Duration>,
    /// Time for its answer.
    pub(crate) ping_timeout: Option<Duration>,
    /// The shortest time between two pings of a client.
    pub(crate) ping_min_time: Duration,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A stream was opened; with `is_end`, nothing follows.
    Request { stream: u32, head: Arc<RequestHead>, is_end: bool },
    /// A piece of a request; it is to be given back by [`Connection::consume`]. With `is_end`, nothing follows.
    Data { stream: u32, bytes: &'a [u8], is_end: bool },
    /// A request is over without another piece.
    End { stream: u32 },
    /// A stream was ended from the other side, or broke a rule; nothing can be sent on it.
    Reset { stream: u32 },
}

/// Something that is sent in pieces.
pub(crate) type Payload = Box<dyn Buf + Send>;

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Head,
    /// A whole payload.
    Payload(Head),
    /// The length of the padding of a DATA frame.
    PadLength(Head),
    /// Content of a DATA frame, which is given out as it comes, and padding behind it.
    Data {
        stream: u32,
        left: usize,
        padding: usize,
        is_end: bool,
        is_wanted: bool,
    },
}

/// A header block that is not complete.
#[derive(Debug)]
struct Unfinished {
    stream: u32,
    is_end: bool,
    block: Vec<u8>,
}

/// A request that came before, byte for byte.
#[derive(Debug)]
struct Known {
    block: Vec<u8>,
    changes: u64,
    head: Arc<RequestHead>,
}

/// Where a stream stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    No,
    Small,
    Bulk,
}

/// How the sending side of a stream ends once its data is sent.
#[derive(Debug)]
enum Ending {
    /// With the last data.
    Data,
    /// With a header block.
    Trailers(Vec<u8>),
}

#[derive(Debug)]
struct Stream {
    opened: Duration,
    is_receiving: bool,
    receive_window: i64,
    /// Bytes consumed and not given back.
    unreturned: u32,
    /// What is missing of the announced length.
    content_left: Option<u64>,
    send_window: i64,
    queue: VecDeque<Payloaded>,
    /// Bytes in the queue.
    queued_bytes: usize,
    ending: Option<Ending>,
    line: Line,
    /// Whether somebody wants to know how much was sent.
    is_metered: bool,
    sent_untold: usize,
}

/// A payload that can be shown.
struct Payloaded(Payload);

impl std::fmt::Debug for Payloaded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.0.remaining())
    }
}

/// How far the end of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come yet; settings must be the first.
    Opening,
    Open,
    /// The client was told that the end is near.
    Draining {
        until: Duration,
    },
    /// The client was told which stream is the last.
    Drained {
        last: u32,
    },
    /// Nothing more is read; what waits is written.
    Failed,
    /// Nothing more is written either.
    Dead,
}

/// The server's side of a connection, behind the client's preface.
///
/// Calls in any order: [`Connection::next`] with what was read, until it gives no event any more; `send_*`,
/// [`Connection::respond`] and [`Connection::reset`] for streams that events told of; [`Connection::on_time`] when
/// [`Connection::deadline`] is over. After all that [`Connection::pump`], and [`Connection::slices`] are to be
/// written.
///
/// Times are those since the connection began.
#[derive(Debug)]
pub(crate) struct Connection {
    options: Options,
    stage: Stage,
    expected: Expected,
    /// The beginning of what is expected.
    partial: Vec<u8>,
    unfinished: Option<Unfinished>,
    decoder: Decoder,
    known: Vec<Known>,
    known_next: usize,
    streams: BTreeMap<u32, Stream>,
    last_stream: u32,
    /// Streams that were closed lately, and whether this side ended them early.
    closed: VecDeque<(u32, bool)>,
    receive_window: i64,
    unreturned: u32,
    send_window: i64,
    peer_stream_window: i64,
    output: Output,
    small: VecDeque<u32>,
    bulk: VecDeque<u32>,
    /// Bytes of small answers since a large one had its turn.
    small_bytes: usize,
    queued_bytes: usize,
    metered: Vec<u32>,
    guard: Guard,
    read_at: Duration,
    pinged_at: Option<Duration>,
}

impl Connection {
    /// A connection whose preface was read; its own settings are the first thing to be written.
    pub(crate) fn new(options: Options) -> Self {
        let mut output = Output::default();
        let settings = [
            (SETTING_STREAMS_MAX, options.streams_max),
            (SETTING_WINDOW, options.stream_window),
            (SETTING_HEADERS_MAX, options.headers_bytes_max),
        ];
        frame::write_settings(output.tail(), &settings);
        let more = options.connection_window.saturating_sub(WINDOW_DEFAULT);
        if more > 0 {
            frame::write_window_update(output.tail(), 0, more);
        }
        Self {
            options,
            stage: Stage::Opening,
            expected: Expected::Head,
            partial: Vec::new(),
            unfinished: None,
            decoder: Decoder::new(usize::try_from(options.headers_bytes_max).unwrap_or(usize::MAX)),
            known: Vec::new(),
            known_next: 0,
            streams: BTreeMap::new(),
            last_stream: 0,
            closed: VecDeque::new(),
            receive_window: i64::from(options.connection_window.max(WINDOW_DEFAULT)),
            unreturned: 0,
            send_window: i64::from(WINDOW_DEFAULT),
            peer_stream_window: i64::from(WINDOW_DEFAULT),
            output,
            small: VecDeque::new(),
            bulk: VecDeque::new(),
            small_bytes: 0,
            queued_bytes: 0,
            metered: Vec::new(),
            guard: Guard::new(options.ping_min_time),
            read_at: Duration::ZERO,
            pinged_at: None,
        }
    }

    /// How many streams are open.
    #[cfg(test)]
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether a stream can still be sent on.
    pub(crate) fn has(&self, stream: u32) -> bool {
        self.streams.contains_key(&stream)
    }

    // === what waits to be written ===

    /// Bytes that wait for the socket.
    pub(crate) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// What waits for the socket; gives the number of slices in use.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(slices)
    }

    /// So many bytes were written to the socket.
    ///
    /// # Panics
    ///
    /// If there were fewer.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.output.advance(bytes);
    }

    // === the end ===

    /// Whether the socket is to be closed once the output is written.
    pub(crate) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Opening | Stage::Open | Stage::Draining { .. } => false,
            Stage::Drained { .. } => self.streams.is_empty(),
            Stage::Failed | Stage::Dead => true,
        }
    }

    /// Whether the client is not there any more, so that writing is no use.
    pub(crate) fn is_dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// Begins the end: what is under way goes on, and the client learns that it must go elsewhere.
    pub(crate) fn shut_down(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Opening | Stage::Open) {
            frame::write_go_away(self.output.tail(), STREAM_MAX, ErrorCode::NO_ERROR, "graceful_stop");
            frame::write_ping(self.output.tail(), 0, DRAIN_PING);
            self.stage = Stage::Draining { until: now + DRAIN_TIME };
        }
    }

    /// Streams that were on their way when the first word of the end was sent have come by now.
    fn drained(&mut self) {
        if matches!(self.stage, Stage::Draining { .. }) {
            let last = self.last_stream;
            frame::write_go_away(self.output.tail(), last, ErrorCode::NO_ERROR, "graceful_stop");
            self.stage = Stage::Drained { last };
        }
    }

    fn fail(&mut self, code: ErrorCode, text: &str) {
        let last = match self.stage {
            Stage::Opening | Stage::Open | Stage::Draining { .. } => self.last_stream,
            // It never goes up again.
            Stage::Drained { last } => last,
            Stage::Failed | Stage::Dead => return,
        };
        frame::write_go_away(self.output.tail(), last, code, text);
        self.stage = Stage::Failed;
    }

    // === time ===

    /// When [`Connection::on_time`] is to be called next.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let alive = match self.pinged_at {
            Some(pinged) => self.options.ping_timeout.map(|timeout| pinged + timeout),
            None => self.options.ping_interval.map(|interval| self.read_at + interval),
        };
        let drained = match self.stage {
            Stage::Draining { until } => Some(until),
            Stage::Opening | Stage::Open | Stage::Drained { .. } | Stage::Failed | Stage::Dead => None,
        };
        alive.into_iter().chain(drained).min()
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Draining { until } if now >= until) {
            self.drained();
        }
        match self.pinged_at {
            Some(pinged) => {
                if self.options.ping_timeout.is_some_and(|timeout| now >= pinged + timeout) {
                    self.stage = Stage::Dead;
                }
            }
            None => {
                if self.options.ping_interval.is_some_and(|interval| now >= self.read_at + interval) {
                    frame::write_ping(self.output.tail(), 0, ALIVE_PING);
                    self.pinged_at = Some(now);
                }
            }
        }
    }

    // === streams ===

    fn open(&mut self, stream: u32, is_end: bool, content_left: Option<u64>, now: Duration) {
        let opened = Stream {
            opened: now,
            is_receiving: !is_end,
            receive_window: i64::from(self.options.stream_window),
            unreturned: 0,
            content_left,
            send_window: self.peer_stream_window,
            queue: VecDeque::new(),
            queued_bytes: 0,
            ending: None,
            line: Line::No,
            is_metered: false,
            sent_untold: 0,
        };
        self.streams.insert(stream, opened);
    }

    /// Forgets a stream; `is_early` says that the client may not know of its end.
    fn close(&mut self, stream: u32, is_early: bool) {
        if let Some(closed) = self.streams.remove(&stream) {
            self.queued_bytes -= closed.queued_bytes;
        }
        if self.closed.len() == CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((stream, is_early));
    }

    /// Whether a closed stream is remembered, and if this side ended it early.
    fn was_closed(&self, stream: u32) -> Option<bool> {
        let found = self.closed.iter().rev().find(|(closed, _)| *closed == stream);
        found.map(|(_, is_early)| *is_early)
    }

    /// Ends a stream at once.
    pub(crate) fn reset(&mut self, stream: u32, code: ErrorCode) {
        if self.streams.contains_key(&stream) {
            frame::write_reset(self.output.tail(), stream, code);
            self.close(stream, true);
        }
    }

    // === what was received is given back ===

    /// Says that bytes of [`Event::Data`] take no memory any more, so that as many may come.
    pub(crate) fn consume(&mut self, stream: u32, bytes: usize) {
        let Ok(bytes) = u32::try_from(bytes) else { return };
        self.give_back(bytes);
        let half = self.options.stream_window / 2;
        if let Some(open) = self.streams.get_mut(&stream)
            && open.is_receiving
        {
            open.unreturned += bytes;
            if open.unreturned >= half.max(1) {
                let increment = std::mem::take(&mut open.unreturned);
                open.receive_window += i64::from(increment);
                frame::write_window_update(self.output.tail(), stream, increment);
            }
        }
    }

    /// The connection's part alone.
    fn give_back(&mut self, bytes: u32) {
        self.unreturned += bytes;
        if self.unreturned >= (self.options.connection_window / 2).max(1) {
            let increment = std::mem::take(&mut self.unreturned);
            self.receive_window += i64::from(increment);
            frame::write_window_update(self.output.tail(), 0, increment);
        }
    }
}

/// A window that has grown; `None` if it is larger than a window can be.
fn grown(window: i64, increment: i64) -> Option<i64> {
    Some(window + increment).filter(|window| *window <= WINDOW_MAX)
}
