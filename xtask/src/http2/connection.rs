//! One HTTP/2 connection: requests go into its output, answers come out of its input.
//!
//! Order of calls: [`Connection::open`] and [`Connection::send`] any number of times, [`Connection::flush`] once;
//! when the socket is readable, [`Connection::receive`], whose findings go to a [`Sink`].

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, bail, ensure};

use super::frame::{self, Head};
use super::hpack::{Method, Status, read_status};
use super::socket::Socket;

/// Bytes read at once. A short read tells that the socket is drained.
const INPUT_LEN: usize = 256 * 1024;
/// Received bytes after which room is given back to the server.
const ROOM_MIN: u32 = 1 << 26;

/// What happens to the messages of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Their bytes are counted.
    Counted,
    /// Each goes whole to [`Sink::message`].
    Delivered,
}

/// How a stream failed: the gRPC code, if the server sent one, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Option<u32>,
    pub(crate) message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(f, "gRPC code {code}: {}", self.message),
            None => write!(f, "{}", self.message),
        }
    }
}

/// Takes what a connection receives. `tag` is the caller's own, from [`Connection::open`].
pub(crate) trait Sink {
    /// A whole message of a stream that was opened with [`Body::Delivered`].
    fn message(&mut self, tag: u32, message: &[u8]);
    /// The stream is over; success tells the bytes of all its messages.
    fn end(&mut self, tag: u32, result: Result<u64, Failure>);
}

/// An open stream, seen from the receiving side.
#[derive(Debug)]
struct Stream {
    tag: u32,
    body: Body,
    prefix: [u8; 5],
    prefix_len: usize,
    /// Bytes of the current message that are to come.
    missing: usize,
    /// Bytes of all messages so far.
    total: u64,
    partial: Vec<u8>,
    /// Received bytes for which no room was given back yet.
    unreturned: u32,
}

/// Message bytes that wait for room in the connection's window.
#[derive(Debug)]
struct Waiting {
    stream: u32,
    message: Vec<u8>,
    end: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    input: Vec<u8>,
    input_len: usize,
    output: Vec<u8>,
    output_sent: usize,
    /// Streams by age; the front one has the id `stream_first`, and ids go up by two.
    streams: VecDeque<Option<Stream>>,
    stream_first: u32,
    /// What the server may still receive on this connection.
    send_window: i64,
    waiting: VecDeque<Waiting>,
    unreturned: u32,
    headers: Option<(Head, Vec<u8>)>,
    peer_payload_max: usize,
    peer_stream_window: u32,
    peer_streams_max: u32,
    has_settings: bool,
    /// The last trailers that said "success", byte for byte.
    trailers_ok: Vec<u8>,
}

impl Connection {
    /// Connects and puts the client's preface into the output.
    pub(crate) fn connect(address: SocketAddr, is_secure: bool) -> Result<Self> {
        let socket = Socket::connect(address, is_secure)?;
        let mut output = Vec::with_capacity(INPUT_LEN);
        output.extend_from_slice(frame::PREFACE);
        let settings = [
            (frame::SETTING_TABLE_SIZE, 0),
            (frame::SETTING_PUSH, 0),
            (frame::SETTING_WINDOW, frame::WINDOW_MAX),
        ];
        frame::write_settings(&mut output, &settings);
        frame::write_window_update(&mut output, 0, frame::WINDOW_MAX - frame::WINDOW_DEFAULT);
        Ok(Self {
            socket,
            input: vec![0; INPUT_LEN],
            input_len: 0,
            output,
            output_sent: 0,
            streams: VecDeque::new(),
            stream_first: 1,
            send_window: i64::from(frame::WINDOW_DEFAULT),
            waiting: VecDeque::new(),
            unreturned: 0,
            headers: None,
            peer_payload_max: frame::PAYLOAD_DEFAULT,
            peer_stream_window: frame::WINDOW_DEFAULT,
            peer_streams_max: u32::MAX,
            has_settings: false,
            trailers_ok: Vec::new(),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.socket.tcp()
    }

    /// Whether the server's settings have arrived.
    pub(crate) fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// How many streams the server accepts at once.
    pub(crate) fn streams_max(&self) -> u32 {
        self.peer_streams_max
    }

    /// Opens a stream with its first message and returns the stream's id; `end` says that no other will follow.
    ///
    /// # Panics
    /// If `message` is larger than a stream's window.
    pub(crate) fn open(&mut self, method: &Method, tag: u32, body: Body, message: &[u8], end: bool) -> u32 {
        let age = u32::try_from(self.streams.len()).expect("stream ids are 31 bits");
        let id = self.stream_first + 2 * age;
        self.streams.push_back(Some(Stream {
            tag,
            body,
            prefix: [0; 5],
            prefix_len: 0,
            missing: 0,
            total: 0,
            partial: Vec::new(),
            unreturned: 0,
        }));
        frame::write_head(&mut self.output, method.block.len(), frame::HEADERS, frame::END_HEADERS, id);
        self.output.extend_from_slice(&method.block);
        self.send(id, message, end);
        id
    }

    /// Sends one more message on an open stream.
    ///
    /// # Panics
    /// If `message` is larger than a stream's window.
    pub(crate) fn send(&mut self, stream: u32, message: &[u8], end: bool) {
        let len = message.len() + 5;
        let window = usize::try_from(self.peer_stream_window).expect("a u32 fits");
        assert!(len <= window, "a request of {len} bytes, a window of {window}");
        if self.waiting.is_empty() && self.has_room(len) {
            self.write_message(stream, message, end);
        } else {
            self.waiting.push_back(Waiting { stream, message: message.to_vec(), end });
        }
    }

    fn has_room(&self, len: usize) -> bool {
        i64::try_from(len).is_ok_and(|len| len <= self.send_window)
    }

    fn write_message(&mut self, stream: u32, message: &[u8], end: bool) {
        let len = message.len() + 5;
        self.send_window -= i64::try_from(len).expect("fits, it is below the window");
        let size = u32::try_from(message.len()).expect("fits, it is below the window").to_be_bytes();
        let last = if end { frame::END_STREAM } else { 0 };
        let first_len = len.min(self.peer_payload_max);
        let flags = if first_len == len { last } else { 0 };
        frame::write_head(&mut self.output, first_len, frame::DATA, flags, stream);
        self.output.push(0);
        self.output.extend_from_slice(&size);
        let (first, rest) = message.split_at(first_len - 5);
        self.output.extend_from_slice(first);
        let mut chunks = rest.chunks(self.peer_payload_max).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { last } else { 0 };
            frame::write_head(&mut self.output, chunk.len(), frame::DATA, flags, stream);
            self.output.extend_from_slice(chunk);
        }
    }

    /// Writes as much of the output as the socket takes.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while self.output_sent < self.output.len() {
            match self.socket.write(&self.output[self.output_sent..]) {
                Ok(sent) => self.output_sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing to the server"),
            }
        }
        self.output.clear();
        self.output_sent = 0;
        match self.socket.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                Err(error).context("writing to the server")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads until the socket is drained and tells `sink` what came.
    pub(crate) fn receive(&mut self, sink: &mut impl Sink) -> Result<()> {
        loop {
            let room = self.input.len() - self.input_len;
            match self.socket.read(&mut self.input[self.input_len..]) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => {
                    self.input_len += read;
                    self.read_frames(sink)?;
                    if read < room && self.socket.is_drained_by_short_reads() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading from the server"),
            }
        }
    }

