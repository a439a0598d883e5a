//! A queue in pieces: growing never moves what is there, and any place of it can be looked at.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

const PIECE: usize = 512;

/// First in, first out.
///
/// All pieces but the last are full; of the first, `taken` elements have left.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pieces: VecDeque<Vec<T>>,
    taken: usize,
    len: usize,
}

impl<T: Copy> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { pieces: VecDeque::new(), taken: 0, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_back(&mut self, value: T) {
        self.len += 1;
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(value),
            Some(_) | None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(value);
                self.pieces.push_back(piece);
            }
        }
    }

    pub(crate) fn front(&self) -> Option<T> {
        self.get(0)
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let value = self.front()?;
        self.len -= 1;
        self.taken += 1;
        if self.taken == PIECE {
            self.pieces.pop_front();
            self.taken = 0;
        }
        Some(value)
    }

    /// The element `at` places behind the front.
    pub(crate) fn get(&self, at: usize) -> Option<T> {
        let at = at + self.taken;
        self.pieces.get(at / PIECE)?.get(at % PIECE).copied()
    }

    /// The first place whose element is not `before` what is sought; the queue has those that are in front.
    pub(crate) fn partition_point(&self, before: impl Fn(T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The elements from that place on.
    pub(crate) fn iter_from(&self, at: usize) -> impl Iterator<Item = T> {
        (at..self.len).map_while(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_a_deque_does() {
        let mut queue = Queue::new();
        let mut deque = VecDeque::new();
        for turn in 0..5000_u32 {
            queue.push_back(turn);
            deque.push_back(turn);
            if turn % 3 != 0 {
                assert_eq!(queue.pop_front(), deque.pop_front());
            }
            assert_eq!((queue.len(), queue.front()), (deque.len(), deque.front().copied()));
        }
        assert!(queue.iter_from(17).eq(deque.iter().copied().skip(17)));
        assert_eq!(queue.partition_point(|value| value < 4000), deque.partition_point(|value| *value < 4000));
        while queue.pop_front().is_some() {}
        assert_eq!((queue.len(), queue.front()), (0, None));
    }
}
