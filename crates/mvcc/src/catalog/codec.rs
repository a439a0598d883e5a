//! The stored bytes of a block of the catalog.
//!
//! ```text
//! key:    main: 8 bytes, big endian | sub: 4 bytes, big endian     no row of the block is below
//! value:  rows, one behind the other
//!
//! row:    flags     1 byte: DELETION 1, NEXT 2, FRESH 4, LEASE 8
//!         main      how far above the row before                        not if NEXT
//!         sub       above the sub expected                              not if NEXT
//!         shared    how many bytes of its key the row before has too
//!         suffix    length of the rest of the key, then the rest
//!         created   how far the creation is below main                  not if DELETION or FRESH
//!         version                                                       not if DELETION or FRESH
//!         lease                                                         only if LEASE
//!         len       length of the record                                not if DELETION
//! ```
//!
//! All numbers are varints; of a lease, its 64 bits.
//! Before the first row stand the main revision of the block's key and an empty key.
//! The sub expected is the next one within the same main revision (of the first row: that of the block's key), and 0
//! in another one.
//! NEXT: the main revision is one above, and the sub revision 0.
//! FRESH: the put made the key, so it is version 1 and created at main.

use alloc::vec::Vec;

use crate::codec::{
    LEN_MAX, REVISION_MAX, Revision32, SUB_MAX, StoredRevision, put_varint, take, take_varint,
};
use crate::tree::shared_len;

/// Length of a block's key.
pub(super) const START_LEN: usize = 12;

/// More than what a row takes without the bytes of its key.
pub(super) const ROW_BYTES_MAX: usize = 64;

const DELETION: u8 = 1;
const NEXT: u8 = 2;
const FRESH: u8 = 4;
const LEASE: u8 = 8;
const FLAGS: u8 = DELETION | NEXT | FRESH | LEASE;

/// What the catalog knows of a stored revision.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) revision: StoredRevision,
    pub(crate) key: &'a [u8],
    /// What stands in the record; all zero of a deletion.
    pub(crate) numbers: Numbers,
}

/// The numbers of a put.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
    /// Length of the record.
    pub(crate) len: u32,
}

/// A row whose key is told by what differs from that of the row before.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedRow<'a> {
    pub(crate) revision: StoredRevision,
    pub(crate) shared: usize,
    pub(crate) suffix: &'a [u8],
    pub(crate) numbers: Numbers,
}

/// The key under which the block is stored.
pub(super) fn encode_start(start: Revision32) -> [u8; START_LEN] {
    let mut key = [0; START_LEN];
    key[..8].copy_from_slice(&start.main.to_be_bytes());
    key[8..].copy_from_slice(&start.sub.to_be_bytes());
    key
}

pub(super) fn decode_start(key: &[u8]) -> Result<Revision32, &'static str> {
    let Some((main, sub)) = key.split_first_chunk::<8>() else { return Err("the key is cut short") };
    let Ok(sub) = <[u8; 4]>::try_from(sub) else { return Err("the key has a wrong length") };
    let (main, sub) = (i64::from_be_bytes(*main), u32::from_be_bytes(sub));
    if !(0..=REVISION_MAX).contains(&main) || sub > SUB_MAX {
        return Err("the key is out of range");
    }
    Ok(Revision32 { main, sub })
}

/// A block that is being written.
#[derive(Debug)]
pub(super) struct BlockWriter {
    pub(super) start: Revision32,
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u32,
    main: i64,
    sub_next: u32,
    key: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn new(start: Revision32) -> Self {
        let (main, sub_next) = (start.main, start.sub);
        Self { start, bytes: Vec::new(), rows: 0, main, sub_next, key: Vec::new() }
    }

