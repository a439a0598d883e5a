//! From bytes to frames, and what each frame does.

use std::time::Duration;

use super::super::frame::{
    self, CONTINUATION, DATA, ErrorCode, FLAG_ACK, FLAG_END_HEADERS, FLAG_END_STREAM, FLAG_PADDED, GOAWAY,
    HEAD_LEN, HEADERS, Head, PAYLOAD_MAX, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTING_PAYLOAD_MAX,
    SETTING_PUSH, SETTING_TABLE_SIZE, SETTING_WINDOW, SETTINGS, STREAM_MAX, WINDOW_MAX, WINDOW_UPDATE,
};
use super::super::guard::YOUNG;
use super::{Connection, DRAIN_PING, Event, Expected, Stage, grown};

/// The end of a connection: why, in a code and a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) ErrorCode, pub(super) &'static str);

const TOO_MUCH: Fault = Fault(ErrorCode::ENHANCE_YOUR_CALM, "too many frames without content");

pub(super) fn wrong(text: &'static str) -> Fault {
    Fault(ErrorCode::PROTOCOL_ERROR, text)
}

fn size(text: &'static str) -> Fault {
    Fault(ErrorCode::FRAME_SIZE_ERROR, text)
}

impl Connection {
    /// Reads on in what came from the socket; `None` when all is read.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8], now: Duration) -> Option<Event<'a>> {
        if !input.is_empty() {
            self.read_at = now;
            self.pinged_at = None;
        }
        while !matches!(self.stage, Stage::Failed | Stage::Dead) {
            match self.step(input, now) {
                Ok(Step::Event(event)) => return Some(event),
                Ok(Step::Nothing) => {}
                Ok(Step::Wait) => return None,
                Err(Fault(code, text)) => self.fail(code, text),
            }
        }
        *input = &[];
        None
    }

    fn step<'a>(&mut self, input: &mut &'a [u8], now: Duration) -> Result<Step<'a>, Fault> {
        match self.expected {
            Expected::Head => {
                let head = match (self.partial.is_empty(), input.split_first_chunk()) {
                    (true, Some((head, rest))) => {
                        *input = rest;
                        Head::read(head)
                    }
                    (true, None) | (false, _) => {
                        if !self.gather(input, HEAD_LEN) {
                            return Ok(Step::Wait);
                        }
                        let head = self.partial.first_chunk().map(Head::read);
                        self.partial.clear();
                        head.ok_or(Fault(ErrorCode::INTERNAL_ERROR, ""))?
                    }
                };
                self.on_head(head, now)
            }
            Expected::Payload(head) => {
                if self.partial.is_empty()
                    && let Some((payload, rest)) = input.split_at_checked(head.len)
                {
                    *input = rest;
                    self.expected = Expected::Head;
                    return self.on_frame(head, payload, now);
                }
                if !self.gather(input, head.len) {
                    return Ok(Step::Wait);
                }
                let payload = std::mem::take(&mut self.partial);
                self.expected = Expected::Head;
                self.on_frame(head, &payload, now)
            }
            Expected::PadLength(head) => {
                let Some((padding, rest)) = input.split_first() else { return Ok(Step::Wait) };
                *input = rest;
                self.on_data(head, 1, usize::from(*padding), now)
            }
            Expected::Data { stream, left, padding, is_end, is_wanted } => {
                self.on_content(input, stream, left, padding, is_end, is_wanted)
            }
        }
    }

    /// Gathers the first `count` bytes; `false` if they are not all there.
    fn gather(&mut self, input: &mut &[u8], count: usize) -> bool {
        let missing = count - self.partial.len();
        let (part, rest) = input.split_at(missing.min(input.len()));
        self.partial.extend_from_slice(part);
        *input = rest;
        self.partial.len() == count
    }

    fn on_head<'a>(&mut self, head: Head, now: Duration) -> Result<Step<'a>, Fault> {
        if head.len > PAYLOAD_MAX {
            return Err(size("a frame is larger than the settings allow"));
        }
        if self.stage == Stage::Opening && (head.kind != SETTINGS || head.has(FLAG_ACK)) {
            return Err(wrong("settings must come first"));
        }
        match &self.unfinished {
            Some(unfinished) => {
                if head.kind != CONTINUATION || head.stream != unfinished.stream {
                    return Err(wrong("a header block is not finished"));
                }
            }
            None => {
                if head.kind == CONTINUATION {
                    return Err(wrong("there is no header block to continue"));
                }
            }
        }
        if head.kind != DATA {
            self.expected = Expected::Payload(head);
            return Ok(Step::Nothing);
        }
        if head.stream == 0 {
            return Err(wrong("data on stream 0"));
        }
        if head.has(FLAG_PADDED) {
            if head.len == 0 {
                return Err(size("no room for the length of the padding"));
            }
            self.expected = Expected::PadLength(head);
            return Ok(Step::Nothing);
        }
        self.on_data(head, 0, 0, now)
    }

    fn on_data<'a>(
        &mut self,
        head: Head,
        before: usize,
        padding: usize,
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        let left = (head.len - before).checked_sub(padding).ok_or(wrong("padding longer than its frame"))?;
        let Head { stream, len, .. } = head;
        let is_end = head.has(FLAG_END_STREAM);
        if stream > self.last_stream {
            return Err(wrong("data on a stream that was not opened"));
        }
        self.receive_window -= len as i64;
        if self.receive_window < 0 {
            return Err(Fault(ErrorCode::FLOW_CONTROL_ERROR, "more data than the window allows"));
        }
        if len == 0 && !is_end && !self.guard.on_idle_frame(now) {
            return Err(TOO_MUCH);
        }
        let problem = self.admit_data(stream, len, left, is_end);
        self.expected = Expected::Data { stream, left, padding, is_end, is_wanted: problem.is_none() };
        // Length and padding take room of the windows like content does.
        let overhead = before + padding;
        if problem.is_none() && overhead > 0 {
            self.consume(stream, overhead);
        } else if problem.is_some() {
            self.give_back(u32::try_from(len).unwrap_or(0));
        }
        match problem {
            Some(Some(code)) => self.stream_error(stream, code, now),
            Some(None) | None => Ok(Step::Nothing),
        }
    }

    /// Why data is not wanted: with a code if the stream is to be told.
    fn admit_data(
        &mut self,
        stream: u32,
        len: usize,
        content: usize,
        is_end: bool,
    ) -> Option<Option<ErrorCode>> {
        let Some(open) = self.streams.get_mut(&stream) else {
            let is_early = self.was_closed(stream) == Some(true);
            return Some((!is_early).then_some(ErrorCode::STREAM_CLOSED));
        };
        if !open.is_receiving {
            return Some(Some(ErrorCode::STREAM_CLOSED));
        }
        open.receive_window -= len as i64;
        if open.receive_window < 0 {
            return Some(Some(ErrorCode::FLOW_CONTROL_ERROR));
        }
        if let Some(left) = &mut open.content_left {
            let rest = left.checked_sub(content as u64).filter(|rest| !is_end || *rest == 0);
            match rest {
                Some(rest) => *left = rest,
                None => return Some(Some(ErrorCode::PROTOCOL_ERROR)),
            }
        }
        None
    }

    fn on_content<'a>(
        &mut self,
        input: &mut &'a [u8],
        stream: u32,
        left: usize,
        padding: usize,
        is_end: bool,
        is_wanted: bool,
    ) -> Result<Step<'a>, Fault> {
        let (bytes, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        let left = left - bytes.len();
        let skipped = if left == 0 { padding.min(input.len()) } else { 0 };
        *input = &input[skipped..];
        let padding = padding - skipped;
        if left > 0 || padding > 0 {
            self.expected = Expected::Data { stream, left, padding, is_end, is_wanted };
            if !is_wanted || !self.has(stream) {
                self.give_back_unwanted(is_wanted, bytes);
                return Ok(if input.is_empty() { Step::Wait } else { Step::Nothing });
            }
            if bytes.is_empty() {
                return Ok(Step::Wait);
            }
            return Ok(Step::Event(Event::Data { stream, bytes, is_end: false }));
        }
        self.expected = Expected::Head;
        let open = self.streams.get_mut(&stream).filter(|_| is_wanted);
        let Some(open) = open else {
            self.give_back_unwanted(is_wanted, bytes);
            return Ok(Step::Nothing);
        };
        if is_end {
            open.is_receiving = false;
        } else if bytes.is_empty() {
            return Ok(Step::Nothing);
        }
        Ok(Step::Event(Event::Data { stream, bytes, is_end }))
    }

    /// Content of a stream that was ended in the middle of a frame takes no room any more.
    fn give_back_unwanted(&mut self, was_wanted: bool, bytes: &[u8]) {
        if was_wanted {
            self.give_back(u32::try_from(bytes.len()).unwrap_or(0));
        }
    }

    fn on_frame<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        match head.kind {
            HEADERS => self.on_headers(head, payload, now),
            CONTINUATION => self.on_continuation(head, payload, now),
            PRIORITY => self.on_priority(head, payload, now),
            RST_STREAM => self.on_reset(head, payload, now),
            SETTINGS => self.on_settings(head, payload, now),
            PUSH_PROMISE => Err(wrong("a client cannot push")),
            PING => self.on_ping(head, payload, now),
            GOAWAY => Self::on_go_away(head, payload),
            WINDOW_UPDATE => self.on_window_update(head, payload, now),
            _ => self.idle(now),
        }
    }

    /// A frame that changes nothing.
    fn idle<'a>(&mut self, now: Duration) -> Result<Step<'a>, Fault> {
        if self.guard.on_idle_frame(now) { Ok(Step::Nothing) } else { Err(TOO_MUCH) }
    }

    /// Ends a stream that broke a rule.
    pub(super) fn stream_error<'a>(
        &mut self,
        stream: u32,
        code: ErrorCode,
        now: Duration,
    ) -> Result<Step<'a>, Fault> {
        if !self.guard.on_reset(now) {
            return Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "too many streams that break rules"));
        }
        frame::write_reset(self.output.tail(), stream, code);
        let was_open = self.streams.contains_key(&stream);
        self.close(stream, true);
        Ok(if was_open { Step::Event(Event::Reset { stream }) } else { Step::Nothing })
    }

    fn on_priority<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        if head.stream == 0 {
            return Err(wrong("a priority of stream 0"));
        }
        let Ok(&[a, b, c, d, _]) = <&[u8; 5]>::try_from(payload) else {
            return Err(size("a priority has five bytes"));
        };
        if u32::from_be_bytes([a, b, c, d]) & STREAM_MAX == head.stream {
            return Err(wrong("a stream depends on itself"));
        }
        self.idle(now)
    }

    fn on_reset<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        let stream = head.stream;
        if payload.len() != 4 {
            return Err(size("a reset has four bytes"));
        }
        if stream == 0 || stream > self.last_stream {
            return Err(wrong("a reset of a stream that was not opened"));
        }
        let Some(open) = self.streams.get(&stream) else { return self.idle(now) };
        if now.saturating_sub(open.opened) < YOUNG && !self.guard.on_reset(now) {
            return Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "too many resets"));
        }
        self.close(stream, false);
        Ok(Step::Event(Event::Reset { stream }))
    }

    fn on_settings<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        if head.stream != 0 {
            return Err(wrong("settings of a stream"));
        }
        if head.has(FLAG_ACK) {
            return if payload.is_empty() { self.idle(now) } else { Err(size("settings in an answer")) };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(size("a setting has six bytes"));
        }
        for &[n0, n1, v0, v1, v2, v3] in settings {
            self.on_setting(u16::from_be_bytes([n0, n1]), u32::from_be_bytes([v0, v1, v2, v3]))?;
        }
        if self.stage == Stage::Opening {
            self.stage = Stage::Open;
        }
        frame::write_head(self.output.tail(), 0, SETTINGS, FLAG_ACK, 0);
        self.idle(now)
    }

    fn on_setting(&mut self, name: u16, value: u32) -> Result<(), Fault> {
        match name {
            // Nothing that is sent depends on it: no field is kept.
            SETTING_TABLE_SIZE => {}
            SETTING_PUSH if value > 1 => return Err(wrong("push is on or off")),
            SETTING_WINDOW => {
                let window = i64::from(value);
                if window > WINDOW_MAX {
                    return Err(Fault(ErrorCode::FLOW_CONTROL_ERROR, "a window larger than windows are"));
                }
                let change = window - self.peer_stream_window;
                self.peer_stream_window = window;
                for open in self.streams.values_mut() {
                    open.send_window = grown(open.send_window, change)
                        .ok_or(Fault(ErrorCode::FLOW_CONTROL_ERROR, "a window larger than windows are"))?;
                }
                let ids: Vec<u32> = self.streams.keys().copied().collect();
                ids.into_iter().for_each(|stream| self.line_up(stream));
            }
            SETTING_PAYLOAD_MAX if !(PAYLOAD_MAX..1 << 24).contains(&(value as usize)) => {
                return Err(wrong("frames have between 2^14 and 2^24 bytes"));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_ping<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        if head.stream != 0 {
            return Err(wrong("a ping of a stream"));
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| size("a ping has eight bytes"))?;
        if head.has(FLAG_ACK) {
            if payload == DRAIN_PING {
                self.drained();
            }
            return self.idle(now);
        }
        frame::write_ping(self.output.tail(), FLAG_ACK, payload);
        if !self.guard.on_ping(now, !self.streams.is_empty()) {
            return Err(Fault(ErrorCode::ENHANCE_YOUR_CALM, "too_many_pings"));
        }
        Ok(Step::Nothing)
    }

    /// The client opens no more streams; those that are open go on until it closes the connection.
    fn on_go_away<'a>(head: Head, payload: &[u8]) -> Result<Step<'a>, Fault> {
        if head.stream != 0 {
            return Err(wrong("a stream goes away"));
        }
        if payload.len() < 8 { Err(size("a farewell has eight bytes")) } else { Ok(Step::Nothing) }
    }

    fn on_window_update<'a>(&mut self, head: Head, payload: &[u8], now: Duration) -> Result<Step<'a>, Fault> {
        let stream = head.stream;
        let increment: [u8; 4] = payload.try_into().map_err(|_| size("a window's growth has four bytes"))?;
        let increment = i64::from(u32::from_be_bytes(increment) & STREAM_MAX);
        if stream == 0 {
            if increment == 0 {
                return Err(wrong("a window grows by nothing"));
            }
            let too_large = Fault(ErrorCode::FLOW_CONTROL_ERROR, "a window larger than windows are");
            self.send_window = grown(self.send_window, increment).ok_or(too_large)?;
            return Ok(Step::Nothing);
        }
        if stream > self.last_stream {
            return Err(wrong("a window of a stream that was not opened"));
        }
        let Some(open) = self.streams.get_mut(&stream) else { return self.idle(now) };
        if increment == 0 {
            return self.stream_error(stream, ErrorCode::PROTOCOL_ERROR, now);
        }
        match grown(open.send_window, increment) {
            Some(window) => open.send_window = window,
            None => return self.stream_error(stream, ErrorCode::FLOW_CONTROL_ERROR, now),
        }
        self.line_up(stream);
        Ok(Step::Nothing)
    }
}

/// What came of a part of the input.
#[derive(Debug)]
pub(super) enum Step<'a> {
    Event(Event<'a>),
    Nothing,
    /// More input is needed.
    Wait,
}

/// Whether a header block is whole.
pub(super) fn is_whole(head: Head) -> bool {
    head.has(FLAG_END_HEADERS)
}
