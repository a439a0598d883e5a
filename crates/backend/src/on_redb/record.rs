//! What a record looks like on the disk.
//!
//! ```text
//! key     as given
//! value   as given, then 4 bytes, little-endian:
//!         CRC-32C over the table's name, the length of the key (4 bytes, little-endian), the key and the value
//! ```
//!
//! The checksum binds a value to its place, so that a value which turns up under another key is found as well.

use bytes::Bytes;

use crate::{BackendError, Table};

/// The table that says what the file is; no bucket of etcd's has this name.
pub(super) const INFO_TABLE: &str = "etched";
/// Its key for the version of the format: 4 bytes, little-endian.
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// Its key for [`Usage`].
pub(super) const USAGE_KEY: &[u8] = b"usage";
/// The version of the format that this code writes.
pub(super) const FORMAT: u32 = 3;
/// The oldest version that it reads: without derived tables.
pub(super) const FORMAT_OLDEST: u32 = 1;

const CHECKSUM_BYTES: usize = 4;
/// What redb stores beside each key and value: where each of them ends.
const RECORD_OVERHEAD_BYTES: u64 = 8;

/// Puts into `stored` what is stored for `value`.
pub(super) fn seal(table: &str, key: &[u8], value: &[u8], stored: &mut Vec<u8>) {
    stored.clear();
    stored.extend_from_slice(value);
    stored.extend_from_slice(&checksum(table, key, value).to_le_bytes());
}

/// The value in what was stored under `key`.
pub(super) fn open<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], BackendError> {
    unseal(table.name(), key, stored).map_err(|why| BackendError::Damaged {
        table,
        key: Bytes::copy_from_slice(key),
        why,
    })
}

pub(super) fn unseal<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (value, found) = stored.split_last_chunk::<CHECKSUM_BYTES>().ok_or("it is too short")?;
    // The second half is a planted fault, see `cargo xtask bugs`.
    if u32::from_le_bytes(*found) == checksum(table, key, value) || cfg!(bug = "backend-believes-records") {
        Ok(value)
    } else {
        Err("its checksum is wrong")
    }
}

fn checksum(table: &str, key: &[u8], value: &[u8]) -> u32 {
    // redb takes no key of 4 GiB or more, so none is ever cut off.
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let crc = crc32c::crc32c(table.as_bytes());
    let crc = crc32c::crc32c_append(crc, &key_len.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc, value)
}

/// How much is in the tables but derived ones, kept beside them in every commit so that nobody has to walk them.
///
/// ```text
/// 0..8    records, little-endian
/// 8..16   bytes of all keys and stored values, little-endian
/// ```
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    records: u64,
    bytes: u64,
}

impl Usage {
    pub(super) fn add(&mut self, key_len: usize, stored_len: usize) {
        self.records += 1;
        self.bytes += (key_len + stored_len) as u64;
    }

    pub(super) fn remove(&mut self, key_len: usize, stored_len: usize) {
        // A count that damage made too small is not worth a panic.
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key_len + stored_len) as u64);
    }

    /// The bytes that the records take in the file, without the free space of half-filled pages.
    pub(super) fn file_bytes(self) -> u64 {
        self.bytes.saturating_add(self.records.saturating_mul(RECORD_OVERHEAD_BYTES))
    }

    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.records.to_le_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (records, rest) = bytes.split_first_chunk::<8>()?;
        let bytes = rest.try_into().ok()?;
        Some(Self { records: u64::from_le_bytes(*records), bytes: u64::from_le_bytes(bytes) })
    }
}
