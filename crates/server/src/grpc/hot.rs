//! Hot unary calls in two halves without a future: from a message to a request, and from its completion to an answer.
//!
//! A front that submits and completes in batches calls the two itself; what is sent is what the library would send.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use etched_proto::wire::etcdserverpb as wire;
use prost::Message;
use tonic::{Code, Status};

use super::call::Record;
use super::stats::{SpareStats, Stats};
use super::status::{self, Reading, as_grpc_go};
use super::unary::{PREFIX_BYTES, announced_length, sent_length};
use super::{Claims, Services, kv, method_id};
use crate::api::{self, Completion, Credentials};
use crate::auth::{KnownClaim, Words};
use crate::front::Answered;
use crate::http2::RequestHead;
use crate::metrics::rpc::MethodId;

/// Records of a range are written one by one from this length of an answer on; below, they are copied at once.
const WHOLE_BYTES_MAX: usize = 16 * 1024;

/// A method whose calls are answered in two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HotMethod {
    Range,
    Put,
    DeleteRange,
    Txn,
}

/// The ids of the hot methods.
#[derive(Clone, Copy, Debug)]
pub(super) struct HotIds {
    range: MethodId,
    put: MethodId,
    delete_range: MethodId,
    txn: MethodId,
}

impl HotIds {
    pub(super) fn find() -> Self {
        let id = |path| method_id(path).expect("a hot method stands in the table");
        Self {
            range: id("/etcdserverpb.KV/Range"),
            put: id("/etcdserverpb.KV/Put"),
            delete_range: id("/etcdserverpb.KV/DeleteRange"),
            txn: id("/etcdserverpb.KV/Txn"),
        }
    }

    fn of(self, method: HotMethod) -> MethodId {
        match method {
            HotMethod::Range => self.range,
            HotMethod::Put => self.put,
            HotMethod::DeleteRange => self.delete_range,
            HotMethod::Txn => self.txn,
        }
    }
}

impl HotMethod {
    /// The method of a request, if it is a hot one in its plainest form.
    pub(crate) fn of(head: &RequestHead) -> Option<Self> {
        let method = match head.path.strip_prefix(b"/etcdserverpb.KV/")? {
            b"Range" => Self::Range,
            b"Put" => Self::Put,
            b"DeleteRange" => Self::DeleteRange,
            b"Txn" => Self::Txn,
            _ => return None,
        };
        let content_type = head.field("content-type")?;
        let is_plain = matches!(content_type, b"application/grpc" | b"application/grpc+proto");
        (head.method == "POST" && is_plain).then_some(method)
    }
}

/// A call that was admitted; one that is dropped was cancelled by the client.
#[derive(Debug)]
pub(crate) struct HotCall {
    method: HotMethod,
    credentials: Credentials,
    record: Record,
}

impl HotCall {
    /// Who asks.
    pub(crate) fn take_credentials(&mut self) -> Credentials {
        std::mem::take(&mut self.credentials)
    }

    /// The call ends with an error, in its last wording.
    pub(crate) fn fail(mut self, status: Status) -> Status {
        let status = as_grpc_go(status, Reading::Request);
        self.record.finish(status.code());
        status
    }

    /// The call ran out of its time.
    pub(crate) fn time_out(self) -> Status {
        self.fail(Status::new(Code::DeadlineExceeded, "context deadline exceeded"))
    }

    /// Whether the completion shall say where the time went.
    pub(crate) fn is_sampled(&self) -> bool {
        self.record.is_sampled()
    }

    /// The call is answered; what held its numbers is for the next one.
    pub(crate) fn answer(mut self, spare: &mut SpareStats) {
        self.record.answer();
        spare.keep(self.record.stats.take());
    }
}

impl Services {
    /// Begins a hot call.
    ///
    /// # Errors
    ///
    /// When it is refused before its message is read.
    pub(crate) fn begin_hot(
        &self,
        method: HotMethod,
        head: &RequestHead,
        known: &mut KnownClaim,
    ) -> Result<HotCall, Status> {
        let id = self.hot_ids.of(method);
        self.link.metrics().rpc.start(id);
        let traces = self.link.metrics().traces.is_some();
        let sampled = traces.then(|| self.sample(head.field("traceparent"))).flatten();
        let record = Record::new(Arc::clone(&self.link), id, self.slow_call, sampled);
        let mut call = HotCall { method, credentials: Credentials::Anonymous, record };
        let mut claims = Claims::default();
        let mut words = Words::default();
        for (name, value) in &head.fields {
            match &name[..] {
                b"client-api-version" if claims.client_version.is_none() => {
                    claims.client_version = Some(value)
                }
                b"hasleader" => claims.needs_leader |= value == "true",
                name => words.see(name, value),
            }
        }
        match self.admit(id, claims) {
            Ok(()) => {
                call.credentials = known.credentials(words, &self.doorman);
                Ok(call)
            }
            Err(status) => Err(call.fail(status)),
        }
    }

