//! The checksum behind a snapshot: 32 bytes of SHA-256 over all bytes before.
//!
//! `etcdctl snapshot save` writes a database and this behind it, as the stream of `Maintenance.Snapshot` brings it.
//! Databases are multiples of 512 bytes long, so a length tells whether the checksum is there.

use etched_disk::{DiskError, DiskFile};
use sha2::{Digest as _, Sha256};

/// Bytes of the checksum.
pub const TRAILER_BYTES: usize = 32;

const DATABASE_UNIT_BYTES: u64 = 512;
const STEP_BYTES: usize = 1 << 20;

/// The checksum of a snapshot whose bytes come by and by.
#[derive(Clone, Debug, Default)]
pub struct Trailer(Sha256);

impl Trailer {
    /// The checksum of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes of the database.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// What has to follow the database.
    #[must_use]
    pub fn finish(self) -> [u8; TRAILER_BYTES] {
        self.0.finalize().into()
    }
}

/// Why a snapshot is not to be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no checksum, as in a copy of a database that was not made by taking a snapshot.
    #[error("a file of {len} bytes ends without a checksum")]
    NoTrailer {
        /// The length of the file in bytes.
        len: u64,
    },
    /// The checksum is another one.
    #[error("the checksum is {}, that of the content {}", hex(.stated), hex(.computed))]
    Mismatch {
        /// What stands at the end of the file.
        stated: [u8; TRAILER_BYTES],
        /// What should stand there.
        computed: [u8; TRAILER_BYTES],
    },
}

/// Whether a file of `len` bytes is a database with its checksum; if so, how long the database is.
#[must_use]
pub fn database_bytes(len: u64) -> Option<u64> {
    let database = len.checked_sub(TRAILER_BYTES as u64)?;
    database.is_multiple_of(DATABASE_UNIT_BYTES).then_some(database)
}

/// Compares the checksum at the end of a snapshot, and returns the length of the database before it in bytes.
///
/// # Errors
/// The disk failed, there is no checksum, or it is another one.
pub fn verify_snapshot(file: &dyn DiskFile) -> Result<u64, SnapshotError> {
    let len = file.len()?;
    let database = database_bytes(len).ok_or(SnapshotError::NoTrailer { len })?;
    let mut trailer = Trailer::new();
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < database {
        let step = usize::try_from(database - at).unwrap_or(STEP_BYTES).min(STEP_BYTES);
        file.read_exact_at(&mut buffer[..step], at)?;
        trailer.update(&buffer[..step]);
        at += step as u64;
    }
    let mut stated = [0; TRAILER_BYTES];
    file.read_exact_at(&mut stated, database)?;
    let computed = trailer.finish();
    if stated == computed { Ok(database) } else { Err(SnapshotError::Mismatch { stated, computed }) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use etched_disk::{Disk as _, SimDisk};

    use super::*;

    fn verify(content: &[u8]) -> Result<u64, SnapshotError> {
        let (disk, path) = (SimDisk::new(1), Path::new("/snapshot"));
        disk.put_contents(path, content);
        verify_snapshot(&*disk.open_read_only(path).unwrap())
    }

    #[test]
    fn the_checksum_is_that_of_sha_256() {
        let mut trailer = Trailer::new();
        trailer.update(b"a");
        trailer.update(b"bc");
        assert_eq!(
            hex(&trailer.finish()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_snapshot_is_accepted_with_its_own_checksum_only() {
        for len in [0, 512, STEP_BYTES, STEP_BYTES + 1024] {
            let mut snapshot = vec![7; len];
            let mut trailer = Trailer::new();
            trailer.update(&snapshot);
            assert!(matches!(verify(&snapshot), Err(SnapshotError::NoTrailer { .. })));
            snapshot.extend_from_slice(&trailer.finish());
            assert_eq!(verify(&snapshot).unwrap(), len as u64);
            *snapshot.first_mut().unwrap() ^= 1;
            assert!(matches!(verify(&snapshot), Err(SnapshotError::Mismatch { .. })));
        }
        assert!(matches!(verify(&[0; 31]), Err(SnapshotError::NoTrailer { len: 31 })));
    }
}
