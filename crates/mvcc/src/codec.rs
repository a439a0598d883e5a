//! The stored bytes: revision keys and records, in etcd's format.
//!
//! ```text
//! table Key, key:    main: 8 bytes, big endian | '_' | sub: 8 bytes, big endian | 't' of a deletion only
//! table Key, value:  mvccpb.KeyValue; of a deletion: KeyValue { key }
//!
//! KeyValue:  0a len key | 10 create_revision | 18 mod_revision | 20 version | 2a len value | 30 lease
//! ```
//!
//! Canonical means: fields in the order of their numbers, none that is zero or empty, varints as short as they go,
//! negative numbers as ten bytes.
//! What is read may be any encoding of the message, since it may have been written elsewhere.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::Revision;

/// Length of a revision key.
pub(crate) const REVISION_LEN: usize = 17;

/// Largest main revision that is accepted from disk: no store can count up to it, and one more never overflows.
pub(crate) const REVISION_MAX: i64 = 1 << 62;

/// Largest number of changes in one transaction.
pub(crate) const SUB_MAX: u32 = (1 << 31) - 1;

/// Longest key, and longest record, in bytes.
pub(crate) const LEN_MAX: usize = 1 << 30;

const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// A key of the table `Key`, taken apart.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredRevision {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) is_deletion: bool,
}

impl StoredRevision {
    /// Reads a key of the table `Key`, or says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (revision, is_deletion) = match bytes {
            [revision @ .., TOMBSTONE] if revision.len() == REVISION_LEN => (revision, true),
            revision => (revision, false),
        };
        let Some((main, rest)) = revision.split_first_chunk::<8>() else {
            return Err("the revision is cut short");
        };
        let Some((&SEPARATOR, sub)) = rest.split_first() else { return Err("the revision has no separator") };
        let Ok(sub) = <[u8; 8]>::try_from(sub) else { return Err("the revision has a wrong length") };
        let main = i64::from_be_bytes(*main);
        let sub = u64::from_be_bytes(sub);
        if !(0..=REVISION_MAX).contains(&main) {
            return Err("the main revision is out of range");
        }
        match u32::try_from(sub) {
            Ok(sub) if sub <= SUB_MAX => Ok(Self { main, sub, is_deletion }),
            Ok(_) | Err(_) => Err("the sub revision is out of range"),
        }
    }
}

/// The key under which the put of that revision is stored.
pub(crate) fn revision_key(main: i64, sub: u32) -> [u8; REVISION_LEN] {
    let mut key = [SEPARATOR; REVISION_LEN];
    key[..8].copy_from_slice(&main.to_be_bytes());
    key[9..].copy_from_slice(&u64::from(sub).to_be_bytes());
    key
}

/// The key under which the deletion of that revision is stored.
pub(crate) fn deletion_key(main: i64, sub: u32) -> [u8; REVISION_LEN + 1] {
    let mut key = [TOMBSTONE; REVISION_LEN + 1];
    key[..REVISION_LEN].copy_from_slice(&revision_key(main, sub));
    key
}

/// Reads a main revision from the table `Meta`.
pub(crate) fn decode_meta_revision(bytes: &[u8]) -> Result<i64, &'static str> {
    StoredRevision::decode(bytes).map(|revision| revision.main)
}

/// A key-value as it is stored, sent and hashed: etcd's `mvccpb.KeyValue`, borrowed from its bytes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Main revision of the put that created the key.
    pub create_revision: i64,
    /// Main revision of this put.
    pub mod_revision: i64,
    /// How many puts there were since the key was created, this one included.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The lease that the key is attached to; 0 is none.
    pub lease: i64,
}

