//! The first bytes of a connection tell which protocol it speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::http2::PREFACE;

/// What is read at first, at most.
const OPENING_BYTES: usize = 1024;

/// A connection and its first bytes.
pub(super) struct Opening<I> {
    pub(super) io: I,
    pub(super) bytes: Vec<u8>,
    pub(super) speaks_http2: bool,
}

impl<I: AsyncRead + Unpin> Opening<I> {
    /// Reads until it is clear whether the connection opens with HTTP/2's preface.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub(super) async fn read(mut io: I) -> io::Result<Self> {
        let mut bytes = Vec::new();
        loop {
            let mut piece = [0; OPENING_BYTES];
            let read = io.read(&mut piece).await?;
            bytes.extend_from_slice(&piece[..read]);
            let compared = bytes.len().min(PREFACE.len());
            if bytes[..compared] != PREFACE[..compared] || read == 0 {
                return Ok(Self { io, bytes, speaks_http2: false });
            }
            if compared == PREFACE.len() {
                return Ok(Self { io, bytes, speaks_http2: true });
            }
        }
    }
}

/// A connection some of whose bytes were read already.
#[derive(Debug)]
pub(super) struct Replayed<I> {
    bytes: Vec<u8>,
    at: usize,
    io: I,
}

impl<I> Replayed<I> {
    pub(super) fn new(bytes: Vec<u8>, io: I) -> Self {
        Self { bytes, at: 0, io }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Replayed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.at += count;
        if self.at == self.bytes.len() {
            self.bytes = Vec::new();
            self.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Replayed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_preface_is_told_from_other_openings() {
        for (opening, wanted) in [
            (&PREFACE[..], Some(true)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Some(true)),
            (b"GET / HTTP/1.1\r\n\r\n", Some(false)),
            (b"PUT / HTTP/1.1\r\n\r\n", Some(false)),
            (b"PRI * HTTP/2.1\r\n\r\n", Some(false)),
            (b"PRI", Some(false)),
        ] {
            let read = Opening::read(opening).await.unwrap();
            assert_eq!(Some(read.speaks_http2), wanted);
            let mut replayed = Replayed::new(read.bytes, read.io);
            let mut all = Vec::new();
            replayed.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, opening);
        }
    }
}
