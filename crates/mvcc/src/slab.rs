//! Values by small numbers, in pieces, so that growing never moves what is there.

use alloc::vec::Vec;

const PIECE: usize = 1024;

/// A growing array whose vacant places are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pieces: Vec<Vec<T>>,
    vacant: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new(), vacant: Vec::new(), len: 0 }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts `value` into a vacant place and returns its number, which is below `u32::MAX`.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(at) = self.vacant.pop() {
            *self.get_mut(at) = value;
            return at;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let piece = self.pieces.last_mut().expect("a piece was pushed if there was none");
        piece.push(value);
        let at =
            u32::try_from(before + piece.len() - 1).expect("memory ends long before four billion values");
        assert!(at < u32::MAX, "the largest number stands for none");
        at
    }

    /// Leaves `vacated` at the place, returns what was there, and gives the place away at the next insertion.
    pub(crate) fn remove(&mut self, at: u32, vacated: T) -> T {
        self.len -= 1;
        self.vacant.push(at);
        core::mem::replace(self.get_mut(at), vacated)
    }

    /// What is at a place that was once taken; the caller knows whether it still is.
    pub(crate) fn get(&self, at: u32) -> &T {
        let at = at as usize;
        &self.pieces[at / PIECE][at % PIECE]
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut T {
        let at = at as usize;
        &mut self.pieces[at / PIECE][at % PIECE]
    }

    /// All places, vacant ones with what was left there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacant_place_is_taken_again() {
        let mut slab = Slab::new();
        let places: Vec<u32> = (0..3000).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.remove(places[1500], -1), 1500);
        assert_eq!(slab.len(), 2999);
        assert_eq!(slab.insert(7), places[1500]);
        assert_eq!((*slab.get(1500), *slab.get(2999)), (7, 2999));
        assert_eq!(slab.iter().count(), 3000);
    }
}
