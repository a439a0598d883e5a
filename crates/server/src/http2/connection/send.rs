//! Answers: what is written at once, what waits for windows, and who is next.
//!
//! Streams with little to send stand in one line, those with much in another.
//! The first line goes first, but every so many bytes the second one gets its turn of one frame; so a small answer
//! never waits for a large one, and a large one never for ever.

use bytes::Buf as _;

use super::super::frame::{
    self, DATA, ErrorCode, FLAG_END_HEADERS, FLAG_END_STREAM, HEAD_LEN, HEADERS, PAYLOAD_MAX,
};
use super::{Connection, Ending, Line, Payload, Payloaded};

/// Bytes that may wait for the socket before streams must wait with theirs.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// A stream with more than this to send stands in the second line.
const SMALL_BYTES_MAX: usize = PAYLOAD_MAX;
/// Bytes of the first line that go before a frame of the second.
const SMALL_TURN_BYTES: usize = 64 * 1024;
/// Large answers that may wait at once, beside what they hold; above, new streams are refused.
const BULK_MAX: usize = 128;
const BULK_BYTES_MAX: usize = 256 << 20;

impl Connection {
    /// Whether so much waits to be sent that no more streams are to be opened.
    pub(super) fn is_overcommitted(&self) -> bool {
        self.queued_bytes > BULK_BYTES_MAX
            && self.streams.values().filter(|open| open.queued_bytes > 0).count() > BULK_MAX
    }

    /// Writes a whole answer that fits into one frame; `false` if it must wait, and nothing is written.
    /// `head` and `trailers` are header blocks; `write` appends exactly `length` bytes.
    pub(crate) fn respond(
        &mut self,
        stream: u32,
        head: &[u8],
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
        trailers: &[u8],
    ) -> bool {
        let Some(open) = self.streams.get(&stream) else { return true };
        let window = open.send_window.min(self.send_window);
        if length > PAYLOAD_MAX || (length as i64) > window || !open.queue.is_empty() {
            return false;
        }
        self.send_window -= length as i64;
        let out = self.output.tail();
        out.reserve(3 * HEAD_LEN + head.len() + length + trailers.len());
        frame::write_head(out, head.len(), HEADERS, FLAG_END_HEADERS, stream);
        out.extend_from_slice(head);
        frame::write_head(out, length, DATA, 0, stream);
        let before = out.len();
        write(out);
        assert_eq!(out.len() - before, length, "the length that was told");
        frame::write_head(out, trailers.len(), HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, stream);
        out.extend_from_slice(trailers);
        self.guard.on_answer();
        self.finish(stream);
        true
    }

    /// Writes the head of an answer; with `is_end`, the whole answer.
    pub(crate) fn send_head(&mut self, stream: u32, block: &[u8], is_end: bool) {
        if self.streams.contains_key(&stream) {
            frame::write_headers(self.output.tail(), stream, block, is_end);
            self.guard.on_answer();
            if is_end {
                self.finish(stream);
            }
        }
    }

