//! The hash of a history, by a hand of its own: what `Maintenance.HashKV` must answer.
//!
//! The hash is a CRC-32C over the word `key` and then, for each change in order, its place and its stored value.
//!
//! ```text
//! place: main u64 | '_' | sub u64 | 't' if it is a deletion     (big endian)
//! value: an encoded mvccpb.KeyValue; of a deletion the key alone
//! ```
//!
//! A change at or below the compacted revision counts only if it is its key's newest at the hashed revision, and no
//! deletion.

use std::collections::BTreeMap;

use super::history::Change;

/// The hash of all changes up to `revision`, when `compacted` is the last compacted revision, or -1.
pub(super) fn hash<'a>(
    changes: impl Iterator<Item = &'a Change> + Clone,
    compacted: i64,
    revision: i64,
) -> u32 {
    let mut newest = BTreeMap::new();
    for change in changes.clone().take_while(|change| change.main <= revision) {
        newest.insert(change.key.as_ref(), (change.main, change.sub, change.is_delete));
    }
    let mut crc = Crc::new();
    crc.update(b"key");
    for change in changes.take_while(|change| change.main <= revision) {
        let kept = newest.get(change.key.as_ref()) == Some(&(change.main, change.sub, false));
        if change.main <= compacted && !kept {
            continue;
        }
        crc.update(&change.main.to_be_bytes());
        crc.update(b"_");
        crc.update(&change.sub.to_be_bytes());
        if change.is_delete {
            crc.update(b"t");
        }
        crc.update(&change.stored);
    }
    crc.finish()
}

/// CRC-32C (Castagnoli), a table of single bytes.
struct Crc(u32);

impl Crc {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let (mut crc, mut bit) = (byte, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[byte as usize] = crc;
            byte += 1;
        }
        table
    };

    fn new() -> Self {
        Self(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = Self::TABLE[usize::from(low ^ byte)] ^ self.0 >> 8;
        }
    }

    fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use etched_proto::mvccpb::KeyValue;
    use prost::Message as _;

    use super::*;

    const NAMES: [&str; 7] = ["alice", "bob", "celine", "dominik", "eve", "frederica", "gorge"];

    #[test]
    fn the_check_value_of_crc32c() {
        let mut crc = Crc::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xe306_9283);
    }

    /// The puts and the hashes of etcd's own test of HashKV.
    #[test]
    fn etcds_golden_hashes() {
        let golden = [
            (4_082_599_214, -1, 35),
            (2_279_933_401, 35, 106),
            (3_284_231_217, 106, 177),
            (126_286_495, 177, 248),
            (900_108_730, 248, 319),
        ];
        let mut changes: Vec<Change> = Vec::new();
        let mut keys = BTreeMap::<&str, (i64, i64)>::new();
        for (turn, (expected, compacted, revision)) in golden.into_iter().enumerate() {
            let first = turn * 71;
            for number in first..=first + 71 {
                let key = match number {
                    _ if number % 142 == 30 => "zenek",
                    _ if number % 71 == 30 => "xavery",
                    _ => NAMES[number % 7],
                };
                let main = changes.last().map_or(2, |change| change.main + 1);
                let (create_revision, version) = keys.get(key).map_or((main, 1), |(c, v)| (*c, v + 1));
                keys.insert(key, (create_revision, version));
                let value = number.to_string().into();
                let kv = KeyValue {
                    key: key.into(),
                    create_revision,
                    mod_revision: main,
                    version,
                    value,
                    lease: 0,
                };
                let stored = kv.encode_to_vec().into();
                changes.push(Change { main, sub: 0, key: key.into(), is_delete: false, stored });
            }
            assert_eq!(hash(changes.iter(), compacted, revision), expected, "at {revision}");
        }
    }
}
