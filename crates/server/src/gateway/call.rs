//! gRPC calls to the services of the same front: what of an HTTP request goes along, and messages in their frames.

use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status};

use super::json::{self, Scanner};
use crate::grpc::{AnswerBody, Services};

/// The byte for compression and the length.
const PREFIX_BYTES: usize = 5;

/// Headers that are passed on under a name of the gateway.
const PERMANENT: [&str; 24] = [
    "accept",
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "date",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "warning",
];

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What goes along with the message of a call.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    path: PathAndQuery,
    metadata: HeaderMap,
    /// When the caller gives up.
    pub(super) timeout: Option<Duration>,
}

impl Envelope {
    /// For a method, with the metadata that the headers of a request ask for.
    ///
    /// # Errors
    ///
    /// A time that is none.
    pub(super) fn new(service: &str, method: &str, head: &Parts) -> Result<Self, Status> {
        let timeout = head.headers.get("grpc-timeout").map(HeaderValue::as_bytes);
        let timeout = timeout.filter(|text| !text.is_empty()).map(timeout_of).transpose()?;
        let path = PathAndQuery::try_from(format!("/{service}/{method}"))
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut metadata = HeaderMap::with_capacity(head.headers.len() + 2);
        for (name, value) in &head.headers {
            if *name == AUTHORIZATION {
                metadata.append(AUTHORIZATION, value.clone());
            }
            if let Some(renamed) = renamed(name, value)?.filter(|name| !is_reserved(name))
                && let Ok(renamed) = HeaderName::try_from(renamed)
            {
                metadata.append(renamed, value.clone());
            }
        }
        // Rules that hold for calls through the gateway are recognised by it.
        let accept = HeaderName::from_static("grpcgateway-accept");
        metadata.entry(accept).or_insert(HeaderValue::from_static("*/*"));
        if let Some(host) = head.headers.get(X_FORWARDED_HOST).or_else(|| head.headers.get(HOST)) {
            metadata.insert(X_FORWARDED_HOST, host.clone());
        }
        metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(Self { path, metadata, timeout })
    }

    /// The call as a request.
    pub(super) fn request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from(self.path);
        *request.headers_mut() = self.metadata;
        request
    }
}

/// The name under which a header goes along; `None` if it does not.
///
/// # Errors
///
/// Metadata that cannot be such.
fn renamed(name: &HeaderName, value: &HeaderValue) -> Result<Option<String>, Status> {
    let lower = name.as_str();
    let Some(rest) = lower.strip_prefix("grpc-metadata-") else {
        let is_known = PERMANENT.contains(&lower) && *name != HOST;
        return Ok(is_known.then(|| format!("grpcgateway-{lower}")));
    };
    if rest.is_empty() {
        return Err(Status::internal("there is an empty key in the header"));
    }
    if rest.ends_with("-bin") {
        let is_base64 = json::base64_bytes(&String::from_utf8_lossy(value.as_bytes())).is_some();
        if !is_base64 {
            let text = format!("invalid binary header {}: illegal base64 data", canonical(lower));
            return Err(Status::invalid_argument(text));
        }
    }
    Ok(Some(rest.to_owned()))
}

/// A header's name as Go writes it.
fn canonical(lower: &str) -> String {
    let mut is_start = true;
    let mut upper = |character: char| {
        let capital = if is_start { character.to_ascii_uppercase() } else { character };
        is_start = character == '-';
        capital
    };
    lower.chars().map(&mut upper).collect()
}

/// Whether metadata of this name would be taken for a part of the protocol.
fn is_reserved(name: &str) -> bool {
    matches!(name, "content-type" | "te" | "user-agent" | "host") || name.starts_with("grpc-")
}

fn timeout_of(text: &[u8]) -> Result<Duration, Status> {
    let text = String::from_utf8_lossy(text);
    let wrong = || Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
    let (number, unit) = text.split_at_checked(text.len() - 1).ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    // A time in the past is over at once.
    let number = number.max(0).unsigned_abs();
    let nanoseconds = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_nanos(number.saturating_mul(nanoseconds)))
}

/// A message in its frame.
pub(super) fn framed(message: &[u8]) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len())
        .map_err(|_| Status::resource_exhausted("grpc: the message is too large to be sent"))?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// Calls a method with one message each way.
