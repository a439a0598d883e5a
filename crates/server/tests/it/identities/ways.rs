//! The ways to a member: gRPC or JSON, over TCP, TLS or a socket in the file system.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etched::tls::Connector;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::calls::Call;

/// Where a listener is, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Tcp(u16),
    Tls(u16, Arc<Connector>),
    Unix(PathBuf),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Way {
    async fn open(&self) -> std::io::Result<Box<dyn Stream>> {
        // Without delay: a request is written in pieces, and each would wait for the acknowledgement of the other.
        let dial = async |port: &u16| {
            let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
            stream.set_nodelay(true).map(|()| stream)
        };
        Ok(match self {
            Self::Tcp(port) => Box::new(dial(port).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tls(port, connector) => Box::new(connector.connect("127.0.0.1", dial(port).await?).await?),
        })
    }

    /// A connection for gRPC.
    pub(super) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_static("http://127.0.0.1");
        endpoint.connect_with_connector(Dialler(self.clone())).await.unwrap()
    }

    /// Posts a request in JSON and tells the outcome.
    pub(super) async fn post(&self, call: &Call, token: Option<&str>) -> String {
        let path = call.path.as_deref().unwrap();
        let (status, line) = self.ask(path, &call.json, token).await;
        let Ok(json) = serde_json::from_str::<Value>(&line) else {
            return format!(
                "HTTP {status}: {}",
                if line.is_empty() { "ends without a message" } else { &line }
            );
        };
        let result = &json["result"];
        if result["canceled"] == true {
            return said(Code::Unknown, result["cancel_reason"].as_str().unwrap_or_default());
        }
        let error = if json["error"].is_object() { &json["error"] } else { &json };
        match (status, error["message"].as_str()) {
            (200, None) => "ok".to_owned(),
            (_, text) => {
                let code = error["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
                format!("HTTP {status}, {}", said(Code::from(code), text.unwrap_or_default()))
            }
        }
    }

    /// The status of an answer, and the first line of its body.
    pub(crate) async fn ask(&self, path: &str, body: &str, token: Option<&str>) -> (u16, String) {
        let mut stream = self.open().await.unwrap();
        let length = body.len();
        let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{token}Connection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut next = async || {
            let mut line = Vec::new();
            // Some servers just close a connection of TLS.
            let _ = reader.read_until(b'\n', &mut line).await;
            String::from_utf8(line).unwrap()
        };
        let first = next().await;
        let status = first.split(' ').nth(1).expect("there is a status").parse().unwrap();
        let mut is_chunked = false;
        loop {
            let line = next().await.to_ascii_lowercase();
            assert!(!line.is_empty(), "the head ends");
            is_chunked |= line.starts_with("transfer-encoding: chunked");
            if line == "\r\n" {
                break;
            }
        }
        if is_chunked && next().await == "0\r\n" {
            return (status, String::new());
        }
        (status, next().await.trim_end().to_owned())
    }
}

/// Calls a method with a message as it is, and tells the outcome.
pub(super) async fn call(channel: &Channel, call: &Call, token: Option<&str>) -> String {
    match answer(channel, call, token).await {
        Ok(Some(answer)) => match call.refusal_within(&answer) {
            None => "ok".to_owned(),
            Some(reason) => said(Code::Unknown, &reason),
        },
        Ok(None) => "ends without a message".to_owned(),
        Err(status) => said(status.code(), status.message()),
    }
}

/// The first answer; none if the stream ends without one.
pub(super) async fn answer(
    channel: &Channel,
    call: &Call,
    token: Option<&str>,
) -> Result<Option<Vec<u8>>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path = format!("/{}", call.method).parse().unwrap();
    if call.is_stream {
        // The stream of requests stays open until the answer is there.
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(call.message.clone()).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        if call.method.starts_with("etcdserverpb.Watch") || call.method.ends_with("KeepAlive") {
            let request = with(Request::new(requests), token);
            return grpc.streaming(request, path, Raw).await?.into_inner().message().await;
        }
        let request = with(Request::new(call.message.clone()), token);
        return grpc.server_streaming(request, path, Raw).await?.into_inner().message().await;
    }
    let request = with(Request::new(call.message.clone()), token);
    grpc.unary(request, path, Raw).await.map(|answer| Some(answer.into_inner()))
}

fn with<T>(mut request: Request<T>, token: Option<&str>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    request
}

fn said(code: Code, text: &str) -> String {
    format!("{code:?}: {text}")
}

/// Opens connections for a channel.
struct Dialler(Way);

impl Service<Uri> for Dialler {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = self.0.clone();
        Box::pin(async move { way.open().await.map(TokioIo::new) })
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes::Buf::remaining(buffer)];
        bytes::Buf::copy_to_slice(buffer, &mut message);
        Ok(Some(message))
    }
}
