//! Hot unary calls, served without the library: one future, one buffer in, one buffer out.
//!
//! What is sent is what the library would send; a test compares the two.
//!
//! ```text
//! request and response body:  compressed u8 = 0 | length u32 BE | message
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use super::status::{Reading, as_grpc_go};

/// The byte for compression and the length.
pub(super) const PREFIX_BYTES: usize = 5;

/// Reads the one message of a call, has it answered, and makes the response.
pub(super) async fn serve<B, Q, R, Fut>(
    body: B,
    encoding: Option<HeaderValue>,
    message_bytes_max: usize,
    answer: impl FnOnce(Q) -> Fut,
) -> Response<AnswerBody>
where
    B: http_body::Body<Data = Bytes>,
    Q: Message + Default,
    R: Message,
    Fut: Future<Output = Result<R, Status>>,
{
    let request = match read(body, encoding, message_bytes_max).await {
        Ok(message) => Q::decode(message)
            .map_err(|error| as_grpc_go(Status::internal(error.to_string()), Reading::Request)),
        Err(status) => Err(status),
    };
    let answered = match request {
        Ok(request) => answer(request).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(message) => message_response(&message),
        Err(status) => status.into_http::<Body>().map(AnswerBody::Library),
    }
}

/// Collects a message, of which most come in one piece.
///
/// # Errors
///
/// The status for a message that is too large, compressed or incomplete.
async fn read<B>(body: B, encoding: Option<HeaderValue>, message_bytes_max: usize) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut message = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = None;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Status::cancelled("context canceled")) };
        let Ok(data) = frame.into_data() else { continue };
        if rest.is_empty() && message.is_empty() {
            message = data;
        } else {
            // Rare: a message that came in pieces is put together.
            rest.put(std::mem::take(&mut message));
            rest.put(data);
        }
        let got = message.len() + rest.len();
        if length.is_none() && got >= PREFIX_BYTES {
            let mut prefix = if rest.is_empty() { &message[..PREFIX_BYTES] } else { &rest[..PREFIX_BYTES] };
            let announced = announced_length(
                &mut prefix,
                encoding.as_ref().map(HeaderValue::as_bytes),
                message_bytes_max,
            )?;
            rest.reserve((PREFIX_BYTES + announced).saturating_sub(got));
            length = Some(announced);
        }
        if length.is_some_and(|length| got > PREFIX_BYTES + length) {
            return Err(Status::internal("grpc: more than one message in a unary call"));
        }
        if body.is_end_stream() {
            break;
        }
    }
    let mut whole = if rest.is_empty() { message } else { rest.freeze() };
    match length {
        Some(length) if whole.len() == PREFIX_BYTES + length => Ok(whole.split_off(PREFIX_BYTES)),
        Some(_) | None => Err(Status::unknown("unexpected EOF")),
    }
}

/// The length of the message behind a prefix.
///
/// # Errors
///
/// The status for a message that is too large or compressed.
pub(super) fn announced_length(
    prefix: &mut &[u8],
    encoding: Option<&[u8]>,
    message_bytes_max: usize,
) -> Result<usize, Status> {
    let is_compressed = prefix.get_u8() != 0;
    let length = prefix.get_u32() as usize;
    if is_compressed {
        return Err(match encoding {
            None => Status::internal("grpc: compressed flag set with identity or empty encoding"),
            Some(encoding) => {
                let name = String::from_utf8_lossy(encoding).into_owned();
                Status::unimplemented(format!(
                    "grpc: Decompressor is not installed for grpc-encoding {name:?}"
                ))
            }
        });
    }
    if length > message_bytes_max {
        let text = format!("grpc: received message larger than max ({length} vs. {message_bytes_max})");
        return Err(Status::resource_exhausted(text));
    }
    Ok(length)
}

/// The length of a message as it stands before it.
///
/// # Errors
///
/// The status for a message that is too large to be sent.
pub(super) fn sent_length(length: usize) -> Result<u32, Status> {
    u32::try_from(length).ok().filter(|length| *length <= i32::MAX.cast_unsigned()).ok_or_else(|| {
        let text = format!("grpc: trying to send message larger than max ({length} vs. {})", i32::MAX);
        Status::resource_exhausted(text)
    })
}

fn message_response(message: &impl Message) -> Response<AnswerBody> {
    let length = message.encoded_len();
    let announced = match sent_length(length) {
        Ok(announced) => announced,
        Err(status) => return status.into_http::<Body>().map(AnswerBody::Library),
    };
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + length);
    buffer.put_u8(0);
    buffer.put_u32(announced);
    if let Err(error) = message.encode(&mut buffer) {
        // The buffer grows as needed; the library reports it in the same way.
        return Status::internal(error.to_string()).into_http::<Body>().map(AnswerBody::Library);
    }
    let mut response = Response::new(AnswerBody::Message(OneMessage::Whole(buffer.freeze())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The body of a response of a front.
pub(crate) enum AnswerBody {
    /// One message and a good end.
    Message(OneMessage),
    /// Anything else.
    Library(Body),
}

/// What is still to be sent of a message.
pub(crate) enum OneMessage {
    /// All.
    Whole(Bytes),
    /// The trailers.
    Trailers,
    /// Nothing.
    Nothing,
}

impl OneMessage {
    fn next(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Whole(bytes) => {
                *self = Self::Trailers;
                Some(Frame::data(bytes))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
                Some(Frame::trailers(trailers))
            }
            Self::Nothing => None,
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Message(message) => Poll::Ready(message.next().map(Ok)),
            Self::Library(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(message) => matches!(message, OneMessage::Nothing),
            Self::Library(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Message(OneMessage::Whole(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Message(OneMessage::Trailers | OneMessage::Nothing) => SizeHint::with_exact(0),
            Self::Library(body) => body.size_hint(),
        }
    }
}
