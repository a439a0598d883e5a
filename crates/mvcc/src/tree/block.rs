//! A sorted run of keys in one piece of memory, their common beginning stored once.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Sorted keys: the common prefix first, then what each has behind it.
///
/// ```text
/// bytes:  prefix | suffix 0 | suffix 1 | ...
/// places:  head, end ^  head, end ^
/// ```
///
/// A search goes over the heads, which lie close together, and looks at suffixes only where heads are equal.
/// Near its end it goes over what is left without a branch: these lines of memory come at the same time, while the
/// steps of a binary search wait for one after the other.
#[derive(Debug, Default)]
pub(crate) struct KeyBlock {
    prefix_len: usize,
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a suffix ends, and its first four bytes as a number: zeros where it has fewer.
#[derive(Copy, Clone, Debug)]
struct Place {
    head: u32,
    end: u32,
}

/// A search looks at so many heads at once.
const WINDOW: usize = 16;

/// A key in two parts, as a block stores it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct KeyParts<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) suffix: &'a [u8],
}

impl KeyParts<'_> {
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + self.suffix.len());
        self.copy_into(&mut key);
        key
    }

    /// Replaces what `buffer` holds by the key.
    pub(crate) fn copy_into(self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(self.prefix);
        buffer.extend_from_slice(self.suffix);
    }
}

impl KeyBlock {
    /// A block of keys that rise: one behind the other, and where each ends.
    pub(crate) fn from_sorted(keys: &[u8], ends: &[usize]) -> Self {
        let start = |at: usize| if at == 0 { 0 } else { ends[at - 1] };
        let prefix_len = match ends {
            [] | [_] => 0,
            [first, .., _] => shared_len(&keys[..*first], &keys[start(ends.len() - 1)..]),
        };
        let mut bytes = Vec::with_capacity(keys.len() - prefix_len * ends.len().saturating_sub(1));
        bytes.extend_from_slice(&keys[..prefix_len]);
        let mut places = Vec::with_capacity(ends.len());
        for (at, end) in ends.iter().enumerate() {
            let suffix = &keys[start(at) + prefix_len..*end];
            bytes.extend_from_slice(suffix);
            places.push(Place { head: head(suffix), end: offset(bytes.len()) });
        }
        Self { prefix_len, bytes, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the prefix and all suffixes.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn key(&self, at: usize) -> KeyParts<'_> {
        KeyParts { prefix: &self.bytes[..self.prefix_len], suffix: self.suffix(at) }
    }

    fn start(&self, at: usize) -> usize {
        if at == 0 { self.prefix_len } else { self.places[at - 1].end as usize }
    }

    fn suffix(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.places[at].end as usize]
    }

