//! Hot calls: their messages go to the member in batches, their answers are written where they leave.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use super::answer::{OK_HEAD, OK_TRAILERS};
use super::{Call, Driver};
use crate::api::{ApiError, Completion, Submission, Token};
use crate::grpc::{self, HotCall, HotMethod};
use crate::http2::RequestHead;

/// The byte for compression and the length.
const PREFIX_BYTES: usize = 5;
/// Bytes of messages that may be incomplete on one connection; a call beyond them is refused.
const GATHERED_BYTES_MAX: usize = 64 << 20;

/// A hot call whose message is not complete.
#[derive(Debug)]
pub(super) struct Gathering {
    call: HotCall,
    encoding: Option<Vec<u8>>,
    message: Vec<u8>,
    /// The length with the prefix, once that is known.
    length: Option<usize>,
    deadline: Option<Duration>,
}

/// A hot call at the member.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: HotCall,
    pub(super) token: Token,
    pub(super) deadline: Option<Duration>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    /// Begins a hot call; its message follows.
    pub(super) fn on_hot_request(
        &mut self,
        stream: u32,
        method: HotMethod,
        head: &RequestHead,
        deadline: Option<Duration>,
        is_end: bool,
    ) {
        let call = match self.responder.services.begin_hot(method, head, &mut self.known_claim) {
            Ok(call) => call,
            Err(status) => return self.send_status(stream, status),
        };
        let encoding = head.field("grpc-encoding").map(<[u8]>::to_vec);
        if is_end {
            return self.fail(stream, call, Status::unknown("unexpected EOF"));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, stream));
        }
        let gathering = Gathering { call, encoding, message: Vec::new(), length: None, deadline };
        self.calls.insert(stream, Call::Gathering(Box::new(gathering)));
    }

    /// Takes a piece of a hot call's message.
    pub(super) fn on_message(&mut self, stream: u32, mut gathering: Gathering, piece: &[u8], is_end: bool) {
        self.connection.consume(stream, piece.len());
        let is_first = gathering.message.is_empty();
        if !is_first || !is_end {
            self.gathered_bytes += piece.len();
            gathering.message.extend_from_slice(piece);
        }
        let got = if is_first { piece } else { &gathering.message[..] };
        let checked = self.check(&mut gathering.length, gathering.encoding.as_deref(), got);
        let checked = checked.and_then(|()| match gathering.length {
            Some(length) if is_end && length == got.len() => Ok(true),
            _ if is_end => Err(Status::unknown("unexpected EOF")),
            _ if self.gathered_bytes > GATHERED_BYTES_MAX => {
                Err(Status::resource_exhausted("etched: too many incomplete messages on this connection"))
            }
            _ => Ok(false),
        });
        match checked {
            Ok(false) => {
                self.calls.insert(stream, Call::Gathering(Box::new(gathering)));
            }
            Ok(true) => {
                self.gathered_bytes -= gathering.message.len();
                let Gathering { mut call, message, deadline, .. } = gathering;
                let whole = if is_first { piece } else { &message[..] };
                match self.responder.services.hot_request(
                    &mut call,
                    &whole[PREFIX_BYTES..],
                    &mut self.spare_stats,
                ) {
                    Ok(request) => self.start(stream, call, deadline, request),
                    Err(status) => {
                        self.drop_deadline(stream, deadline);
                        self.fail(stream, call, status);
                    }
                }
            }
            Err(status) => {
                self.on_gathering_gone(&gathering);
                self.drop_deadline(stream, gathering.deadline);
                self.fail(stream, gathering.call, status);
            }
        }
    }

    /// Reads the prefix as soon as it is there, and compares what came with it.
    fn check(&self, length: &mut Option<usize>, encoding: Option<&[u8]>, got: &[u8]) -> Result<(), Status> {
        if length.is_none() && got.len() >= PREFIX_BYTES {
            *length = Some(self.responder.services.hot_length(&got[..PREFIX_BYTES], encoding)?);
        }
        match length {
            Some(length) if got.len() > *length => {
                Err(Status::internal("grpc: more than one message in a unary call"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn start(
        &mut self,
        stream: u32,
        mut call: HotCall,
        deadline: Option<Duration>,
        request: crate::api::Request,
    ) {
        let token = self.responder.services.link().mailbox().calls().open_for(&self.lane, stream);
        let Some(token) = token else {
            self.drop_deadline(stream, deadline);
            return self.fail(stream, call, grpc::status::of(&ApiError::TooManyRequests));
        };
        let credentials = call.take_credentials();
        let wants_phases = call.is_sampled();
        self.outgoing.push(Submission::Request { token, credentials, request, wants_phases });
        self.calls.insert(stream, Call::Waiting(Waiting { call, token, deadline }));
    }

    /// The member has answered.
    pub(super) fn on_completed(&mut self, stream: u32, completion: Completion) {
        let is_awaited = match self.calls.get(&stream) {
            Some(Call::Waiting(waiting)) => waiting.token == completion.token,
            Some(Call::Gathering(_) | Call::Bridged(_)) | None => false,
        };
        if !is_awaited {
            return;
        }
        let Some(Call::Waiting(Waiting { mut call, deadline, .. })) = self.calls.remove(&stream) else {
            return;
        };
        self.drop_deadline(stream, deadline);
        let answer = match self.responder.services.hot_answer(&mut call, completion) {
            Ok(answer) => answer,
            Err(status) => return self.fail(stream, call, status),
        };
        call.answer(&mut self.spare_stats);
        let written =
            self.connection.respond(stream, OK_HEAD, answer.bytes(), |out| answer.write(out), OK_TRAILERS);
        if !written {
            self.connection.send_head(stream, OK_HEAD, false);
            self.connection.send_data(stream, answer.into_payload());
            self.connection.send_trailers(stream, OK_TRAILERS.to_vec());
        }
    }

    /// Ends a hot call with an error.
    fn fail(&mut self, stream: u32, call: HotCall, status: Status) {
        let status = call.fail(status);
        self.send_status(stream, status);
    }

    pub(super) fn drop_deadline(&mut self, stream: u32, deadline: Option<Duration>) {
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, stream));
        }
    }

    // === early ends ===

    /// A call has run out of its time.
    pub(super) fn on_deadline(&mut self, stream: u32) {
        match self.calls.remove(&stream) {
            Some(Call::Gathering(gathering)) => {
                self.on_gathering_gone(&gathering);
                let status = gathering.call.time_out();
                self.send_status(stream, status);
            }
            Some(Call::Waiting(waiting)) => {
                self.responder.services.link().mailbox().calls().abandon(waiting.token);
                let status = waiting.call.time_out();
                self.send_status(stream, status);
            }
            Some(Call::Bridged(bridge)) => self.on_bridge_deadline(stream, &bridge),
            None => {}
        }
    }

    pub(super) fn on_gathering_gone(&mut self, gathering: &Gathering) {
        self.gathered_bytes -= gathering.message.len();
    }

    pub(super) fn on_waiting_gone(&mut self, stream: u32, waiting: &Waiting) {
        self.drop_deadline(stream, waiting.deadline);
        self.responder.services.link().mailbox().calls().abandon(waiting.token);
    }
}