    fn read_frames(&mut self, sink: &mut impl Sink) -> Result<()> {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..self.input_len];
        while let Some(head) = Head::read(rest) {
            ensure!(head.len <= frame::PAYLOAD_DEFAULT, "a frame of {} bytes was not asked for", head.len);
            let Some(payload) = rest.get(frame::HEAD_LEN..frame::HEAD_LEN + head.len) else { break };
            self.on_frame(head, payload, sink)?;
            rest = &rest[frame::HEAD_LEN + head.len..];
        }
        let start = self.input_len - rest.len();
        self.input_len = rest.len();
        self.input = input;
        self.input.copy_within(start..start + self.input_len, 0);
        Ok(())
    }

    fn on_frame(&mut self, head: Head, payload: &[u8], sink: &mut impl Sink) -> Result<()> {
        match head.kind {
            frame::DATA => self.on_data(head, payload, sink),
            frame::HEADERS => self.on_headers(head, payload, sink),
            frame::CONTINUATION => self.on_continuation(head, payload, sink),
            frame::SETTINGS if !head.has(frame::ACK) => self.on_settings(payload),
            frame::WINDOW_UPDATE if head.stream == 0 => {
                let increment: &[u8; 4] = payload.first_chunk().context("a short WINDOW_UPDATE")?;
                self.send_window += i64::from(u32::from_be_bytes(*increment) & frame::WINDOW_MAX);
                self.send_waiting();
                Ok(())
            }
            frame::PING if !head.has(frame::ACK) => {
                frame::write_head(&mut self.output, payload.len(), frame::PING, frame::ACK, 0);
                self.output.extend_from_slice(payload);
                Ok(())
            }
            frame::RST_STREAM => {
                let code = payload.first_chunk().map(|code| u32::from_be_bytes(*code));
                let message = format!("the stream was reset, HTTP/2 code {code:?}");
                self.end(head.stream, Err(Failure { code: None, message }), sink);
                Ok(())
            }
            frame::GOAWAY => bail!("the server goes away: {}", String::from_utf8_lossy(payload)),
            frame::PUSH_PROMISE => bail!("the server pushes, which the settings forbid"),
            _ => Ok(()),
        }
    }

    fn send_waiting(&mut self) {
        while let Some(next) = self.waiting.front() {
            if !self.has_room(next.message.len() + 5) {
                return;
            }
            let Waiting { stream, message, end } = self.waiting.pop_front().expect("seen just above");
            self.write_message(stream, &message, end);
        }
    }

    fn on_settings(&mut self, payload: &[u8]) -> Result<()> {
        for setting in payload.chunks(6) {
            let [n0, n1, v0, v1, v2, v3] = *setting.first_chunk().context("a cut-off setting")?;
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                frame::SETTING_STREAMS_MAX => self.peer_streams_max = value,
                frame::SETTING_WINDOW => self.peer_stream_window = value,
                frame::SETTING_PAYLOAD_MAX => self.peer_payload_max = usize::try_from(value)?,
                _ => {}
            }
        }
        self.has_settings = true;
        frame::write_head(&mut self.output, 0, frame::SETTINGS, frame::ACK, 0);
        Ok(())
    }

    fn on_headers(&mut self, head: Head, payload: &[u8], sink: &mut impl Sink) -> Result<()> {
        let block = frame::without_padding(head, payload).context("padding longer than its frame")?;
        if head.has(frame::END_HEADERS) {
            return self.on_header_block(head, block, sink);
        }
        self.headers = Some((head, block.to_vec()));
        Ok(())
    }

    fn on_continuation(&mut self, head: Head, payload: &[u8], sink: &mut impl Sink) -> Result<()> {
        let (first, mut block) = self.headers.take().context("a CONTINUATION without HEADERS")?;
        ensure!(first.stream == head.stream, "a CONTINUATION of another stream");
        block.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            return self.on_header_block(first, &block, sink);
        }
        self.headers = Some((first, block));
        Ok(())
    }

    fn on_header_block(&mut self, head: Head, block: &[u8], sink: &mut impl Sink) -> Result<()> {
        if !head.has(frame::END_STREAM) {
            return Ok(());
        }
        if block == self.trailers_ok {
            self.end(head.stream, Ok(()), sink);
            return Ok(());
        }
        let Status { code, message } = read_status(block).context("an unreadable header block")?;
        if code == Some(0) {
            self.trailers_ok = block.to_vec();
            self.end(head.stream, Ok(()), sink);
        } else {
            self.end(head.stream, Err(Failure { code, message }), sink);
        }
        Ok(())
    }

    fn on_data(&mut self, head: Head, payload: &[u8], sink: &mut impl Sink) -> Result<()> {
        let len = u32::try_from(head.len)?;
        self.unreturned += len;
        if self.unreturned >= ROOM_MIN {
            frame::write_window_update(&mut self.output, 0, self.unreturned);
            self.unreturned = 0;
        }
        let data = frame::without_padding(head, payload).context("padding longer than its frame")?;
        let index = usize::try_from(head.stream.wrapping_sub(self.stream_first) / 2)?;
        let Some(Some(stream)) = self.streams.get_mut(index) else { return Ok(()) };
        stream.unreturned += len;
        if stream.unreturned >= ROOM_MIN {
            frame::write_window_update(&mut self.output, head.stream, stream.unreturned);
            stream.unreturned = 0;
        }
        stream.on_data(data, sink)?;
        if head.has(frame::END_STREAM) {
            let message = "the answer ended without a status".to_owned();
            self.end(head.stream, Err(Failure { code: None, message }), sink);
        }
        Ok(())
    }

    fn end(&mut self, id: u32, result: Result<(), Failure>, sink: &mut impl Sink) {
        let index = usize::try_from(id.wrapping_sub(self.stream_first) / 2).expect("a u32 fits");
        let Some(stream) = self.streams.get_mut(index).and_then(Option::take) else { return };
        while matches!(self.streams.front(), Some(None)) {
            self.streams.pop_front();
            self.stream_first += 2;
        }
        let result = match result {
            Ok(()) if stream.missing > 0 || stream.prefix_len > 0 => {
                Err(Failure { code: None, message: "the answer ended within a message".to_owned() })
            }
            Ok(()) => Ok(stream.total),
            Err(failure) => Err(failure),
        };
        sink.end(stream.tag, result);
    }
}

