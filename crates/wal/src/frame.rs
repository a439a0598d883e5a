//! Frames and records: the outer two layers of the format.
//!
//! ```text
//! frame    8 bytes, little endian: bits 0..56 length of the record,
//!                                  bits 56..59 padding bytes, bit 63 set if there are any
//!          record
//!          zeros up to a multiple of 8
//! record   protobuf walpb.Record { type = 1: varint, crc = 2: varint, data = 3: bytes }
//! ```
//!
//! The `crc` of a record is CRC-32C over the data of all records so far, its own included; that of a crc record,
//! which has no data, is so the checksum of all before it. A length of zero is the end of the log.
//!
//! A crc record *with* data is a fill: its data stand for nothing, and no reader looks at them. Every write ends with
//! one, up to the border of a sector, so that no sector holds parts of two batches and none that was synced is
//! written again.
//!
//! Reading is strict: fields in order, none unknown, padding as computed. The type and the lengths are not covered
//! by the checksum, so what can be known about them twice is compared.

use crate::error::Damage;
use etched_disk::SECTOR_BYTES;

/// What a record holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Who the log belongs to: opaque bytes.
    Metadata,
    /// `raftpb.Entry`.
    Entry,
    /// `raftpb.HardState`.
    State,
    /// The checksum of all before.
    Crc,
    /// The same, with data that stand for nothing.
    Fill,
    /// `walpb.Snapshot`.
    Snapshot,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Metadata => 1,
            Self::Entry => 2,
            Self::State => 3,
            Self::Crc | Self::Fill => 4,
            Self::Snapshot => 5,
        }
    }

    fn from_number(number: u64, has_data: bool) -> Option<Self> {
        Some(match (number, has_data) {
            (1, true) => Self::Metadata,
            (2, true) => Self::Entry,
            (3, true) => Self::State,
            (4, false) => Self::Crc,
            (4, true) => Self::Fill,
            (5, true) => Self::Snapshot,
            _ => return None,
        })
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) crc: u32,
    pub(crate) data: &'a [u8],
}

/// What stands at an offset of a segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A well-formed record, not yet checked against the chain, and the bytes its frame takes.
    Record(Record<'a>, usize),
    /// A zero length, or no room for one.
    End,
    /// Something else.
    Invalid(Damage),
}

/// Size of the length field in bytes; records begin at multiples of it.
pub(crate) const ALIGNMENT: usize = 8;
const LENGTH_BITS: u32 = 56;
/// No fill fits into less.
const FILL_BYTES_MIN: usize = 24;
const FILL_BYTES_MAX: usize = SECTOR_BYTES + FILL_BYTES_MIN - ALIGNMENT;
const PADDED: u64 = 0x80;

/// Reads the frame at `offset`.
pub(crate) fn read(bytes: &[u8], offset: usize) -> Step<'_> {
    let (length, size) = match read_length(bytes, offset) {
        Length::End => return Step::End,
        Length::Impossible => return Step::Invalid(Damage::Frame),
        Length::Record { length, size } => (length, size),
    };
    let start = offset + ALIGNMENT;
    if size > bytes.len() - offset {
        return Step::Invalid(Damage::PastEnd);
    }
    match read_record(&bytes[start..start + length]) {
        Some(record) => Step::Record(record, size),
        None => Step::Invalid(Damage::Malformed),
    }
}

/// What a length field says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    End,
    Impossible,
    /// The bytes of the record, and of the whole frame.
    Record {
        length: usize,
        size: usize,
    },
}

pub(crate) fn read_length(bytes: &[u8], offset: usize) -> Length {
    let Some(field) = bytes.get(offset..).and_then(|rest| rest.first_chunk::<ALIGNMENT>()) else {
        return Length::End;
    };
    let word = u64::from_le_bytes(*field);
    if word == 0 {
        return Length::End;
    }
    let length = word & ((1 << LENGTH_BITS) - 1);
    let padding = length.wrapping_neg() % ALIGNMENT as u64;
    let flags = if padding == 0 { 0 } else { PADDED | padding };
    match usize::try_from(length) {
        Ok(length) if length > 0 && word >> LENGTH_BITS == flags => {
            Length::Record { length, size: ALIGNMENT + length.next_multiple_of(ALIGNMENT) }
        }
        Ok(_) | Err(_) => Length::Impossible,
    }
}