/// The bytes are no encoding of a key-value.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key-value: {0}")]
pub struct RecordError(pub(crate) &'static str);

const KEY: u64 = 1 << 3 | 2;
const CREATE_REVISION: u64 = 2 << 3;
const MOD_REVISION: u64 = 3 << 3;
const VERSION: u64 = 4 << 3;
const VALUE: u64 = 5 << 3 | 2;
const LEASE: u64 = 6 << 3;

impl<'a> Record<'a> {
    /// Reads a key-value from any encoding of it; fields that it does not know are passed over.
    ///
    /// # Errors
    ///
    /// The bytes are cut short or are not a protobuf message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut record = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            match take_varint(&mut rest)? {
                KEY => record.key = take_bytes(&mut rest)?,
                CREATE_REVISION => record.create_revision = take_varint(&mut rest)?.cast_signed(),
                MOD_REVISION => record.mod_revision = take_varint(&mut rest)?.cast_signed(),
                VERSION => record.version = take_varint(&mut rest)?.cast_signed(),
                VALUE => record.value = take_bytes(&mut rest)?,
                LEASE => record.lease = take_varint(&mut rest)?.cast_signed(),
                other => skip_field(other, &mut rest)?,
            }
        }
        Ok(record)
    }

    /// The key of a record; of bytes that are no record, an empty one.
    ///
    /// Canonical records begin with their key, so the rest need not be read.
    pub(crate) fn decode_key(bytes: &'a [u8]) -> &'a [u8] {
        match bytes.split_first() {
            Some((&tag, mut rest)) if u64::from(tag) == KEY => take_bytes(&mut rest).unwrap_or_default(),
            Some(_) | None => Self::decode(bytes).unwrap_or_default().key,
        }
    }

    /// How many bytes the canonical encoding takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        bytes_len(self.key)
            + number_len(self.create_revision)
            + number_len(self.mod_revision)
            + number_len(self.version)
            + bytes_len(self.value)
            + number_len(self.lease)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out.into()
    }

    /// Appends the canonical encoding to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_bytes(out, KEY, self.key);
        put_number(out, CREATE_REVISION, self.create_revision);
        put_number(out, MOD_REVISION, self.mod_revision);
        put_number(out, VERSION, self.version);
        put_bytes(out, VALUE, self.value);
        put_number(out, LEASE, self.lease);
    }
}

/// A put as it is stored: its revision key and its record, which share one allocation.
pub(crate) fn encode_put(revision: Revision32, record: &Record<'_>) -> (Bytes, Bytes) {
    let mut out = Vec::with_capacity(REVISION_LEN + record.encoded_len());
    out.extend_from_slice(&revision_key(revision.main, revision.sub));
    record.encode_into(&mut out);
    let mut key = Bytes::from(out);
    let record = key.split_off(REVISION_LEN);
    (key, record)
}

/// A deletion: its revision key, what is stored under it, and the record that watchers get.
///
/// The stored value is `KeyValue { key }`, a prefix of the record `KeyValue { key, mod_revision }`.
pub(crate) fn encode_deletion(revision: Revision32, key: &[u8]) -> (Bytes, Bytes, Bytes) {
    let record = Record { key, mod_revision: revision.main, ..Record::default() };
    let mut out = Vec::with_capacity(REVISION_LEN + 1 + record.encoded_len());
    out.extend_from_slice(&deletion_key(revision.main, revision.sub));
    record.encode_into(&mut out);
    let mut revision_key = Bytes::from(out);
    let record = revision_key.split_off(REVISION_LEN + 1);
    (revision_key, record.slice(..bytes_len(key)), record)
}

/// The record of a deletion as watchers get it.
pub(crate) fn deletion_record(main: i64, key: &[u8]) -> Bytes {
    Record { key, mod_revision: main, ..Record::default() }.encode()
}

/// A revision as the index keeps it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision32 {
    pub(crate) main: i64,
    pub(crate) sub: u32,
}

impl From<Revision32> for Revision {
    fn from(revision: Revision32) -> Self {
        Self { main: revision.main, sub: i64::from(revision.sub) }
    }
}

/// How many bytes a number takes as a varint.
pub(crate) fn varint_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + varint_len(bytes.len() as u64) + bytes.len() }
}

fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) }
}

