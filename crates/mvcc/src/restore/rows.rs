//! Stored revisions without their values, and their order by key.

use alloc::vec::Vec;

use crate::catalog::{IsFirst, Numbers, PackedRow, Row};
use crate::codec::{Revision32, StoredRevision};
use crate::entry::{Entry, NONE};
use crate::tree::shared_len;

/// Keys lie in pieces of about so many bytes, so that growing never moves them.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of a key that a head holds.
const HEAD_BYTES: usize = 7;

/// Stored revisions in their order.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<IndexRow>,
    keys: Vec<Vec<u8>>,
    /// Whether keys have come in another order than their own.
    is_unsorted: bool,
}

/// What the index keeps of a stored revision, and where its key is. A line of the processor's cache.
#[derive(Copy, Clone, Debug)]
pub(super) struct IndexRow {
    pub(super) entry: Entry,
    key: KeyPlace,
}

const _: () = assert!(size_of::<IndexRow>() == 64);

#[derive(Copy, Clone, Debug)]
struct KeyPlace {
    piece: u32,
    at: u32,
    len: u32,
}

/// Where a row stands in the order of keys: the next bytes of its key, and its number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    head: u64,
    row: u32,
}

impl Rows {
    /// Makes room for so many rows, or says that it cannot be had.
    pub(super) fn reserve(&mut self, count: u64) -> Result<(), &'static str> {
        let count = usize::try_from(count).ok().filter(|count| *count < NONE as usize);
        let count = count.ok_or("there are more revisions than an index can hold")?;
        self.rows.try_reserve_exact(count).map_err(|_| "there are more revisions than memory can hold")
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The revision of the first row.
    pub(super) fn first(&self) -> Option<StoredRevision> {
        self.rows.first().map(IndexRow::revision)
    }

    /// The revision of the last row.
    pub(super) fn last(&self) -> Option<StoredRevision> {
        self.rows.last().map(IndexRow::revision)
    }

    pub(super) fn row(&self, place: Place) -> &IndexRow {
        &self.rows[place.row as usize]
    }

    pub(super) fn key(&self, row: &IndexRow) -> &[u8] {
        let KeyPlace { piece, at, len } = row.key;
        &self.keys[piece as usize][at as usize..][..len as usize]
    }

