//! The frames of the two streams.
//!
//! The message stream is a sequence of messages, each after its length.
//! The append stream has three kinds of frames, told apart by their first byte; numbers are big-endian:
//!
//! ```text
//! 0                                                      the connection lives
//! 1  entries: u64  (length: u64  entry)...  commit: u64  entries that continue the ones before
//! 2  length: u64   message                               a whole append, from which others continue
//! ```
//!
//! "Continue" is decided alike on both sides: each remembers the term and the last index of the last whole append,
//! and counts the entries after it.

use bytes::{BufMut, Bytes, BytesMut};
use etched_replica::raft::{DecodeError, Message, MessageKind};

#[cfg(test)]
mod tests;

/// A frame or a message may be this long, as in etcd.
pub(super) const FRAME_BYTES_MAX: usize = 512 << 20;

const BEAT: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;
/// The bytes of the message that only shows that the connection lives: a heartbeat from nobody to nobody.
const BEAT_MESSAGE: [u8; 2] = [0x08, 0x08];

/// The two streams between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StreamKind {
    /// Appends, which are most of the bytes.
    Append,
    /// Everything else, which is not to wait behind them.
    Message,
}

impl StreamKind {
    pub(super) const BOTH: [Self; 2] = [Self::Append, Self::Message];

    /// The last part of the path under `/raft/stream`.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Append => "msgapp",
            Self::Message => "message",
        }
    }

    /// etcd's name in its log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Append => "stream MsgApp v2",
            Self::Message => "stream Message",
        }
    }
}

/// A stream is not understood from here on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// A length is above what is allowed.
    #[error("error limit exceeded")]
    TooLong,
    /// The first byte of a frame is none of the known ones.
    #[error("failed to parse type {0} in msgappv2 stream")]
    UnknownFrame(u8),
    /// Indices cannot be counted that far.
    #[error("the index of an entry is out of range")]
    Index,
    /// A message is damaged.
    #[error("damaged message: {0}")]
    Message(#[from] DecodeError),
    /// The fields of a message are damaged.
    #[error("damaged fields of a message")]
    Fields,
}

/// Where the next entries continue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    term: u64,
    index: u64,
}

/// Writes the frames of one stream.
#[derive(Debug)]
pub(super) struct Encoder {
    kind: StreamKind,
    position: Position,
}

impl Encoder {
    pub(super) fn new(kind: StreamKind) -> Self {
        Self { kind, position: Position::default() }
    }

    /// Adds the frame of a message, and says how long the message is.
    pub(super) fn encode(&mut self, message: &Message, out: &mut BytesMut) -> usize {
        let bytes = message.encode();
        match self.kind {
            StreamKind::Message => put_with_length(out, &bytes),
            StreamKind::Append => self.encode_append(&bytes, out),
        }
        bytes.len()
    }

    fn encode_append(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let append = Append::parse(bytes).expect("a message that was encoded here is well-formed");
        let continues = self.position == Position { term: append.log_term, index: append.index }
            && append.log_term == append.term;
        if continues {
            out.reserve(bytes.len() + 17 + 8 * append.entries.len());
            out.put_u8(ENTRIES);
            out.put_u64(append.entries.len() as u64);
            for entry in &append.entries {
                put_with_length(out, entry);
                self.position.index += 1;
            }
            out.put_u64(append.commit);
        } else {
            out.put_u8(WHOLE);
            put_with_length(out, bytes);
            self.position = append.end().expect("entries that were encoded here are well-formed");
        }
    }

    /// Adds the frame that shows that the connection lives, and says how long its message is.
    pub(super) fn encode_beat(&self, out: &mut BytesMut) -> usize {
        match self.kind {
            StreamKind::Append => out.put_u8(BEAT),
            StreamKind::Message => put_with_length(out, &BEAT_MESSAGE),
        }
        BEAT_MESSAGE.len()
    }
}

fn put_with_length(out: &mut BytesMut, bytes: &[u8]) {
    out.reserve(8 + bytes.len());
    out.put_u64(bytes.len() as u64);
    out.put_slice(bytes);
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    /// The connection lives.
    Beat,
    /// A message, and its length.
    Message { message: Message, bytes: usize },
    /// A message of a kind that this version does not know; it is skipped.
    Unknown(DecodeError),
}

/// Reads the frames of one stream, in whatever pieces they arrive.
#[derive(Debug)]
pub(super) struct Decoder {
    kind: StreamKind,
    local: u64,
    remote: u64,
    position: Position,
    buffer: BytesMut,
    /// How far a frame of entries is read that is not there as a whole.
    partial: Option<Partial>,
}

#[derive(Clone, Copy, Debug)]
struct Partial {
    entries_left: u64,
    entries: u64,
    /// Bytes of the frame that were looked at.
    offset: usize,
}

impl Decoder {
    /// For a stream from `remote` to `local`.
    pub(super) fn new(kind: StreamKind, local: u64, remote: u64) -> Self {
        let buffer = BytesMut::new();
        Self { kind, local, remote, position: Position::default(), buffer, partial: None }
    }

    /// Takes what arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` if more has to arrive first.
    pub(super) fn next(&mut self) -> Result<Option<Decoded>, FrameError> {
        match self.kind {
            StreamKind::Message => self.next_message(0),
            StreamKind::Append => match self.buffer.first() {
                None => Ok(None),
                Some(&BEAT) => {
                    self.take(1);
                    Ok(Some(Decoded::Beat))
                }
                Some(&ENTRIES) => self.next_entries(),
                Some(&WHOLE) => self.next_message(1),
                Some(other) => Err(FrameError::UnknownFrame(*other)),
            },
        }
    }