    /// The length of a message, prefix included, as its prefix tells.
    ///
    /// # Errors
    ///
    /// When it is too large or compressed.
    pub(crate) fn hot_length(&self, mut prefix: &[u8], encoding: Option<&[u8]>) -> Result<usize, Status> {
        Ok(PREFIX_BYTES + announced_length(&mut prefix, encoding, self.received_max)?)
    }

    /// The first half: what a message asks for.
    ///
    /// # Errors
    ///
    /// When the message cannot be read, or what it asks for is refused.
    pub(crate) fn hot_request(
        &self,
        call: &mut HotCall,
        message: &[u8],
        spare: &mut SpareStats,
    ) -> Result<api::Request, Status> {
        let bytes = message.len();
        match call.method {
            HotMethod::Range => {
                let request = decode(message)?;
                call.record.stats = Some(spare.fill(Stats::of_range(&request, bytes)));
                self.hot.range_request(request)
            }
            HotMethod::Put => {
                let request = decode(message)?;
                call.record.stats = Some(spare.fill(Stats::of_put(&request, bytes)));
                Ok(kv::put_request(request))
            }
            HotMethod::DeleteRange => {
                let request = decode(message)?;
                call.record.stats = Some(spare.fill(Stats::of_delete(&request, bytes)));
                Ok(kv::delete_range_request(request))
            }
            HotMethod::Txn => {
                let request = decode(message)?;
                call.record.stats = Some(spare.fill(Stats::of_txn(&request, bytes)));
                Ok(kv::txn_request(request))
            }
        }
    }

    /// The second half: what is answered.
    ///
    /// # Errors
    ///
    /// When the request was refused, or its answer is too large.
    pub(crate) fn hot_answer(&self, call: &mut HotCall, completion: Completion) -> Result<HotAnswer, Status> {
        let Completion { revision, raft_term, result, phases, .. } = completion;
        call.record.phases = phases;
        let answer = result.map_err(|error| status::of(&error))?;
        let answered = Answered { answer, revision, raft_term };
        let message = match call.method {
            HotMethod::Range => HotMessage::Range(self.hot.range_response(answered)?),
            HotMethod::Put => HotMessage::Put(self.hot.put_response(answered)?),
            HotMethod::DeleteRange => HotMessage::DeleteRange(self.hot.delete_range_response(answered)?),
            HotMethod::Txn => HotMessage::Txn(self.hot.txn_response(answered)?),
        };
        let length = message.length();
        if let Some(stats) = &mut call.record.stats {
            stats.answered(message.count(), length);
            if matches!(&message, HotMessage::Txn(response) if !response.succeeded) {
                stats.took_failure();
            }
        }
        Ok(HotAnswer { message, length: sent_length(length)? })
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// The answer of a call: a message with its prefix.
#[derive(Debug)]
pub(crate) struct HotAnswer {
    message: HotMessage,
    length: u32,
}

#[derive(Debug)]
enum HotMessage {
    Range(wire::RangeResponse),
    Put(wire::PutResponse),
    DeleteRange(wire::DeleteRangeResponse),
    Txn(wire::TxnResponse),
}

impl HotMessage {
    /// What the log counts of it.
    fn count(&self) -> i64 {
        match self {
            Self::Range(message) => message.count,
            Self::DeleteRange(message) => message.deleted,
            Self::Put(_) | Self::Txn(_) => 0,
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Range(message) => message.encoded_len(),
            Self::Put(message) => message.encoded_len(),
            Self::DeleteRange(message) => message.encoded_len(),
            Self::Txn(message) => message.encoded_len(),
        }
    }

    fn write(&self, out: &mut impl BufMut) {
        // Buffers that grow take any message.
        match self {
            Self::Range(message) => message.encode_raw(out),
            Self::Put(message) => message.encode_raw(out),
            Self::DeleteRange(message) => message.encode_raw(out),
            Self::Txn(message) => message.encode_raw(out),
        }
    }
}

impl HotAnswer {
    /// The bytes of the whole answer.
    pub(crate) fn bytes(&self) -> usize {
        PREFIX_BYTES + self.length as usize
    }

    /// Appends the whole answer.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
        out.put_u32(self.length);
        self.message.write(out);
    }

    /// The answer as something that is sent in pieces; records of a large range stay where they are.
    pub(crate) fn into_payload(self) -> Box<dyn Buf + Send> {
        let bytes = self.bytes();
        match self.message {
            HotMessage::Range(response) if bytes > WHOLE_BYTES_MAX => {
                Box::new(RangePayload::new(response, self.length))
            }
            message @ (HotMessage::Range(_)
            | HotMessage::Put(_)
            | HotMessage::DeleteRange(_)
            | HotMessage::Txn(_)) => {
                let mut whole = BytesMut::with_capacity(bytes);
                whole.put_u8(0);
                whole.put_u32(self.length);
                message.write(&mut whole);
                Box::new(whole.freeze())
            }
        }
    }
}

/// A range's answer, written as it is sent.
///
/// ```text
/// prefix, header | 0x12 varint record | ... | more, count
/// ```
struct RangePayload {
    remaining: usize,
    /// Tag and length of the current record, of which the part from `lead_at` to `lead_end` is to come.
    lead: [u8; LEAD_BYTES_MAX],
    lead_at: usize,
    lead_end: usize,
    current: Bytes,
    records: std::vec::IntoIter<Bytes>,
    tail: Option<Bytes>,
}

/// The tag of `kvs` in a range's answer: field 2, length-delimited.
const KVS_TAG: u8 = 2 << 3 | 2;
/// A tag and the longest varint.
const LEAD_BYTES_MAX: usize = 11;

impl RangePayload {
    fn new(response: wire::RangeResponse, length: u32) -> Self {
        let wire::RangeResponse { header, kvs, more, count } = response;
        let mut first = BytesMut::with_capacity(64);
        first.put_u8(0);
        first.put_u32(length);
        wire::RangeResponse { header, ..Default::default() }.encode_raw(&mut first);
        let tail = wire::RangeResponse { more, count, ..Default::default() }.encode_to_vec();
        Self {
            remaining: PREFIX_BYTES + length as usize,
            lead: [0; LEAD_BYTES_MAX],
            lead_at: 0,
            lead_end: 0,
            current: first.freeze(),
            records: kvs.into_iter(),
            tail: Some(tail.into()),
        }
    }

