//! A range that is answered in pieces, each read at the same revision.
//!
//! A piece is asked for only when the one before it was taken by the connection, so a large answer to a slow client
//! needs the memory of one piece.
//! All messages of a stream, merged, are the answer that `Range` would have given.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use etched_key_range::KeyRange;
use etched_proto::mvccpb::KeyValue;
use etched_proto::wire::etcdserverpb as wire;
use etched_state_machine::{Range, RangeOutput};
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

use super::kv::header;
use super::status::{self, mismatched_answer};
use crate::api::{Answer, ApiError, Request};
use crate::auth::Claim;
use crate::front::{Call, Link};
use crate::metrics::rpc::MethodId;

/// Keys in the first piece.
const FIRST_LIMIT: i64 = 10;

/// The pieces of one range.
#[derive(Debug)]
pub(super) struct RangeStream {
    link: Arc<Link>,
    claim: Claim,
    method: Option<MethodId>,
    range: Range,
    /// Keys that may still be sent; 0 is no limit.
    remaining: i64,
    /// Keys in the piece that is on its way.
    limit: i64,
    sent: i64,
    /// The revision of the header: the store's when the first piece was read.
    revision: i64,
    request_bytes_max: usize,
    call: Option<Call>,
}

impl RangeStream {
    /// Begins a stream.
    ///
    /// # Errors
    ///
    /// When the range cannot be streamed.
    pub(super) fn start(
        link: Arc<Link>,
        claim: Claim,
        range: Range,
        request_bytes_max: usize,
    ) -> Result<Self, Status> {
        range.check_stream().map_err(|refusal| status::of(&ApiError::Refused(refusal)))?;
        let remaining = range.query.limit;
        let mut stream = Self {
            link,
            claim,
            method: super::method_id("/etcdserverpb.KV/RangeStream"),
            range,
            remaining,
            limit: FIRST_LIMIT,
            sent: 0,
            revision: 0,
            request_bytes_max,
            call: None,
        };
        stream.ask().map_err(|error| status::of(&error))?;
        Ok(stream)
    }

    fn ask(&mut self) -> Result<(), ApiError> {
        let unpaged = self.remaining < 0 || self.range.query.count_only;
        if !unpaged {
            if self.remaining > 0 {
                self.limit = self.limit.min(self.remaining);
            }
            self.range.query.limit = self.limit;
        }
        self.call = Some(self.link.start(self.claim.credentials(), Request::Range(self.range.clone()))?);
        Ok(())
    }

    /// Makes the message of a piece, and asks for the next one if there is one.
    fn on_piece(
        &mut self,
        output: RangeOutput,
        current: i64,
        raft_term: u64,
    ) -> Result<wire::RangeStreamResponse, ApiError> {
        let is_first = self.revision == 0;
        if is_first {
            self.revision = output.revision;
        }
        let count = i64::try_from(output.records.len()).unwrap_or(i64::MAX);
        let next = output.records.last().map(key_after).filter(|_| output.more && !self.is_cut_by(count));
        let Some(next) = next else {
            let output = RangeOutput { count: self.sent.saturating_add(output.count), ..output };
            let header = header(&self.link, self.revision, current, raft_term);
            return Ok(message(wire::RangeResponse {
                header,
                kvs: output.records,
                more: output.more,
                count: output.count,
            }));
        };
        let piece = message(wire::RangeResponse { kvs: output.records, ..Default::default() });
        self.sent = self.sent.saturating_add(count);
        if self.remaining > 0 {
            self.remaining -= count;
        }
        self.resize(piece.encoded_len());
        let (_, range_end) = self.range.query.range.to_wire();
        // An end makes a range of it: a single key never has more than one piece.
        self.range.query.range = KeyRange::from_wire(next?, range_end);
        self.range.serializable = true;
        if self.range.query.revision <= 0 {
            self.range.query.revision = self.revision;
        }
        self.ask()?;
        Ok(piece)
    }

    /// Whether the limit of the request ends the stream with this piece.
    fn is_cut_by(&self, count: i64) -> bool {
        self.remaining < 0 || (self.remaining > 0 && count >= self.remaining)
    }

    fn resize(&mut self, bytes: usize) {
        if bytes < self.request_bytes_max / 2 {
            self.limit = self.limit.saturating_mul(2);
        } else if bytes > self.request_bytes_max.saturating_mul(2) {
            self.limit = (self.limit / 2).max(1);
        }
    }
}

fn message(response: wire::RangeResponse) -> wire::RangeStreamResponse {
    wire::RangeStreamResponse { range_response: Some(response) }
}

/// The smallest key behind that of a stored record.
fn key_after(record: &Bytes) -> Result<Bytes, ApiError> {
    let kv = KeyValue::decode(record.clone())
        .map_err(|error| ApiError::Storage(format!("a stored record cannot be read: {error}")))?;
    let mut next = Vec::with_capacity(kv.key.len() + 1);
    next.extend_from_slice(&kv.key);
    next.push(0);
    Ok(next.into())
}

impl Stream for RangeStream {
    type Item = Result<wire::RangeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(call) = &mut self.call else { return Poll::Ready(None) };
        let Poll::Ready(completion) = Pin::new(call).poll(context) else { return Poll::Pending };
        self.call = None;
        let answer = match completion.result {
            Ok(Answer::Range(output)) => self.on_piece(output, completion.revision, completion.raft_term),
            Ok(_) => return Poll::Ready(Some(Err(mismatched_answer()))),
            Err(error) => Err(error),
        };
        if let (Ok(_), Some(method)) = (&answer, self.method) {
            self.link.metrics().rpc.send(method);
        }
        Poll::Ready(Some(answer.map_err(|error| status::of(&error))))
    }
}
