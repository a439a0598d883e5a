//! The protobuf messages inside records and snapshot files, written and read by hand.
//!
//! ```text
//! raftpb.Entry      Type = 1: varint, Term = 2: varint, Index = 3: varint, Data = 4: bytes
//! raftpb.HardState  term = 1: varint, vote = 2: varint, commit = 3: varint
//! walpb.Snapshot    index = 1: varint, term = 2: varint, conf_state = 3: message
//! ```
//!
//! What is written is what etcd 3.7 writes: all numbers, zeros too, but no `Type` of 0 and no empty `Data`. Read
//! back, an absent number is zero.
//! Fields must come in order and be known: the type of a record is not under its checksum, and a message that is
//! read as one of another type must not pass.

use crate::{Entry, HardState, SnapshotRecord};
use bytes::Bytes;

/// The highest `Type` of an entry.
const ENTRY_KIND_MAX: u64 = 2;

/// Gives the bytes of a varint to `put`.
pub(crate) fn put_varint(mut value: u64, mut put: impl FnMut(u8)) {
    while value >= 0x80 {
        put((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    put((value & 0x7f) as u8);
}

/// Takes a varint off the front; `None` if the bytes end before it does or it does not fit.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (position, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if position == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * position);
        if byte & 0x80 == 0 {
            *bytes = &bytes[position + 1..];
            return Some(value);
        }
    }
    None
}

/// Takes length-prefixed bytes off the front.
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Takes the number of a field if its tag comes next, and zero if not.
fn take_number(bytes: &mut &[u8], tag: u8) -> Option<u64> {
    if bytes.first() != Some(&tag) {
        return Some(0);
    }
    *bytes = &bytes[1..];
    take_varint(bytes)
}

/// Takes the bytes of a field if its tag comes next.
fn take_field<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Option<&'a [u8]>> {
    if bytes.first() != Some(&tag) {
        return Some(None);
    }
    *bytes = &bytes[1..];
    take_bytes(bytes).map(Some)
}

/// A short message, or the part of one before its bytes, on the stack.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Short {
    bytes: [u8; 48],
    len: usize,
}

impl Short {
    fn new() -> Self {
        Self { bytes: [0; 48], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn number(mut self, tag: u8, value: u64) -> Self {
        self.push(tag);
        put_varint(value, |byte| self.push(byte));
        self
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// An entry without the content that follows.
pub(crate) fn encode_entry_head(entry: &Entry) -> Short {
    let head = if entry.kind == 0 { Short::new() } else { Short::new().number(0x08, entry.kind) };
    let head = head.number(0x10, entry.term).number(0x18, entry.index);
    if entry.data.is_empty() { head } else { head.number(0x22, entry.data.len() as u64) }
}

pub(crate) fn decode_entry(mut bytes: &[u8]) -> Option<Entry> {
    let kind = take_number(&mut bytes, 0x08)?;
    let term = take_number(&mut bytes, 0x10)?;
    let index = take_number(&mut bytes, 0x18)?;
    let data = take_field(&mut bytes, 0x22)?.unwrap_or_default();
    // Index 0 and term 0 are the place before the first entry; a membership change has content.
    let sound = index > 0 && term > 0 && kind <= ENTRY_KIND_MAX && (kind == 0 || !data.is_empty());
    (sound && bytes.is_empty()).then(|| Entry { term, index, kind, data: Bytes::copy_from_slice(data) })
}

pub(crate) fn encode_state(state: &HardState) -> Short {
    Short::new().number(0x08, state.term).number(0x10, state.vote).number(0x18, state.commit)
}

pub(crate) fn decode_state(mut bytes: &[u8]) -> Option<HardState> {
    let term = take_number(&mut bytes, 0x08)?;
    let vote = take_number(&mut bytes, 0x10)?;
    let commit = take_number(&mut bytes, 0x18)?;
    // Who votes or commits has seen a term.
    let sound = term > 0 || (vote == 0 && commit == 0);
    (sound && bytes.is_empty()).then_some(HardState { term, vote, commit })
}

/// A snapshot record without the members that follow.
pub(crate) fn encode_snapshot_head(snapshot: &SnapshotRecord) -> Short {
    let head = Short::new().number(0x08, snapshot.index).number(0x10, snapshot.term);
    match &snapshot.conf_state {
        Some(conf_state) => head.number(0x1a, conf_state.len() as u64),
        None => head,
    }
}

pub(crate) fn decode_snapshot(mut bytes: &[u8]) -> Option<SnapshotRecord> {
    let index = take_number(&mut bytes, 0x08)?;
    let term = take_number(&mut bytes, 0x10)?;
    let conf_state = take_field(&mut bytes, 0x1a)?.map(Bytes::copy_from_slice);
    // Before the first entry there is no term, and from it on there is one.
    let sound = (index == 0) == (term == 0);
    (sound && bytes.is_empty()).then_some(SnapshotRecord { index, term, conf_state })
}

/// The parts of a `raftpb.Snapshot`: data = 1, metadata = 2 { conf_state = 1, index = 2, term = 3 }.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RaftSnapshot<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) conf_state: &'a [u8],
    pub(crate) index: u64,
    pub(crate) term: u64,
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.extend_from_slice(Short::new().number(tag, bytes.len() as u64).as_slice());
    out.extend_from_slice(bytes);
}

pub(crate) fn encode_raft_snapshot(snapshot: &RaftSnapshot<'_>) -> Vec<u8> {
    let mut metadata = Vec::new();
    put_bytes(&mut metadata, 0x0a, snapshot.conf_state);
    metadata
        .extend_from_slice(Short::new().number(0x10, snapshot.index).number(0x18, snapshot.term).as_slice());
    let mut out = Vec::with_capacity(snapshot.data.len() + metadata.len() + 24);
    if !snapshot.data.is_empty() {
        put_bytes(&mut out, 0x0a, snapshot.data);
    }
    put_bytes(&mut out, 0x12, &metadata);
    out
}

pub(crate) fn decode_raft_snapshot(mut bytes: &[u8]) -> Option<RaftSnapshot<'_>> {
    let data = take_field(&mut bytes, 0x0a)?.unwrap_or_default();
    let mut metadata = take_field(&mut bytes, 0x12)?.unwrap_or_default();
    let conf_state = take_field(&mut metadata, 0x0a)?.unwrap_or_default();
    let index = take_number(&mut metadata, 0x10)?;
    let term = take_number(&mut metadata, 0x18)?;
    let whole = bytes.is_empty() && metadata.is_empty();
    whole.then_some(RaftSnapshot { data, conf_state, index, term })
}

/// `snappb.snapshot`: crc = 1: varint, the CRC-32C of data = 2: bytes.
pub(crate) fn encode_checked(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 24);
    out.extend_from_slice(Short::new().number(0x08, u64::from(crc32c::crc32c(data))).as_slice());
    put_bytes(&mut out, 0x12, data);
    out
}

/// The data, if they are what the checksum was made for.
pub(crate) fn decode_checked(mut bytes: &[u8]) -> Option<&[u8]> {
    let crc = take_number(&mut bytes, 0x08)?;
    let data = take_field(&mut bytes, 0x12)?.unwrap_or_default();
    let sound = bytes.is_empty() && !data.is_empty() && crc == u64::from(crc32c::crc32c(data));
    sound.then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Chain, Kind, Record, Step};
    use proptest::prelude::*;

