//! A body of gRPC messages, each of which is changed on its way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;

/// What stands before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Changes one message; `None` if it cannot be read.
pub(super) type Change = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// The body.
pub(super) struct Mapped<B = Incoming> {
    inner: B,
    gathered: BytesMut,
    message_bytes_max: usize,
    change: Change,
}

impl<B> Mapped<B> {
    pub(super) fn new(inner: B, message_bytes_max: usize, change: Change) -> Self {
        Self { inner, gathered: BytesMut::new(), message_bytes_max, change }
    }

    /// The next message that is there as a whole, changed.
    fn next_message(&mut self) -> io::Result<Option<Bytes>> {
        let Some(head) = self.gathered.get(..HEAD_BYTES) else { return Ok(None) };
        if head[0] != 0 {
            return Err(io::Error::other("compressed messages cannot be looked into"));
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > self.message_bytes_max {
            let max = self.message_bytes_max;
            return Err(io::Error::other(format!("message larger than max ({length} vs. {max})")));
        }
        if self.gathered.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.gathered.advance(HEAD_BYTES);
        let message = self.gathered.split_to(length);
        let changed = (self.change)(&message).ok_or_else(|| io::Error::other("a message cannot be read"))?;
        Ok(Some(enframe(&changed)))
    }
}

/// A message with its head.
pub(super) fn enframe(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

impl<B> Body for Mapped<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match self.next_message() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                None if self.gathered.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.gathered.extend_from_slice(&data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    async fn through(bytes: Vec<u8>, max: usize) -> Result<Bytes, io::Error> {
        let double: Change = Box::new(|message| Some([message, message].concat()));
        let body = Mapped::new(Full::new(Bytes::from(bytes)), max, double);
        body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn each_message_is_changed_and_gets_its_length_anew() {
        let two = [enframe(b"ab"), enframe(b"")].concat();
        assert_eq!(through(two, 10).await.unwrap(), [enframe(b"abab"), enframe(b"")].concat());
        assert!(through(enframe(b"abc").to_vec(), 2).await.is_err());
        assert!(through(b"\0\0\0\0\x05ab".to_vec(), 10).await.is_err());
        assert!(through(b"\x01\0\0\0\x01a".to_vec(), 10).await.is_err());
    }
}
