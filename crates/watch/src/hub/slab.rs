//! Values in a vector, found by their place, which is given to another once they are gone.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// The place of a value of type `T`.
pub(super) struct Slot<T> {
    index: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Slot<T> {
    /// The bounds of all slots, for ranges over sets of them.
    pub(super) const MIN: Self = Self { index: u32::MIN, of: PhantomData };
    pub(super) const MAX: Self = Self { index: u32::MAX, of: PhantomData };
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Slot<T> {
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(value);
                index
            }
            None => {
                self.entries.push(Some(value));
                u32::try_from(self.entries.len() - 1).expect("there are fewer than four billion")
            }
        };
        Slot { index, of: PhantomData }
    }

    /// Takes a value out.
    ///
    /// # Panics
    ///
    /// If there is none; so does indexing.
    pub(super) fn remove(&mut self, slot: Slot<T>) -> T {
        let value = self.entries[slot.index as usize].take().expect("the slot is in use");
        self.free.push(slot.index);
        value
    }

    pub(super) fn get(&self, slot: Slot<T>) -> Option<&T> {
        self.entries.get(slot.index as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot<T>, &T)> {
        let slots = (0..).map(|index| Slot { index, of: PhantomData });
        slots.zip(&self.entries).filter_map(|(slot, entry)| Some((slot, entry.as_ref()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl<T> Index<Slot<T>> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot<T>) -> &T {
        self.entries[slot.index as usize].as_ref().expect("the slot is in use")
    }
}

impl<T> IndexMut<Slot<T>> for Slab<T> {
    fn index_mut(&mut self, slot: Slot<T>) -> &mut T {
        self.entries[slot.index as usize].as_mut().expect("the slot is in use")
    }
}