impl Stream {
    /// Takes a piece of the answer apart into messages: flag u8 | length u32 | message.
    fn on_data(&mut self, mut data: &[u8], sink: &mut impl Sink) -> Result<()> {
        while !data.is_empty() {
            if self.missing > 0 {
                let (piece, rest) = data.split_at(self.missing.min(data.len()));
                data = rest;
                self.on_piece(piece, sink);
                continue;
            }
            let (piece, rest) = data.split_at((5 - self.prefix_len).min(data.len()));
            data = rest;
            self.prefix[self.prefix_len..self.prefix_len + piece.len()].copy_from_slice(piece);
            self.prefix_len += piece.len();
            if self.prefix_len == 5 {
                let [compressed, size @ ..] = self.prefix;
                ensure!(compressed == 0, "a compressed message was not asked for");
                self.prefix_len = 0;
                self.missing = usize::try_from(u32::from_be_bytes(size))?;
                if self.missing == 0 && self.body == Body::Delivered {
                    sink.message(self.tag, &[]);
                }
            }
        }
        Ok(())
    }

    fn on_piece(&mut self, piece: &[u8], sink: &mut impl Sink) {
        self.missing -= piece.len();
        self.total += piece.len() as u64;
        if self.body == Body::Counted {
            return;
        }
        if self.missing == 0 && self.partial.is_empty() {
            sink.message(self.tag, piece);
            return;
        }
        self.partial.extend_from_slice(piece);
        if self.missing == 0 {
            sink.message(self.tag, &self.partial);
            self.partial.clear();
        }
    }
}
