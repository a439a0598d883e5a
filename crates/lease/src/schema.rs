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
