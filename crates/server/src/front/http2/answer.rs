//! Heads and trailers of answers as header blocks.

use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, HeaderName};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use super::Driver;
use crate::http2::{write_field, write_status};

/// The block of a good answer's head: `:status: 200`, `content-type: application/grpc`.
pub(super) const OK_HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// The block of a good answer's trailers: `grpc-status: 0`.
pub(super) const OK_TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Fields about a connection of HTTP/1.1, which HTTP/2 forbids.
const FORBIDDEN: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The block of a response's head.
pub(super) fn head_block(parts: &Parts) -> Vec<u8> {
    let mut block = Vec::with_capacity(128);
    write_status(&mut block, parts.status.as_u16());
    write_fields(&mut block, &parts.headers);
    block
}

/// The block of trailers.
pub(super) fn trailer_block(trailers: &HeaderMap) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    write_fields(&mut block, trailers);
    block
}

fn write_fields(block: &mut Vec<u8>, fields: &HeaderMap) {
    let allowed = fields.iter().filter(|(name, _)| !FORBIDDEN.contains(name));
    allowed.for_each(|(name, value)| write_field(block, name.as_str().as_bytes(), value.as_bytes()));
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    /// Answers a call with a status and nothing else.
    pub(super) fn send_status(&mut self, stream: u32, status: Status) {
        let (parts, ()) = status.into_http::<()>().into_parts();
        self.connection.send_head(stream, &head_block(&parts), true);
    }

    /// Ends an answer that has begun with a status.
    pub(super) fn send_status_trailers(&mut self, stream: u32, status: Status) {
        let (parts, ()) = status.into_http::<()>().into_parts();
        let mut trailers = parts.headers;
        trailers.remove(http::header::CONTENT_TYPE);
        self.connection.send_trailers(stream, trailer_block(&trailers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_blocks_are_what_would_be_written() {
        let mut response = http::Response::new(());
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        assert_eq!(head_block(&response.into_parts().0), OK_HEAD);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(trailer_block(&trailers), OK_TRAILERS);
    }
}
