//! One fault anywhere in a small log: the outcome is the same state, a torn tail that costs nothing acknowledged, or
//! a refusal that changes nothing. `ETCHED_WAL_SWEEP=all` flips every single bit instead of a few of each byte.

use crate::model::{Model, content};
use crate::scripts::{Outcome, Script, damage_scripts, dir};
use etched_disk::{SECTOR_BYTES, SimDisk};
use etched_wal::{SnapshotRecord, Wal, WalError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What one fault may cost.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Allowed {
    /// The same state, or a refusal.
    NoLoss,
    /// Also the loss of (the end of) the last batch: it looks like a tear.
    LastBatch,
}

struct Image {
    script: Script,
    outcome: Outcome,
    disk: SimDisk,
    /// Whether the log was closed, or ends with a head, which proves all before it.
    sealed: bool,
}

fn images() -> Vec<Image> {
    damage_scripts()
        .into_iter()
        .map(|script| {
            let disk = SimDisk::new(1);
            let outcome = script.run(&disk);
            assert!(outcome.error.is_none(), "{}: {:?}", script.name, outcome.error);
            let sealed = script.name.ends_with("closed") || outcome.last_batch.is_empty();
            Image { disk: disk.synced_image(), sealed, outcome, script }
        })
        .collect()
}

#[derive(Debug, Default)]
struct Tally {
    same: u64,
    torn: u64,
    lost_last: u64,
    refused: u64,
}

impl Image {
    fn check(&self, what: &str, allowed: Allowed, fault: &dyn Fn(&SimDisk), tally: &mut Tally) {
        let disk = self.disk.synced_image();
        fault(&disk);
        let from = SnapshotRecord::default();
        let context = || format!("{}: {what}", self.script.name);
        match Wal::open(Arc::new(disk.clone()), dir(), &from, self.script.options) {
            Ok((wal, recovered)) => {
                drop(wal);
                let same = content(&recovered) == self.outcome.acknowledged.after(&from);
                let lost =
                    !same && self.prefixes().iter().any(|model| content(&recovered) == model.after(&from));
                let fine = same || (lost && allowed == Allowed::LastBatch);
                assert!(fine, "{}: silent loss\n{recovered:?}", context());
                tally.same += u64::from(same);
                tally.lost_last += u64::from(lost);
                tally.torn += u64::from(recovered.torn_tail.is_some());
                let (_wal, again) =
                    Wal::open(Arc::new(disk.synced_image()), dir(), &from, self.script.options)
                        .unwrap_or_else(|error| panic!("{}: refused when opened again: {error}", context()));
                assert_eq!(content(&again), content(&recovered), "{}: opened again", context());
                assert_eq!(again.torn_tail, None, "{}: repaired once", context());
            }
            Err(error) => {
                let expected = matches!(error, WalError::Damaged { .. } | WalError::SnapshotNotFound { .. });
                assert!(expected, "{}: {error:?}", context());
                assert_eq!(disk.operations(), 0, "{}: refusing changes nothing", context());
                tally.refused += 1;
            }
        }
    }

    fn prefixes(&self) -> Vec<Model> {
        self.outcome.before_last.prefixes(&self.outcome.last_batch)
    }

    fn segments(&self) -> Vec<(PathBuf, u64)> {
        let paths = self.script.segments(&self.disk).into_iter();
        paths.map(|path| (path.clone(), self.disk.contents(&path).unwrap().len() as u64)).collect()
    }

    /// A lost sector of an unproven last batch may cost that batch.
    fn allowed_for_sectors(&self) -> Allowed {
        if self.sealed { Allowed::NoLoss } else { Allowed::LastBatch }
    }

    fn used(&self, path: &Path) -> u64 {
        let bytes = self.disk.contents(path).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_noticed() {
    let every_bit = std::env::var("ETCHED_WAL_SWEEP").is_ok_and(|sweep| sweep == "all");
    let masks: Vec<u8> = if every_bit {
        (0..8).map(|bit| 1 << bit).chain([0xff]).collect()
    } else {
        vec![0x01, 0x02, 0x80, 0xff]
    };
    let mut tally = Tally::default();
    for image in images() {
        for (path, len) in image.segments() {
            // Behind the log, one place is like the next.
            let used = image.used(&path) + 40;
            for offset in (0..len).filter(|offset| *offset < used || offset % 97 == 0) {
                for mask in &masks {
                    let what = format!("{} byte {offset} mask {mask:#x}", path.display());
                    let fault = |disk: &SimDisk| disk.flip_bits(&path, offset, *mask);
                    image.check(&what, Allowed::NoLoss, &fault, &mut tally);
                }
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > tally.same, "most of what stands there matters");
}

#[test]
fn every_zeroed_sector_is_harmless_or_noticed() {
    let mut tally = Tally::default();
    for image in images() {
        for (path, len) in image.segments() {
            for sector in 0..len.div_ceil(SECTOR_BYTES as u64) {
                let what = format!("{} sector {sector}", path.display());
                let fault = |disk: &SimDisk| disk.zero_sector(&path, sector);
                image.check(&what, image.allowed_for_sectors(), &fault, &mut tally);
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.lost_last > 0 && tally.refused > 0);
}

#[test]
fn every_two_swapped_sectors_are_harmless_or_noticed() {
    let mut tally = Tally::default();
    for image in images() {
        for (path, len) in image.segments() {
            let sectors = usize::try_from(len).unwrap() / SECTOR_BYTES;
            for (a, b) in (0..sectors).flat_map(|a| (a + 1..sectors).map(move |b| (a, b))) {
                let what = format!("{} sectors {a} and {b}", path.display());
                let fault = |disk: &SimDisk| {
                    let mut bytes = disk.contents(&path).unwrap();
                    let (left, right) = bytes.split_at_mut(b * SECTOR_BYTES);
                    left[a * SECTOR_BYTES..][..SECTOR_BYTES].swap_with_slice(&mut right[..SECTOR_BYTES]);
                    disk.put_contents(&path, &bytes);
                };
                image.check(&what, image.allowed_for_sectors(), &fault, &mut tally);
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > tally.same);
}

#[test]
fn every_shortened_segment_is_harmless_or_noticed() {
    let mut tally = Tally::default();
    for image in images() {
        for (path, len) in image.segments() {
            for shorter in 0..len {
                let what = format!("{} cut to {shorter}", path.display());
                let fault = |disk: &SimDisk| disk.truncate(&path, shorter);
                image.check(&what, Allowed::NoLoss, &fault, &mut tally);
            }
        }
    }
    println!("{tally:?}");
}

/// The experiment in which a real etcd loses acknowledged writes: a sector far back is zeroed and the log reads as
/// if it ended there.
#[test]
fn a_zeroed_length_far_back_is_not_the_end() {
    let image = images().into_iter().find(|image| image.script.name == "one segment").unwrap();
    let path = &image.segments()[0].0;
    let mut bytes = image.disk.contents(path).unwrap();
    bytes[512..1536].fill(0);
    image.disk.put_contents(path, &bytes);
    let options = image.script.options;
    let opened = Wal::open(Arc::new(image.disk), dir(), &SnapshotRecord::default(), options);
    assert!(matches!(opened, Err(WalError::Damaged { .. })));
}
