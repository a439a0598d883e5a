//! Damage to what a disk holds: what is opened then is refused, or right.

use std::path::{Path, PathBuf};

use etched_backend::Integrity;
use etched_disk::{SECTOR_BYTES, SimDisk};

use super::Simulation;
use super::rig::{self, Rig};

/// What happens to a copy of the disk.
enum Damage {
    /// One bit of some file.
    Bit { path: PathBuf, offset: u64, mask: u8 },
    /// A sector of a segment or a snapshot file.
    Sector { path: PathBuf, sector: u64 },
    /// One bit of what seems to be a value in the backend's file.
    Value { offset: u64 },
}

/// Opens a damaged copy of the disk, as the life that begins has found it.
pub(super) fn try_one(simulation: &mut Simulation) -> Result<(), String> {
    let copy = simulation.disk.killed_image();
    // Damage is done to what is on the disk, and a failed sync may have left less there than a reader sees.
    for (path, _) in rig::files(&copy) {
        let bytes = copy.contents(&path).expect("it was listed");
        copy.put_contents(&path, &bytes);
    }
    let Some(damage) = draw(simulation, &copy) else { return Ok(()) };
    damage.inflict(&copy);
    simulation.counts.damages += 1;
    let tell = |what: String| format!("{}: {what}", damage.describe());
    let opened = match Rig::open(&copy, simulation.options, true, damage.integrity()) {
        Ok(opened) => opened,
        Err(failure) if failure.is_damage() => {
            simulation.counts.damages_refused += 1;
            return Ok(());
        }
        Err(failure) => return Err(tell(format!("refused for another reason: {failure}"))),
    };
    let lost_a_sector = matches!(damage, Damage::Sector { .. });
    let log = simulation.model.recognise_damaged(&opened.recovered, &opened.from, lost_a_sector);
    log.map_err(tell)?;
    match opened.content() {
        Ok(content) => {
            simulation.model.commit_of_backend(opened.applied, &content).map_err(tell)?;
        }
        Err(_) => simulation.counts.damages_refused += 1,
    }
    Ok(())
}

fn draw(simulation: &mut Simulation, disk: &SimDisk) -> Option<Damage> {
    let random = &mut simulation.random;
    let files = rig::files(disk);
    let (path, len) = random.pick(&files).clone();
    if len == 0 {
        return None;
    }
    let damage = match random.below(3) {
        0 => Damage::Bit { path, offset: random.below(len), mask: 1 << random.below(8) },
        1 if path != Path::new(rig::DB) => {
            Damage::Sector { path, sector: random.below(len.div_ceil(SECTOR_BYTES as u64)) }
        }
        _ => {
            let bytes = disk.contents(Path::new(rig::DB))?;
            let start = usize::try_from(random.below(bytes.len() as u64)).expect("an index fits");
            // What is not a value has no such runs but of zeros and ones.
            let is_value = |run: &[u8]| !matches!(run[0], 0 | 0xff) && run.iter().all(|byte| *byte == run[0]);
            let found = bytes[start..].windows(40).position(is_value)?;
            Damage::Value { offset: (start + found + 20) as u64 }
        }
    };
    simulation.event("damage", len);
    Some(damage)
}

impl Damage {
    fn inflict(&self, disk: &SimDisk) {
        match self {
            Self::Bit { path, offset, mask } => disk.flip_bits(path, *offset, *mask),
            Self::Sector { path, sector } => disk.zero_sector(path, *sector),
            Self::Value { offset } => disk.flip_bits(Path::new(rig::DB), *offset, 0x10),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Bit { path, offset, mask } => {
                format!("byte {offset} of {} damaged by {mask:#x}", path.display())
            }
            Self::Sector { path, sector } => format!("sector {sector} of {} zeroed", path.display()),
            Self::Value { offset } => format!("a value at byte {offset} of the backend damaged"),
        }
    }

    /// redb promises an error for damage to its pages, and no panic, only where it looks at everything.
    fn integrity(&self) -> Integrity {
        match self {
            Self::Bit { .. } | Self::Sector { .. } => Integrity::Everything,
            Self::Value { .. } => Integrity::Touched,
        }
    }
}