    fn encode_entry(entry: &Entry) -> Vec<u8> {
        [encode_entry_head(entry).as_slice(), &entry.data].concat()
    }

    proptest! {
        #[test]
        fn an_entry_survives_the_round_trip(
            term in 1u64.., index in 1u64.., kind in 0u64..3, data in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let entry = Entry { term, index, kind, data: data.into() };
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Some(entry));
        }

        #[test]
        fn a_state_survives_the_round_trip(term in 1u64.., vote: u64, commit: u64) {
            let state = HardState { term, vote, commit };
            prop_assert_eq!(decode_state(encode_state(&state).as_slice()), Some(state));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (decode_entry(&bytes), decode_state(&bytes), decode_snapshot(&bytes));
            let _ = (decode_raft_snapshot(&bytes), decode_checked(&bytes));
        }
    }

    #[test]
    fn a_message_does_not_pass_as_one_of_another_type() {
        let entry = encode_entry(&Entry { term: 3, index: 9, kind: 0, data: Bytes::from_static(b"x") });
        assert_eq!((decode_state(&entry), decode_snapshot(&entry)), (None, None));
        let state = encode_state(&HardState { term: 2, vote: 5, commit: 9 });
        assert_eq!((decode_entry(state.as_slice()), decode_snapshot(state.as_slice())), (None, None));
        let snapshot = encode_snapshot_head(&SnapshotRecord { index: 9, term: 2, conf_state: None });
        assert_eq!(decode_entry(snapshot.as_slice()), None);
    }

    /// Encodes a record again as this crate would write it.
    fn push_again(chain: &mut Chain, out: &mut Vec<u8>, record: &Record<'_>) {
        match record.kind {
            Kind::Crc => {
                // A segment goes on where the one before ended.
                *chain = Chain(record.crc);
                chain.push_crc(out);
            }
            Kind::Metadata => chain.push(out, Kind::Metadata, record.data, &[]),
            Kind::Entry => {
                let entry = decode_entry(record.data).unwrap();
                chain.push(out, Kind::Entry, encode_entry_head(&entry).as_slice(), &entry.data);
            }
            Kind::State => {
                let state = decode_state(record.data).unwrap();
                chain.push(out, Kind::State, encode_state(&state).as_slice(), &[]);
            }
            Kind::Snapshot => {
                let snapshot = decode_snapshot(record.data).unwrap();
                let body = snapshot.conf_state.as_deref().unwrap_or_default();
                chain.push(out, Kind::Snapshot, encode_snapshot_head(&snapshot).as_slice(), body);
            }
            Kind::Fill => panic!("etcd writes no fills"),
        }
    }

    #[test]
    fn etcds_records_are_written_to_the_byte() {
        let segments = [
            &include_bytes!("../tests/golden/library/0000000000000000-0000000000000000.wal")[..],
            &include_bytes!("../tests/golden/library/0000000000000001-0000000000000008.wal")[..],
            &include_bytes!("../tests/golden/server/0000000000000000-0000000000000000.wal")[..],
        ];
        for segment in segments {
            let (mut chain, mut again) = (Chain(0), Vec::new());
            while let Step::Record(record, _) = frame::read(segment, again.len()) {
                push_again(&mut chain, &mut again, &record);
                assert_eq!(again, segment[..again.len()]);
            }
            assert!(again.len() > 1000 && segment[again.len()..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn absent_numbers_are_zero() {
        assert_eq!(decode_state(&[]), Some(HardState::default()));
        let state = HardState { term: 4, ..HardState::default() };
        assert_eq!(decode_state(&[0x08, 4]), Some(state));
        assert_eq!(decode_state(&[0x18, 4]), None, "a commit without a term");
        assert_eq!(decode_snapshot(&[]), Some(SnapshotRecord::default()));
    }

    #[test]
    fn a_varint_that_does_not_fit_is_refused() {
        assert_eq!(take_varint(&mut &[0xff; 10][..]), None);
        assert_eq!(
            take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]),
            Some(u64::MAX)
        );
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]), None);
        assert_eq!(take_varint(&mut &[0x80][..]), None);
    }
}
