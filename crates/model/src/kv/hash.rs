//! Compaction and hash, by generations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Kv, Refused};
use crate::crc::crc32c;

/// A hash over the history.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The CRC-32C.
    pub hash: u32,
    /// The last compaction when it was taken.
    pub compact_revision: i64,
    /// The revision that was hashed up to.
    pub hash_revision: i64,
}

/// The runs of events of a key between its deletions, each with its deletion; the last has none, and may be empty.
type Generations<'a> = Vec<Vec<&'a Event>>;

impl Kv {
    /// Compacts: reads below `revision` are refused from here on.
    ///
    /// # Errors
    ///
    /// The revision is not above the last compaction, or in the future.
    pub fn compact(&mut self, revision: i64) -> Result<(), Refused> {
        if revision <= self.compact_revision {
            return Err(Refused::Compacted);
        }
        if revision > self.revision {
            return Err(Refused::Future);
        }
        self.pending.push((revision, self.compact_revision, self.pending.is_empty()));
        self.compact_revision = revision;
        Ok(())
    }

    /// The first compaction that is not finished.
    #[must_use]
    pub fn compaction_pending(&self) -> Option<i64> {
        self.pending.first().map(|pending| pending.0)
    }

    /// Finishes the first compaction that is not finished, and returns how many revisions it dropped.
    pub fn finish_compaction(&mut self) -> usize {
        let (revision, previous, is_hashed) = self.pending.remove(0);
        let kept = self.picked_at(revision);
        if is_hashed {
            let hash = self.digest(previous, revision, &kept);
            self.hashes.push(Hash { hash, compact_revision: previous, hash_revision: revision });
            if self.hashes.len() > 10 {
                self.hashes.remove(0);
            }
        }
        let mut stays = BTreeSet::new();
        for generations in self.generations().into_values() {
            let Some((first, at)) = pick(&generations, revision) else { continue };
            stays.extend(generations[first][at..].iter().map(|event| event.revision));
            stays.extend(generations[first + 1..].iter().flatten().map(|event| event.revision));
        }
        let before = self.stored.len();
        self.stored.retain(|stored| stored.0 > revision || stays.contains(stored));
        before - self.stored.len()
    }

    /// The process ended and began again: hashes are forgotten, and an unfinished compaction runs again.
    pub fn restart(&mut self) {
        self.hashes.clear();
        if let (Some(first), Some(last)) = (self.pending.first().copied(), self.pending.last().copied()) {
            self.pending = vec![(last.0, first.1, false)];
        }
    }

    /// The hash up to a revision; 0 is the current one.
    ///
    /// # Errors
    ///
    /// The revision is compacted or in the future.
    pub fn hash(&self, revision: i64) -> Result<Hash, Refused> {
        if let Some(hash) = self.hashes.iter().find(|hash| hash.hash_revision == revision) {
            return Ok(*hash);
        }
        let revision = if revision == 0 { self.revision } else { revision };
        if revision > 0 && revision < self.compact_revision {
            return Err(Refused::Compacted);
        }
        if revision > self.revision {
            return Err(Refused::Future);
        }
        let kept = self.kept_at(revision);
        let hash = self.digest(self.compact_revision, revision, &kept);
        Ok(Hash { hash, compact_revision: self.compact_revision, hash_revision: revision })
    }

    /// Whether a compaction at that revision would keep anything; if not, the hash depends on how far the last one is.
    #[must_use]
    pub fn keeps_any(&self, revision: i64) -> bool {
        !self.kept_at(revision).is_empty()
    }

    /// The events of each key that are stored.
    fn generations(&self) -> BTreeMap<&[u8], Generations<'_>> {
        let mut keys: BTreeMap<&[u8], Generations<'_>> = BTreeMap::new();
        for event in self.stored() {
            let generations = keys.entry(&event.key).or_insert_with(|| vec![Vec::new()]);
            generations.last_mut().expect("there is always one").push(event);
            if event.after.is_none() {
                generations.push(Vec::new());
            }
        }
        keys
    }

    /// What a compaction keeps of each key as its newest version up to the revision.
    fn picked_at(&self, revision: i64) -> BTreeSet<(i64, i64)> {
        let generations = self.generations().into_values();
        generations
            .filter_map(|all| pick(&all, revision).map(|(first, at)| all[first][at].revision))
            .collect()
    }

    /// The same for a hash: without deletions.
    fn kept_at(&self, revision: i64) -> BTreeSet<(i64, i64)> {
        let mut kept = self.picked_at(revision);
        for event in &self.events {
            if event.after.is_none() {
                kept.remove(&event.revision);
            }
        }
        kept
    }

    fn digest(&self, compact_revision: i64, revision: i64, kept: &BTreeSet<(i64, i64)>) -> u32 {
        let mut crc = crc32c(0, b"key");
        for event in self.stored() {
            let main = event.revision.0;
            let is_passed_over =
                main <= compact_revision && !kept.is_empty() && !kept.contains(&event.revision);
            let is_deletion = event.after.is_none();
            if main > revision || is_passed_over || (main == compact_revision && is_deletion) {
                continue;
            }
            let (key, value) = event.row();
            crc = crc32c(crc32c(crc, &key), &value);
        }
        crc
    }
}

/// The first generation that reaches the revision, or else the last; in it the newest event up to the revision.
fn pick(generations: &Generations<'_>, revision: i64) -> Option<(usize, usize)> {
    let reaches =
        |generation: &Vec<&Event>| generation.last().is_some_and(|last| last.revision.0 >= revision);
    let first = generations.iter().position(reaches).unwrap_or(generations.len() - 1);
    let at = generations[first].iter().rposition(|event| event.revision.0 <= revision)?;
    Some((first, at))
}