    /// A block that goes on behind what is stored.
    pub(super) fn resume(start: Revision32, stored: &[u8]) -> Result<Self, &'static str> {
        let mut writer = Self::new(start);
        let mut reader = BlockReader::new(start, stored);
        while let Some(row) = reader.next()? {
            writer.key.truncate(row.shared);
            writer.key.extend_from_slice(row.suffix);
            writer.rows += 1;
        }
        (writer.main, writer.sub_next) = (reader.main, reader.sub_next);
        writer.bytes.extend_from_slice(stored);
        Ok(writer)
    }

    /// Whether a row may make the block longer than `bytes_max`.
    pub(super) fn is_full_for(&self, key: &[u8], bytes_max: usize) -> bool {
        self.bytes.len() + ROW_BYTES_MAX + key.len() > bytes_max
            && self.bytes.len() + ROW_BYTES_MAX + key.len() - shared_len(&self.key, key) > bytes_max
    }

    /// Adds a row, which is above all others.
    pub(super) fn push(&mut self, row: &Row<'_>) {
        let StoredRevision { main, sub, is_deletion } = row.revision;
        let Numbers { create, version, lease, len } = row.numbers;
        let is_next = main == self.main + 1 && sub == 0;
        let is_fresh = !is_deletion && create == main && version == 1;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let out = &mut self.bytes;
        out.push(
            flag(is_deletion, DELETION)
                | flag(is_next, NEXT)
                | flag(is_fresh, FRESH)
                | flag(!is_deletion && lease != 0, LEASE),
        );
        if !is_next {
            let expected = if main == self.main { self.sub_next } else { 0 };
            put_varint(out, rise(self.main, main));
            put_varint(out, u64::from(sub.checked_sub(expected).expect("revisions rise")));
        }
        let shared = shared_len(&self.key, row.key);
        let suffix = &row.key[shared..];
        put_varint(out, shared as u64);
        put_varint(out, suffix.len() as u64);
        out.extend_from_slice(suffix);
        if !is_deletion {
            if !is_fresh {
                put_varint(out, rise(create, main));
                put_varint(out, version.cast_unsigned());
            }
            if lease != 0 {
                put_varint(out, lease.cast_unsigned());
            }
            put_varint(out, u64::from(len));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        (self.main, self.sub_next) = (main, sub + 1);
        self.rows += 1;
    }
}

fn rise(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).expect("revisions rise, and a key is not changed before it is made")
}

