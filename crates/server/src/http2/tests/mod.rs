//! The rules of HTTP/2, each by the few bytes that keep or break it.

use std::io::IoSlice;
use std::time::Duration;

use super::connection::{Connection, Event, Options};
use super::frame::*;
use super::hpack::write_field;

mod chaos;
mod floods;
mod flow;
mod rules;
mod streams;

const OPTIONS: Options = Options {
    streams_max: 100,
    stream_window: 1 << 16,
    connection_window: 1 << 18,
    headers_bytes_max: 1 << 16,
    ping_interval: None,
    ping_timeout: None,
    ping_min_time: Duration::from_secs(5),
};

/// One side of a conversation: what the client sends is appended, what the server did is looked at.
struct Peer {
    connection: Connection,
    now: Duration,
}

/// Bytes of a client.
#[derive(Default, Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let [.., a, b, c] = (payload.len() as u64).to_be_bytes();
        self.0.extend_from_slice(&[a, b, c, kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    fn settings(self, settings: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        self.frame(SETTINGS, 0, 0, &payload)
    }

    fn headers(self, stream: u32, fields: &[(&str, &str)], is_end: bool) -> Self {
        let flags = FLAG_END_HEADERS | if is_end { FLAG_END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields))
    }

    fn post(self, stream: u32) -> Self {
        self.headers(stream, &POST, false)
    }

    fn get(self, stream: u32) -> Self {
        self.headers(stream, &POST, true)
    }

    fn data(self, stream: u32, content: &[u8], is_end: bool) -> Self {
        self.frame(DATA, u8::from(is_end), stream, content)
    }

    fn window(self, stream: u32, increment: u32) -> Self {
        self.frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
    }

    fn reset(self, stream: u32) -> Self {
        self.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
    }
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "http://127.0.0.1:1")];

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| write_field(&mut block, name.as_bytes(), value.as_bytes()));
    block
}

fn client() -> Bytes {
    Bytes::default()
}

impl Peer {
    /// A connection after the exchange of settings.
    fn new() -> Self {
        Self::with(OPTIONS, &[])
    }

    fn with(options: Options, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { connection: Connection::new(options), now: Duration::from_secs(100) };
        assert!(peer.send(client().settings(settings)).is_empty());
        let opening = peer.sent();
        assert_eq!(opening[opening.len() - 1], "settings ack");
        peer
    }

    /// Lets bytes arrive in one piece; gives the events.
    fn send(&mut self, bytes: Bytes) -> Vec<String> {
        self.receive(&bytes.0)
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut input = bytes;
        let mut events = Vec::new();
        while let Some(event) = self.connection.next(&mut input, self.now) {
            let (text, consumed) = match event {
                Event::Request { stream, head, is_end } => {
                    let path = String::from_utf8_lossy(&head.path).into_owned();
                    (format!("{stream} opens {path}{}", end(is_end)), None)
                }
                Event::Data { stream, bytes, is_end } => {
                    (format!("{stream} sends {}{}", bytes.len(), end(is_end)), Some((stream, bytes.len())))
                }
                Event::End { stream } => (format!("{stream} ends"), None),
                Event::Reset { stream } => (format!("{stream} is reset"), None),
            };
            events.push(text);
            if let Some((stream, bytes)) = consumed {
                self.connection.consume(stream, bytes);
            }
        }
        assert!(input.is_empty());
        events
    }

    /// All bytes that the server writes.
    fn written(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.connection.pump();
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.connection.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                return all;
            }
            self.connection.written(bytes.len());
            all.extend_from_slice(&bytes);
        }
    }

    /// What the server writes, frame by frame.
    fn sent(&mut self) -> Vec<String> {
        frames(&self.written())
    }

    /// Sends what breaks a rule of the connection; gives the code.
    fn fault(&mut self, bytes: Bytes) -> String {
        self.send(bytes);
        let sent = self.sent();
        assert!(self.connection.is_over(), "{sent:?}");
        sent.last().cloned().unwrap_or_default()
    }

    fn answer(&mut self, stream: u32, length: usize) {
        self.connection.send_head(stream, &block(&[("content-type", "x")]), false);
        self.connection.send_data(stream, Box::new(bytes::Bytes::from(vec![7; length])));
        self.connection.send_trailers(stream, block(&[("grpc-status", "0")]));
    }
}

fn end(is_end: bool) -> &'static str {
    if is_end { ", end" } else { "" }
}

fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.first_chunk() {
        let head = Head::read(head);
        let payload = &bytes[HEAD_LEN..HEAD_LEN + head.len];
        bytes = &bytes[HEAD_LEN + head.len..];
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let stream = head.stream;
        let end = end(head.has(FLAG_END_STREAM));
        frames.push(match head.kind {
            DATA => format!("data {stream} {}{end}", head.len),
            HEADERS => format!("headers {stream}{end}"),
            CONTINUATION => format!("continuation {stream}"),
            RST_STREAM => format!("reset {stream} {}", number(0)),
            SETTINGS if head.has(FLAG_ACK) => "settings ack".to_owned(),
            SETTINGS => "settings".to_owned(),
            PING if head.has(FLAG_ACK) => "pong".to_owned(),
            PING => "ping".to_owned(),
            WINDOW_UPDATE => format!("window {stream} {}", number(0)),
            GOAWAY => {
                format!("goaway {} {} {}", number(0), number(4), String::from_utf8_lossy(&payload[8..]))
            }
            other => panic!("a frame of kind {other}"),
        });
    }
    assert!(bytes.is_empty());
    frames
}