///
/// # Errors
///
/// The status of a call that failed.
pub(super) async fn unary(services: &Services, envelope: Envelope, message: &[u8]) -> Result<Bytes, Status> {
    let timeout = envelope.timeout;
    let request = envelope.request(Full::new(framed(message)?));
    let calling = async {
        let response = services.call(request).await;
        let mut messages = Messages::new(response)?;
        let Some(message) = messages.next().await? else {
            return Err(Status::internal("grpc: a unary call has no message"));
        };
        // The status comes behind the message.
        while messages.next().await?.is_some() {}
        Ok(message)
    };
    within(timeout, calling).await
}

/// Waits no longer than the caller does.
///
/// # Errors
///
/// The status of a call that took too long, or what the future gives.
pub(super) async fn within<T>(
    timeout: Option<Duration>,
    calling: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(timeout) = timeout else { return calling.await };
    let began = Instant::now();
    match tokio::time::timeout(timeout, calling).await {
        // Timers are coarser than the time that a client may set.
        Ok(answer) if began.elapsed() <= timeout => answer,
        Ok(_) | Err(_) => Err(deadline_exceeded()),
    }
}

pub(super) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// The messages of a response, out of their frames.
pub(super) struct Messages {
    body: AnswerBody,
    buffer: BytesMut,
    is_over: bool,
}

impl Messages {
    /// # Errors
    ///
    /// The status of a response that is nothing else.
    pub(super) fn new(response: Response<AnswerBody>) -> Result<Self, Status> {
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            Some(_) => Ok(Self { body: response.into_body(), buffer: BytesMut::new(), is_over: true }),
            None => Ok(Self { body: response.into_body(), buffer: BytesMut::new(), is_over: false }),
        }
    }

    /// The next message; `None` at a good end.
    ///
    /// # Errors
    ///
    /// The status with which the call ended.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if self.is_over {
                return Ok(None);
            }
            let Some(frame) = self.body.frame().await else {
                self.is_over = true;
                continue;
            };
            match frame?.into_data() {
                Ok(data) if self.buffer.is_empty() => {
                    // Mostly a frame is a message, and then nothing is copied.
                    if let Some(message) = only_message(&data) {
                        return Ok(Some(message));
                    }
                    self.buffer.extend_from_slice(&data);
                }
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    self.is_over = true;
                    let status = frame.trailers_ref().and_then(Status::from_header_map);
                    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                        return Err(status);
                    }
                }
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let length = announced(&self.buffer)?;
        if self.buffer.len() < PREFIX_BYTES + length {
            return None;
        }
        self.buffer.advance(PREFIX_BYTES);
        Some(self.buffer.split_to(length).freeze())
    }
}

fn announced(mut prefix: &[u8]) -> Option<usize> {
    if prefix.len() < PREFIX_BYTES {
        return None;
    }
    // Our own services compress nothing.
    prefix.advance(1);
    usize::try_from(prefix.get_u32()).ok()
}

fn only_message(data: &Bytes) -> Option<Bytes> {
    let length = announced(data)?;
    (data.len() == PREFIX_BYTES + length).then(|| data.slice(PREFIX_BYTES..))
}

/// Reads the first JSON value of a body, without what is around it; `None` if there is nothing but white space.
/// What comes behind it is not waited for.
///
/// # Errors
///
/// The status for a body that is too large, that does not arrive, or that is no JSON.
pub(super) async fn first_value<B>(body: B, bytes_max: usize) -> Result<Option<Bytes>, Status>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut scanner = Scanner::new();
    let mut before = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let end = scanner.find_end(&data).map_err(Status::invalid_argument)?;
        let piece = data.slice(..end.unwrap_or(data.len()));
        if before.is_empty() && end.is_some() {
            return Ok(Some(piece));
        }
        let bytes = before.len() + piece.len();
        if bytes > bytes_max {
            let text = format!("grpc: received message larger than max ({bytes} vs. {bytes_max})");
            return Err(Status::resource_exhausted(text));
        }
        before.put(piece);
        if end.is_some() {
            return Ok(Some(before.freeze()));
        }
    }
    match scanner.has_begun() {
        false => Ok(None),
        true if scanner.may_end() => Ok(Some(before.freeze())),
        true => Err(Status::invalid_argument("unexpected EOF")),
    }
}