    /// All rows as the catalog has them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|row| {
            let Entry { create, version, lease, record_len: len, .. } = row.entry;
            Row {
                revision: row.revision(),
                key: self.key(row),
                numbers: Numbers { create, version, lease, len },
            }
        })
    }

    /// Takes a row of the catalog; its revision is above all before.
    pub(super) fn push_packed(&mut self, row: PackedRow<'_>, is_first: IsFirst) -> Result<(), &'static str> {
        let PackedRow { revision, shared, suffix, numbers } = row;
        let before = match is_first {
            IsFirst::Yes => None,
            IsFirst::No => self.rows.last().map(|before| before.key),
        };
        self.push(revision, before, shared, suffix, numbers)
    }

    /// Takes what is stored under a revision, or says what is wrong with it.
    pub(super) fn push_stored(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let Row { revision, key, numbers } = Row::of_stored(key, value)?;
        if self.last().is_some_and(|last| (last.main, last.sub) >= (revision.main, revision.sub)) {
            return Err("the revision is stored twice");
        }
        self.push(revision, None, 0, key, numbers)
    }

    /// Adds a row whose key is the first `shared` bytes of another, and `suffix`.
    fn push(
        &mut self,
        revision: StoredRevision,
        before: Option<KeyPlace>,
        shared: usize,
        suffix: &[u8],
        numbers: Numbers,
    ) -> Result<(), &'static str> {
        if self.rows.len() >= NONE as usize {
            return Err("there are more revisions than an index can hold");
        }
        let key = self.push_key(before, shared, suffix)?;
        let at = Revision32 { main: revision.main, sub: revision.sub };
        let entry = if revision.is_deletion {
            Entry::deletion(at, NONE)
        } else {
            let Numbers { create, version, lease, len } = numbers;
            Entry::put(at, create, version, lease, len as usize)
        };
        let row = IndexRow { entry, key };
        if !self.is_unsorted {
            self.is_unsorted = self.rows.last().is_some_and(|last| self.key(last) > self.key(&row));
        }
        self.rows.push(row);
        Ok(())
    }

    fn push_key(
        &mut self,
        before: Option<KeyPlace>,
        shared: usize,
        suffix: &[u8],
    ) -> Result<KeyPlace, &'static str> {
        let len = shared + suffix.len();
        let has_room = self.keys.last().is_some_and(|piece| piece.capacity() - piece.len() >= len);
        if !has_room {
            self.keys.push(Vec::with_capacity(len.max(PIECE_BYTES)));
        }
        let number = self.keys.len() - 1;
        let (pieces_before, piece) = self.keys.split_at_mut(number);
        let piece = &mut piece[0];
        let at = piece.len();
        if let Some(before) = before {
            let start = before.at as usize;
            if before.piece as usize == number {
                piece.extend_from_within(start..start + shared);
            } else {
                piece.extend_from_slice(&pieces_before[before.piece as usize][start..start + shared]);
            }
        }
        piece.extend_from_slice(suffix);
        let number_of = |count: usize| u32::try_from(count).map_err(|_| "the keys are too long");
        Ok(KeyPlace { piece: number_of(number)?, at: number_of(at)?, len: number_of(len)? })
    }

    /// All rows by key, and those of one key by revision.
    pub(super) fn order(&self) -> Vec<Place> {
        let numbers = 0..u32::try_from(self.rows.len()).expect("checked at each push");
        let mut order: Vec<Place> = numbers.map(|row| Place { head: 0, row }).collect();
        if self.is_unsorted {
            self.sort(&mut order);
        }
        order
    }

    /// Sorts by seven bytes of the keys at a time, and again within groups that these do not tell apart.
    fn sort(&self, order: &mut [Place]) {
        let mut groups = alloc::vec![(0..order.len(), 0)];
        while let Some((group, depth)) = groups.pop() {
            let places = &mut order[group.clone()];
            let depth = depth + self.shared_beyond(places, depth);
            for place in &mut *places {
                place.head = head(&self.key(self.row(*place))[depth..]);
            }
            places.sort_unstable();
            let mut start = group.start;
            for equal in places.chunk_by(|a, b| a.head == b.head) {
                let end = start + equal.len();
                if equal.len() > 1 && goes_on(equal[0].head) {
                    groups.push((start..end, depth + HEAD_BYTES));
                }
                start = end;
            }
        }
    }

    /// How many bytes behind the first `depth` all these keys have in common.
    fn shared_beyond(&self, places: &[Place], depth: usize) -> usize {
        let Some((first, rest)) = places.split_first() else { return 0 };
        let first = &self.key(self.row(*first))[depth..];
        let mut shared = first.len();
        for place in rest {
            if shared == 0 {
                break;
            }
            shared = shared_len(&first[..shared], &self.key(self.row(*place))[depth..]);
        }
        shared
    }
}

impl IndexRow {
    fn revision(&self) -> StoredRevision {
        let Revision32 { main, sub } = self.entry.revision();
        StoredRevision { main, sub, is_deletion: self.entry.is_deleted() }
    }

    pub(super) fn key_len(&self) -> usize {
        self.key.len as usize
    }
}

/// The next seven bytes of a key, and in the last place how many there are, at most eight.
///
/// Of two keys that agree in these bytes the one that ends first is the smaller one.
fn head(rest: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = rest.len().min(HEAD_BYTES);
    head[..len].copy_from_slice(&rest[..len]);
    let count = rest.len().min(HEAD_BYTES + 1);
    head[HEAD_BYTES] = u8::try_from(count).expect("at most eight");
    u64::from_be_bytes(head)
}

/// Whether keys with this head go on behind it.
fn goes_on(head: u64) -> bool {
    head & 0xff == 8
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_sorted_by_key_and_then_by_revision(
            keys in prop::collection::vec(prop::collection::vec(prop::sample::select(b"a\0b".to_vec()), 0..24), 0..200),
            prefix in prop::sample::select(vec!["", "registry/pods/"]),
        ) {
            let mut rows = Rows::default();
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| [prefix.as_bytes(), &key[..]].concat()).collect();
            for (main, key) in (2..).zip(&keys) {
                let revision = StoredRevision { main, sub: 0, is_deletion: false };
                rows.push(revision, None, 0, key, Numbers::default()).unwrap();
            }
            let mut expected: Vec<(&[u8], i64)> = keys.iter().map(|key| &key[..]).zip(2..).collect();
            expected.sort();
            let order = rows.order();
            let sorted: Vec<_> =
                order.iter().map(|place| rows.row(*place)).map(|row| (rows.key(row), row.entry.main)).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