fn read_record(mut bytes: &[u8]) -> Option<Record<'_>> {
    let (number, crc, data_length) = match read_record_head(&mut bytes) {
        Head::Whole { number, crc, data_length } => (number, crc, data_length),
        Head::CutOff | Head::Malformed => return None,
    };
    let kind = Kind::from_number(number, data_length.is_some())?;
    (data_length.unwrap_or(0) == bytes.len()).then_some(Record { kind, crc, data: bytes })
}

/// The fields of a record up to its data.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// `data_length` is `None` if the bytes end where the data field would begin.
    Whole {
        number: u64,
        crc: u32,
        data_length: Option<usize>,
    },
    /// The bytes end in the middle of a field.
    CutOff,
    Malformed,
}

/// Reads the fields before the data and moves `bytes` on to the data.
pub(crate) fn read_record_head(bytes: &mut &[u8]) -> Head {
    fn tagged(bytes: &mut &[u8], tag: u8) -> Result<u64, Head> {
        match bytes.split_first() {
            None => Err(Head::CutOff),
            Some((first, _)) if *first != tag => Err(Head::Malformed),
            Some((_, rest)) => {
                *bytes = rest;
                match crate::message::take_varint(bytes) {
                    Some(value) => Ok(value),
                    None if bytes.len() < 10 => Err(Head::CutOff),
                    None => Err(Head::Malformed),
                }
            }
        }
    }
    let mut fields = || {
        let number = tagged(bytes, 0x08)?;
        let crc = u32::try_from(tagged(bytes, 0x10)?).map_err(|_| Head::Malformed)?;
        let data_length = if bytes.is_empty() {
            None
        } else {
            let length = tagged(bytes, 0x1a)?;
            Some(usize::try_from(length).map_err(|_| Head::Malformed)?)
        };
        Ok(Head::Whole { number, crc, data_length })
    };
    fields().unwrap_or_else(|problem| problem)
}

/// The running checksum, and the writer of frames that carries it on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u32);

impl Chain {
    /// Appends a record whose data are `head` followed by `body`.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, kind: Kind, head: &[u8], body: &[u8]) {
        assert!(!matches!(kind, Kind::Crc | Kind::Fill), "a crc record has no data that matter");
        self.0 = crc32c::crc32c_append(crc32c::crc32c_append(self.0, head), body);
        let data_length = (head.len() + body.len()) as u64;
        let mut fields = Fields::new(kind, self.0);
        fields.push(0x1a);
        fields.push_varint(data_length);
        write(out, fields.as_slice(), head, body);
    }

    /// Appends a crc record.
    pub(crate) fn push_crc(self, out: &mut Vec<u8>) {
        write(out, Fields::new(Kind::Crc, self.0).as_slice(), &[], &[]);
    }

    /// Appends a fill to `out`, whose end lies at `offset` of a segment, up to the border of a sector.
    pub(crate) fn push_fill(self, out: &mut Vec<u8>, offset: u64) {
        let gap = fill_bytes(offset);
        if gap == 0 {
            return;
        }
        let mut fields = Fields::new(Kind::Fill, self.0);
        fields.push(0x1a);
        let left = gap - ALIGNMENT - fields.len;
        // One byte for the length of the data, or two; 127 bytes and two for their length would not be minimal.
        let data = match left {
            0..=128 => left - 1,
            129 => 127,
            _ => left - 2,
        };
        fields.push_varint(data as u64);
        write(out, fields.as_slice(), &[0; FILL_BYTES_MAX][..data], &[]);
    }

    /// The chain after `record`, if the record belongs here.
    pub(crate) fn follow(self, record: &Record<'_>) -> Result<Self, Damage> {
        if matches!(record.kind, Kind::Crc | Kind::Fill) {
            return if record.crc == self.0 { Ok(self) } else { Err(Damage::Chain) };
        }
        let next = crc32c::crc32c_append(self.0, record.data);
        if record.crc == next { Ok(Self(next)) } else { Err(Damage::Checksum) }
    }
}

/// The size of the fill that [`Chain::push_fill`] puts at `offset`.
pub(crate) fn fill_bytes(offset: u64) -> usize {
    assert!(offset.is_multiple_of(ALIGNMENT as u64), "records begin at multiples of eight");
    let gap =
        usize::try_from(offset.next_multiple_of(SECTOR_BYTES as u64) - offset).expect("less than a sector");
    if gap == 0 || gap >= FILL_BYTES_MIN { gap } else { gap + SECTOR_BYTES }
}

/// The fields of a record before its data, on the stack.
struct Fields {
    bytes: [u8; 24],
    len: usize,
}

