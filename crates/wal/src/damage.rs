//! Telling a torn tail from damage.
//!
//! A crash can only hurt what was written since the last sync: the last batch. It hurts it by whole sectors, which
//! then hold what was there before, and that is zeros: space is filled with zeros before it is used, and a torn
//! tail is zeroed before the log goes on. So an unreadable place is a torn tail only if
//!
//! 1. no later crc record stands for other content than was read ([`later_batch`]), and
//! 2. a lost sector explains what is there ([`could_be_torn`]).

use crate::frame::{self, ALIGNMENT, Chain, Head, Kind, Length, Step};
use etched_disk::SECTOR_BYTES;

/// Looks for proof that more was synced than could be read: a crc record at or after `from` whose value is not
/// that of the chain. Returns its offset.
///
/// A crc record with the value of the chain proves that nothing but crc records is missing before it.
pub(crate) fn later_batch(bytes: &[u8], from: usize, chain: Chain) -> Option<usize> {
    assert!(from.is_multiple_of(ALIGNMENT), "records begin at multiples of eight");
    (from..bytes.len()).step_by(ALIGNMENT).find(|offset| {
        // Most of what is looked at is zeros or content; the first byte of a crc record's length is 4 to 8.
        matches!(bytes[*offset], 4..=8)
            && match frame::read(bytes, *offset) {
                Step::Record(record, _) => record.kind == Kind::Crc && record.crc != chain.0,
                Step::End | Step::Invalid(_) => false,
            }
    })
}

/// Whether the last write may have made the segment longer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// etcd writes past the end of what was set aside.
    Possible,
    /// This crate makes the segment longer, durably, before it writes there.
    Synced,
}

/// Says whether a crash during the last write can have left what stands at `at`, the first place that does not
/// read as a record.
pub(crate) fn could_be_torn(bytes: &[u8], at: usize, growth: Growth) -> bool {
    if at == bytes.len() {
        return growth == Growth::Possible;
    }
    let sector_end = sector_end(bytes, at);
    if is_zero(&bytes[at..sector_end]) {
        return true;
    }
    // The first sector is there, so the length field in it is as it was written.
    let (length, size) = match frame::read_length(bytes, at) {
        Length::Record { length, size } => (length, size),
        Length::End | Length::Impossible => return false,
    };
    let end = at + size.min(bytes.len() - at);
    if !head_agrees(&bytes[at + ALIGNMENT..end.min(present_end(bytes, at))], length) {
        return false;
    }
    if size > bytes.len() - at { growth == Growth::Possible } else { has_zero_sector(bytes, sector_end, end) }
}

/// Where the sectors end, from that of `at` on, which were written for sure, as they are not zero.
fn present_end(bytes: &[u8], at: usize) -> usize {
    let mut end = sector_end(bytes, at);
    while end < bytes.len() && !is_zero(&bytes[end..sector_end(bytes, end)]) {
        end = sector_end(bytes, end);
    }
    end
}

/// Says whether `first_part` can be the beginning of a record of this length.
fn head_agrees(first_part: &[u8], length: usize) -> bool {
    let mut rest = first_part;
    let cut_off = first_part.len() < length;
    match frame::read_record_head(&mut rest) {
        Head::Whole { data_length: Some(data), .. } => {
            (first_part.len() - rest.len()).checked_add(data) == Some(length)
        }
        Head::Whole { number: 4, data_length: None, .. } => true,
        Head::Whole { data_length: None, .. } | Head::CutOff => cut_off,
        Head::Malformed => false,
    }
}

fn has_zero_sector(bytes: &[u8], mut from: usize, end: usize) -> bool {
    while from < end {
        let until = sector_end(bytes, from).min(end);
        if is_zero(&bytes[from..until]) {
            return true;
        }
        from = until;
    }
    false
}

fn sector_end(bytes: &[u8], offset: usize) -> usize {
    (offset + 1).next_multiple_of(SECTOR_BYTES).min(bytes.len())
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of one crc record and one entry of 2000 bytes.
    fn image() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let mut chain = Chain(77);
        chain.push_crc(&mut bytes);
        let at = bytes.len();
        chain.push(&mut bytes, Kind::Entry, &[], &[0xaa; 2000]);
        bytes.resize(8192, 0);
        (bytes, at)
    }

    #[test]
    fn a_lost_sector_explains_a_bad_record() {
        for sector in 0..4 {
            let (mut bytes, at) = image();
            bytes[(sector * 512).max(at)..(sector + 1) * 512].fill(0);
            assert!(could_be_torn(&bytes, at, Growth::Synced), "sector {sector}");
        }
    }

    #[test]
    fn a_flipped_bit_is_not_explained() {
        let (good, at) = image();
        for bit in at * 8..(at + 2000) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!could_be_torn(&bytes, at, Growth::Synced), "bit {bit}");
        }
    }

    #[test]
    fn only_a_crc_record_of_other_content_proves_a_later_batch() {
        let (mut bytes, at) = image();
        assert_eq!(later_batch(&bytes, at, Chain(77)), None);
        let mut record = Vec::new();
        Chain(78).push_crc(&mut record);
        bytes[4000..4016].copy_from_slice(&record);
        assert_eq!(later_batch(&bytes, at, Chain(77)), Some(4000));
        assert_eq!(later_batch(&bytes, at, Chain(78)), None);
    }
}
