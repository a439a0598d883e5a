//! What waits to be written to the socket, in order.
//!
//! Small pieces are copied one behind the other; large ones are kept as they are and written from where they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// Pieces from this size on are not copied: a copy costs less than another entry in a gathered write below.
const SHARED_BYTES_MIN: usize = 2048;
/// What an empty buffer may keep for the next answers.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Bytes for the socket.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What comes before the tail.
    front: VecDeque<Bytes>,
    front_bytes: usize,
    tail: Vec<u8>,
    /// Bytes of the tail that are written, while the front is empty.
    tail_sent: usize,
}

impl Output {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.front_bytes + self.tail.len() - self.tail_sent
    }

    /// Where small pieces are appended.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a piece without copying it.
    fn push_shared(&mut self, piece: Bytes) {
        if self.tail.len() > self.tail_sent {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(self.tail_sent);
            self.front_bytes += tail.len();
            self.front.push_back(tail);
        } else {
            self.tail.clear();
        }
        self.tail_sent = 0;
        self.front_bytes += piece.len();
        self.front.push_back(piece);
    }

    /// Moves `count` bytes over from a buffer that has as many.
    pub(super) fn take_from(&mut self, source: &mut dyn bytes::Buf, mut count: usize) {
        while count > 0 {
            let chunk = source.chunk();
            let length = chunk.len().min(count);
            if length >= SHARED_BYTES_MIN {
                self.push_shared(source.copy_to_bytes(length));
            } else {
                self.tail.extend_from_slice(&chunk[..length]);
                source.advance(length);
            }
            count -= length;
        }
    }

    /// The bytes in order, as far as the slices reach; gives the number of slices in use.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&self.tail[self.tail_sent..]).filter(|tail| !tail.is_empty());
        let pieces = self.front.iter().map(|piece| &piece[..]).chain(tail);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Forgets the first bytes: they are written.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub(super) fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len(), "{count} bytes written of {}", self.len());
        while count > 0 {
            let Some(first) = self.front.front_mut() else { break };
            let part = first.len().min(count);
            first.advance(part);
            self.front_bytes -= part;
            count -= part;
            if first.is_empty() {
                self.front.pop_front();
            }
        }
        self.tail_sent += count;
        if self.tail_sent == self.tail.len() {
            self.tail_sent = 0;
            self.tail.clear();
            if self.tail.capacity() > KEPT_BYTES_MAX {
                self.tail = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while output.len() > 0 {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = output.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let written = step.min(bytes.len());
            all.extend_from_slice(&bytes[..written]);
            output.advance(written);
        }
        all
    }

    #[test]
    fn pieces_come_out_in_order_however_they_are_written() {
        for step in [1, 7, 1000, 1 << 20] {
            let mut output = Output::default();
            let mut wanted = Vec::new();
            for (number, size) in [10, 5000, 3, 2048, 9000, 1, 0, 2047].into_iter().enumerate() {
                let piece = vec![u8::try_from(number).unwrap(); size];
                output.take_from(&mut Bytes::from(piece.clone()), size);
                wanted.extend_from_slice(&piece);
            }
            assert_eq!(output.len(), wanted.len());
            assert_eq!(drain(&mut output, step), wanted);
        }
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let piece = Bytes::from(vec![1; SHARED_BYTES_MIN]);
        let mut output = Output::default();
        output.tail().push(9);
        output.take_from(&mut piece.clone(), piece.len());
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(output.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), piece.as_ptr());
    }
}