impl Fields {
    fn new(kind: Kind, crc: u32) -> Self {
        let mut fields = Self { bytes: [0; 24], len: 0 };
        fields.push(0x08);
        fields.push(kind.number());
        fields.push(0x10);
        fields.push_varint(u64::from(crc));
        fields
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_varint(&mut self, value: u64) {
        crate::message::put_varint(value, |byte| self.push(byte));
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn write(out: &mut Vec<u8>, fields: &[u8], head: &[u8], body: &[u8]) {
    let length = fields.len() + head.len() + body.len();
    let padding = length.next_multiple_of(ALIGNMENT) - length;
    let flags = if padding == 0 { 0 } else { PADDED | padding as u64 };
    let word = length as u64 | (flags << LENGTH_BITS);
    out.reserve(ALIGNMENT + length + padding);
    out.extend_from_slice(&word.to_le_bytes());
    out.extend_from_slice(fields);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out.extend_from_slice(&[0; ALIGNMENT][..padding]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Chain(0).push(&mut out, kind, data, &[]);
        out
    }

    #[test]
    fn a_frame_is_read_back_as_it_was_written() {
        for length in 0..40 {
            let data = vec![0xab; length];
            let bytes = frame(Kind::Entry, &data);
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            let crc = crc32c::crc32c(&data);
            assert_eq!(
                read(&bytes, 0),
                Step::Record(Record { kind: Kind::Entry, crc, data: &data }, bytes.len())
            );
        }
    }

    #[test]
    fn a_crc_record_always_takes_two_words() {
        for crc in [0, 1, 0x7f, 0x80, 0xffff, 0x1000_0000, u32::MAX] {
            let mut out = Vec::new();
            Chain(crc).push_crc(&mut out);
            assert_eq!(out.len(), 16);
            assert_eq!(read(&out, 0), Step::Record(Record { kind: Kind::Crc, crc, data: &[] }, 16));
        }
    }

    #[test]
    fn a_fill_reaches_the_border_of_a_sector() {
        for crc in [0, 0x80, 0x8000, 0x80_0000, u32::MAX] {
            for offset in (0..1024).step_by(ALIGNMENT) {
                let mut out = Vec::new();
                Chain(crc).push_fill(&mut out, offset);
                assert_eq!(out.len(), fill_bytes(offset));
                assert!((offset + out.len() as u64).is_multiple_of(SECTOR_BYTES as u64));
                if !out.is_empty() {
                    let Step::Record(record, size) = read(&out, 0) else { panic!("a record at {offset}") };
                    assert_eq!((record.kind, record.crc, size), (Kind::Fill, crc, out.len()));
                }
            }
        }
    }

    #[test]
    fn zeros_and_too_few_bytes_are_the_end() {
        assert_eq!(read(&[0; 64], 8), Step::End);
        assert_eq!(read(&[1; 7], 0), Step::End);
        assert_eq!(read(&[], 0), Step::End);
        assert_eq!(read(&[], 99), Step::End);
    }

    #[test]
    fn every_flipped_bit_of_a_length_field_is_noticed() {
        let good = frame(Kind::State, &[7; 50]);
        for bit in 0..64 {
            let mut bytes = good.clone();
            bytes.extend_from_slice(&[0; 4096]);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&bytes, 0), Step::Invalid(_)), "bit {bit}");
        }
    }

    #[test]
    fn the_largest_length_does_not_overflow() {
        let mut bytes = [0xff; 16];
        bytes[7] = 0x81;
        assert!(matches!(read(&bytes, 0), Step::Invalid(_)));
        bytes[..8].copy_from_slice(&((1u64 << 56) - 8).to_le_bytes());
        assert_eq!(read(&bytes, 0), Step::Invalid(Damage::PastEnd));
    }

    #[test]
    fn the_chain_follows_only_its_own_records() {
        let mut out = Vec::new();
        let mut chain = Chain(5);
        chain.push(&mut out, Kind::Entry, b"ab", b"cd");
        let Step::Record(record, _) = read(&out, 0) else { panic!("a record") };
        assert_eq!(record.data, b"abcd");
        assert_eq!(Chain(5).follow(&record), Ok(chain));
        assert_eq!(Chain(6).follow(&record), Err(Damage::Checksum));
        let crc = Record { kind: Kind::Crc, crc: 5, data: &[] };
        assert_eq!(Chain(5).follow(&crc), Ok(Chain(5)));
        assert_eq!(Chain(6).follow(&crc), Err(Damage::Chain));
    }
}