    /// Lets [`Connection::metered`] tell what is sent of a stream.
    pub(crate) fn meter(&mut self, stream: u32) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.is_metered = true;
        }
    }

    /// Puts a piece of an answer at the end of what waits on its stream.
    pub(crate) fn send_data(&mut self, stream: u32, payload: Payload) {
        let bytes = payload.remaining();
        if bytes == 0 {
            return;
        }
        if let Some(open) = self.streams.get_mut(&stream)
            && open.ending.is_none()
        {
            open.queued_bytes += bytes;
            open.queue.push_back(Payloaded(payload));
            self.queued_bytes += bytes;
            self.line_up(stream);
        }
    }

    /// Ends an answer with a header block, behind what waits.
    pub(crate) fn send_trailers(&mut self, stream: u32, block: Vec<u8>) {
        self.end_with(stream, Ending::Trailers(block));
    }

    /// Ends an answer with its last data.
    pub(crate) fn send_end(&mut self, stream: u32) {
        self.end_with(stream, Ending::Data);
    }

    fn end_with(&mut self, stream: u32, ending: Ending) {
        if let Some(open) = self.streams.get_mut(&stream)
            && open.ending.is_none()
        {
            let is_empty = open.queue.is_empty();
            open.ending = Some(ending);
            if is_empty {
                self.write_ending(stream);
            }
        }
    }

    /// Streams of which something was sent, and how much; each was asked for with [`Connection::meter`].
    pub(crate) fn metered(&mut self) -> Option<(u32, usize)> {
        while let Some(stream) = self.metered.pop() {
            if let Some(open) = self.streams.get_mut(&stream) {
                return Some((stream, std::mem::take(&mut open.sent_untold)));
            }
        }
        None
    }

    /// Moves what may be sent into the output, until that is full.
    pub(crate) fn pump(&mut self) {
        while self.output.len() < OUTPUT_BYTES_MAX && self.send_window > 0 {
            let bulk_is_due = self.small_bytes >= SMALL_TURN_BYTES && !self.bulk.is_empty();
            let next = if bulk_is_due { None } else { self.small.pop_front() };
            let next = next.or_else(|| {
                self.small_bytes = 0;
                self.bulk.pop_front()
            });
            let Some(stream) = next else { return };
            self.write_turn(stream);
        }
    }

    /// Puts a stream into its line if it can send.
    pub(super) fn line_up(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        if open.line != Line::No || open.queue.is_empty() || open.send_window <= 0 {
            return;
        }
        if open.queued_bytes <= SMALL_BYTES_MAX {
            open.line = Line::Small;
            self.small.push_back(stream);
        } else {
            open.line = Line::Bulk;
            self.bulk.push_back(stream);
        }
    }

    /// Writes one frame of a stream whose turn it is.
    fn write_turn(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        let was_small = open.line == Line::Small;
        open.line = Line::No;
        let window = usize::try_from(open.send_window.min(self.send_window)).unwrap_or(0);
        let length = open.queued_bytes.min(PAYLOAD_MAX).min(window);
        if length == 0 {
            return;
        }
        let is_last = length == open.queued_bytes;
        let is_end = is_last && matches!(open.ending, Some(Ending::Data));
        let flags = if is_end { FLAG_END_STREAM } else { 0 };
        frame::write_head(self.output.tail(), length, DATA, flags, stream);
        let mut missing = length;
        while missing > 0 {
            let Some(Payloaded(first)) = open.queue.front_mut() else { break };
            let part = first.remaining().min(missing);
            self.output.take_from(&mut **first, part);
            missing -= part;
            if !first.has_remaining() {
                open.queue.pop_front();
            }
        }
        open.queued_bytes -= length;
        self.queued_bytes -= length;
        open.send_window -= length as i64;
        self.send_window -= length as i64;
        if open.is_metered {
            if open.sent_untold == 0 {
                self.metered.push(stream);
            }
            open.sent_untold += length;
        }
        let has_trailers = is_last && open.ending.is_some();
        if was_small {
            self.small_bytes += length;
        }
        self.guard.on_answer();
        if is_end {
            self.finish(stream);
        } else if has_trailers {
            self.write_ending(stream);
        } else {
            self.line_up(stream);
        }
    }

    /// Writes the end of a stream that has nothing else to send.
    fn write_ending(&mut self, stream: u32) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        match open.ending.take() {
            Some(Ending::Trailers(block)) => frame::write_headers(self.output.tail(), stream, &block, true),
            Some(Ending::Data) => frame::write_head(self.output.tail(), 0, DATA, FLAG_END_STREAM, stream),
            None => return,
        }
        self.guard.on_answer();
        self.finish(stream);
    }

    /// Forgets a stream whose answer is written. A client that still sends is told that nobody listens.
    fn finish(&mut self, stream: u32) {
        let is_early = self.streams.get(&stream).is_some_and(|open| open.is_receiving);
        if is_early {
            frame::write_reset(self.output.tail(), stream, ErrorCode::NO_ERROR);
        }
        self.close(stream, is_early);
    }
}