/// Reads the rows of a block.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    rest: &'a [u8],
    main: i64,
    sub_next: u32,
    key_len: usize,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(start: Revision32, stored: &'a [u8]) -> Self {
        Self { rest: stored, main: start.main, sub_next: start.sub, key_len: 0 }
    }

    /// The next row, or what is wrong with it.
    pub(super) fn next(&mut self) -> Result<Option<PackedRow<'a>>, &'static str> {
        let Some((&flags, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        if flags & !FLAGS != 0 {
            return Err("a row has unknown flags");
        }
        let is_deletion = flags & DELETION != 0;
        let (main, sub) = if flags & NEXT != 0 { (self.main + 1, 0) } else { self.take_revision()? };
        if main > REVISION_MAX || sub > SUB_MAX {
            return Err("a revision is out of range");
        }
        (self.main, self.sub_next) = (main, sub + 1);
        let shared = self.take_len()?;
        let suffix_len = self.number()?;
        let suffix = take(&mut self.rest, suffix_len).map_err(|error| error.0)?;
        if shared > self.key_len || shared + suffix.len() >= LEN_MAX {
            return Err("a key is longer than it can be");
        }
        self.key_len = shared + suffix.len();
        let numbers = if is_deletion { Numbers::default() } else { self.take_numbers(flags)? };
        Ok(Some(PackedRow { revision: StoredRevision { main, sub, is_deletion }, shared, suffix, numbers }))
    }

    fn take_revision(&mut self) -> Result<(i64, u32), &'static str> {
        let above = self.number()?;
        let main = self.main.checked_add_unsigned(above).ok_or("a revision is out of range")?;
        let expected = if above == 0 { self.sub_next } else { 0 };
        let above = u32::try_from(self.number()?).ok();
        let sub = above.and_then(|above| expected.checked_add(above)).ok_or("a revision is out of range")?;
        Ok((main, sub))
    }

    fn take_numbers(&mut self, flags: u8) -> Result<Numbers, &'static str> {
        let (create, version) = if flags & FRESH != 0 {
            (self.main, 1)
        } else {
            let create = self.main.checked_sub_unsigned(self.number()?).filter(|create| *create >= 0);
            let version = i64::try_from(self.number()?).ok().filter(|version| *version <= REVISION_MAX);
            (
                create.ok_or("the revision of the creation is out of range")?,
                version.ok_or("the version is out of range")?,
            )
        };
        let lease = if flags & LEASE != 0 { self.number()?.cast_signed() } else { 0 };
        let len = u32::try_from(self.take_len()?).expect("below LEN_MAX");
        Ok(Numbers { create, version, lease, len })
    }

    fn take_len(&mut self) -> Result<usize, &'static str> {
        let len = usize::try_from(self.number()?).ok().filter(|len| *len < LEN_MAX);
        len.ok_or("a length is out of range")
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        // Most numbers are a single byte.
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            Some(_) | None => take_varint(&mut self.rest).map_err(|error| error.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// A row with all that is in it.
    type Whole = (Vec<u8>, StoredRevision, Numbers);

    fn put(main: i64, sub: u32, key: &[u8], numbers: Numbers) -> Row<'_> {
        Row { revision: StoredRevision { main, sub, is_deletion: false }, key, numbers }
    }

    fn deletion(main: i64, sub: u32, key: &[u8]) -> Row<'_> {
        Row { revision: StoredRevision { main, sub, is_deletion: true }, key, numbers: Numbers::default() }
    }

    /// Reads a block, each row with its whole key.
    fn read_all(start: Revision32, stored: &[u8]) -> Result<Vec<Whole>, &'static str> {
        let mut reader = BlockReader::new(start, stored);
        let mut key = Vec::new();
        let mut rows = Vec::new();
        while let Some(row) = reader.next()? {
            key.truncate(row.shared);
            key.extend_from_slice(row.suffix);
            rows.push((key.clone(), row.revision, row.numbers));
        }
        Ok(rows)
    }

    #[test]
    fn a_block_has_the_bytes_of_the_format() {
        let start = Revision32 { main: 2, sub: 0 };
        let mut writer = BlockWriter::new(start);
        writer.push(&put(2, 0, b"fox/1", Numbers { create: 2, version: 1, lease: 0, len: 20 }));
        writer.push(&put(3, 0, b"fox/2", Numbers { create: 3, version: 1, lease: -1, len: 300 }));
        writer.push(&put(3, 2, b"fox/1", Numbers { create: 2, version: 2, lease: 0, len: 21 }));
        writer.push(&deletion(9, 1, b"fo"));
        let mut hex = String::new();
        writer.bytes.iter().for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        let expected = [
            "04",
            "00",
            "00",
            "00",
            "05",
            "666f782f31",
            "14", // FRESH
            "0e",
            "04",
            "01",
            "32",
            "ffffffffffffffffff01",
            "ac02", // NEXT, FRESH, LEASE
            "00",
            "00",
            "01",
            "04",
            "01",
            "31",
            "01",
            "02",
            "15", //
            "01",
            "06",
            "01",
            "02",
            "00", // DELETION
        ];
        assert_eq!(hex, expected.concat());
        assert_eq!(encode_start(Revision32 { main: 258, sub: 3 }), *b"\0\0\0\0\0\0\x01\x02\0\0\0\x03");
    }

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_written(
            start in (0..40_i64, 0..3_u32),
            rows in prop::collection::vec(
                (
                    (prop_oneof![4 => Just(1), 2 => Just(0), 1 => 0..1_i64 << 40], 0..3_u32, any::<bool>()),
                    prop::collection::vec(prop::sample::select(b"ab".to_vec()), 0..8),
                    (0..4_i64, 0..4_i64, prop_oneof![3 => Just(0), 1 => any::<i64>()], 0..1_u32 << 29),
                ),
                0..40,
            ),
            resumed_at in any::<prop::sample::Index>(),
        ) {
            let start = Revision32 { main: start.0, sub: start.1 };
            let (mut main, mut sub_next) = (start.main, start.sub);
            let mut expected = Vec::new();
            for ((main_above, sub_above, is_deletion), key, (back, version, lease, len)) in rows {
                let sub = if main_above == 0 { sub_next + sub_above } else { sub_above };
                main += main_above;
                sub_next = sub + 1;
                let create = (main - back).max(0);
                let numbers =
                    if is_deletion { Numbers::default() } else { Numbers { create, version, lease, len } };
                expected.push((key, StoredRevision { main, sub, is_deletion }, numbers));
            }
            let mut writer = BlockWriter::new(start);
            let resumed_at = resumed_at.index(expected.len() + 1);
            for (at, (key, revision, numbers)) in expected.iter().enumerate() {
                if at == resumed_at {
                    writer = BlockWriter::resume(start, &writer.bytes).unwrap();
                }
                let before = writer.bytes.len();
                writer.push(&Row { revision: *revision, key, numbers: *numbers });
                prop_assert!(writer.bytes.len() - before <= ROW_BYTES_MAX + key.len());
            }
            prop_assert_eq!(writer.rows as usize, expected.len());
            prop_assert_eq!(read_all(start, &writer.bytes), Ok(expected));
            prop_assert_eq!(decode_start(&encode_start(start)), Ok(start));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(
            main in 0..=REVISION_MAX, sub in 0..=SUB_MAX,
            bytes in prop::collection::vec(prop_oneof![0..16_u8, any::<u8>()], 0..64),
        ) {
            let start = Revision32 { main, sub };
            let read = read_all(start, &bytes);
            let resumed = BlockWriter::resume(start, &bytes);
            prop_assert_eq!(read.is_ok(), resumed.is_ok());
            for pair in read.unwrap_or_default().windows(2) {
                prop_assert!((pair[0].1.main, pair[0].1.sub) < (pair[1].1.main, pair[1].1.sub));
            }
            let _ = decode_start(&bytes);
        }
    }
}