    /// Reads a message after its length, which stands `skip` bytes into the frame.
    fn next_message(&mut self, skip: usize) -> Result<Option<Decoded>, FrameError> {
        let Some(length) = self.length_at(skip)? else { return Ok(None) };
        let start = skip + 8;
        if self.buffer.len() < start + length {
            self.buffer.reserve(start + length - self.buffer.len());
            return Ok(None);
        }
        // A copy of the message alone, so that its entries do not keep whole blocks of the stream in memory.
        let bytes = Bytes::copy_from_slice(&self.buffer[start..start + length]);
        self.take(start + length);
        if self.kind == StreamKind::Append {
            self.position = Append::parse(&bytes)?.end()?;
        }
        decode(&bytes).map(Some)
    }

    fn next_entries(&mut self) -> Result<Option<Decoded>, FrameError> {
        let mut partial = match self.partial {
            Some(partial) => partial,
            None => {
                let Some(entries) = self.length_at(1)? else { return Ok(None) };
                Partial { entries_left: entries as u64, entries: entries as u64, offset: 9 }
            }
        };
        while partial.entries_left > 0 {
            let end = match self.length_at(partial.offset)? {
                Some(length) => partial.offset + 8 + length,
                None => usize::MAX,
            };
            if self.buffer.len() < end {
                self.partial = Some(partial);
                return Ok(None);
            }
            if end > FRAME_BYTES_MAX {
                return Err(FrameError::TooLong);
            }
            partial.offset = end;
            partial.entries_left -= 1;
        }
        let Some(commit) = self.number_at(partial.offset) else {
            self.partial = Some(partial);
            return Ok(None);
        };
        self.partial = None;
        let bytes = self.whole_append(partial, commit)?;
        self.take(partial.offset + 8);
        decode(&bytes).map(Some)
    }

    /// The message that a frame of entries stands for.
    fn whole_append(&mut self, partial: Partial, commit: u64) -> Result<Bytes, FrameError> {
        let Position { term, index } = self.position;
        let mut out = Vec::with_capacity(partial.offset + 96);
        let head = [(1, MessageKind::Append.number()), (2, self.local), (3, self.remote)];
        for (field, number) in head.into_iter().chain([(4, term), (5, term), (6, index)]) {
            put_number(&mut out, field, number);
        }
        let mut rest = &self.buffer[9..partial.offset];
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            // The lengths were checked when they were looked at.
            let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| FrameError::TooLong)?;
            let (entry, after) = after.split_at_checked(length).ok_or(FrameError::Fields)?;
            put_varint(&mut out, 7 << 3 | 2);
            put_varint(&mut out, length as u64);
            out.extend_from_slice(entry);
            rest = after;
        }
        put_number(&mut out, 8, commit);
        self.position.index = index.checked_add(partial.entries).ok_or(FrameError::Index)?;
        Ok(Bytes::from(out))
    }

    fn length_at(&self, offset: usize) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.number_at(offset) else { return Ok(None) };
        match usize::try_from(length) {
            Ok(length) if length <= FRAME_BYTES_MAX => Ok(Some(length)),
            Ok(_) | Err(_) => Err(FrameError::TooLong),
        }
    }

    fn number_at(&self, offset: usize) -> Option<u64> {
        let bytes = self.buffer.get(offset..)?.first_chunk::<8>()?;
        Some(u64::from_be_bytes(*bytes))
    }

    fn take(&mut self, count: usize) {
        let _ = self.buffer.split_to(count);
        if self.buffer.is_empty() {
            // A long frame does not keep its memory.
            self.buffer = BytesMut::new();
        }
    }
}

fn decode(bytes: &Bytes) -> Result<Decoded, FrameError> {
    match Message::decode(bytes) {
        Ok(message)
            if message.kind() == MessageKind::Heartbeat && message.from() == 0 && message.to() == 0 =>
        {
            Ok(Decoded::Beat)
        }
        Ok(message) => Ok(Decoded::Message { message, bytes: bytes.len() }),
        Err(
            error @ (DecodeError::UnknownType { what: "a message", .. } | DecodeError::UnsupportedMessage(_)),
        ) => Ok(Decoded::Unknown(error)),
        Err(error) => Err(error.into()),
    }
}

/// What of an encoded append decides about its frame.
#[derive(Debug, Default)]
struct Append<'a> {
    term: u64,
    log_term: u64,
    index: u64,
    commit: u64,
    entries: Vec<&'a [u8]>,
}

impl<'a> Append<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut append = Self::default();
        let mut fields = Fields { rest: bytes };
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (4, Field::Number(term)) => append.term = term,
                (5, Field::Number(term)) => append.log_term = term,
                (6, Field::Number(index)) => append.index = index,
                (7, Field::Bytes(entry)) => append.entries.push(entry),
                (8, Field::Number(commit)) => append.commit = commit,
                _ => {}
            }
        }
        Ok(append)
    }

    /// Where the next entries continue after this append.
    fn end(&self) -> Result<Position, FrameError> {
        let mut index = self.index;
        if let Some(last) = self.entries.last() {
            index = 0;
            let mut fields = Fields { rest: last };
            while let Some((field, value)) = fields.next()? {
                if let (3, Field::Number(number)) = (field, value) {
                    index = number;
                }
            }
        }
        Ok(Position { term: self.term, index })
    }
}

/// The fields of a protobuf message, in order.
struct Fields<'a> {
    rest: &'a [u8],
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, FrameError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.bytes(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| FrameError::Fields)?;
                Field::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Field::Fixed)?,
            _ => return Err(FrameError::Fields),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(FrameError::Fields)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(FrameError::Fields)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(FrameError::Fields)
    }
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}