fn put_bytes(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_varint(out, tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn put_number(out: &mut Vec<u8>, tag: u64, number: i64) {
    if number != 0 {
        put_varint(out, tag);
        put_varint(out, number.cast_unsigned());
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, RecordError> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err(RecordError("a number is cut short"));
        };
        *rest = after;
        // The tenth byte has room for one bit; what is above is lost, as in every decoder of the format.
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(RecordError("a number is too long"))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let len = take_varint(rest)?;
    take(rest, len)
}

pub(crate) fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], RecordError> {
    match usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)) {
        Some((taken, after)) => {
            *rest = after;
            Ok(taken)
        }
        None => Err(RecordError("a field is cut short")),
    }
}

fn skip_field(tag: u64, rest: &mut &[u8]) -> Result<(), RecordError> {
    if tag >> 3 == 0 {
        return Err(RecordError("a field has number zero"));
    }
    match tag & 7 {
        0 => take_varint(rest).map(drop),
        1 => take(rest, 8).map(drop),
        2 => take_bytes(rest).map(drop),
        5 => take(rest, 4).map(drop),
        _ => Err(RecordError("a field has an unknown wire type")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_put_is_stored_as_etcd_stores_it() {
        let record = Record {
            key: b"foo",
            create_revision: 2,
            mod_revision: 300,
            version: 3,
            value: b"bar",
            lease: -1,
        };
        let (key, value) = encode_put(Revision32 { main: 300, sub: 1 }, &record);
        assert_eq!(&key[..], b"\0\0\0\0\0\0\x01\x2c_\0\0\0\0\0\0\0\x01");
        let expected =
            b"\x0a\x03foo\x10\x02\x18\xac\x02\x20\x03\x2a\x03bar\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(&value[..], expected);
        assert_eq!(Record::decode(&value), Ok(record));
    }

    #[test]
    fn a_deletion_is_stored_with_its_key_alone() {
        let (key, stored, record) = encode_deletion(Revision32 { main: 2, sub: 0 }, b"foo");
        assert_eq!(&key[..], b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0t");
        assert_eq!(&stored[..], b"\x0a\x03foo");
        assert_eq!(&record[..], b"\x0a\x03foo\x18\x02");
        assert_eq!(record, deletion_record(2, b"foo"));
    }

    #[test]
    fn odd_revision_keys_are_refused() {
        let good = revision_key(7, 1);
        assert_eq!(StoredRevision::decode(&good), Ok(StoredRevision { main: 7, sub: 1, is_deletion: false }));
        assert!(StoredRevision::decode(&good[..16]).is_err());
        assert!(StoredRevision::decode(&[&good[..], b"u"].concat()).is_err());
        assert!(StoredRevision::decode(&[0xff; 17]).is_err());
        let mut far = revision_key(i64::MAX, 0);
        assert!(StoredRevision::decode(&far).is_err());
        far[..8].fill(0);
        far[9] = 1;
        assert!(StoredRevision::decode(&far).is_err());
    }

    proptest! {
        #[test]
        fn records_agree_with_the_generated_message(
            key in prop::collection::vec(any::<u8>(), 0..200), value in prop::collection::vec(any::<u8>(), 0..200),
            numbers in prop::array::uniform4(prop_oneof![Just(0), 0..1000_i64, any::<i64>()])
        ) {
            use prost::Message as _;
            let [create_revision, mod_revision, version, lease] = numbers;
            let record = Record { key: &key, create_revision, mod_revision, version, value: &value, lease };
            let bytes = record.encode();
            prop_assert_eq!(bytes.len(), record.encoded_len());
            prop_assert_eq!(Record::decode(&bytes), Ok(record));
            let message = etched_proto::mvccpb::KeyValue {
                key: key.clone().into(), create_revision, mod_revision, version, value: value.clone().into(), lease,
            };
            prop_assert_eq!(message.encode_to_vec(), &bytes[..]);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::decode(&bytes);
            let _ = StoredRevision::decode(&bytes);
        }
    }
}