    /// Where `key` is, or where it would be.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = &self.bytes[..self.prefix_len];
        let shared = key.len().min(prefix.len());
        match key[..shared].cmp(&prefix[..shared]) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.len()),
            // A key that ends within the prefix is before all that have the whole of it.
            Ordering::Equal if shared < prefix.len() => return Err(0),
            Ordering::Equal => {}
        }
        let suffix = &key[prefix.len()..];
        let head = head(suffix);
        let (mut low, mut high) = self.places_of(head);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.suffix(middle).cmp(suffix) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Where suffixes with this head begin and end.
    fn places_of(&self, head: u32) -> (usize, usize) {
        let mut window = &self.places[..];
        let mut low = 0;
        while window.len() > WINDOW {
            let (left, right) = window.split_at(window.len() / 2);
            if left[left.len() - 1].head < head {
                low += left.len();
                window = right;
            } else {
                window = left;
            }
        }
        low += window.iter().map(|place| usize::from(place.head < head)).sum::<usize>();
        let equal = self.places[low..].iter().take_while(|place| place.head == head).count();
        (low, low + equal)
    }

    pub(crate) fn insert(&mut self, at: usize, key: &[u8]) {
        let shared = shared_len(&self.bytes[..self.prefix_len], key);
        if shared < self.prefix_len {
            self.rebuild(shared);
        }
        let suffix = &key[self.prefix_len..];
        let start = self.start(at);
        let end = self.bytes.len();
        reserve(&mut self.bytes, suffix.len(), 256);
        self.bytes.resize(end + suffix.len(), 0);
        self.bytes.copy_within(start..end, start + suffix.len());
        self.bytes[start..start + suffix.len()].copy_from_slice(suffix);
        reserve(&mut self.places, 1, 8);
        self.places.insert(at, Place { head: head(suffix), end: offset(start) });
        let moved = offset(suffix.len());
        for place in &mut self.places[at..] {
            place.end += moved;
        }
    }

    /// Adds a key behind all others.
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.insert(self.len(), key);
    }

    pub(crate) fn remove(&mut self, at: usize) {
        let (start, end) = (self.start(at), self.places[at].end as usize);
        self.bytes.drain(start..end);
        self.places.remove(at);
        let moved = offset(end - start);
        for place in &mut self.places[at..] {
            place.end -= moved;
        }
    }

    /// Keeps the first `at` keys and returns the rest.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::default();
        right.bytes.extend_from_slice(&self.bytes[..self.prefix_len]);
        right.prefix_len = self.prefix_len;
        let start = self.start(at);
        right.bytes.extend_from_slice(&self.bytes[start..]);
        let moved = offset(start - self.prefix_len);
        right.places = self.places.split_off(at);
        for place in &mut right.places {
            place.end -= moved;
        }
        self.bytes.truncate(start);
        self.compress();
        right.compress();
        right
    }

    /// Adds the keys of `right`, which are all behind its own.
    pub(crate) fn append(&mut self, right: &Self) {
        let mut key = Vec::new();
        for at in 0..right.len() {
            right.key(at).copy_into(&mut key);
            self.push(&key);
        }
    }

    /// Makes the prefix as long as it can be and gives spare memory back.
    pub(crate) fn compress(&mut self) {
        let Some(last) = self.len().checked_sub(1) else {
            *self = Self::default();
            return;
        };
        let more = if last == 0 { 0 } else { shared_len(self.suffix(0), self.suffix(last)) };
        if more > 0 {
            self.rebuild(self.prefix_len + more);
        }
        self.bytes.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    /// Gives the block a shorter prefix, or a longer one that all keys have.
    fn rebuild(&mut self, prefix_len: usize) {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut key = Vec::new();
        let mut places = Vec::with_capacity(self.len());
        for at in 0..self.len() {
            self.key(at).copy_into(&mut key);
            if at == 0 {
                bytes.extend_from_slice(&key[..prefix_len]);
            }
            bytes.extend_from_slice(&key[prefix_len..]);
            places.push(Place { head: head(&key[prefix_len..]), end: offset(bytes.len()) });
        }
        *self = Self { prefix_len: if places.is_empty() { 0 } else { prefix_len }, bytes, places };
    }

    /// Panics unless the keys rise.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert!(self.places.last().map_or(self.prefix_len, |last| last.end as usize) == self.bytes.len());
        assert!((0..self.len()).all(|at| self.places[at].head == head(self.suffix(at))));
        for at in 1..self.len() {
            assert!(self.suffix(at - 1) < self.suffix(at), "keys rise");
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }
}

/// How many bytes the two begin with in common.
pub(crate) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let words = a.chunks_exact(WORD).zip(b.chunks_exact(WORD));
    let equal = words.take_while(|(a, b)| a == b).count() * WORD;
    let rest = a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count();
    equal + rest
}

/// Makes room for `more`, by small steps: most blocks never grow to twice their size.
pub(super) fn reserve<T>(vec: &mut Vec<T>, more: usize, step: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(step).max(vec.len() / 8));
    }
}

/// The first four bytes as a number, zeros where there are fewer.
fn head(suffix: &[u8]) -> u32 {
    if let Some(head) = suffix.first_chunk() {
        return u32::from_be_bytes(*head);
    }
    let mut head = [0; 4];
    head[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(head)
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a block holds little more than one key, and keys are below LEN_MAX")
}
