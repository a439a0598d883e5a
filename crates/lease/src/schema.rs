//! The stored form of a lease, which is etcd's.
//!
//! ```text
//! key    8 bytes  the id, big-endian
//! value           leasepb.Lease { ID, TTL, RemainingTTL }: seconds; fields that are 0 are absent
//! ```

use alloc::vec::Vec;
use etched_proto::leasepb;
use prost::Message;

/// What is stored of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    pub(crate) id: i64,
    pub(crate) ttl: i64,
    pub(crate) remaining: i64,
}

pub(crate) fn key(id: i64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

pub(crate) fn encode(record: &LeaseRecord) -> Vec<u8> {
    leasepb::Lease { id: record.id, ttl: record.ttl, remaining_ttl: record.remaining }.encode_to_vec()
}

/// Reads a record, or says what is wrong with it.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<LeaseRecord, &'static str> {
    let key: [u8; 8] = key.try_into().map_err(|_| "the key is not eight bytes long")?;
    let lease = leasepb::Lease::decode(value).map_err(|_| "the value is not a lease")?;
    if lease.id != i64::from_be_bytes(key) {
        return Err("the key and the value name different leases");
    }
    if lease.id == 0 {
        return Err("a lease cannot have the id 0");
    }
    Ok(LeaseRecord { id: lease.id, ttl: lease.ttl, remaining: lease.remaining_ttl })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from the database file of etcd 3.7.2, but for the last, whose field 3 was added by the format's rules.
    const GOLDEN: [(&[u8], &[u8], LeaseRecord); 4] = [
        (b"\0\0\0\0\0\0\0\x07", b"\x08\x07\x10d", LeaseRecord { id: 7, ttl: 100, remaining: 0 }),
        (
            b"\x11\x22\x33\x44\x55\x66\x77\x88",
            b"\x08\x88\xef\x99\xab\xc5\xe8\x8c\x91\x11\x10\x02",
            LeaseRecord { id: 0x1122_3344_5566_7788, ttl: 2, remaining: 0 },
        ),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xfe",
            b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x80\xb4\xc4\xc3!",
            LeaseRecord { id: -2, ttl: 9_000_000_000, remaining: 0 },
        ),
        (b"\0\0\0\0\0\0\0\x07", b"\x08\x07\x10d\x18\x05", LeaseRecord { id: 7, ttl: 100, remaining: 5 }),
    ];

    #[test]
    fn records_are_those_of_etcd() {
        for (stored_key, stored_value, record) in GOLDEN {
            assert_eq!(key(record.id), stored_key);
            assert_eq!(encode(&record), stored_value);
            assert_eq!(decode(stored_key, stored_value), Ok(record));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        for (stored_key, stored_value, _) in GOLDEN {
            for len in 0..stored_value.len() {
                let _ = decode(stored_key, &stored_value[..len]);
                let _ = decode(&stored_key[..len.min(7)], stored_value);
            }
        }
    }
}