    /// Makes the next piece the current one when that is over.
    fn settle(&mut self) {
        while self.lead_at == self.lead_end && self.current.is_empty() {
            if let Some(record) = self.records.next() {
                let mut room = &mut self.lead[..];
                room.put_u8(KVS_TAG);
                prost::encoding::encode_varint(record.len() as u64, &mut room);
                let unused = room.len();
                self.lead_at = 0;
                self.lead_end = LEAD_BYTES_MAX - unused;
                self.current = record;
            } else if let Some(tail) = self.tail.take() {
                self.current = tail;
            } else {
                return;
            }
        }
    }
}

impl Buf for RangePayload {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        if self.lead_at < self.lead_end { &self.lead[self.lead_at..self.lead_end] } else { &self.current }
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "{count} bytes of {}", self.remaining);
        self.remaining -= count;
        while count > 0 {
            let part = self.chunk().len().min(count);
            if self.lead_at < self.lead_end {
                self.lead_at += part;
            } else {
                self.current.advance(part);
            }
            count -= part;
            self.settle();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if self.lead_at == self.lead_end && count <= self.current.len() {
            let bytes = self.current.split_to(count);
            self.remaining -= count;
            self.settle();
            return bytes;
        }
        let mut bytes = BytesMut::with_capacity(count);
        bytes.put(self.take(count));
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_in_pieces_is_the_same_as_a_whole_one() {
        for (count, size) in [(0, 0), (1, 1), (300, 100), (40, 5000), (3, 70_000)] {
            let records = (0..count)
                .map(|number| Bytes::from(vec![u8::try_from(number % 250).unwrap(); size]))
                .collect();
            let header = Some(wire::ResponseHeader { revision: 7, ..Default::default() });
            let response = wire::RangeResponse { header, kvs: records, more: count > 1, count: 9 };
            let length = u32::try_from(response.encoded_len()).unwrap();
            let mut whole = Vec::new();
            HotAnswer { message: HotMessage::Range(response.clone()), length }.write(&mut whole);
            for step in [1, 7, 100, 16_384, 1 << 20] {
                let mut payload = RangePayload::new(response.clone(), length);
                let mut pieces = Vec::new();
                while payload.has_remaining() {
                    assert!(!payload.chunk().is_empty());
                    let part = step.min(payload.remaining());
                    if step % 2 == 0 {
                        pieces.extend_from_slice(&payload.copy_to_bytes(part));
                    } else {
                        let part = part.min(payload.chunk().len());
                        pieces.extend_from_slice(&payload.chunk()[..part]);
                        payload.advance(part);
                    }
                }
                assert!(pieces == whole, "{count} records of {size} bytes in steps of {step}");
            }
        }
    }
}
