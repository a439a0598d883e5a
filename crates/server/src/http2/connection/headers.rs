//! Header blocks: put together, read, and what they open or end.

use std::sync::Arc;
use std::time::Duration;

use super::super::frame::{self, ErrorCode, FLAG_END_STREAM, FLAG_PADDED, FLAG_PRIORITY, Head, STREAM_MAX};
use super::super::hpack::{self, DecodeError};
use super::super::request::{Block, RequestHead, read_request, read_trailers};
use super::receive::{Fault, Step, is_whole, wrong};
use super::{Connection, Event, Known, Stage, Unfinished};

/// Requests that are recognised by their bytes.
const KNOWN_MAX: usize = 8;
/// Longer blocks are not kept to be recognised.
const KNOWN_BYTES_MAX: usize = 512;
/// A frame of a header block costs this at least, so that empty ones come to an end too.
const CONTINUATION_COST: usize = 64;

impl From<DecodeError> for Fault {
    fn from(_: DecodeError) -> Self {
        Self(ErrorCode::COMPRESSION_ERROR, "a header block cannot be read")
    }
}

impl Connection {
    pub(super) fn on_headers<'a>(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        let stream = head.stream;
        if stream == 0 || stream.is_multiple_of(2) {
            return Err(wrong("a client opens streams with odd numbers"));
        }
        let mut block = payload;
        if head.has(FLAG_PADDED) {
            let short = Fault(ErrorCode::FRAME_SIZE_ERROR, "no room for the length of the padding");
            let (padding, rest) = block.split_first().ok_or(short)?;
            let length = rest.len().checked_sub(usize::from(*padding));
            block = length.map(|length| &rest[..length]).ok_or(wrong("padding longer than its frame"))?;
        }
        let mut depends_on_itself = false;
        if head.has(FLAG_PRIORITY) {
            let short = Fault(ErrorCode::FRAME_SIZE_ERROR, "no room for the priority");
            let ([a, b, c, d, _], rest) = block.split_first_chunk().ok_or(short)?;
            depends_on_itself = u32::from_be_bytes([*a, *b, *c, *d]) & STREAM_MAX == stream;
            block = rest;
        }
        if depends_on_itself {
            return Err(wrong("a stream depends on itself"));
        }
        let is_end = head.has(FLAG_END_STREAM);
        if is_whole(head) {
            return self.on_block(stream, block, is_end, now);
        }
        self.unfinished = Some(Unfinished { stream, is_end, block: block.to_vec() });
        self.limit_unfinished(0)
    }

    pub(super) fn on_continuation<'a>(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        let Some(unfinished) = &mut self.unfinished else { return Ok(Step::Nothing) };
        unfinished.block.extend_from_slice(payload);
        if !self.guard.on_idle_frame(now) {
            return Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "too many frames of header blocks"));
        }
        if !is_whole(head) {
            return self.limit_unfinished(CONTINUATION_COST);
        }
        match self.unfinished.take() {
            Some(Unfinished { stream, is_end, block }) => self.on_block(stream, &block, is_end, now),
            None => Ok(Step::Nothing),
        }
    }

    /// Ends the connection if the block is larger than its fields may be.
    fn limit_unfinished<'a>(&self, cost: usize) -> Result<Step<'a>, Fault> {
        let bytes = self.unfinished.as_ref().map_or(0, |unfinished| unfinished.block.len() + cost);
        if bytes > self.options.headers_bytes_max as usize {
            return Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "a header block is too large"));
        }
        Ok(Step::Nothing)
    }

    fn on_block<'a>(
        &mut self,
        stream: u32,
        block: &[u8],
        is_end: bool,
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        if stream > self.last_stream {
            return self.on_request(stream, block, is_end, now);
        }
        let is_fine = read_trailers(&mut self.decoder, block)?;
        let Some(open) = self.streams.get_mut(&stream) else {
            return match self.was_closed(stream) {
                // It was on its way when this side ended the stream.
                Some(true) => Ok(Step::Nothing),
                Some(false) => Err(Fault(ErrorCode::STREAM_CLOSED, "headers on a closed stream")),
                None => Err(wrong("the numbers of streams go up")),
            };
        };
        if !open.is_receiving {
            return self.stream_error(stream, ErrorCode::STREAM_CLOSED, now);
        }
        if !is_end || !is_fine || open.content_left.is_some_and(|left| left > 0) {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, now);
        }
        open.is_receiving = false;
        Ok(Step::Event(Event::End { stream }))
    }

    fn on_request<'a>(
        &mut self,
        stream: u32,
        block: &[u8],
        is_end: bool,
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        let read = self.read_head(block)?;
        if let Stage::Drained { last } = self.stage
            && stream > last
        {
            // The client knows, or will know soon, that nothing is done for it.
            self.last_stream = stream;
            self.close(stream, true);
            return self.idle_stream(now);
        }
        self.last_stream = stream;
        let head = match read {
            Ok(head) => head,
            Err(Block::TooLarge) => {
                let mut answer = Vec::new();
                hpack::write_status(&mut answer, 431);
                frame::write_headers(self.output.tail(), stream, &answer, true);
                if is_end {
                    self.close(stream, false);
                    return self.idle_stream(now);
                }
                return self.stream_error(stream, ErrorCode::NO_ERROR, now);
            }
            Err(Block::Malformed | Block::Fine(_)) => {
                return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, now);
            }
        };
        if is_end && head.content_length.is_some_and(|length| length > 0) {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, now);
        }
        if self.streams.len() >= self.options.streams_max as usize || self.is_overcommitted() {
            return self.stream_error(stream, ErrorCode::REFUSED_STREAM, now);
        }
        self.open(stream, is_end, head.content_length, now);
        Ok(Step::Event(Event::Request { stream, head, is_end }))
    }

    fn idle_stream<'a>(&mut self, now: Duration) -> Result<Step<'a>, Fault> {
        if self.guard.on_reset(now) {
            Ok(Step::Nothing)
        } else {
            Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "too many streams that cannot be served"))
        }
    }

    /// Reads a request's block, or recognises it.
    fn read_head(&mut self, block: &[u8]) -> Result<Result<Arc<RequestHead>, Block>, DecodeError> {
        let changes = self.decoder.changes();
        let known = self.known.iter().find(|known| known.changes == changes && known.block == block);
        if let Some(known) = known {
            return Ok(Ok(Arc::clone(&known.head)));
        }
        let head = match read_request(&mut self.decoder, block)? {
            Block::Fine(head) => Arc::new(head),
            other @ (Block::Malformed | Block::TooLarge) => return Ok(Err(other)),
        };
        // A block that changed the tables means something else the next time.
        if changes == self.decoder.changes() && block.len() <= KNOWN_BYTES_MAX {
            let known = Known { block: block.to_vec(), changes, head: Arc::clone(&head) };
            if self.known.len() < KNOWN_MAX {
                self.known.push(known);
            } else {
                self.known[self.known_next] = known;
                self.known_next = (self.known_next + 1) % KNOWN_MAX;
            }
        }
        Ok(Ok(head))
    }
}
