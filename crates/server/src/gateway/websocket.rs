//! WebSockets to any path of the gateway: each message that comes in is a request, each line of the response goes out
//! as a message.
//!
//! Browsers cannot set headers when they open a socket, so a token may come as the protocol `Bearer, TOKEN` or as a
//! cookie of the name `token`.
//! When the client goes away the call is cancelled; when the call is over the socket is closed.
//!
//! Bounds: `REQUESTS_WAITING_MAX` messages on their way to the call, and the size of one.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, ORIGIN, REFERER, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tonic::Status;
use tonic::body::Body;

use super::{Gateway, text_page};

/// Messages that wait for the call to take them; then nothing more is read from the socket.
const REQUESTS_WAITING_MAX: usize = 4;

/// Whether a request wants to go on as a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Agrees to go on as a WebSocket, and does so in a task of its own.
pub(super) fn accept(gateway: Gateway, path: String, head: Parts) -> Response<Body> {
    if head.method != Method::GET {
        return text_page(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    let key = head.headers.get(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    let (Some(key), true) = (key, has_token(&head.headers, SEC_WEBSOCKET_VERSION, "13")) else {
        let mut response = text_page(StatusCode::BAD_REQUEST, "Bad Request\n");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accepted) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    if head.headers.get(SEC_WEBSOCKET_PROTOCOL).is_some_and(|value| value.as_bytes().starts_with(b"Bearer")) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    tokio::spawn(async move {
        let inner = inner_head(&head);
        match hyper::upgrade::on(Request::from_parts(head, ())).await {
            Ok(upgraded) => serve(gateway, &path, inner, upgraded).await,
            Err(error) => {
                crate::log!(Debug, "a connection does not become a WebSocket", "error" => error.to_string());
            }
        }
    });
    response
}

/// The head of the request that the messages are the body of.
fn inner_head(head: &Parts) -> Parts {
    let (mut inner, ()) = Request::new(()).into_parts();
    inner.method = Method::POST;
    inner.uri = head.uri.clone();
    for name in [ORIGIN, REFERER, HOST] {
        if let Some(value) = head.headers.get(&name) {
            inner.headers.insert(name, value.clone());
        }
    }
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let from_protocol = text(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.split_once("Bearer,"));
    let from_cookie =
        text(COOKIE).and_then(|value| value.split(';').find_map(|pair| pair.trim().strip_prefix("token=")));
    let token = from_cookie.or_else(|| from_protocol.map(|(_, token)| token.trim_matches(' ')));
    if let Some(Ok(token)) = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))) {
        inner.headers.insert(AUTHORIZATION, token);
    }
    inner
}

/// What the call gives.
enum Output<'a> {
    /// Nothing yet.
    Called(Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>),
    /// The body of its response.
    Body(Body),
}

impl Output<'_> {
    /// The next piece, which is one line or more; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self {
                Self::Called(call) => {
                    let response = call.as_mut().await;
                    *self = Self::Body(response.into_body());
                }
                Self::Body(body) => {
                    if let Ok(data) = body.frame().await?.ok()?.into_data() {
                        return Some(data);
                    }
                }
            }
        }
    }
}

async fn serve(gateway: Gateway, path: &str, head: Parts, upgraded: Upgraded) {
    let limit = gateway.body_bytes_max;
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sender, receiver) = mpsc::channel(REQUESTS_WAITING_MAX);
    let mut requests = Some(sender);
    let mut output = Output::Called(Box::pin(gateway.answer_call(path, head, Body::new(Payloads(receiver)))));
    let mut waiting: Option<Bytes> = None;
    loop {
        let sender = requests.clone().filter(|_| waiting.is_some());
        let sending = async move {
            match sender {
                Some(sender) => sender.reserve_owned().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            piece = output.next() => match piece {
                Some(piece) => if write(&mut socket, &piece).await.is_err() { return },
                None => break,
            },
            message = socket.next(), if waiting.is_none() => match message {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    let mut payload = BytesMut::from(&message.into_data()[..]);
                    payload.extend_from_slice(b"\n");
                    waiting = requests.is_some().then(|| payload.freeze());
                }
                Some(Ok(Message::Close(_))) => break,
                Some(Err(_)) | None => return,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            },
            permit = sending => match permit {
                Some(permit) => if let Some(payload) = waiting.take() { drop(permit.send(payload)) },
                // The call takes no more requests.
                None => {
                    waiting = None;
                    requests = None;
                }
            },
        }
    }
    // The client may be gone already.
    let _ = socket.close(None).await;
}

/// Writes each line as a message.
async fn write(
    socket: &mut WebSocketStream<TokioIo<Upgraded>>,
    piece: &[u8],
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for line in piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let text = String::from_utf8_lossy(line).into_owned();
        socket.send(Message::text(text)).await?;
    }
    Ok(())
}

/// The messages as a body.
struct Payloads(mpsc::Receiver<Bytes>);

impl http_body::Body for Payloads {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(context).map(|payload| payload.map(|payload| Ok(Frame::data(payload))))
    }
}
